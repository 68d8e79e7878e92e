//! systemd units, by systemctl.

use super::Host;
use crate::error::Result;

impl Host {
    /// Whether the unit is active.
    pub async fn unit_active(&self, _unit: &str) -> Result<bool> {
        todo!()
    }
    /// Whether the unit is enabled (static, generated, alias and indirect units count: they need no enabling).
    pub async fn unit_enabled(&self, _unit: &str) -> Result<bool> {
        todo!()
    }
    /// Enables the unit and starts it; an error quotes the unit's last journal lines.
    pub async fn enable_and_start(&self, _unit: &str) -> Result<()> {
        todo!()
    }
    /// Enables the unit without starting it.
    pub async fn enable(&self, _unit: &str) -> Result<()> {
        todo!()
    }
    /// Restarts the unit; an error quotes the unit's last journal lines.
    pub async fn restart_unit(&self, _unit: &str) -> Result<()> {
        todo!()
    }
    /// Has systemd read its unit files again. Can cut running containers off their GPU
    /// (NVIDIA/nvidia-container-toolkit#48), so never after the container phase.
    pub async fn daemon_reload(&self) -> Result<()> {
        todo!()
    }
}

//! Phase `ssm-agent`: the SSM agent runs, so that an operator can log in without SSH.

use std::sync::Arc;

use async_trait::async_trait;

use crate::engine::{Applied, Phase, State};
use crate::error::Result;
use crate::node::Node;

/// The SSM agent is enabled and runs.
pub(super) struct SsmAgent(pub Arc<Node>);

impl SsmAgent {
    /// The agent's unit, if this machine has one.
    fn unit(&self) -> Result<Option<&'static str>> {
        let units = self.0.host.os()?.ssm_units.iter().copied();
        Ok(units.into_iter().find(|unit| self.0.host.unit_exists(unit)))
    }
}

#[async_trait]
impl Phase for SsmAgent {
    async fn check(&self) -> Result<State> {
        let host = &self.0.host;
        let os = host.os()?;
        let Some(unit) = self.unit()? else {
            return Ok(match os.ssm_package {
                Some(package) => State::Needed(format!("{package} is not installed")),
                // AWS's own bucket has a .deb, but no key that this program could verify it with.
                None => State::NotApplicable(format!(
                    "{} does not bring the SSM agent; install its .deb or snap (\"Install SSM Agent on Linux\" in \
                     the Systems Manager guide) and run `bootstrap --phase ssm-agent`",
                    os.name
                )),
            });
        };
        if !host.unit_active(unit).await? {
            return Ok(State::Needed(format!("{unit} is not active")));
        }
        if !host.unit_enabled(unit).await? {
            return Ok(State::Needed(format!("{unit} is not enabled")));
        }
        Ok(State::Done(format!("{unit} is active")))
    }

    async fn apply(&self) -> Result<Applied> {
        let host = &self.0.host;
        if self.unit()?.is_none()
            && let Some(package) = host.os()?.ssm_package
        {
            host.install_packages(&[package]).await?;
        }
        if let Some(unit) = self.unit()? {
            host.enable_and_start(unit).await?;
        }
        Ok(Applied::Finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;
    use crate::phases::testing::{AMAZON, DEBIAN, UBUNTU, config, node};

    #[tokio::test]
    async fn is_not_applicable_where_the_system_does_not_bring_it() {
        let tree = Tree::new();
        let phase = SsmAgent(node(&tree, DEBIAN, config(false)));
        let State::NotApplicable(why) = phase.check().await.unwrap() else {
            panic!("applicable");
        };
        assert!(why.starts_with("Debian 12 does not bring the SSM agent; install its .deb"));
    }

    #[tokio::test]
    async fn finds_the_snap_of_ubuntu() {
        let tree = Tree::new();
        let unit = "snap.amazon-ssm-agent.amazon-ssm-agent.service";
        tree.file(&format!("/etc/systemd/system/{unit}"), "");
        tree.tool(
            "systemctl",
            "case $1 in is-active) echo active;; *) echo enabled;; esac",
        );
        let phase = SsmAgent(node(&tree, UBUNTU, config(false)));
        assert_eq!(
            phase.check().await.unwrap(),
            State::Done(format!("{unit} is active"))
        );
    }

    #[tokio::test]
    async fn amazon_linux_installs_it() {
        let tree = Tree::new();
        tree.tool(
            "dnf",
            "mkdir -p \"$BOOTSTRAP_ROOT/usr/lib/systemd/system\"; touch \"$BOOTSTRAP_ROOT/usr/lib/systemd/system/amazon-ssm-agent.service\"",
        );
        tree.tool("systemctl", "echo disabled; [ $1 != is-enabled ]");
        let phase = SsmAgent(node(&tree, AMAZON, config(false)));
        assert_eq!(
            phase.check().await.unwrap(),
            State::Needed("amazon-ssm-agent is not installed".into())
        );
        phase.apply().await.unwrap();
        assert_eq!(
            tree.calls(),
            [
                "dnf -y --setopt=install_weak_deps=False install amazon-ssm-agent",
                "systemctl is-enabled amazon-ssm-agent.service",
                "systemctl enable --no-reload amazon-ssm-agent.service",
                "systemctl start amazon-ssm-agent.service",
            ]
        );
    }
}

//! The Docker engine, by its command line: only flags that Docker 20.10 to 29 share, and only JSON output.

use super::Host;
use crate::error::Result;

/// The Docker engine of a machine.
pub struct Docker<'a> {
    host: &'a Host,
}

impl Host {
    /// This machine's Docker engine.
    pub fn docker(&self) -> Docker<'_> {
        Docker { host: self }
    }
}

impl Docker<'_> {
    /// Engine version, or `None` where the engine does not answer.
    pub async fn server_version(&self) -> Result<Option<String>> {
        let _ = self.host;
        todo!()
    }
    /// `docker inspect` of the container, or `None` where there is none of that name.
    pub async fn container(&self, _name: &str) -> Result<Option<serde_json::Value>> {
        todo!()
    }
}

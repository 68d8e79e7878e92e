//! The instance metadata service, version 2 only.

use crate::error::Result;

/// Who this instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `i-…`
    pub instance_id: String,
    /// Region, e.g. `us-east-1`.
    pub region: String,
    /// Availability zone, e.g. `us-east-1a`.
    pub zone: String,
    /// Instance type, e.g. `g4dn.xlarge`.
    pub instance_type: String,
}

/// Client of the metadata service.
pub struct Imds {}

impl Imds {
    /// The service at `AWS_EC2_METADATA_SERVICE_ENDPOINT`, or at its fixed address.
    pub fn from_env() -> Self {
        todo!()
    }
    /// A path under `/latest/`; absent (404) is `None`.
    pub async fn get(&self, _path: &str) -> Result<Option<String>> {
        todo!()
    }
    /// Who this instance is.
    pub async fn identity(&self) -> Result<Identity> {
        todo!()
    }
}

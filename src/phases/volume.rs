//! Phase `volume`: the wallet key and the node's data live on one disk, found by its ID, mounted by its UUID.

mod attach;
mod memory;
mod place;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::memory::origin;
pub(super) use self::memory::{is_unused, tell_wallet, used};
use self::place::Place;
pub use self::place::{Origin, leave_size};
use crate::aws::ec2::{VolumeInfo, describe_volume};
use crate::config::{Origin as Wanted, VolumeSource};
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::disk::{Device, VolumeId};
use crate::node::Node;

/// The data volume is attached, has its filesystem, is mounted through fstab and belongs to the node's account.
pub struct Volume(pub Arc<Node>);

impl Volume {
    fn place(&self) -> Place<'_> {
        let config = &self.0.config;
        Place {
            host: &self.0.host,
            source: &config.volume.source,
            name: config.volume.source.to_string(),
            uuid: config.volume.id().map(memory::uuid),
            target: &config.volume.mount,
            kind: config.volume.filesystem,
            owner: (config.user.uid, config.user.gid),
        }
    }

    /// The device, attached if necessary, and what EC2 knows of the volume.
    pub async fn obtain(&self, id: &VolumeId) -> Result<(Device, VolumeInfo)> {
        let known = describe_volume(self.0.aws().await?, id.as_str()).await?;
        require_encryption(id, &known)?;
        attach::device(&self.0, id, known).await
    }

    async fn apply_ebs(&self, id: &VolumeId, wanted: Wanted) -> Result<()> {
        let node = &*self.0;
        let (device, known) = self.obtain(id).await?;
        let instance = &node.identity().await?.instance_id;
        let origin = memory::origin(&node.host, id, wanted, &known, instance)?;
        let claim = memory::claim(node, id, wanted);
        let uuid = self.place().prepare(&device, &origin, claim).await?;
        memory::forget_others(&node.host, id, &known, instance)?;
        memory::recall(&node.host, id, &known)?;
        // The node can do without the tag: only the creation of a filesystem waits for it.
        if let Err(error) = memory::keep(node, id, &known, &uuid).await {
            tracing::warn!("{error}; {}", error.hint());
        }
        Ok(())
    }
}

#[async_trait]
impl Phase for Volume {
    /// Checks only the machine; on a healthy node that is enough.
    async fn check(&self) -> Result<State> {
        let (place, source) = (self.place(), &self.0.config.volume.source);
        match (find(&self.0.host, source)?, source) {
            (Some(device), VolumeSource::Ebs { origin, .. }) => {
                let origin = memory::by_config(*origin);
                place.check(&device, origin.as_ref()).await
            }
            (Some(device), VolumeSource::InstanceStore) => {
                let origin = memory::of_instance(&self.0.host, &place.name)?;
                place.check(&device, Some(&origin)).await
            }
            (None, VolumeSource::InstanceStore) => Err(no_store()),
            (None, VolumeSource::Ebs { .. }) => {
                place.require_free()?;
                Ok(State::Needed(format!("{source} is not attached")))
            }
        }
    }

    async fn apply(&self) -> Result<Applied> {
        let source = &self.0.config.volume.source;
        match source {
            VolumeSource::Ebs { id, origin } => self.apply_ebs(id, *origin).await?,
            VolumeSource::InstanceStore => {
                let (host, place) = (&self.0.host, self.place());
                let device = find(host, source)?.ok_or_else(no_store)?;
                let origin = memory::of_instance(host, &place.name)?;
                let claim = async { memory::begin(host, &place.name) };
                place.prepare(&device, &origin, claim).await?;
            }
        }
        Ok(Applied::Finished)
    }
}

fn find(host: &Host, source: &VolumeSource) -> Result<Option<Device>> {
    match source {
        VolumeSource::Ebs { id, .. } => host.volume_device(id),
        VolumeSource::InstanceStore => host.instance_store_device(),
    }
}

fn no_store() -> Error {
    Error::new(
        "this instance has no instance store disk",
        "choose an instance type that has one, or an EBS volume (volume.kind `ebs`)",
    )
}

/// The wallet key must never be on an unencrypted disk.
fn require_encryption(id: &VolumeId, known: &VolumeInfo) -> Result<()> {
    if known.encrypted {
        return Ok(());
    }
    Err(Error::new(
        format!("{id} is not encrypted"),
        "make an encrypted copy (a snapshot, then an encrypted volume from it) and name that in volume.id; \
         nothing was changed",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(encrypted: bool, snapshot: Option<&str>) -> VolumeInfo {
        VolumeInfo {
            state: "available".into(),
            encrypted,
            snapshot_id: snapshot.map(Into::into),
            zone: "us-east-1a".into(),
            attachments: Vec::new(),
            tags: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn a_volume_that_is_not_encrypted_is_refused() {
        let id = VolumeId::parse("vol-0abc1234").unwrap();
        assert!(require_encryption(&id, &known(true, Some("snap-1"))).is_ok());
        let error = require_encryption(&id, &known(false, None)).unwrap_err();
        assert_eq!(error.reason(), "vol-0abc1234 is not encrypted");
        assert!(!error.is_transient());
    }
}

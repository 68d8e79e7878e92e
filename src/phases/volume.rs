//! Phase `volume`: the wallet key and the node's data live on one disk, found by its id, mounted by its UUID.

mod attach;
mod memory;
mod place;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::memory::origin;
pub(super) use self::memory::{is_unused, tell_wallet, used};
use self::place::Place;
pub use self::place::{Origin, leave_size};
use crate::aws::ec2::{VolumeInfo, describe_volume};
use crate::config::{self, Filesystem, VolumeKind};
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::disk::{Device, Kind, VolumeId};
use crate::node::Node;

/// The data volume is attached, has its filesystem, is mounted through fstab and belongs to the node's account.
pub struct Volume(pub Arc<Node>);

/// The filesystem that the config names.
pub(super) fn filesystem(config: &config::Volume) -> Kind {
    match config.filesystem {
        Filesystem::Ext4 => Kind::Ext4,
        Filesystem::Xfs => Kind::Xfs,
    }
}

impl Volume {
    fn place<'a>(&'a self, source: &'a Source) -> Place<'a> {
        let config = &self.0.config;
        Place {
            host: &self.0.host,
            source,
            name: source.to_string(),
            uuid: match source {
                Source::Ebs(id) => Some(memory::uuid(id)),
                Source::InstanceStore => None,
            },
            target: &config.volume.mount,
            kind: filesystem(&config.volume),
            owner: (config.user.uid, config.user.gid),
        }
    }

    /// The device, attached where need be, and what EC2 knows of the volume.
    pub async fn obtain(&self, id: &VolumeId) -> Result<(Device, VolumeInfo)> {
        let known = describe_volume(self.0.aws().await?, id.as_str()).await?;
        require_encryption(id, &known)?;
        attach::device(&self.0, id, known).await
    }

    async fn apply_ebs(&self, id: &VolumeId, place: &Place<'_>) -> Result<()> {
        let node = &*self.0;
        let (device, known) = self.obtain(id).await?;
        let instance = &node.identity().await?.instance_id;
        let wanted = node.config.volume.origin;
        let origin = memory::origin(&node.host, id, wanted, &known, instance)?;
        let claim = memory::claim(node, id);
        let uuid = place.prepare(&device, &origin, claim).await?;
        memory::forget_others(&node.host, id, &known, instance)?;
        memory::recall(&node.host, id, &known)?;
        // The node is no worse off without: only a filesystem that is being made waits for its tag.
        if let Err(error) = memory::keep(node, id, &known, &uuid).await {
            tracing::warn!("{error}; {}", error.hint());
        }
        Ok(())
    }
}

#[async_trait]
impl Phase for Volume {
    /// Asks the machine only; on a healthy node that is all.
    async fn check(&self) -> Result<State> {
        let source = Source::wanted(&self.0.config.volume)?;
        let place = self.place(&source);
        match (source.find(&self.0.host)?, &source) {
            (Some(device), Source::Ebs(_)) => {
                let origin = memory::by_config(self.0.config.volume.origin);
                place.check(&device, origin.as_ref()).await
            }
            (Some(device), Source::InstanceStore) => {
                let origin = memory::of_instance(&self.0.host, &place.name)?;
                place.check(&device, Some(&origin)).await
            }
            (None, Source::InstanceStore) => Err(no_store()),
            (None, Source::Ebs(_)) => {
                place.require_free()?;
                Ok(State::Needed(format!("{source} is not attached")))
            }
        }
    }

    async fn apply(&self) -> Result<Applied> {
        let source = Source::wanted(&self.0.config.volume)?;
        let place = self.place(&source);
        match &source {
            Source::Ebs(id) => self.apply_ebs(id, &place).await?,
            Source::InstanceStore => {
                let host = &self.0.host;
                let device = source.find(host)?.ok_or_else(no_store)?;
                let origin = memory::of_instance(host, &place.name)?;
                let claim = async { memory::begin(host, &place.name) };
                place.prepare(&device, &origin, claim).await?;
            }
        }
        Ok(Applied::Finished)
    }
}

/// Where the disk comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Ebs(VolumeId),
    InstanceStore,
}

impl Source {
    fn wanted(volume: &config::Volume) -> Result<Self> {
        match (volume.kind, &volume.id) {
            (VolumeKind::Ebs, Some(id)) => Ok(Self::Ebs(VolumeId::parse(id)?)),
            (VolumeKind::Ebs, None) => Err(Error::new(
                "the config names no volume: volume.id is missing",
                "set volume.id to the data volume's id, or volume.kind to `instance-store`",
            )),
            (VolumeKind::InstanceStore, _) => Ok(Self::InstanceStore),
        }
    }

    fn find(&self, host: &Host) -> Result<Option<Device>> {
        match self {
            Self::Ebs(id) => host.volume_device(id),
            Self::InstanceStore => host.instance_store_device(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ebs(id) => id.fmt(out),
            Self::InstanceStore => out.write_str("the instance store disk"),
        }
    }
}

fn no_store() -> Error {
    Error::new(
        "this instance has no instance store disk",
        "choose an instance type that has one, or an EBS volume (volume.kind `ebs`)",
    )
}

/// The wallet key never lies on a disk that is not encrypted.
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
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    fn config(kind: VolumeKind, id: Option<&str>) -> config::Volume {
        config::Volume {
            kind,
            id: id.map(Into::into),
            mount: "/data".into(),
            filesystem: Filesystem::Ext4,
            origin: config::Origin::New,
        }
    }

    #[test]
    fn the_volume_is_the_one_named_by_id() {
        let wanted = |kind, id| Source::wanted(&config(kind, id));
        let ebs = wanted(VolumeKind::Ebs, Some("vol-0abc1234")).unwrap();
        assert_eq!(ebs.to_string(), "vol-0abc1234");
        assert_eq!(
            wanted(VolumeKind::Ebs, None).unwrap_err().reason(),
            "the config names no volume: volume.id is missing"
        );
        assert_eq!(
            wanted(VolumeKind::Ebs, Some("vol-1; rm"))
                .unwrap_err()
                .reason(),
            "`vol-1; rm` is not an EBS volume id"
        );
        let store = wanted(VolumeKind::InstanceStore, Some("ignored")).unwrap();
        assert_eq!(store, Source::InstanceStore);
    }

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

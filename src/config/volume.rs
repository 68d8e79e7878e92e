//! The data volume, as the file writes it and as the program knows it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::host::disk::{Kind as Filesystem, VolumeId};

/// The data volume.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Volume {
    /// Where the disk comes from.
    pub source: VolumeSource,
    /// Mount point.
    pub mount: String,
    /// Filesystem of the volume; a blank volume is formatted with it.
    pub filesystem: Filesystem,
}

/// Where the disk comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// An EBS volume.
    Ebs {
        /// Its id.
        id: VolumeId,
        /// How it came to be.
        origin: Origin,
    },
    /// The instance's own NVMe disk, empty after every stop.
    InstanceStore,
}

/// How an EBS volume came to be.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Someone has named it, or made it from a snapshot: it is never formatted.
    #[default]
    Given,
    /// Made blank for this node: formatted once.
    New,
}

/// The data volume.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    /// EBS or instance store.
    #[serde(default)]
    kind: Kind,
    /// EBS volume id (`vol-…`); required for `ebs`.
    #[schemars(
        title = "an EBS volume id",
        example = &"vol-0123456789abcdef0",
        regex(pattern = r"^vol-[0-9a-f]{8,17}$")
    )]
    id: Option<String>,
    /// How the EBS volume came to be; only a new one is formatted, and only once.
    #[serde(default)]
    origin: Origin,
    /// Mount point.
    // It ends up in fstab and in `docker --mount`: no blank, comma or colon, and no `..`; and it hides what is there.
    #[serde(default = "default_mount")]
    #[schemars(title = "an absolute path of plain characters, outside the system's own directories", example = &"/data",
        regex(pattern = r"^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$"), extend("not" = { "pattern": super::schema::SYSTEM }))]
    mount: String,
    /// Filesystem of the volume; a blank volume is formatted with it.
    #[serde(default)]
    filesystem: Filesystem,
}

/// Kinds of data volume.
#[derive(Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// An EBS volume, named by id.
    #[default]
    Ebs,
    /// The instance's own NVMe disk, empty after every stop.
    InstanceStore,
}

impl TryFrom<Written> for Volume {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        let Written {
            kind,
            id,
            origin,
            mount,
            filesystem,
        } = written;
        let source = match (kind, id) {
            (Kind::Ebs, Some(id)) => VolumeSource::Ebs {
                id: VolumeId::parse(&id)?,
                origin,
            },
            (Kind::Ebs, None) => {
                return Err(Error::new(
                    "the config names no volume: volume.id is missing",
                    "set volume.id to the data volume's id, or volume.kind to `instance-store`",
                ));
            }
            (Kind::InstanceStore, _) => VolumeSource::InstanceStore,
        };
        Ok(Self {
            source,
            mount,
            filesystem,
        })
    }
}

impl Volume {
    /// The id of the EBS volume, where it is one.
    pub fn id(&self) -> Option<&VolumeId> {
        match &self.source {
            VolumeSource::Ebs { id, .. } => Some(id),
            VolumeSource::InstanceStore => None,
        }
    }
}

impl fmt::Display for VolumeSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ebs { id, .. } => id.fmt(out),
            Self::InstanceStore => out.write_str("the instance store disk"),
        }
    }
}

fn default_mount() -> String {
    "/data".into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_source_is_made_once_of_kind_and_id() {
        let read = |value| serde_json::from_value::<Volume>(value).map_err(|e| e.to_string());
        let ebs = read(json!({"id": "vol-0abc1234", "origin": "new"})).unwrap();
        assert_eq!(ebs.source.to_string(), "vol-0abc1234");
        assert_eq!(
            (ebs.mount.as_str(), ebs.filesystem),
            ("/data", Filesystem::Ext4)
        );
        assert!(matches!(
            ebs.source,
            VolumeSource::Ebs {
                origin: Origin::New,
                ..
            }
        ));
        let store = read(json!({"kind": "instance-store", "filesystem": "xfs"})).unwrap();
        assert_eq!(
            (store.source, store.filesystem),
            (VolumeSource::InstanceStore, Filesystem::Xfs)
        );
        for (wrong, fault) in [
            (
                json!({}),
                "the config names no volume: volume.id is missing",
            ),
            (
                json!({"id": "vol-1; rm"}),
                "`vol-1; rm` is not an EBS volume id",
            ),
        ] {
            assert_eq!(read(wrong).unwrap_err(), fault);
        }
    }
}

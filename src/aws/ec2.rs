//! EC2: describing a volume, attaching it, and tags, which stay on it whichever instance has it.

use std::collections::BTreeMap;

use aws_types::SdkConfig;

use super::query::{Service, call};
use super::refusal::Refusal;
use super::xml::Element;
use crate::error::{Error, Result};

const EC2: Service = Service {
    name: "ec2",
    version: "2016-11-15",
    id: "EC2",
};

/// What `DescribeVolumes` says about a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    /// `creating`, `available`, `in-use`, `deleting`, `deleted` or `error`.
    pub state: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The snapshot it was made from, if any.
    pub snapshot_id: Option<String>,
    /// Availability zone.
    pub zone: String,
    /// Where it is attached.
    pub attachments: Vec<Attachment>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl VolumeInfo {
    /// Its attachment to this instance.
    pub fn attachment_to(&self, instance: &str) -> Option<&Attachment> {
        let mut attachments = self.attachments.iter();
        attachments.find(|attachment| attachment.instance == instance)
    }
}

/// One attachment of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Instance id.
    pub instance: String,
    /// Device name as requested, e.g. `/dev/sdf`; not the kernel's name.
    pub device: String,
    /// `attaching`, `attached`, `detaching`, `detached` or `busy`.
    pub state: String,
    /// When the attachment began, as EC2 formats it.
    pub since: String,
}

/// What EC2 knows about the volume `id`. A volume that does not exist in this region is an error.
pub async fn describe_volume(aws: &SdkConfig, id: &str) -> Result<VolumeInfo> {
    // The id alone would do, but only a call with a filter counts against the larger of EC2's two rate limits for it.
    let parameters = [
        ("VolumeId.1", id),
        ("Filter.1.Name", "volume-id"),
        ("Filter.1.Value.1", id),
    ];
    match call(aws, &EC2, "DescribeVolumes", &parameters).await? {
        Ok(answer) => volume(&answer).ok_or_else(|| {
            Error::new(
                format!("DescribeVolumes says nothing readable about {id}"),
                "run `bootstrap` again; if it stays, compare with `aws ec2 describe-volumes`",
            )
            .transient()
        }),
        Err(refusal) => Err(refused(
            refusal,
            aws,
            &format!("DescribeVolumes of {id}"),
            id,
        )),
    }
}

/// Outcome of an attach request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// It is attached, or being attached.
    Yes,
    /// Something else on the instance has the device name: another letter may work.
    NameTaken,
}

/// Attaches the volume to the instance under the device name. Already attached to it (or being attached) is fine.
///
/// Transient: a volume or an instance that is between two states.
pub async fn attach_volume(
    aws: &SdkConfig,
    volume: &str,
    instance: &str,
    device: &str,
) -> Result<Attached> {
    let parameters = [
        ("VolumeId", volume),
        ("InstanceId", instance),
        ("Device", device),
    ];
    let Err(refusal) = call(aws, &EC2, "AttachVolume", &parameters).await? else {
        return Ok(Attached::Yes);
    };
    let what = format!("AttachVolume of {volume} to {instance}");
    match refusal.code.as_str() {
        "VolumeInUse" => {
            let known = describe_volume(aws, volume).await?;
            let holder = known
                .attachments
                .first()
                .map_or("another instance", |attachment| {
                    attachment.instance.as_str()
                });
            if holder == instance {
                return Ok(Attached::Yes);
            }
            Err(Error::new(
                format!("{volume} is attached to {holder}"),
                format!("wait until {holder} is terminated, or detach the volume from it"),
            )
            .transient())
        }
        "InvalidParameterValue" if refusal.message.contains("already in use") => {
            Ok(Attached::NameTaken)
        }
        "IncorrectState" | "IncorrectInstanceState" | "InvalidInstanceID.NotFound" => Err(Error::new(
            format!("{what} is not possible now ({})", refusal.text()),
            "wait until the volume is available and the instance is running, then run `bootstrap` again",
        )
        .transient()),
        "InvalidVolume.ZoneMismatch" => Err(Error::new(
            format!("{volume} is in another availability zone than {instance}"),
            "start the node in the volume's zone, or make a snapshot and a volume from it in the node's zone",
        )),
        _ => Err(told(refusal, aws, &what, volume)),
    }
}

/// Adds a tag to the volume, or changes the tag's value.
pub async fn tag_volume(aws: &SdkConfig, volume: &str, key: &str, value: &str) -> Result<()> {
    let parameters = [
        ("ResourceId.1", volume),
        ("Tag.1.Key", key),
        ("Tag.1.Value", value),
    ];
    match call(aws, &EC2, "CreateTags", &parameters).await? {
        Ok(_) => Ok(()),
        Err(refusal) => {
            let what = format!("the tag {key} of {volume}");
            Err(refusal.into_error(&what, "ec2:CreateTags on the volume"))
        }
    }
}

fn refused(refusal: Refusal, aws: &SdkConfig, what: &str, id: &str) -> Error {
    let settles = refusal.may_settle();
    told(refusal, aws, what, id).settling_if(settles)
}

fn told(refusal: Refusal, aws: &SdkConfig, what: &str, id: &str) -> Error {
    let region = aws.region().map_or("this region", AsRef::as_ref);
    match refusal.code.as_str() {
        "InvalidVolume.NotFound" | "InvalidVolumeID.Malformed" | "InvalidParameterValue"
            if refusal.message.contains(id) || refusal.code == "InvalidVolume.NotFound" =>
        {
            Error::new(
                format!(
                    "the volume {id} does not exist in {region} ({})",
                    refusal.text()
                ),
                "set volume.id in the config to the id of the node's data volume",
            )
        }
        _ => refusal.into_error(what, "ec2:DescribeVolumes and ec2:AttachVolume"),
    }
}

/// The first volume in a DescribeVolumes response.
pub fn volume(answer: &Element) -> Option<VolumeInfo> {
    let item = answer.child("volumeSet")?.child("item")?;
    let attachments = item.child("attachmentSet").map(|set| {
        set.children("item")
            .filter_map(|item| {
                Some(Attachment {
                    instance: item.text_of("instanceId")?.into(),
                    device: item.text_of("device").unwrap_or_default().into(),
                    state: item.text_of("status").unwrap_or_default().into(),
                    since: item.text_of("attachTime").unwrap_or_default().into(),
                })
            })
            .collect()
    });
    let tags = item.child("tagSet").map(|set| {
        set.children("item")
            .filter_map(|tag| {
                let value = tag.text_of("value").unwrap_or_default();
                Some((tag.text_of("key")?.into(), value.into()))
            })
            .collect()
    });
    Some(VolumeInfo {
        state: item.text_of("status")?.into(),
        encrypted: item.text_of("encrypted") == Some("true"),
        snapshot_id: item.text_of("snapshotId").map(Into::into),
        zone: item.text_of("availabilityZone")?.into(),
        attachments: attachments.unwrap_or_default(),
        tags: tags.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tests::config;
    use standins::scripted::script;

    const IN_USE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><volumeSet><item>
        <volumeId>vol-1</volumeId><size>80</size><snapshotId/><availabilityZone>us-east-1a</availabilityZone>
        <attachmentSet><item><volumeId>vol-1</volumeId><instanceId>i-1</instanceId><device>/dev/sdf</device>
        <status>attached</status><attachTime>2026-11-28T12:00:00.000Z</attachTime></item></attachmentSet>
        <status>in-use</status><encrypted>true</encrypted><tagSet><item><key>Name</key><value>a &amp; b</value></item>
        <item><key>empty</key><value/></item></tagSet></item></volumeSet></DescribeVolumesResponse>"#;
    const VOLUME_IN_USE: &str = "<Response><Errors><Error><Code>VolumeInUse</Code><Message>vol-1 is already attached to an instance</Message></Error></Errors></Response>";

    #[tokio::test]
    async fn a_volume_is_described() {
        let server = script(vec![(200, IN_USE)]);
        let known = describe_volume(&config(&server.url).await, "vol-1")
            .await
            .unwrap();
        assert_eq!(
            known,
            VolumeInfo {
                state: "in-use".into(),
                encrypted: true,
                snapshot_id: None,
                zone: "us-east-1a".into(),
                attachments: vec![Attachment {
                    instance: "i-1".into(),
                    device: "/dev/sdf".into(),
                    state: "attached".into(),
                    since: "2026-11-28T12:00:00.000Z".into(),
                }],
                tags: [("Name", "a & b"), ("empty", "")]
                    .map(|(key, value)| (key.into(), value.into()))
                    .into(),
            }
        );
        assert_eq!(
            server.received()[0].text(),
            "Action=DescribeVolumes&Version=2016-11-15&VolumeId.1=vol-1&Filter.1.Name=volume-id&Filter.1.Value.1=vol-1"
        );
    }

    #[tokio::test]
    async fn attaching_what_is_attached_here_is_fine() {
        let server = script(vec![(400, VOLUME_IN_USE), (200, IN_USE)]);
        attach_volume(&config(&server.url).await, "vol-1", "i-1", "/dev/sdf")
            .await
            .unwrap();
        assert_eq!(
            server.received()[0].text(),
            "Action=AttachVolume&Version=2016-11-15&VolumeId=vol-1&InstanceId=i-1&Device=%2Fdev%2Fsdf"
        );
        let server = script(vec![(400, VOLUME_IN_USE), (200, IN_USE)]);
        let error = attach_volume(&config(&server.url).await, "vol-1", "i-2", "/dev/sdf")
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "vol-1 is attached to i-1");
        assert!(error.is_transient());
    }

    #[tokio::test]
    async fn a_volume_is_tagged() {
        let denied = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors></Response>";
        let server = script(vec![(200, "<R/>"), (403, denied)]);
        let aws = config(&server.url).await;
        tag_volume(&aws, "vol-1", "theta-edge:x", "1 2")
            .await
            .unwrap();
        assert_eq!(
            server.received()[0].text(),
            "Action=CreateTags&Version=2016-11-15&ResourceId.1=vol-1&Tag.1.Key=theta-edge%3Ax&Tag.1.Value=1%202"
        );
        let error = tag_volume(&aws, "vol-1", "theta-edge:x", "1")
            .await
            .unwrap_err();
        assert_eq!(
            (error.reason(), error.hint()),
            (
                "the tag theta-edge:x of vol-1 was refused (UnauthorizedOperation: no)",
                "allow ec2:CreateTags on the volume in the policy of the instance's role"
            )
        );
    }

    #[tokio::test]
    async fn each_refusal_has_its_own_reason() {
        for (code, message, reason, transient) in [
            (
                "InvalidVolume.NotFound",
                "The volume 'vol-1' does not exist.",
                "the volume vol-1 does not exist in us-east-1 (InvalidVolume.NotFound: The volume 'vol-1' does not exist.)",
                false,
            ),
            (
                "UnauthorizedOperation",
                "You are not authorized",
                "AttachVolume of vol-1 to i-1 was refused (UnauthorizedOperation: You are not authorized)",
                false,
            ),
            (
                "InvalidVolume.ZoneMismatch",
                "x",
                "vol-1 is in another availability zone than i-1",
                false,
            ),
            (
                "IncorrectState",
                "vol-1 is not 'available'.",
                "AttachVolume of vol-1 to i-1 is not possible now (IncorrectState: vol-1 is not 'available'.)",
                true,
            ),
        ] {
            let body = format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>"
            );
            let server = script(vec![(400, body.leak())]);
            let error = attach_volume(&config(&server.url).await, "vol-1", "i-1", "/dev/sdf")
                .await
                .unwrap_err();
            assert_eq!((error.reason(), error.is_transient()), (reason, transient));
        }
    }

    #[tokio::test]
    async fn a_taken_device_name_is_an_answer() {
        let body = "<Response><Errors><Error><Code>InvalidParameterValue</Code><Message>Invalid value '/dev/sdf' for unixDevice. Attachment point /dev/sdf is already in use</Message></Error></Errors></Response>";
        let server = script(vec![(400, body)]);
        let answer = attach_volume(&config(&server.url).await, "vol-1", "i-1", "/dev/sdf").await;
        assert_eq!(answer.unwrap(), Attached::NameTaken);
    }
}

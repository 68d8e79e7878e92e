//! Getting the EBS volume onto this instance: attaches it if it is free, waits while another instance holds it.

use std::time::Duration;

use tokio::time::Instant;

use crate::aws::ec2::{Attached, VolumeInfo, attach_volume, describe_volume};
use crate::aws::imds::Identity;
use crate::doing::doing;
use crate::error::{Error, Result};
use crate::host::disk::{Device, VolumeId};
use crate::node::Node;
use crate::pace;
use crate::retry::Policy;

/// Pause between two looks at the machine while waiting: they cost nothing.
const LOOK: Duration = Duration::from_millis(250);

/// Pause between two requests to EC2 while waiting: all nodes of the account share one request quota. A device that was
/// just attached nearly always shows up before the first.
const QUESTIONS: Policy = Policy {
    attempts: u32::MAX,
    first_pause: Duration::from_secs(20),
    longest_pause: Duration::from_secs(30),
};

/// If something holds the volume for this long, it will not let go; the phase's own deadline is a minute later.
const PATIENCE: Duration = Duration::from_mins(14);

/// What to do about a volume that is not here yet.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Attach,
    Wait(String),
}

/// The volume's device, and what EC2 knows of the volume by then. Waits for it as long as the phase has time.
pub(super) async fn device(
    node: &Node,
    id: &VolumeId,
    mut known: VolumeInfo,
) -> Result<(Device, VolumeInfo)> {
    let mut questions = 0;
    let until = Instant::now() + pace::of(PATIENCE);
    loop {
        let identity = node.identity().await?;
        if let Some(device) = node.host.volume_device(id)? {
            require_sole(id, &known, identity)?;
            return Ok((device, known));
        }
        match next(id, &known, identity)? {
            Step::Attach => attach(node, id, identity).await?,
            Step::Wait(_) if Instant::now() > until => return Err(never(id, &known, identity)),
            Step::Wait(_) if let Some(error) = on_xen(node, id, &known, identity) => {
                return Err(error);
            }
            Step::Wait(why) => {
                doing(&why);
                if questions > 0 {
                    tracing::info!("still {why}");
                }
            }
        }
        questions += 1;
        let again = Instant::now() + pace::of(QUESTIONS.pause(questions));
        while Instant::now() < again && node.host.volume_device(id)?.is_none() {
            pace::pause(LOOK).await;
        }
        known = describe_volume(node.aws().await?, id.as_str()).await?;
    }
}

/// Refuses a volume that another instance has, too (io2 Multi-Attach): two machines writing to one ext4 or XFS ruin it.
fn require_sole(id: &VolumeId, known: &VolumeInfo, identity: &Identity) -> Result<()> {
    let others = known.attachments.iter().filter(|attachment| {
        attachment.instance != identity.instance_id && attachment.state != "detached"
    });
    let others: Vec<&str> = others.map(|other| other.instance.as_str()).collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        format!(
            "{id} is attached to {} too; two machines that use one filesystem destroy it",
            others.join(", ")
        ),
        "detach the volume from every other instance (EC2 console, Multi-Attach), then run `bootstrap` again; \
         nothing was changed",
    ))
}

/// The volume is here as a Xen disk, which cannot be told from any other: waiting does not turn it into an NVMe disk.
fn on_xen(node: &Node, id: &VolumeId, known: &VolumeInfo, identity: &Identity) -> Option<Error> {
    let here = known
        .attachments
        .iter()
        .find(|attachment| attachment.instance == identity.instance_id)?;
    let disk = node.host.xen_disk(&here.device)?;
    Some(Error::new(
        format!(
            "{id} is here as {disk}, a Xen disk, which does not say which volume it is (instance type {})",
            identity.instance_type
        ),
        "use an instance type built on Nitro (g4dn, g5, g6, m6i, c6i, t3, …); nothing was changed on the volume",
    ))
}

/// Why waiting was in vain.
fn never(id: &VolumeId, known: &VolumeInfo, identity: &Identity) -> Error {
    let minutes = PATIENCE.as_secs() / 60;
    let mut holders = known.attachments.iter();
    match holders.find(|attachment| attachment.state != "detached") {
        Some(holder) if holder.instance == identity.instance_id => Error::new(
            format!(
                "{id} is {} to this instance as {}, but its device has not appeared for {minutes} min",
                holder.state, holder.device
            ),
            format!(
                "see `lsblk` and `dmesg`; detach it (`aws ec2 detach-volume --volume-id {id}`), then run `bootstrap` again, \
                 which attaches it again"
            ),
        ),
        Some(holder) => Error::new(
            format!(
                "{} has not released {id} for {minutes} min ({})",
                holder.instance, holder.state
            ),
            format!(
                "terminate or stop {}, or detach the volume from it (`aws ec2 detach-volume --volume-id {id}`), then run \
                 `bootstrap` again",
                holder.instance
            ),
        ),
        None => Error::new(
            format!("{id} has been {} for {minutes} min", known.state),
            "see the volume in the EC2 console, then run `bootstrap` again",
        ),
    }
}

fn next(id: &VolumeId, known: &VolumeInfo, identity: &Identity) -> Result<Step> {
    if known.zone != identity.zone {
        return Err(Error::new(
            format!(
                "{id} is in {}, but this instance is in {}",
                known.zone, identity.zone
            ),
            "start the node in the volume's zone, or make a snapshot and from it a volume in the node's zone",
        ));
    }
    let holder = known
        .attachments
        .iter()
        .find(|attachment| attachment.state != "detached");
    match (holder, known.state.as_str()) {
        (Some(holder), _) if holder.instance == identity.instance_id => Ok(Step::Wait(format!(
            "waiting for the device of {id}, {} to this instance as {}",
            holder.state, holder.device
        ))),
        (Some(holder), _) => Ok(Step::Wait(format!(
            "waiting for {} to release {id} ({})",
            holder.instance, holder.state
        ))),
        (None, "available") => Ok(Step::Attach),
        (None, state @ ("creating" | "in-use")) => {
            Ok(Step::Wait(format!("waiting for {id}, which is {state}")))
        }
        (None, state) => Err(Error::new(
            format!("{id} cannot be attached: its state is {state}"),
            "see the volume in the EC2 console, or name another in volume.id",
        )),
    }
}

/// Requests the first device name that is free. It does not determine the kernel's device name (NVMe).
async fn attach(node: &Node, id: &VolumeId, identity: &Identity) -> Result<()> {
    let aws = node.aws().await?;
    let instance = identity.instance_id.as_str();
    // The letters that AWS recommends for data volumes (EC2 guide, device_naming).
    for letter in 'f'..='p' {
        let name = format!("/dev/sd{letter}");
        doing(&format!("attaching {id} to {instance} as {name}"));
        match attach_volume(aws, id.as_str(), instance, &name).await {
            Ok(Attached::NameTaken) => {}
            Ok(Attached::Yes) => return Ok(()),
            // Somebody was faster, or it is between two states: EC2's next answer decides.
            Err(error) if error.is_transient() => {
                tracing::info!("{error}");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(
        format!("every device name from /dev/sdf to /dev/sdp is taken on {instance}"),
        "detach a volume that the node does not need",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::ec2::Attachment;

    fn known(state: &str, zone: &str, attachments: &[(&str, &str)]) -> VolumeInfo {
        VolumeInfo {
            state: state.into(),
            encrypted: true,
            snapshot_id: None,
            zone: zone.into(),
            attachments: attachments
                .iter()
                .map(|(instance, state)| Attachment {
                    instance: (*instance).into(),
                    device: "/dev/sdf".into(),
                    state: (*state).into(),
                    since: String::new(),
                })
                .collect(),
            tags: std::collections::BTreeMap::new(),
        }
    }

    fn me() -> Identity {
        Identity {
            instance_id: "i-me".into(),
            region: "r".into(),
            zone: "a".into(),
            instance_type: "t".into(),
        }
    }

    /// The next step for a volume in this state, zone and attachments (instance, state), on instance i-me in zone a.
    fn after(state: &str, zone: &str, attachments: &[(&str, &str)]) -> Result<Step, String> {
        let id = VolumeId::parse("vol-0abc1234").unwrap();
        next(&id, &known(state, zone, attachments), &me())
            .map_err(|error| error.reason().to_owned())
    }

    fn wait(why: &str) -> Step {
        Step::Wait(why.into())
    }

    #[test]
    fn a_free_volume_is_attached() {
        assert_eq!(after("available", "a", &[]), Ok(Step::Attach));
        assert_eq!(
            after("available", "a", &[("i-old", "detached")]),
            Ok(Step::Attach)
        );
    }

    #[test]
    fn a_volume_of_another_instance_is_waited_for_never_taken() {
        for state in ["attached", "detaching", "busy", "attaching"] {
            assert_eq!(
                after("in-use", "a", &[("i-old", state)]),
                Ok(wait(&format!(
                    "waiting for i-old to release vol-0abc1234 ({state})"
                )))
            );
        }
        assert_eq!(
            after("in-use", "a", &[]),
            Ok(wait("waiting for vol-0abc1234, which is in-use"))
        );
    }

    #[test]
    fn a_volume_that_is_here_must_be_nowhere_else() {
        let id = VolumeId::parse("vol-0abc1234").unwrap();
        let sole = |attachments: &[(&str, &str)]| {
            require_sole(&id, &known("in-use", "a", attachments), &me())
                .map_err(|error| error.reason().to_owned())
        };
        assert_eq!(sole(&[("i-me", "attached")]), Ok(()));
        assert_eq!(sole(&[("i-me", "attached"), ("i-b", "detached")]), Ok(()));
        for state in ["attaching", "attached", "detaching", "busy"] {
            assert_eq!(
                sole(&[("i-me", "attached"), ("i-b", state), ("i-c", state)]),
                Err(
                    "vol-0abc1234 is attached to i-b, i-c too; two machines that use one filesystem destroy it"
                        .into()
                )
            );
        }
    }

    #[test]
    fn a_volume_on_its_way_is_waited_for() {
        assert_eq!(
            after("in-use", "a", &[("i-me", "attaching")]),
            Ok(wait(
                "waiting for the device of vol-0abc1234, attaching to this instance as /dev/sdf"
            ))
        );
        assert_eq!(
            after("creating", "a", &[]),
            Ok(wait("waiting for vol-0abc1234, which is creating"))
        );
    }

    #[test]
    fn what_can_never_work_is_said_at_once() {
        assert_eq!(
            after("available", "b", &[]),
            Err("vol-0abc1234 is in b, but this instance is in a".into())
        );
        for state in ["deleting", "deleted", "error"] {
            assert_eq!(
                after(state, "a", &[]),
                Err(format!(
                    "vol-0abc1234 cannot be attached: its state is {state}"
                ))
            );
        }
    }
}

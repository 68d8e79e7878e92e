//! What is recorded about a volume, so that it is formatted once and never again: its tags in EC2, which outlive every
//! instance, and on this machine a note while formatting is in progress.

use super::place::Origin;
use crate::aws::ec2::{VolumeInfo, describe_volume, tag_volume};
use crate::aws::retry_policy;
use crate::config;
use crate::digest::Hasher;
use crate::edge::keys::address;
use crate::edge::wallet::{self, Telling};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::disk::VolumeId;
use crate::host::files::Access;
use crate::log::printable;
use crate::node::Node;
use crate::paths::{FORMATTING, UNUSED_FILESYSTEM};
use crate::retry::retry;

/// Tag of the volume: UUID of the filesystem that it has, or was about to be given.
const FILESYSTEM: &str = "theta-edge:filesystem";

/// Tag of the volume: address of the wallet whose key is on it.
const WALLET: &str = "theta-edge:wallet";

/// The UUID that our filesystem gets on this volume: the same at each attempt (RFC 9562, version 8).
pub(super) fn uuid(id: &VolumeId) -> String {
    let mut hasher = Hasher::default();
    hasher.update(b"theta-edge filesystem on ");
    hasher.update(id.as_str().as_bytes());
    let hex = hasher.hex();
    let digits = |from, to| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-8{}-a{}-{}",
        digits(0, 8),
        digits(8, 12),
        digits(13, 16),
        digits(17, 20),
        digits(20, 32)
    )
}

/// How the volume came to be, according to everything recorded about it.
pub fn origin(
    host: &Host,
    id: &VolumeId,
    origin: config::Origin,
    known: &VolumeInfo,
    instance: &str,
) -> Result<Origin> {
    let kept = |why| Ok(Origin::Kept(why));
    let made = known.tags.get(FILESYSTEM);
    if let Some(address) = known.tags.get(WALLET)
        && made.is_none()
    {
        let address = printable(address);
        return kept(format!(
            "its tag {WALLET} says that it has the key of {address}"
        ));
    }
    let has_key = known.tags.contains_key(WALLET);
    let is_ours = made.is_some_and(|made| *made == uuid(id)) && !has_key;
    let begun = is_ours && is_begun(host, id, known, instance)?;
    if let Some(made) = made
        && !begun
    {
        let made = printable(made);
        return kept(format!("its tag {FILESYSTEM} says that it has UUID={made}"));
    }
    if let Some(snapshot) = known.snapshot_id.as_deref().filter(|id| !id.is_empty()) {
        let snapshot = printable(snapshot);
        return kept(format!("was made from the snapshot {snapshot}"));
    }
    let otherwise = if begun { Origin::Begun } else { Origin::New };
    Ok(by_config(origin).unwrap_or(otherwise))
}

/// The same, as far as the config alone tells.
pub(super) fn by_config(origin: config::Origin) -> Option<Origin> {
    match origin {
        config::Origin::New => None,
        config::Origin::Given => Some(Origin::Kept(
            "volume.origin in the config does not say that it is `new`".into(),
        )),
    }
}

/// How the instance's own disk, which messages call `name`, came to be.
pub(super) fn of_instance(host: &Host, name: &str) -> Result<Origin> {
    let begun = begun(host)?.is_some_and(|noted| noted == name);
    Ok(Origin::Instance { begun })
}

/// Records, here and in EC2, that the volume is about to be formatted. If this fails, nothing is formatted.
pub(super) async fn claim(node: &Node, id: &VolumeId, wanted: config::Origin) -> Result<()> {
    let (aws, instance) = (node.aws().await?, &node.identity().await?.instance_id);
    // What was known may predate another instance's work, and the attachment.
    let known = retry(retry_policy(aws), "DescribeVolumes", || async {
        let known = describe_volume(aws, id.as_str()).await?;
        match known.attachment_to(instance) {
            Some(_) => Ok(known),
            None => Err(Error::new(
                format!("EC2 does not say that {id} is attached to this instance"),
                "run `bootstrap` again in a minute; nothing was changed",
            )
            .transient()),
        }
    })
    .await?;
    match origin(&node.host, id, wanted, &known, instance)? {
        Origin::New | Origin::Begun => {}
        Origin::Kept(why) => {
            return Err(Error::new(
                format!("{id} was to be formatted, but {why}"),
                "see who else works on the volume, then run `bootstrap` again; nothing was changed",
            ));
        }
        Origin::Instance { .. } => return Ok(()),
    }
    begin(&node.host, &note(id, &known, instance))?;
    tag_volume(aws, id.as_str(), FILESYSTEM, &uuid(id)).await
}

/// Records here the wallet that EC2 has, if none is recorded: a replacement's root disk is new.
pub(super) fn recall(host: &Host, id: &VolumeId, known: &VolumeInfo) -> Result<()> {
    let Some(tag) = known.tags.get(WALLET) else {
        return Ok(());
    };
    let Some(address) = address(tag) else {
        tracing::warn!("the tag {WALLET} of {id} is no address: {}", printable(tag));
        return Ok(());
    };
    match wallet::remembered(host, id.as_str()) {
        Some(_) => Ok(()),
        None => wallet::remember(host, id.as_str(), &address, "EC2"),
    }
}

/// Records this machine's wallet in EC2. If EC2 does not accept it, the node is no worse off, and the next start tries
/// again; but a different wallet in EC2 is a failure.
pub(crate) async fn tell_wallet(node: &Node) -> Result<()> {
    let Some(id) = node.config.volume.id().map(VolumeId::as_str) else {
        return Ok(());
    };
    if !wallet::is_untold(&node.host, id) {
        return Ok(());
    }
    let ask = async {
        let known = describe_volume(node.aws().await?, id).await?;
        Ok(known.tags.get(WALLET).and_then(|tag| address(tag)))
    };
    let known: Result<Option<String>> = ask.await;
    let known = match known {
        Ok(known) => known,
        Err(error) => {
            tracing::warn!("{error}; {}", error.hint());
            return Ok(());
        }
    };
    let Telling::Tell(address) = wallet::tell(&node.host, id, known.as_deref())? else {
        return Ok(());
    };
    match tag_volume(node.aws().await?, id, WALLET, &address).await {
        Ok(()) => wallet::told(&node.host, id),
        Err(error) => {
            tracing::warn!("{error}; {}", error.hint());
            Ok(())
        }
    }
}

/// Records in EC2 the filesystem that is on the volume, if that has not been done.
pub(super) async fn keep(node: &Node, id: &VolumeId, known: &VolumeInfo, uuid: &str) -> Result<()> {
    if known.tags.contains_key(FILESYSTEM) {
        return Ok(());
    }
    tag_volume(node.aws().await?, id.as_str(), FILESYSTEM, uuid).await
}

/// Notes that the disk named in `note` is being formatted.
pub(super) fn begin(host: &Host, note: &str) -> Result<()> {
    host.write(FORMATTING, note.as_bytes(), Access::mode(0o600))
}

/// The note that [`begin`] left.
fn begun(host: &Host) -> Result<Option<String>> {
    host.read_text(FORMATTING)
}

/// Formatting is over: from now on, there may be something on the disk. If this machine has `made` the filesystem, it
/// notes that nothing is on it yet.
pub(super) fn end(host: &Host, made: bool) -> Result<()> {
    if made && let Some(note) = begun(host)? {
        host.write(UNUSED_FILESYSTEM, note.as_bytes(), Access::mode(0o600))?;
    }
    host.remove(FORMATTING).map(drop)
}

/// Whether the disk has only ever held the filesystem that this machine made.
pub(crate) async fn is_unused(node: &Node) -> Result<bool> {
    let Some(noted) = node.host.read_text(UNUSED_FILESYSTEM)? else {
        return Ok(false);
    };
    let source = &node.config.volume.source;
    Ok(match source {
        config::VolumeSource::Ebs { id, .. } => {
            let instance = &node.identity().await?.instance_id;
            noted.starts_with(&format!("{id} {instance} "))
        }
        config::VolumeSource::InstanceStore => noted == source.to_string(),
    })
}

/// From now on, there may be something on it.
pub(crate) fn used(host: &Host) -> Result<()> {
    host.remove(UNUSED_FILESYSTEM).map(drop)
}

/// If the volume has been detached since, what was noted about it no longer counts.
pub(super) fn forget_others(
    host: &Host,
    id: &VolumeId,
    known: &VolumeInfo,
    instance: &str,
) -> Result<()> {
    match host.read_text(UNUSED_FILESYSTEM)? {
        Some(noted) if noted != note(id, known, instance) => used(host),
        _ => Ok(()),
    }
}

fn is_begun(host: &Host, id: &VolumeId, known: &VolumeInfo, instance: &str) -> Result<bool> {
    let is_here = known.attachment_to(instance).is_some();
    Ok(is_here && begun(host)?.is_some_and(|noted| noted == note(id, known, instance)))
}

/// Identifies this attachment of the volume, and no other.
fn note(id: &VolumeId, known: &VolumeInfo, instance: &str) -> String {
    let since = known
        .attachment_to(instance)
        .map_or("", |attachment| &attachment.since);
    format!("{id} {instance} {since}")
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::aws::ec2::Attachment;
    use crate::host::testing::Tree;

    const OURS: &str = "OURS";

    fn id() -> VolumeId {
        VolumeId::parse("vol-0abc1234").unwrap()
    }

    /// A volume that has been attached to `i-me` since then, with these tags; `OURS` is the UUID that we would give it.
    fn known(since: &str, tags: &[(&str, &str)]) -> VolumeInfo {
        VolumeInfo {
            state: "in-use".into(),
            encrypted: true,
            snapshot_id: None,
            zone: "z".into(),
            attachments: vec![Attachment {
                instance: "i-me".into(),
                device: "/dev/sdf".into(),
                state: "attached".into(),
                since: since.into(),
            }],
            tags: tags
                .iter()
                .map(|(key, value)| ((*key).into(), value.replace(OURS, &uuid(&id()))))
                .collect(),
        }
    }

    #[test]
    fn the_uuid_is_one_and_each_volume_s_own() {
        let of = |id: &str| uuid(&VolumeId::parse(id).unwrap());
        assert_eq!(of("vol-0abc1234"), "6d3d6e5d-da21-8498-a1cd-b9ecb7bc4c08");
        assert_ne!(of("vol-0abc1234"), of("vol-0abc1235"));
    }

    #[test]
    fn what_has_a_memory_is_never_new() {
        use crate::config::Origin::{Given, New};
        let tree = Tree::new();
        let judge = |known: &VolumeInfo, config| {
            super::origin(&tree.host, &id(), config, known, "i-me").unwrap()
        };
        let kept = |why: &str| Origin::Kept(why.replace(OURS, &uuid(&id())));
        let filesystem = (FILESYSTEM, OURS);
        let wallet = (WALLET, "0xab");
        let tagged = "its tag theta-edge:filesystem says that it has UUID=OURS";
        assert_eq!(judge(&known("t", &[]), New), Origin::New);
        for (tags, why) in [
            (&[filesystem][..], tagged),
            (&[filesystem, wallet], tagged),
            (
                &[(FILESYSTEM, "x\u{1b}[2J")],
                r"its tag theta-edge:filesystem says that it has UUID=x\u{1b}[2J",
            ),
            (
                &[wallet],
                "its tag theta-edge:wallet says that it has the key of 0xab",
            ),
        ] {
            for config in [New, Given] {
                assert_eq!(judge(&known("t", tags), config), kept(why));
            }
        }
        let given = "volume.origin in the config does not say that it is `new`";
        assert_eq!(judge(&known("t", &[]), Given), kept(given));
        let mut copy = known("t", &[]);
        copy.snapshot_id = Some("snap-1".into());
        let from = kept("was made from the snapshot snap-1");
        assert_eq!(judge(&copy, New), from);
    }

    #[test]
    fn only_this_attachment_s_own_note_tells_that_nothing_is_there_yet() {
        let tree = Tree::new();
        let judge = |known: &VolumeInfo, instance: &str| {
            let new = config::Origin::New;
            super::origin(&tree.host, &id(), new, known, instance).unwrap()
        };
        let tags = [(FILESYSTEM, OURS)];
        let volume = known("t1", &tags);
        begin(&tree.host, &note(&id(), &volume, "i-me")).unwrap();
        assert_eq!(judge(&volume, "i-me"), Origin::Begun);
        let given = config::Origin::Given;
        let by_operator = super::origin(&tree.host, &id(), given, &volume, "i-me").unwrap();
        assert!(matches!(by_operator, Origin::Kept(_)));
        // Detached and attached again, another machine's note, another's tag, or a key that is known to be there.
        for (volume, instance) in [
            (known("t2", &tags), "i-me"),
            (volume.clone(), "i-other"),
            (known("t1", &[(FILESYSTEM, "another")]), "i-me"),
            (known("t1", &[(FILESYSTEM, OURS), (WALLET, "0xab")]), "i-me"),
        ] {
            assert!(matches!(judge(&volume, instance), Origin::Kept(_)));
        }
        end(&tree.host, false).unwrap();
        assert!(matches!(judge(&volume, "i-me"), Origin::Kept(_)));
        assert_eq!(tree.host.read_text(UNUSED_FILESYSTEM).unwrap(), None);
        // The machine that made the filesystem knows that it is unused for as long as the volume stays.
        let noted = note(&id(), &volume, "i-me");
        begin(&tree.host, &noted).unwrap();
        end(&tree.host, true).unwrap();
        assert_eq!(begun(&tree.host).unwrap(), None);
        forget_others(&tree.host, &id(), &volume, "i-me").unwrap();
        assert_eq!(tree.host.read_text(UNUSED_FILESYSTEM).unwrap(), Some(noted));
        forget_others(&tree.host, &id(), &known("t2", &tags), "i-me").unwrap();
        assert_eq!(tree.host.read_text(UNUSED_FILESYSTEM).unwrap(), None);
    }
}

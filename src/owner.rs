//! Which instance the config and the state on the disk belong to: an image of a node copies both to other instances.

use crate::aws::imds::is_instance_id;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::directories::STATE;
use crate::host::files::Access;
use crate::node::Node;
use crate::paths::{
    DOCKER_GROUP, DOCKER_RESTART_DUE, DRIVER_UNFINISHED, INSTANCE, PACKAGES_UNFINISHED,
};

/// State that belongs to the disk, whichever instance has it: half-installed packages, and changes to its accounts.
const OF_THE_DISK: [&str; 4] = [
    PACKAGES_UNFINISHED,
    DRIVER_UNFINISHED,
    DOCKER_RESTART_DUE,
    DOCKER_GROUP,
];

/// How the names of what was set aside start.
const ASIDE: &str = "of-i-";

/// What is on the disk, from the point of view of its instance.
#[derive(Debug)]
pub enum Found {
    /// Nothing of another instance.
    Own,
    /// Its own config, but the state of this other instance.
    State(String),
    /// The config of another instance, and the error to report.
    Config(Error),
}

/// What is on the disk of this instance. If the metadata service does not answer, phase `preflight` says so.
pub async fn look(node: &Node) -> Found {
    if node.config.instance.is_none() && noted(&node.host).is_none() {
        return Found::Own;
    }
    match node.instance_id().await {
        Ok(id) => compare(node, &id),
        Err(_) => Found::Own,
    }
}

/// What is on the disk of the instance `id`.
pub fn compare(node: &Node, id: &str) -> Found {
    let noted = noted(&node.host);
    // If the config does not say, all that can be known is who has used it so far.
    let owner = node.config.instance.as_ref().or(noted.as_ref());
    if let Some(owner) = owner.filter(|owner| *owner != id) {
        return Found::Config(Error::new(
            format!("the config on this disk was written for instance {owner}, and this is {id}"),
            format!(
                "an image of a node carries its config along: wait for this instance's own, which its user-data writes \
                 (cloud-init status --wait); without user-data, write it with \"instance\": \"{id}\""
            ),
        ));
    }
    match noted.filter(|noted| noted != id) {
        Some(other) => Found::State(other),
        None => Found::Own,
    }
}

/// Refuses what belongs to another instance.
pub fn require(node: &Node, id: &str) -> Result<()> {
    match compare(node, id) {
        Found::Own => Ok(()),
        Found::Config(error) => Err(error),
        Found::State(other) => Err(Error::new(
            format!("the state on this disk is that of instance {other}, and this is {id}"),
            "run `bootstrap`, which sets it aside",
        )),
    }
}

/// Whether the state is known to be that of the instance `id`.
pub fn is_noted(host: &Host, id: &str) -> bool {
    noted(host).as_deref() == Some(id)
}

/// Records that the state is that of the instance `id`.
pub fn note(host: &Host, id: &str) -> Result<()> {
    host.write_if_changed(INSTANCE, format!("{id}\n").as_bytes(), Access::mode(0o600))
        .map(drop)
}

/// Sets aside the state of the instance `other`, except what belongs to the disk: the runs, the repairs, which wallet
/// was on which volume. It can be killed at any instant and continued.
pub fn set_aside(host: &Host, other: &str) -> Result<()> {
    // Another run may have done it in the meantime.
    if !is_noted(host, other) {
        return Ok(());
    }
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let aside = format!("{}/of-{other}-{now}", STATE.path);
    host.make_dir(&aside, Access::mode(STATE.mode))?;
    for name in host.names_in(STATE.path)? {
        let own = format!("{}/{name}", STATE.path);
        if own != INSTANCE && !name.starts_with(ASIDE) && !OF_THE_DISK.contains(&own.as_str()) {
            host.rename(&own, &format!("{aside}/{name}"))?;
        }
    }
    // Last: without this file, nobody would know that something is left.
    host.remove(INSTANCE)?;
    tracing::warn!("this disk was that of instance {other}, whose state is in {aside} now");
    Ok(())
}

/// What cannot be read counts as absent: the journal, next to it, reports why.
fn noted(host: &Host) -> Option<String> {
    let text = host.read_others(INSTANCE).ok().flatten();
    let id = text.map(|text| text.trim().to_owned());
    // It becomes part of a file name.
    id.filter(|id| is_instance_id(id))
}

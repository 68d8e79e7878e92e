//! Phase `clean`, of an image only: nothing identifies the machine that the image was made on, and no instance made
//! from the image takes itself for that machine.
//!
//! Left to whoever makes the image (EC2 Image Builder's own clean-up does it): what access to the machine has left
//! there (the SSM agent's registration, authorized keys, histories), and other programs' logs.

use std::sync::Arc;

use async_trait::async_trait;

use crate::engine::{Applied, Phase, State};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::directories::STATE;
use crate::host::files::Access;
use crate::node::Node;
use crate::paths::{LOG, OLD_LOG};

/// If empty, it is generated at the next boot (machine-id(5)); if missing, systemd takes that for a first boot, and
/// undoes what was enabled.
const MACHINE_ID: &str = "/etc/machine-id";
/// Exists if cloud-init has run.
const CLOUD: &str = "/var/lib/cloud/instance";
const SSH: &str = "/etc/ssh";

/// Created again if missing.
const FILES: [&str; 6] = [
    // A file of its own, or a link to the other one, which may stay.
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/etc/docker/key.json",
    LOG,
    OLD_LOG,
];

/// See the module.
pub(super) struct Clean(pub Arc<Node>);

impl Clean {
    /// The files to remove.
    fn files(&self) -> Result<Vec<String>> {
        let host = &self.0.host;
        let mut files: Vec<String> = FILES.map(str::to_owned).into();
        files.push(format!("{}/engine-id", host.docker().data_root()));
        let is_key = |name: &String| name.starts_with("ssh_host_");
        for (folder, names) in [
            (
                SSH,
                host.names_in(SSH)?.into_iter().filter(is_key).collect(),
            ),
            (STATE.path, host.names_in(STATE.path)?),
        ] as [(&str, Vec<String>); 2]
        {
            files.extend(names.iter().map(|name| format!("{folder}/{name}")));
        }
        files.retain(|file| {
            host.path(file)
                .symlink_metadata()
                .is_ok_and(|found| found.is_file())
        });
        Ok(files)
    }
}

#[async_trait]
impl Phase for Clean {
    async fn check(&self) -> Result<State> {
        let host = &self.0.host;
        if let Some(file) = self.files()?.first() {
            return Ok(State::Needed(format!("{file} is this machine's own")));
        }
        if host.read(MACHINE_ID)?.is_some_and(|id| !id.is_empty()) {
            return Ok(State::Needed(format!("{MACHINE_ID} is this machine's own")));
        }
        if host.path(CLOUD).symlink_metadata().is_ok() {
            return Ok(State::Needed("cloud-init knows this instance".into()));
        }
        Ok(State::Done("nothing is left of this machine's own".into()))
    }

    async fn apply(&self) -> Result<Applied> {
        let host = &self.0.host;
        ended(host).await?;
        for file in self.files()? {
            host.remove(&file)?;
        }
        if host.read(MACHINE_ID)?.is_some() {
            host.write_if_changed(MACHINE_ID, b"", Access::mode(0o444))?;
        }
        if host.path(CLOUD).symlink_metadata().is_ok() {
            let clean = host.command("cloud-init").args(["clean", "--logs"]);
            clean.run().await?;
        }
        Ok(Applied::Finished)
    }
}

/// Refuses while cloud-init is running: the state that it would leave trips up cloud-init on the next instance.
pub(super) async fn ended(host: &Host) -> Result<()> {
    if !host.has_program("cloud-init") {
        return Ok(());
    }
    let status = host.command("cloud-init").arg("status").looks();
    if status.output().await?.stdout.contains("running") {
        return Err(Error::new(
            "cloud-init is at work on this machine",
            "run it when that has ended: cloud-init status --wait; it cannot be a part of user-data",
        ));
    }
    Ok(())
}

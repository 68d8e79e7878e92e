//! Phase `secret`: the wallet password, from Secrets Manager into memory-backed storage and nowhere else.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::aws::secrets::{PREVIOUS, previous_password, wallet_password};
use crate::config::User;
use crate::edge::keystore::{Keystore, Read};
use crate::edge::{Spec, keys, trouble};
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, OrFail, Result};
use crate::host::Host;
use crate::host::directories::RUN;
use crate::host::files::Access;
use crate::log::printable;
use crate::node::Node;
use crate::paths::{PASSWORD, SECRETS};
use crate::wallet_password::WalletPassword;

/// `f_type` of filesystems that live in memory: tmpfs and ramfs (linux/magic.h).
const IN_MEMORY: [i128; 2] = [0x0102_1994, 0x8584_58f6];

/// Makes the password readable for the container's user. It is in memory only, so every boot fetches it again.
pub(super) struct Secret(pub Arc<Node>);

#[async_trait]
impl Phase for Secret {
    async fn check(&self) -> Result<State> {
        let Node { config, host, .. } = self.0.as_ref();
        if host.path(SECRETS).exists() {
            memory_backed(host)?;
        }
        match state(host, &config.user)? {
            State::Done(evidence) if self.0.prove_password => self.proven(evidence).await,
            state => Ok(state),
        }
    }

    async fn apply(&self) -> Result<Applied> {
        let Node { config, host, .. } = self.0.as_ref();
        prepare(host, &config.user)?;
        let secret = wallet_password(self.0.aws().await?, &config.secret.arn).await?;
        if let Some((bytes, file)) = key(&self.0)? {
            self.prove(&bytes, &file, &secret).await?;
        }
        store(host, &config.user, &secret)?;
        Ok(Applied::Finished)
    }
}

impl Secret {
    /// The password is in memory, as `evidence` says; checks whether it opens the key.
    async fn proven(&self, evidence: String) -> Result<State> {
        let no_key = format!("{evidence}; there is no key to try it on");
        let Some((bytes, file)) = key(&self.0)? else {
            return Ok(State::Done(no_key));
        };
        match proof(&self.0.host, &bytes, &file).await? {
            Proof::Opens => Ok(State::Done(format!("{evidence}; it opens {file}"))),
            Proof::Unknown(what) => {
                warn_of_unknown(&file, &what);
                Ok(State::Done(no_key))
            }
            Proof::Fails => Err(Error::new(
                format!("the wallet password in memory does not open {file}"),
                "run: bootstrap --phase secret --force, which says whether the secret's own value does, and what to do",
            )),
        }
    }

    /// The node itself reports a wrong password late, and in wording that is not reliable.
    async fn prove(&self, bytes: &[u8], file: &str, secret: &WalletPassword) -> Result<()> {
        let keystore = match Keystore::read(bytes, file)? {
            Read::Known(keystore) => Arc::new(keystore),
            Read::Unknown(what) => {
                warn_of_unknown(file, &what);
                return Ok(());
            }
        };
        if opens(&keystore, secret).await? {
            return Ok(());
        }
        let arn = &self.0.config.secret.arn;
        let previous = previous_password(self.0.aws().await?, arn).await;
        let hint = match previous {
            Ok(previous) if opens(&keystore, &previous).await? => format!(
                "the secret's previous value ({PREVIOUS}) opens it: make that the current one again (aws secretsmanager \
                 update-secret-version-stage --version-stage AWSCURRENT), then run: bootstrap --phase secret --phase container"
            ),
            _ => "put the password with which the key was created back into the secret (aws secretsmanager put-secret-value), then \
                  run: bootstrap --phase secret --phase container"
                .into(),
        };
        Err(Error::new(
            format!(
                "the wallet password in {} does not open {file}",
                printable(arn)
            ),
            hint,
        ))
    }
}

/// The result of trying the wallet password on a key file.
pub(super) enum Proof {
    /// It opens it.
    Opens,
    /// It does not, or there is none.
    Fails,
    /// This kind of file is not known here; the text says what it is.
    Unknown(String),
}

/// Tries the password in memory on a key file, which messages call `file`. A damaged file is an error.
pub(super) async fn proof(host: &Host, bytes: &[u8], file: &str) -> Result<Proof> {
    let keystore = match Keystore::read(bytes, file)? {
        Read::Known(keystore) => Arc::new(keystore),
        Read::Unknown(what) => return Ok(Proof::Unknown(what)),
    };
    Ok(match trouble::password(host) {
        Some(password) if opens(&keystore, &password).await? => Proof::Opens,
        _ => Proof::Fails,
    })
}

/// About a second of work, during which the other phases continue.
async fn opens(keystore: &Arc<Keystore>, secret: &WalletPassword) -> Result<bool> {
    let (keystore, secret) = (
        Arc::clone(keystore),
        WalletPassword::new(secret.expose().to_vec()),
    );
    let proof = tokio::task::spawn_blocking(move || keystore.opens(&secret));
    proof.await.or_fail(
        || "proving the wallet password was cut off",
        "run `bootstrap` again",
    )
}

fn warn_of_unknown(file: &str, what: &str) {
    tracing::warn!(
        "the wallet password is not proven before the start: {file} is of an unknown kind ({what})"
    );
}

/// The key file on the volume and its path, if there is exactly one. What is wrong with the folder or the container
/// spec is reported by phase `container`.
fn key(node: &Node) -> Result<Option<(Vec<u8>, String)>> {
    let Node { host, config, .. } = node;
    let Ok(Some(spec)) = Spec::load(host, config) else {
        return Ok(None);
    };
    let Some(file) = keys::look(host, &spec.key_folder(config), None)?.file else {
        return Ok(None);
    };
    let bytes = host.read_foreign(&file)?;
    Ok(bytes.map(|bytes| (bytes, file)))
}

fn state(host: &Host, user: &User) -> Result<State> {
    let owned = |path: &str, mode: u32| -> Result<Option<String>> {
        let metadata = match std::fs::symlink_metadata(host.path(path)) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Some(format!("{path} does not exist")));
            }
            Err(error) => {
                return Err(Error::new(
                    format!("cannot look at {path}"),
                    "run `bootstrap` as root",
                )
                .because(error));
            }
        };
        let is_right_kind = if path == SECRETS {
            metadata.is_dir()
        } else {
            metadata.is_file()
        };
        Ok(if !is_right_kind {
            Some(format!("{path} is not what it should be"))
        } else if metadata.mode() & 0o7777 != mode {
            Some(format!(
                "{path} has mode {:04o}, not {mode:04o}",
                metadata.mode() & 0o7777
            ))
        } else if (metadata.uid(), metadata.gid()) != (user.uid, user.gid) {
            Some(format!(
                "{path} belongs to {}:{}, not {}:{}",
                metadata.uid(),
                metadata.gid(),
                user.uid,
                user.gid
            ))
        } else {
            None
        })
    };
    for (path, mode) in [(SECRETS, 0o700), (PASSWORD, 0o400)] {
        if let Some(fault) = owned(path, mode)? {
            return Ok(State::Needed(fault));
        }
    }
    // Somebody may have written it by hand.
    let stored = WalletPassword::new(host.read(PASSWORD)?.unwrap_or_default());
    if let Err(unfit) = stored.fit() {
        return Ok(State::Needed(format!("{PASSWORD} {}", unfit.fault)));
    }
    Ok(State::Done(format!(
        "{PASSWORD} is there, in memory, for {}",
        user.name
    )))
}

fn prepare(host: &Host, user: &User) -> Result<()> {
    RUN.make(host)?;
    host.make_dir(
        SECRETS,
        Access {
            mode: 0o700,
            owner: Some((user.uid, user.gid)),
        },
    )?;
    memory_backed(host)?;
    let swaps = host.read_others("/proc/swaps")?.unwrap_or_default();
    if swaps_to_disk(&swaps) {
        tracing::warn!("swap is on: the wallet password in memory may be paged out to a disk");
    }
    Ok(())
}

/// Whether `/proc/swaps` lists anything but compressed memory (zram), which never reaches a disk.
fn swaps_to_disk(swaps: &str) -> bool {
    let is_memory = |line: &str| {
        let name = line.split_whitespace().next().unwrap_or_default();
        // The kernel escapes the blank in " (deleted)" like this.
        let name = name.strip_suffix(r"\040(deleted)").unwrap_or(name);
        name.strip_prefix("/dev/zram")
            .or_else(|| name.strip_prefix("/zram"))
            .is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
    };
    swaps
        .lines()
        .skip(1)
        .any(|line| !line.trim().is_empty() && !is_memory(line))
}

/// A test's directory tree may be on a disk; the real /run may not.
fn memory_backed(host: &Host) -> Result<()> {
    if host.is_real() {
        require_memory(&host.path(SECRETS))
    } else {
        Ok(())
    }
}

fn require_memory(folder: &Path) -> Result<()> {
    const HINT: &str = "mount a tmpfs at /run, as systemd does";
    let found = rustix::fs::statfs(folder)
        .or_fail(|| format!("cannot look at {}", folder.display()), HINT)?;
    if IN_MEMORY.contains(&i128::from(found.f_type)) {
        return Ok(());
    }
    Err(Error::new(
        format!(
            "{} is not in memory (filesystem type {:#x}): the wallet password may not reach a disk",
            folder.display(),
            found.f_type
        ),
        HINT,
    ))
}

fn store(host: &Host, user: &User, secret: &WalletPassword) -> Result<()> {
    let before = host.read(PASSWORD)?.map(Zeroizing::new);
    if before.is_some_and(|before| before.as_slice() != secret.expose()) {
        tracing::warn!(
            "the wallet password in Secrets Manager is not the one that this node used so far; a wallet key that was \
             encrypted with the old one cannot be opened with it: put the old one back if the node has such a key"
        );
    }
    host.write_if_changed(
        PASSWORD,
        secret.expose(),
        Access {
            mode: 0o400,
            owner: Some((user.uid, user.gid)),
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn me() -> User {
        User {
            name: "me".into(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            docker_group: false,
        }
    }

    fn needed(host: &Host, user: &User) -> String {
        match state(host, user).unwrap() {
            State::Needed(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn stored_is_done_and_storing_again_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        assert_eq!(needed(&host, &me()), format!("{SECRETS} does not exist"));
        prepare(&host, &me()).unwrap();
        assert_eq!(needed(&host, &me()), format!("{PASSWORD} does not exist"));
        store(&host, &me(), &WalletPassword::new(b"hunter2".to_vec())).unwrap();
        assert!(matches!(state(&host, &me()).unwrap(), State::Done(_)));
        let before = fs::metadata(host.path(PASSWORD)).unwrap();
        assert_eq!(before.mode() & 0o777, 0o400);
        assert_eq!(
            fs::metadata(host.path(SECRETS)).unwrap().mode() & 0o777,
            0o700
        );
        assert_eq!(
            fs::metadata(host.path(RUN.path)).unwrap().mode() & 0o777,
            0o711
        );
        store(&host, &me(), &WalletPassword::new(b"hunter2".to_vec())).unwrap();
        assert_eq!(
            before.ino(),
            fs::metadata(host.path(PASSWORD)).unwrap().ino()
        );
    }

    #[test]
    fn wrong_access_and_what_is_no_password_are_noticed() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        prepare(&host, &me()).unwrap();
        store(&host, &me(), &WalletPassword::new(b"hunter2".to_vec())).unwrap();
        let mut other = me();
        other.uid += 1;
        assert_eq!(
            needed(&host, &other),
            format!(
                "{SECRETS} belongs to {0}:{1}, not {2}:{1}",
                me().uid,
                me().gid,
                other.uid
            )
        );
        fs::set_permissions(host.path(PASSWORD), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            needed(&host, &me()),
            format!("{PASSWORD} has mode 0644, not 0400")
        );
        for (content, fault) in [("", "is empty"), ("hunter2\n", "contains a line break")] {
            fs::remove_file(host.path(PASSWORD)).unwrap();
            fs::write(host.path(PASSWORD), content).unwrap();
            fs::set_permissions(host.path(PASSWORD), fs::Permissions::from_mode(0o400)).unwrap();
            assert_eq!(needed(&host, &me()), format!("{PASSWORD} {fault}"));
        }
        fs::remove_file(host.path(PASSWORD)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", host.path(PASSWORD)).unwrap();
        assert_eq!(
            needed(&host, &me()),
            format!("{PASSWORD} is not what it should be")
        );
    }

    #[test]
    fn compressed_memory_is_no_disk() {
        const HEAD: &str = "Filename\tType\tSize\tUsed\tPriority\n";
        for (line, disk) in [
            ("", false),
            ("\n", false),
            ("/dev/zram0 partition 978940 0 100\n", false),
            (
                "/dev/zram0 partition 9 0 100\n/dev/zram1 partition 9 0 100\n",
                false,
            ),
            (
                "/dev/zram0 partition 9 0 100\n/swapfile file 9 0 -2\n",
                true,
            ),
            ("/dev/zram-disk partition 9 0 1\n", true),
            ("/dev/nvme0n1p3 partition 9 0 -2\n", true),
        ] {
            assert_eq!(swaps_to_disk(&format!("{HEAD}{line}")), disk, "{line}");
        }
    }

    #[test]
    fn storage_that_is_not_memory_is_refused() {
        let error = require_memory(Path::new("/proc")).unwrap_err();
        assert_eq!(
            error.reason(),
            "/proc is not in memory (filesystem type 0x9fa0): the wallet password may not reach a disk"
        );
    }
}

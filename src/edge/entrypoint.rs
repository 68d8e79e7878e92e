//! The container's entrypoint: execs the image's own program with the password, or runs as its init (see `init`).
//!
//! This keeps the password out of `docker inspect`: it goes from the mounted memory-backed file into the environment of
//! the one process that needs it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::init;
use crate::error::{Error, Result};
use crate::log::printable;
use crate::paths::CONFIG;
use crate::wallet_password::{LONGEST, WalletPassword};

/// Logged, with the fault, if what the password file holds cannot be one.
pub const UNFIT: &str = "the wallet password ";
/// Logged if there is no password file.
pub const MISSING: &str = "there is no wallet password";
/// Logged if the data folder would be on the root disk.
pub const NOT_MOUNTED: &str = "the data volume is not mounted";

const FETCH: &str = "run on the host: bootstrap --phase secret --phase container --force";

/// Execs `argv` with the password in its environment. A script, which as a container's first process would ignore
/// signals, is run as a child until it ends instead, and its exit code returned.
///
/// `secret` is `VARIABLE=FILE`. `data` must be on another device than this program, which is on the root disk:
/// otherwise the volume is not mounted and the node would create a new key there. Print the error as one line: it is
/// read back from the container's log.
pub fn exec(secret: &str, data: &Path, argv: &[OsString]) -> Result<u8> {
    let (variable, password, program, arguments) =
        prepare(secret, data, argv, Path::new("/proc/self/exe"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(variable, OsStr::from_bytes(password.expose()));
    drop(password);
    let ended = if std::process::id() == 1 && init::is_script(program) {
        init::supervise(command)
    } else {
        Err(command.exec())
    };
    ended.map_err(|failure| {
        Error::new(
            format!(
                "cannot run {}: {failure}",
                printable(&program.to_string_lossy())
            ),
            format!("check edge.image in {CONFIG}: its entrypoint must be an x86_64 program"),
        )
    })
}

type Prepared<'a> = (&'a str, WalletPassword, &'a OsString, &'a [OsString]);

fn prepare<'a>(
    secret: &'a str,
    data: &Path,
    argv: &'a [OsString],
    itself: &Path,
) -> Result<Prepared<'a>> {
    let usage = "it is called by Docker only; run on the host: bootstrap --phase container --force";
    let (variable, file) = secret
        .split_once('=')
        .filter(|(variable, file)| !variable.is_empty() && !file.is_empty())
        .ok_or_else(|| Error::new("--secret is not VARIABLE=FILE", usage))?;
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| Error::new("there is no program to run", usage))?;
    let password = read_password(Path::new(file))?;

    let device = |path: &Path| {
        fs::metadata(path)
            .map(|metadata| metadata.dev())
            .map_err(|error| {
                Error::new(
                    format!("cannot look at {}: {error}", path.display()),
                    "run on the host: bootstrap --phase volume --phase container",
                )
            })
    };
    if device(data)? == device(itself)? {
        return Err(Error::new(
            format!(
                "{NOT_MOUNTED}: {} is on the root disk, nothing is started",
                data.display()
            ),
            "run on the host: bootstrap --phase volume --phase container",
        ));
    }
    Ok((variable, password, program, arguments))
}

fn read_password(file: &Path) -> Result<WalletPassword> {
    let missing = |error: std::io::Error| {
        Error::new(
            format!("{MISSING}: cannot read {}: {error}", file.display()),
            FETCH,
        )
    };
    // Allocated in full at the start: a buffer that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(LONGEST + 2);
    File::open(file)
        .map_err(missing)?
        .take(LONGEST as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(missing)?;
    WalletPassword::new(bytes).fit().map_err(|unfit| {
        Error::new(
            format!("{UNFIT}{} ({})", unfit.fault, file.display()),
            FETCH,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why the entrypoint refuses, with the password file's `content` and the data folder on `device`.
    fn refusal(content: Option<&[u8]>, data: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let secret = format!("PASSWORD={}", file.display());
        let data = data.replace("HERE", &folder.path().display().to_string());
        let itself = folder.path();
        let error = prepare(&secret, Path::new(&data), &["/bin/start.sh".into()], itself)
            .unwrap_err()
            .to_string();
        error.replace(&folder.path().display().to_string(), "HERE")
    }

    #[test]
    fn refuses_a_missing_or_unusable_password() {
        assert_eq!(
            refusal(None, "/proc"),
            "there is no wallet password: cannot read HERE/password: No such file or directory (os error 2)"
        );
        assert_eq!(
            refusal(Some(b""), "/proc"),
            "the wallet password is empty (HERE/password)"
        );
        assert_eq!(
            refusal(Some(b"a\0b"), "/proc"),
            "the wallet password contains a NUL byte (HERE/password)"
        );
        // Put there by hand: what a secret holds loses it.
        assert_eq!(
            refusal(Some(b"a\n"), "/proc"),
            "the wallet password contains a line break (HERE/password)"
        );
        assert_eq!(
            refusal(Some(&vec![b'x'; 65_537]), "/proc"),
            "the wallet password is longer than 65,536 bytes (HERE/password)"
        );
    }

    #[test]
    fn refuses_a_data_folder_on_the_root_disk() {
        assert_eq!(
            refusal(Some(b"secret"), "HERE"),
            "the data volume is not mounted: HERE is on the root disk, nothing is started"
        );
        assert_eq!(
            refusal(Some(b"secret"), "HERE/absent"),
            "cannot look at HERE/absent: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn keeps_the_password_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, b" p $x'\"\t").unwrap();
        let secret = format!("PASSWORD={}", file.display());
        let argv = ["/bin/start.sh".into(), "--flag".into()];
        let (variable, password, program, arguments) =
            prepare(&secret, Path::new("/proc"), &argv, folder.path()).unwrap();
        assert_eq!(
            (variable, password.expose()),
            ("PASSWORD", &b" p $x'\"\t"[..])
        );
        assert_eq!((program, arguments), (&argv[0], &argv[1..]));
    }

    #[test]
    fn refuses_a_wrong_call() {
        let data = Path::new("/proc");
        let error = exec("PASSWORD", data, &["/bin/true".into()]).unwrap_err();
        assert_eq!(error.reason(), "--secret is not VARIABLE=FILE");
        let error = exec("PASSWORD=/x", data, &[]).unwrap_err();
        assert_eq!(error.reason(), "there is no program to run");
    }
}

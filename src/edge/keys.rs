//! What the key folder on the volume holds. Read-only: never writes, moves or copies a key.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Error, OrFail, Result};
use crate::host::Host;
use crate::log::printable;
use crate::shell::word;

/// Enough names to show that there are several: the container could create any number.
const NAMES: usize = 4;

/// What the key folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// No file: the node makes a key at its first start.
    None,
    /// One key, of this address (`0x` and 40 lower-case hex digits).
    One(String),
    /// One file whose name is not an address.
    Unknown(String),
    /// Several files, of which the first few are named. The node refuses to start ("Multiple encrypted keys detected"),
    /// whatever they are.
    Several(Vec<String>),
}

/// The key folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFolder {
    /// Its path on this machine.
    pub path: String,
    /// What it holds.
    pub keys: Keys,
    /// Path of the file, if there is exactly one.
    pub file: Option<String>,
    /// Permissions that let others read the key, each with the command that fixes it.
    pub unsafe_modes: Vec<(String, String)>,
    /// Permissions that lock the owner out, each with the command that fixes it.
    pub closed: Vec<(String, String)>,
    /// Files and folders that the node's user does not own.
    pub foreign: Vec<String>,
}

/// Looks into the key folder at `path`; a folder that does not exist holds no key. Checks the owner if one is given.
/// The container owns the folder, so no symbolic link on the way there is followed.
pub fn look(host: &Host, path: &str, owner: Option<u32>) -> Result<KeyFolder> {
    let hint = format!("look at it yourself: ls -la {}", word(path));
    let cannot = || format!("cannot read the key folder {path}");
    let mut folder = KeyFolder {
        path: path.to_owned(),
        keys: Keys::None,
        file: None,
        unsafe_modes: Vec::new(),
        closed: Vec::new(),
        foreign: Vec::new(),
    };
    let entries = match fs::read_dir(host.path(path)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(folder),
        entries => entries.or_fail(cannot, &hint)?,
    };
    let canonical = |path| fs::canonicalize(host.path(path)).or_fail(cannot, &hint);
    let straight = canonical("/")?.join(path.trim_start_matches('/'));
    if canonical(path)? != straight {
        return Err(Error::new(
            format!(
                "the key folder {path} is reached through a symbolic link, which is not followed"
            ),
            format!(
                "see who made it (namei -l {}), and put a folder in its place",
                word(path)
            ),
        ));
    }
    let itself = fs::metadata(host.path(path)).or_fail(cannot, &hint)?;
    folder.note(path, &itself, 0o700, owner);
    for above in Path::new(path).ancestors().skip(1) {
        let metadata = fs::metadata(host.path(above)).or_fail(cannot, &hint)?;
        folder.note_way(&above.to_string_lossy(), &metadata, owner);
    }

    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.or_fail(cannot, &hint)?;
        let name = printable(&entry.file_name().to_string_lossy());
        let metadata = entry.metadata().or_fail(cannot, &hint)?;
        if !metadata.is_file() {
            let shown = format!("{path}/{name}");
            return Err(Error::new(
                format!("{shown} is no plain file, as a key is"),
                format!(
                    "see what put it there (`ls -ld {}`), move it away, then run `bootstrap` again",
                    word(&shown)
                ),
            ));
        }
        folder.note(&format!("{path}/{name}"), &metadata, 0o600, owner);
        names.push(name);
        if names.len() == NAMES {
            break;
        }
    }
    names.sort();
    if names.len() == NAMES {
        names.push("…".into());
    }
    if let [name] = names.as_slice() {
        folder.file = Some(format!("{path}/{name}"));
    }
    folder.keys = match names.as_slice() {
        [] => Keys::None,
        [name] => address(name).map_or_else(|| Keys::Unknown(name.clone()), Keys::One),
        _ => Keys::Several(names),
    };
    Ok(folder)
}

impl KeyFolder {
    /// The node cannot pass a folder of its own without the right to search it.
    fn note_way(&mut self, path: &str, metadata: &fs::Metadata, owner: Option<u32>) {
        if owner == Some(metadata.uid()) && metadata.mode() & 0o100 == 0 {
            self.closed.push(told(path, metadata, "u+rwx"));
        }
    }

    fn note(&mut self, path: &str, metadata: &fs::Metadata, mode: u32, owner: Option<u32>) {
        let found = metadata.mode();
        let told = || told(path, metadata, &format!("{mode:o}"));
        // A key is read, and may be read-only; a folder is entered and listed.
        let needed = if metadata.is_dir() { 0o500 } else { 0o400 };
        if found & needed != needed {
            self.closed.push(told());
        } else if found & 0o077 != 0 {
            self.unsafe_modes.push(told());
        }
        if owner.is_some_and(|uid| uid != metadata.uid()) {
            self.foreign
                .push(format!("{path} is owned by uid {}", metadata.uid()));
        }
    }
}

/// The mode that was found, and the command that sets the right one.
fn told(path: &str, metadata: &fs::Metadata, right: &str) -> (String, String) {
    (
        format!("{path} has mode {:04o}", metadata.mode() & 0o7777),
        format!("chmod {right} {}", word(path)),
    )
}

/// The address that a key file is named after: 40 hex digits of either case, with or without `0x`.
pub fn address(name: &str) -> Option<String> {
    let digits = name.strip_prefix("0x").unwrap_or(name);
    let is_address = digits.len() == 40 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_address.then(|| format!("0x{}", digits.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_remedy_can_be_pasted_whatever_the_guest_named_its_file() {
        use crate::shell::tests::{HOSTILE, words};
        let mut hints = 0;
        for name in HOSTILE
            .iter()
            .filter(|name| !name.is_empty() && !name.contains('/'))
        {
            let (_root, host) = folder(&[(name, 0o644)], 0o755);
            let found = look(&host, "/keys", None).unwrap();
            for (_, mend) in &found.unsafe_modes {
                assert_eq!(words(mend).len(), 3, "{mend}");
                hints += 1;
            }
        }
        assert_eq!(hints, 2 * (HOSTILE.len() - 3));
    }

    const A: &str = "2E833968E5bB786Ae419c4d13189fB081Cc43bab";

    fn folder(files: &[(&str, u32)], mode: u32) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        let keys = root.path().join("keys");
        fs::create_dir(&keys).unwrap();
        for (name, mode) in files {
            fs::write(keys.join(name), "{}").unwrap();
            fs::set_permissions(keys.join(name), fs::Permissions::from_mode(*mode)).unwrap();
        }
        fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
        let host = Host::at(root.path());
        (root, host)
    }

    fn keys(files: &[(&str, u32)]) -> Keys {
        let (_root, host) = folder(files, 0o700);
        look(&host, "/keys", None).unwrap().keys
    }

    #[test]
    fn counts_every_file_as_the_node_does() {
        let one = Keys::One(format!("0x{}", A.to_lowercase()));
        assert_eq!(keys(&[]), Keys::None);
        assert_eq!(keys(&[(A, 0o600)]), one);
        assert_eq!(keys(&[(&format!("0x{A}"), 0o600)]), one);
        assert_eq!(
            keys(&[("key.json", 0o600)]),
            Keys::Unknown("key.json".into())
        );
        let backup = format!("{A}.bak");
        assert_eq!(
            keys(&[(&backup, 0o600), (A, 0o600)]),
            Keys::Several(vec![A.into(), backup.clone()])
        );
    }

    #[test]
    fn any_number_of_files_is_several() {
        let names: Vec<String> = (0..1000).map(|number| format!("{number:03}")).collect();
        let files: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 0o644)).collect();
        let (_root, host) = folder(&files, 0o700);
        let found = look(&host, "/keys", Some(u32::MAX)).unwrap();
        let Keys::Several(names) = &found.keys else {
            panic!("{found:?}");
        };
        assert_eq!(names.len(), NAMES + 1);
        assert_eq!(names.last().unwrap(), "…");
        assert_eq!(
            (found.unsafe_modes.len(), found.foreign.len()),
            (NAMES, NAMES + 1)
        );
    }

    #[test]
    fn no_link_is_followed() {
        for link in ["keys", "other"] {
            let (root, host) = folder(&[(A, 0o600)], 0o700);
            let at = |name: &str| root.path().join(name);
            fs::create_dir_all(at("srv/private")).unwrap();
            fs::write(at("srv/private/customers"), "x").unwrap();
            let (made, path) = match link {
                "keys" => {
                    fs::remove_dir_all(at("keys")).unwrap();
                    (at("keys"), "/keys")
                }
                _ => (at("other"), "/other/private"),
            };
            let target = if link == "keys" { "srv/private" } else { "srv" };
            std::os::unix::fs::symlink(at(target), made).unwrap();
            let error = look(&host, path, None).unwrap_err();
            assert_eq!(
                error.reason(),
                format!(
                    "the key folder {path} is reached through a symbolic link, which is not followed"
                )
            );
        }
    }

    #[test]
    fn a_missing_folder_holds_no_key() {
        let (_root, host) = folder(&[], 0o700);
        assert_eq!(look(&host, "/absent", None).unwrap().keys, Keys::None);
    }

    #[test]
    fn names_what_others_can_read_and_what_belongs_to_others() {
        let (_root, host) = folder(&[(A, 0o644)], 0o755);
        let found = look(&host, "/keys", Some(u32::MAX)).unwrap();
        assert_eq!(
            found.unsafe_modes,
            [
                ("/keys has mode 0755".into(), "chmod 700 /keys".into()),
                (
                    format!("/keys/{A} has mode 0644"),
                    format!("chmod 600 /keys/{A}")
                )
            ]
        );
        assert_eq!(found.foreign.len(), 2);
        let (_root, host) = folder(&[(A, 0o400)], 0o700);
        let found = look(&host, "/keys", None).unwrap();
        assert!(found.unsafe_modes.is_empty() && found.foreign.is_empty());
    }

    #[test]
    fn a_closed_folder_on_the_way_keeps_the_node_out() {
        let (root, host) = folder(&[], 0o700);
        let uid = fs::metadata(root.path()).unwrap().uid();
        fs::create_dir_all(root.path().join("data/key/encrypted")).unwrap();
        let key = root.path().join("data/key");
        let look = || look(&host, "/data/key/encrypted", Some(uid)).unwrap();
        let mut found = look();
        assert_eq!(found.closed, []);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let closed = [(
            "/data/key has mode 0600".into(),
            "chmod u+rwx /data/key".into(),
        )];
        found.note_way("/data/key", &fs::metadata(&key).unwrap(), Some(uid));
        assert_eq!(found.closed, closed);
        // Only root can look beyond it.
        if uid == 0 {
            assert_eq!(look().closed, closed);
        }
        fs::set_permissions(&key, fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn an_address_is_forty_hex_digits() {
        for name in [
            "",
            "0x",
            &A[1..],
            &format!("{A}0"),
            &A.replace('2', "g"),
            "0X",
        ] {
            assert_eq!(address(name), None, "{name}");
        }
    }
}

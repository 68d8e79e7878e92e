//! What a user can access in an image: this program looks from inside, in a throw-away container.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

/// How much of the image's /etc/passwd is read, in bytes.
const PASSWD: u64 = 65_536;

/// Paths inside the image, by the access that is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Programs: read (they may be scripts) and executed.
    pub run: Vec<String>,
    /// Files that are read, and folders that are entered and listed.
    pub read: Vec<String>,
    /// The same, and writable.
    pub write: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Home of the image's own user, if it has one.
    pub home: Option<String>,
    /// Each path that was asked about, and the home, to which programs write.
    pub uses: Vec<Use>,
}

/// A path, and whether it can be accessed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Absolute.
    pub path: String,
    /// The access that is needed.
    pub wants: Wants,
    /// Whether it is possible.
    pub found: Found,
}

/// The access that a path needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wants {
    /// See [`Needs::run`].
    Run,
    /// See [`Needs::read`].
    Read,
    /// See [`Needs::write`].
    Write,
}

/// Whether a path can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// It can.
    Usable,
    /// The image does not have it, so nothing needs it.
    Absent,
    /// It cannot, or a folder on the way cannot be entered.
    Denied,
}

impl Seen {
    /// The paths that cannot be used.
    pub fn denied(&self) -> impl Iterator<Item = &str> {
        let denied = self.uses.iter().filter(|at| at.found == Found::Denied);
        denied.map(|at| at.path.as_str())
    }
}

/// Looks, as the user of this process. `user` is the image's own, by name or number.
pub fn look(user: &str, needs: &Needs) -> Seen {
    look_below(Path::new("/"), user, needs)
}

fn look_below(root: &Path, whose: &str, needs: &Needs) -> Seen {
    let home = home(root, whose);
    let mut uses = Vec::new();
    let mut seek = |paths: &mut dyn Iterator<Item = &String>, wants| {
        for path in paths {
            let found = find(&root.join(path.trim_start_matches('/')), wants);
            uses.push(Use {
                path: path.clone(),
                wants,
                found,
            });
        }
    };
    seek(&mut needs.run.iter(), Wants::Run);
    seek(&mut needs.read.iter(), Wants::Read);
    seek(&mut needs.write.iter().chain(&home), Wants::Write);
    Seen { home, uses }
}

/// From `name:password:uid:gid:comment:home:shell`; the root directory does not count as a home.
fn home(root: &Path, whose: &str) -> Option<String> {
    let mut text = String::new();
    let passwd = File::open(root.join("etc/passwd")).ok()?;
    passwd.take(PASSWD).read_to_string(&mut text).ok()?;
    let home = text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_user = fields.first() == Some(&whose) || fields.get(2) == Some(&whose);
        is_user.then(|| fields.get(5).copied())?
    });
    let is_home = |home: &&str| home.starts_with('/') && *home != "/";
    home.filter(is_home).map(str::to_owned)
}

fn find(path: &Path, wants: Wants) -> Found {
    let kind = match fs::metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Found::Absent;
        }
        Err(_) => return Found::Denied,
        Ok(kind) => kind,
    };
    let mut rights = Access::READ_OK;
    if kind.is_dir() || wants == Wants::Run {
        rights |= Access::EXEC_OK;
    }
    if wants == Wants::Write {
        rights |= Access::WRITE_OK;
    }
    match access(path, rights) {
        Ok(()) => Found::Usable,
        Err(_) => Found::Denied,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn image() -> tempfile::TempDir {
        let image = tempfile::tempdir().unwrap();
        let put = |path: &str, mode: Option<u32>| {
            let path = image.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match mode {
                Some(mode) => {
                    fs::write(
                        &path,
                        "root:x:0:0:root:/root:/bin/sh\nme:x:7:7::/:/bin/sh\n",
                    )
                    .unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
                None => fs::create_dir_all(&path).unwrap(),
            }
        };
        put("etc/passwd", Some(0o644));
        put("bin/start.sh", Some(0o755));
        put("bin/data", Some(0o644));
        put("root/jobs", None);
        image
    }

    fn needs(run: &[&str], read: &[&str], write: &[&str]) -> Needs {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Needs {
            run: owned(run),
            read: owned(read),
            write: owned(write),
        }
    }

    #[test]
    fn what_is_not_there_is_no_obstacle() {
        let image = image();
        let needs = needs(
            &["/bin/start.sh", "/bin/data"],
            &["/", "/opt/none", "/bin/data/x"],
            &["/root/jobs"],
        );
        let seen = look_below(image.path(), "0", &needs);
        assert_eq!(seen.home.as_deref(), Some("/root"));
        let found: Vec<_> = seen
            .uses
            .iter()
            .map(|at| (at.path.as_str(), at.found))
            .collect();
        assert_eq!(
            found,
            [
                ("/bin/start.sh", Found::Usable),
                // Nothing makes up for a missing x, not even being root.
                ("/bin/data", Found::Denied),
                ("/", Found::Usable),
                ("/opt/none", Found::Absent),
                ("/bin/data/x", Found::Absent),
                ("/root/jobs", Found::Usable),
                ("/root", Found::Usable),
            ]
        );
        assert_eq!(seen.denied().collect::<Vec<_>>(), ["/bin/data"]);
    }

    #[test]
    fn the_home_is_that_of_the_image_s_user() {
        let image = image();
        let home = |user: &str| home(image.path(), user);
        assert_eq!(home("root").as_deref(), Some("/root"));
        assert_eq!(home("0").as_deref(), Some("/root"));
        assert_eq!(home("me"), None);
        assert_eq!(home("nobody"), None);
        assert_eq!(super::home(&image.path().join("none"), "root"), None);
    }
}

//! Copies what the node's processes write into their own logs, line by line, into a log outside the container's reach,
//! which the CloudWatch agent ships. The agent is root and would follow a link that the container puts in its folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};

use super::spec::Spec;
use super::trouble;
use crate::config::Config;
use crate::host::Host;
use crate::log;
use crate::paths::EDGE_LOG;
use crate::secret::Secret;

/// Most bytes of each log that one call copies, so that a runaway process neither runs up costs nor fills the disk: at
/// one call a minute, 94 MB a day. The copy says how much was left out.
const MOST: u64 = 64 << 10;

/// How far a log was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    inode: u64,
    offset: u64,
}

/// Copies what has been appended since; `places` holds how far each log was copied, and is updated once the lines are
/// written. What cannot be read is skipped: the health check reports it.
pub fn copy(
    host: &Host,
    config: &Config,
    spec: &Spec,
    places: &mut BTreeMap<String, Place>,
    password: Option<&Secret>,
) {
    let mut now = places.clone();
    now.retain(|name, _| spec.logs.values().any(|known| known == name));
    let mut lines = String::new();
    for name in spec.logs.values() {
        let path = format!("{}/{name}", spec.data_folder(config));
        let before = places.get(name).cloned();
        if let Some((text, place)) = news(host, &path, before) {
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                lines.extend([name, ": ", &trouble::quoted(line, password), "\n"]);
            }
            now.insert(name.clone(), place);
        }
    }
    let write = || log::open(&host.path(EDGE_LOG))?.write_all(lines.as_bytes());
    match if lines.is_empty() { Ok(()) } else { write() } {
        Ok(()) => *places = now,
        Err(error) => {
            tracing::debug!("the logs of the node's processes are not copied: {error}");
        }
    }
}

/// The whole lines appended since `before`, and how far that is now.
fn news(host: &Host, path: &str, before: Option<Place>) -> Option<(String, Place)> {
    let mut file = host.open_foreign(path).ok()??;
    let found = file.metadata().ok()?;
    let mut text = String::new();
    let mut from = 0;
    match before {
        Some(place) if place.inode == found.ino() && place.offset <= found.len() => {
            from = place.offset;
        }
        // Rotated by copy and truncate; what was appended before that is at the end of the copy.
        Some(place) if place.inode == found.ino() => {
            let rotated = host.open_foreign(&format!("{path}.1")).ok().flatten();
            if let Some(mut rotated) = rotated {
                text += &lines(&mut rotated, place.offset, true).ok()?.0;
            }
        }
        _ => {}
    }
    let (new, offset) = lines(&mut file, from, false).ok()?;
    text += &new;
    let inode = found.ino();
    Some((text, Place { inode, offset }))
}

/// The lines from there on, and where the next begins; if they are too long, the end of them. If `is_final`, nothing
/// more can come and an unterminated last line counts.
fn lines(file: &mut File, from: u64, is_final: bool) -> io::Result<(String, u64)> {
    let length = file.metadata()?.len();
    let left_out = length.saturating_sub(from).saturating_sub(MOST);
    let from = from + left_out;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    let is_full = bytes.len() as u64 == MOST;
    let end = match bytes.iter().rposition(|byte| *byte == b'\n') {
        _ if is_final => bytes.len(),
        Some(end) => end + 1,
        // One unterminated line.
        None if is_full => bytes.len(),
        None => 0,
    };
    bytes.truncate(end);
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if left_out > 0 {
        let rest = text
            .split_once('\n')
            .map_or(text.as_str(), |(_, rest)| rest);
        let left_out = left_out + (text.len() - rest.len()) as u64;
        text = format!("({left_out} bytes left out)\n{rest}");
    }
    Ok((text, from + end as u64))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::host::testing::Tree;
    use crate::paths::SPEC;

    const SHIPPED: &str = include_str!("../../cloudformation/assets/edge.json");
    const CORE: &str = "/data/edgelauncher/edgecore.log";

    struct Node {
        tree: Tree,
        places: BTreeMap<String, Place>,
    }

    impl Node {
        fn new() -> Self {
            let tree = Tree::new();
            tree.file(SPEC, SHIPPED);
            fs::create_dir_all(tree.host.path("/var/log")).unwrap();
            let places = BTreeMap::new();
            Self { tree, places }
        }

        fn append(&self, path: &str, text: &str) {
            let path = self.tree.host.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = File::options()
                .append(true)
                .create(true)
                .open(path)
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        /// What one call copies.
        fn copied(&mut self) -> String {
            let copy = self.tree.host.path(EDGE_LOG);
            let before = fs::read_to_string(&copy).unwrap_or_default().len();
            let config = serde_json::json!({
                "volume": {"id": "vol-0123456789abcdef0"},
                "assets": {"bucket": "b", "key": "k", "sha256": "0".repeat(64)},
                "secret": {"arn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:x-AbCdEf"}
            });
            let config: Config = serde_json::from_value(config).unwrap();
            let spec = Spec::require(&self.tree.host, &config).unwrap();
            let password = Secret::new(b"hunter2 x".to_vec());
            super::copy(
                &self.tree.host,
                &config,
                &spec,
                &mut self.places,
                Some(&password),
            );
            fs::read_to_string(&copy)
                .unwrap_or_default()
                .split_off(before)
        }
    }

    #[test]
    fn each_whole_line_is_copied_once_and_fit_to_be_shown() {
        let mut node = Node::new();
        assert_eq!(node.copied(), "");
        node.append(CORE, "one\n\ntwo pw=hunter2 x \u{1b}[2J\nhal");
        node.append("/data/edgelauncher/anycast.log", "anycast started.\n");
        assert_eq!(
            node.copied(),
            "anycast.log: anycast started.\nedgecore.log: one\nedgecore.log: two pw=[redacted] \\u{1b}[2J\n"
        );
        assert_eq!(node.copied(), "");
        node.append(CORE, "f\nlast");
        assert_eq!(node.copied(), "edgecore.log: half\n");
    }

    #[test]
    fn rotation_loses_no_line() {
        let mut node = Node::new();
        let path = node.tree.host.path(CORE);
        node.append(CORE, "one\n");
        assert_eq!(node.copied(), "edgecore.log: one\n");
        node.append(CORE, "two\nthree\n");
        fs::copy(&path, path.with_extension("log.1")).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        node.append(CORE, "4\n");
        assert_eq!(
            node.copied(),
            "edgecore.log: two\nedgecore.log: three\nedgecore.log: 4\n"
        );
        // By renaming, as the process itself might.
        fs::rename(&path, path.with_extension("log.2")).unwrap();
        node.append(CORE, "five, in a longer file than before\n");
        assert_eq!(
            node.copied(),
            "edgecore.log: five, in a longer file than before\n"
        );
    }

    #[test]
    fn one_call_takes_so_much_at_most() {
        let mut node = Node::new();
        node.append(CORE, &"0123456789abcde\n".repeat(10_000));
        let copied = node.copied();
        assert!(
            copied.starts_with(
                "edgecore.log: (94480 bytes left out)\nedgecore.log: 0123456789abcde\n"
            ),
            "{}",
            copied.get(..99).unwrap()
        );
        assert!(copied.len() < 128 << 10);
        assert_eq!(node.copied(), "");
        node.append(CORE, &"x".repeat(100_000));
        assert!(
            node.copied()
                .starts_with("edgecore.log: (34464 bytes left out)\n")
        );
        assert_eq!(node.copied(), "");
    }

    /// The file must belong to the folder's owner.
    #[test]
    fn nothing_but_a_file_of_the_folder_s_own_is_copied() {
        let mut node = Node::new();
        node.tree.file("/root/secret", "s\n");
        node.append("/data/edgelauncher/other", "o\n");
        let (secret, other) = (
            node.tree.host.path("/root/secret"),
            node.tree.host.path("/data/edgelauncher/other"),
        );
        symlink(&secret, node.tree.host.path(CORE)).unwrap();
        fs::hard_link(
            &other,
            node.tree.host.path("/data/edgelauncher/anycast.log"),
        )
        .unwrap();
        fs::create_dir(node.tree.host.path("/data/edgelauncher/edgeencoder.log")).unwrap();
        assert_eq!(node.copied(), "");
        // Nor is the copy written through a link.
        fs::remove_file(node.tree.host.path(CORE)).unwrap();
        node.append(CORE, "one\n");
        symlink(&secret, node.tree.host.path(EDGE_LOG)).unwrap();
        node.copied();
        assert_eq!(fs::read_to_string(&secret).unwrap(), "s\n");
    }
}

//! Copies what the container and the processes in it write, line by line, into a log outside their reach, which the
//! CloudWatch agent ships. By itself the agent would ship everything, however much it is, the password included; and
//! it is root and would follow a link that the container puts in its folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::container::Container;
use super::spec::Spec;
use super::trouble;
use crate::config::Config;
use crate::host::Host;
use crate::log;
use crate::paths::EDGE_LOG;
use crate::wallet_password::WalletPassword;

/// Most bytes of each log that one call reads, and that CloudWatch bills for what it copies of it, so that a runaway
/// process neither runs up costs nor fills the disk: at one call a minute, 94 MB a day.
const MOST: usize = 64 << 10;

/// What CloudWatch Logs bills for each line beside its bytes (aws.amazon.com/cloudwatch/pricing).
const LINE: usize = 26;

/// What the lines of the container's own output begin with in the copy.
const OUTPUT: &str = "container";

/// How far a log was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    inode: u64,
    offset: u64,
}

/// What has been appended to a log.
#[derive(Default)]
struct News {
    /// Whole lines.
    text: String,
    /// How many bytes before them were not read.
    left_out: usize,
    place: Place,
}

/// Copies what has been appended since; `places` holds how far each log was copied, by its path, and is updated once the
/// lines are written. What cannot be read is skipped: the health check reports it.
pub fn copy(
    host: &Host,
    config: &Config,
    spec: &Spec,
    container: Option<&Container>,
    places: &mut BTreeMap<String, Place>,
    password: Option<&WalletPassword>,
) {
    let folder = spec.data_folder(config);
    let output = container.and_then(Container::log);
    let mut sources: Vec<(&str, String)> = output
        .map(|path| (OUTPUT, path.to_owned()))
        .into_iter()
        .collect();
    sources.extend((spec.logs.values()).map(|name| (name.as_str(), format!("{folder}/{name}"))));
    let mut now = BTreeMap::new();
    let mut lines = String::new();
    for (name, path) in sources {
        let before = places.get(&path);
        match news(host, &path, before) {
            Some(mut news) => {
                if name == OUTPUT {
                    news.text = output_of(&news.text);
                }
                lines += &shown(name, &news.text, news.left_out, password);
                now.insert(path, news.place);
            }
            None => now.extend(before.map(|before| (path, before.clone()))),
        }
    }
    if append(host, &lines) {
        *places = now;
    }
}

/// Copies the output of a container that did not stay up: it may be removed before any tick sees its log.
pub fn keep(host: &Host, output: &str, password: Option<&WalletPassword>) {
    append(host, &shown(OUTPUT, output, 0, password));
}

/// The last lines, each with the name of its log and fit to be shown; the first says how much was left out.
fn shown(name: &str, text: &str, mut left_out: usize, password: Option<&WalletPassword>) -> String {
    let mut room = MOST;
    let mut kept = Vec::new();
    for line in text.lines().rev().filter(|line| !line.trim().is_empty()) {
        let shown = format!("{name}: {}\n", trouble::quoted(line, password));
        room = room.saturating_sub(shown.len() + LINE);
        if room == 0 {
            left_out += line.len() + 1;
        } else {
            kept.push(shown);
        }
    }
    if left_out > 0 {
        kept.push(format!("{name}: ({left_out} bytes left out)\n"));
    }
    kept.reverse();
    kept.concat()
}

/// Whether that worked.
fn append(host: &Host, lines: &str) -> bool {
    let write = || log::open(&host.path(EDGE_LOG))?.write_all(lines.as_bytes());
    let written = if lines.is_empty() { Ok(()) } else { write() };
    if let Err(error) = &written {
        tracing::debug!("the node's logs are not copied: {error}");
    }
    written.is_ok()
}

/// What a container wrote, from the log that Docker keeps of it: a line `{"log":"…\n","stream":"stdout","time":"…"}` for
/// each line, or for each 16 KiB of a longer one.
fn output_of(log: &str) -> String {
    let mut output = String::new();
    for line in log.lines() {
        let entry: Option<Value> = serde_json::from_str(line).ok();
        let written = entry.as_ref().and_then(|entry| entry.get("log")?.as_str());
        output.extend([written.unwrap_or(line).trim_end(), "\n"]);
    }
    output
}

/// What has been appended since `before`.
fn news(host: &Host, path: &str, before: Option<&Place>) -> Option<News> {
    let mut file = host.open_foreign(path).ok()??;
    let found = file.metadata().ok()?;
    let mut from = 0;
    let mut old = News::default();
    if let Some(before) = before {
        let is_same = before.inode == found.ino();
        if is_same && before.offset <= found.len() {
            from = before.offset;
        } else if let Some(mut rotated) = host.open_foreign(&format!("{path}.1")).ok().flatten() {
            // Copied and truncated, or renamed: what was appended before that is at the end of the older file.
            if is_same || rotated.metadata().ok()?.ino() == before.inode {
                old = lines(&mut rotated, before.offset, true).ok()?;
            }
        }
    }
    let mut news = lines(&mut file, from, false).ok()?;
    news.text.insert_str(0, &old.text);
    news.left_out += old.left_out;
    Some(news)
}

/// The lines from there on; if they are too long, the end of them. If `is_final`, nothing more can come and an
/// unterminated last line counts.
fn lines(file: &mut File, from: u64, is_final: bool) -> io::Result<News> {
    let found = file.metadata()?;
    let appended = found.len().saturating_sub(from);
    let skipped = appended.saturating_sub(MOST as u64);
    let from = from + skipped;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MOST as u64).read_to_end(&mut bytes)?;
    let end = match bytes.iter().rposition(|byte| *byte == b'\n') {
        _ if is_final => bytes.len(),
        Some(end) => end + 1,
        // One unterminated line.
        None if bytes.len() == MOST => bytes.len(),
        None => 0,
    };
    bytes.truncate(end);
    // What was skipped ends within a line.
    let rest = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .filter(|_| skipped > 0);
    let begin = rest.map_or(0, |end| end + 1);
    Ok(News {
        text: String::from_utf8_lossy(bytes.get(begin..).unwrap_or_default()).into_owned(),
        left_out: usize::try_from(skipped)
            .unwrap_or(usize::MAX)
            .saturating_add(begin),
        place: Place {
            inode: found.ino(),
            offset: from + end as u64,
        },
    })
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
    const OUTPUT_LOG: &str = "/var/lib/docker/containers/c0ffee/c0ffee-json.log";

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
            let password = WalletPassword::new(b"hunter2 x".to_vec());
            let container = Container {
                document: serde_json::json!({"LogPath": OUTPUT_LOG}),
                ..Container::default()
            };
            super::copy(
                &self.tree.host,
                &config,
                &spec,
                Some(&container),
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
    fn the_container_s_output_is_read_from_what_docker_keeps() {
        let mut node = Node::new();
        let line = |text: &str| serde_json::json!({"log": text, "stream": "stderr", "time": "2026-03-01T12:00:00Z"});
        let path = node.tree.host.path(OUTPUT_LOG);
        node.append(
            OUTPUT_LOG,
            &format!("{}\n", line("pw hunter2 x \u{1b}[2J\r\n")),
        );
        assert_eq!(node.copied(), "container: pw [redacted] \\u{1b}[2J\n");
        // As Docker rotates it.
        node.append(OUTPUT_LOG, &format!("{}\n", line("two\n")));
        fs::rename(&path, path.with_extension("log.1")).unwrap();
        node.append(OUTPUT_LOG, &format!("{}\nno JSON\n", line("three\n")));
        assert_eq!(
            node.copied(),
            "container: two\ncontainer: three\ncontainer: no JSON\n"
        );
        assert_eq!(node.copied(), "");
    }

    #[test]
    fn one_call_takes_so_much_at_most() {
        let mut node = Node::new();
        let bill = |copied: &str| {
            copied
                .lines()
                .map(|line| line.len() + 1 + LINE)
                .sum::<usize>()
        };
        for (line, left_out) in [
            // Not read; or read, and too much to be copied.
            ("0123456789abcde\n", 141_280),
            ("a\n", 16_880),
            ("\u{1}\u{1}\u{1}\u{1}\n", 44_630),
        ] {
            node.append(CORE, &line.repeat(10_000));
            let copied = node.copied();
            let first = format!("edgecore.log: ({left_out} bytes left out)\n");
            assert!(copied.starts_with(&first), "{}", copied.get(..99).unwrap());
            assert!(
                (MOST - 99..MOST + 99).contains(&bill(&copied)),
                "{}",
                bill(&copied)
            );
            assert_eq!(node.copied(), "");
        }
        node.append(CORE, &"x".repeat(100_000));
        let copied = node.copied();
        assert!(copied.starts_with("edgecore.log: (34464 bytes left out)\nedgecore.log: xxx"));
        assert_eq!(node.copied(), "");
        keep(&node.tree.host, &"0123456789abcde\n".repeat(10_000), None);
        let copied = fs::read_to_string(node.tree.host.path(EDGE_LOG)).unwrap();
        assert!(copied.contains("container: (") && bill(&copied) < 5 * MOST);
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

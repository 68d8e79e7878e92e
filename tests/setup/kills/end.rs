//! What a run leaves: every file with its content, owner and mode, every fact of the tools, the signals, the phases.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::LazyLock;

use regex_lite::Regex;

use crate::faults::masked;
use crate::machine::{Machine, sha256, walk};

/// Differ from run to run, and mean nothing for the node; the journal's phases are compared apart.
const OF_EACH_RUN: [&str; 7] = [
    "root/etc/bootstrap/config.json",
    "root/proc/sys/kernel/random/boot_id",
    "root/run/bootstrap/lock",
    "root/var/lib/bootstrap/journal.json",
    "root/var/log/bootstrap.log",
    "tools/facts/started edgelauncher",
    // What a stand-in remembers of the order in which it was called.
    "tools/facts/lists",
];

/// The end of a run.
#[derive(Debug)]
pub struct End(BTreeMap<String, String>);

impl End {
    /// What the machine is like.
    pub fn of(machine: &Machine) -> Self {
        let mut end = BTreeMap::new();
        let folder = machine.beside("");
        walk(&folder, &mut |path| {
            let shown = path.strip_prefix(&folder).unwrap().display().to_string();
            let is_of_node = shown.starts_with("root/") || shown.starts_with("tools/facts/");
            if is_of_node && !OF_EACH_RUN.contains(&shown.as_str()) {
                let like = fs::symlink_metadata(path).unwrap();
                let access = format!("{:o} {}:{}", like.mode(), like.uid(), like.gid());
                // The device is 8 GiB of nothing.
                let content = if like.is_file() && !shown.ends_with("dev/nvme1n1") {
                    content(machine, path)
                } else {
                    fs::read_link(path)
                        .unwrap_or_default()
                        .display()
                        .to_string()
                };
                end.insert(shown, format!("{access} {content}"));
            }
        });
        for phase in machine.journal()["phases"].as_array().unwrap() {
            let name = phase["name"].as_str().unwrap();
            end.insert(format!("phase {name}"), phase["status"].to_string());
        }
        for (name, bytes) in &machine.aws.state().objects {
            // The archive holds the ports of this machine.
            if name.contains("/wallets/") {
                end.insert(format!("object {name}"), sha256(bytes));
            }
        }
        for signal in machine.signals() {
            let name = format!("signal {}", signal["by"]);
            end.insert(name, masked(machine, &signal.to_string()));
        }
        Self(end)
    }

    /// Fails, with every difference, where `other` is not like this.
    pub fn compare(&self, other: &Self) {
        let both = self.0.keys().chain(other.0.keys());
        let mut different: Vec<String> = both
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .map(|name| {
                format!(
                    "{name}: {:?}, not {:?}",
                    other.0.get(name),
                    self.0.get(name)
                )
            })
            .collect();
        different.dedup();
        assert_eq!(different, Vec::<String>::new());
    }
}

/// Short text as it is, all else by its hash.
fn content(machine: &Machine, path: &std::path::Path) -> String {
    let bytes = fs::read(path).unwrap();
    match String::from_utf8(bytes) {
        Ok(text) if text.len() < 4000 => timeless(&masked(machine, &text)),
        Ok(text) => sha256(masked(machine, &text).as_bytes()),
        Err(binary) => sha256(binary.as_bytes()),
    }
}

/// The text without its times.
fn timeless(text: &str) -> String {
    static TIME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").unwrap());
    TIME.replace_all(text, "TIME").into_owned()
}

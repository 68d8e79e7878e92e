//! Processes, as the kernel shows them.

use std::collections::{BTreeMap, BTreeSet};

use super::Host;

impl Host {
    /// Names of the live processes that descend from this one, itself included; `None` if it is not visible. The kernel
    /// truncates names to 15 bytes.
    pub fn descendants(&self, ancestor: u32) -> Option<BTreeSet<String>> {
        let mut processes = BTreeMap::new();
        for entry in self.names_in("/proc").ok()? {
            if let Ok(number) = entry.parse::<u32>()
                && let Ok(Some(stat)) = self.read_others(&format!("/proc/{entry}/stat"))
            {
                processes.extend(Process::read(&stat).map(|process| (number, process)));
            }
        }
        processes.get(&ancestor)?;
        let mut family = BTreeSet::from([ancestor]);
        loop {
            let known = family.len();
            for (number, process) in &processes {
                if family.contains(&process.parent) {
                    family.insert(*number);
                }
            }
            if family.len() == known {
                break;
            }
        }
        let live = family
            .iter()
            .filter_map(|number| processes.remove(number))
            .filter(|process| process.lives);
        Some(live.map(|process| process.name).collect())
    }
}

struct Process {
    name: String,
    parent: u32,
    /// A process that has exited stays listed until its parent reaps it.
    lives: bool,
}

impl Process {
    /// Reads `stat`: `number (name) state parent …`; the name may hold anything.
    fn read(stat: &str) -> Option<Self> {
        let (head, tail) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = tail.split_whitespace();
        let state = fields.next()?;
        Some(Self {
            name: name.into(),
            parent: fields.next()?.parse().ok()?,
            lives: !matches!(state, "Z" | "X" | "x"),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::host::testing::Tree;

    #[test]
    fn a_family_is_all_that_lives_below_its_first() {
        let tree = Tree::new();
        for (number, stat) in [
            (1, "1 (systemd) S 0 1 1"),
            (20, "20 (bootstrap) S 1 20 20"),
            (7, "7 (edgelauncher) S 20 20 20"),
            (30, "30 (any) cast) (x) S 7 20 20"),
            (31, "31 (edgecore) Z 7 20 20"),
            (40, "40 (anycast) S 1 40 40"),
            (50, "garbage"),
        ] {
            tree.file(&format!("/proc/{number}/stat"), stat);
        }
        tree.file("/proc/self/mountinfo", "");
        let names = tree.host.descendants(20).unwrap();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(names, ["any) cast) (x", "bootstrap", "edgelauncher"]);
        assert_eq!(tree.host.descendants(50), None);
        assert_eq!(tree.host.descendants(51), None);
    }
}

//! apt's sources: more components of archives that the machine already uses.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Host;
use crate::error::{Error, Result};
use crate::paths::{APT_LINES, APT_STANZAS};

/// Where added entries go: one file for each of apt's formats.
const ADDED: [&str; 2] = [APT_STANZAS, APT_LINES];
const FORMAT: &str = "$(SOURCESENTRY)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)";

impl Host {
    /// Adds these components of the distribution's archives to apt's sources, from where the machine gets `main`: the
    /// same mirror, suites and keys (apt refuses two entries for one address whose keys differ).
    pub async fn add_components(&self, origin: &str, wanted: &[&str]) -> Result<()> {
        self.refresh_lists().await?;
        let query = ["indextargets", "--format", FORMAT, "Identifier: Packages"];
        let told = self.command("apt-get").args(query).run().await?.stdout;
        let (mut stanzas, mut lines) = (String::new(), String::new());
        let entries = lacking(&told, origin, wanted);
        for (entry, missing) in &entries {
            let text = self.read_others(&entry.path)?.unwrap_or_default();
            if entry.path.ends_with(".sources") {
                stanzas += &stanza(&text, entry.number, missing).unwrap_or_default();
            } else {
                lines += &line(&text, entry.number, missing).unwrap_or_default();
            }
        }
        if !told
            .lines()
            .any(|line| line.ends_with(&format!("|main|{origin}")))
        {
            return Err(Error::new(
                format!("apt's sources have no archive of {origin}"),
                format!(
                    "add one to /etc/apt/sources.list.d, with the components main {}, then run `bootstrap` again",
                    wanted.join(" ")
                ),
            ));
        }
        for (path, text) in ADDED.iter().zip([stanzas, lines]) {
            if !text.is_empty() {
                self.add_repository_file(path, text.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// An entry in a sources file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    path: String,
    /// Number of its line in a .list file, or of its stanza in a .sources file; from 1.
    number: usize,
}

/// The entries of this origin's `main`, and the components that the machine lacks there.
fn lacking<'a>(told: &str, origin: &str, wanted: &[&'a str]) -> Vec<(Entry, Vec<&'a str>)> {
    let rows: Vec<Vec<&str>> = told.lines().map(|line| line.split('|').collect()).collect();
    let mut entries = BTreeSet::new();
    let mut there = BTreeSet::new();
    for row in &rows {
        let &[place, address, suite, component, of] = row.as_slice() else {
            continue;
        };
        let Some((path, number)) = place.rsplit_once(':') else {
            continue;
        };
        if ADDED.contains(&path) {
            continue;
        }
        there.insert((address, suite, component));
        if let (true, "main", Ok(number)) = (of == origin, component, number.parse()) {
            let path = path.to_owned();
            entries.insert((Entry { path, number }, address, suite));
        }
    }
    let mut lacking: Vec<(Entry, Vec<&str>)> = Vec::new();
    for (entry, address, suite) in entries {
        let missing = wanted
            .iter()
            .copied()
            .filter(|component| !there.contains(&(address, suite, component)))
            .collect::<Vec<_>>();
        let is_known = lacking.iter().any(|(known, _)| *known == entry);
        if !missing.is_empty() && !is_known {
            lacking.push((entry, missing));
        }
    }
    lacking
}

/// The stanza with these components instead of its own, and for binary packages only.
fn stanza(text: &str, number: usize, components: &[&str]) -> Option<String> {
    let mut stanzas: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match stanzas.last_mut() {
            Some(stanza) if !line.trim().is_empty() => stanza.push(line),
            Some(stanza) if !stanza.is_empty() => stanzas.push(Vec::new()),
            _ => {}
        }
    }
    let stanza = stanzas.get(number.checked_sub(1)?)?;
    let mut text = format!("Types: deb\nComponents: {}\n", components.join(" "));
    let mut is_kept = false;
    for line in stanza {
        // A line that begins with a blank continues the field before it.
        if !line.starts_with([' ', '\t']) {
            let name = line.split(':').next()?.trim().to_lowercase();
            is_kept = !["types", "components"].contains(&name.as_str());
        }
        if is_kept {
            let _ = writeln!(text, "{line}");
        }
    }
    Some(text + "\n")
}

/// The line (`deb [options] address suite component…`) with these components instead of its own.
fn line(text: &str, number: usize, components: &[&str]) -> Option<String> {
    let line = text.lines().nth(number.checked_sub(1)?)?.trim();
    let options = line.find(']').map_or(0, |end| end + 1);
    let (kind_and_options, rest) = if options > 0 {
        line.split_at_checked(options)?
    } else {
        line.split_at_checked("deb".len())?
    };
    let mut words = rest.split_whitespace();
    let (address, suite) = (words.next()?, words.next()?);
    let components = components.join(" ");
    Some(format!(
        "{kind_and_options} {address} {suite} {components}\n"
    ))
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::host::testing::Tree;

    const WANTED: &[&str] = &["contrib", "non-free"];

    /// As in AWS's Debian AMIs, plus a key and a comment.
    const STANZAS: &str = "# As installed.\n\nTypes: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n\
        Suites: bookworm bookworm-updates\nComponents: main\n# Debian's\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n\
        \n\nTypes: deb\nURIs: https://mirror.example/debian-security\nSuites: bookworm-security\nComponents: main contrib\n";
    const LINES: &str = "# main\n\ndeb [arch=amd64 signed-by=/k.asc] http://mirror.example/debian bookworm main # x\n\
        deb http://vendor.example/debian bookworm main\n  deb http://mirror.example/debian bookworm-updates main\n";

    fn machine(told: &str) -> Tree {
        let tree = Tree::new();
        tree.file("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
        tree.file("/etc/apt/sources.list", LINES);
        tree.file("/etc/apt/sources.list.d/debian.sources", STANZAS);
        tree.tool(
            "apt-get",
            &format!("case $1 in indextargets) printf '{told}' ;; esac"),
        );
        tree
    }

    #[tokio::test]
    async fn components_come_from_where_main_does() {
        let security = "https://mirror.example/debian-security/|bookworm-security";
        let tree = machine(&format!(
            "/etc/apt/sources.list.d/debian.sources:1|mirror+file:/etc/apt/mirrors/debian.list/|bookworm|main|Debian\\n\
             /etc/apt/sources.list.d/debian.sources:1|mirror+file:/etc/apt/mirrors/debian.list/|bookworm-updates|main|Debian\\n\
             /etc/apt/sources.list.d/debian.sources:2|{security}|main|Debian\\n\
             /etc/apt/sources.list.d/debian.sources:2|{security}|contrib|Debian\\n\
             /etc/apt/sources.list.d/bootstrap-components.sources:1|{security}|non-free|Debian\\n\
             /etc/apt/sources.list:3|http://mirror.example/debian/|bookworm|main|Debian\\n\
             /etc/apt/sources.list:4|http://vendor.example/debian/|bookworm|main|Vendor\\n\
             /etc/apt/sources.list:5|http://mirror.example/debian/|bookworm-updates|main|Debian\\n"
        ));
        tree.host.add_components("Debian", WANTED).await.unwrap();
        let added = ADDED.map(|path| tree.host.read_text(path).unwrap().unwrap());
        assert_eq!(
            added,
            [
                "Types: deb\nComponents: contrib non-free\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n\
                 Suites: bookworm bookworm-updates\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n\n\
                 Types: deb\nComponents: non-free\nURIs: https://mirror.example/debian-security\n\
                 Suites: bookworm-security\n\n",
                "deb [arch=amd64 signed-by=/k.asc] http://mirror.example/debian bookworm contrib non-free\n\
                 deb http://mirror.example/debian bookworm-updates contrib non-free\n",
            ]
        );
    }

    #[tokio::test]
    async fn what_is_there_is_not_added_again() {
        let rows = ["main", "contrib", "non-free"].map(|component| {
            format!("/etc/apt/sources.list:3|http://mirror.example/debian/|bookworm|{component}|Debian\\n")
        });
        let tree = machine(&rows.concat());
        tree.host.add_components("Debian", WANTED).await.unwrap();
        for path in ADDED {
            assert_eq!(tree.host.read_text(path).unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_machine_without_the_archive_is_told_what_to_add() {
        let tree =
            machine("/etc/apt/sources.list:4|http://vendor.example/|bookworm|main|Vendor\\n");
        let error = tree
            .host
            .add_components("Debian", WANTED)
            .await
            .unwrap_err();
        assert_eq!(
            (error.reason(), error.hint()),
            (
                "apt's sources have no archive of Debian",
                "add one to /etc/apt/sources.list.d, with the components main contrib non-free, then run `bootstrap` again"
            )
        );
    }
}

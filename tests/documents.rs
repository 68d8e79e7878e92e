//! The documents: every relative link leads somewhere, the first page stays one, no line stands twice, and the tables of
//! phases, settings and commands are the program's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bootstrap::aws::imds::Imds;
use bootstrap::config::Config;
use bootstrap::host::Host;
use bootstrap::node::Node;
use bootstrap::phases;
use serde_json::{Value, json};

/// The program's own sources.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The first page may not grow into a book.
const FIRST_PAGE_LINES: usize = 200;

/// Shorter lines may stand in two documents: headings of tables, commands, closing words.
const SHORT: usize = 60;

/// Folders that hold no document of ours.
const FOREIGN: [&str; 2] = ["target", ".git"];

/// Every Markdown file of the repository, by its path from the root.
fn documents() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !FOREIGN.contains(&name) {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(root).unwrap().to_owned(), text);
            }
        }
    }
    assert!(found.len() > 6, "{found:?}");
    found
}

/// The lines of a document outside its code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// The targets of a document's links and pictures.
fn links(text: &str) -> Vec<&str> {
    let after = |line| str::split(line, "](").skip(1);
    prose(text)
        .flat_map(after)
        .map(|rest| rest.split_once(')').expect("a link has no end").0)
        .collect()
}

/// The anchors that GitHub gives a document's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        line.starts_with('#')
            .then(|| line.trim_start_matches('#').trim().to_lowercase())
    };
    prose(text)
        .filter_map(heading)
        .map(|heading| {
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    let mut broken = Vec::new();
    for (document, text) in documents() {
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root.join(&document),
                file => root.join(&document).parent().unwrap().join(file),
            };
            let has_anchor = || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            if !target.exists() || !anchor.is_empty() && !has_anchor() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
    assert!(checked > 20, "only {checked} links were found");
}

#[test]
fn the_first_page_is_one_page() {
    let lines = documents()[Path::new("README.md")].lines().count();
    assert!(
        lines <= FIRST_PAGE_LINES,
        "README.md has {lines} lines: move what is not for the first minute to a folder's README.md"
    );
}

#[test]
fn no_line_stands_in_two_documents() {
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut twice = Vec::new();
    for (document, text) in documents() {
        let long = prose(&text).filter(|line| line.len() >= SHORT);
        for line in long.collect::<BTreeSet<_>>() {
            if let Some(other) = seen.insert(line.to_owned(), document.clone()) {
                twice.push(format!(
                    "{} and {}: {line}",
                    other.display(),
                    document.display()
                ));
            }
        }
    }
    assert_eq!(twice, Vec::<String>::new());
}

/// `src/README.md`, what a reader has of the program.
fn reference() -> String {
    documents().remove(Path::new("src/README.md")).unwrap()
}

#[test]
fn the_table_of_phases_is_the_programs() {
    let config = json!({
        "volume": {"id": "vol-0123456789abcdef0"},
        "assets": {"bucket": "theta-assets", "key": "assets.tar.gz", "sha256": "0".repeat(64)},
        "secret": {"arn": "wallet"},
    });
    let config = Config::load(&config.to_string()).unwrap();
    let root = tempfile::tempdir().unwrap();
    let node = Arc::new(Node::new(config, Host::at(root.path()), Imds::from_env()));
    let table = phases::table(&node);
    let begin = table.iter().map(|entry| match entry.needs {
        [] => format!("| `{}` | – |", entry.name),
        needs if needs.len() == table.len() - 1 => format!("| `{}` | all |", entry.name),
        needs => format!("| `{}` | {} |", entry.name, needs.join(", ")),
    });
    let text = reference();
    let (_, after) = text.split_once("| phase | needs |").unwrap();
    let rows: Vec<_> = after
        .lines()
        .skip(2)
        .take_while(|line| !line.is_empty())
        .collect();
    let begin: Vec<_> = begin.collect();
    assert_eq!(rows.len(), begin.len(), "{begin:#?}");
    for (row, begin) in rows.iter().zip(begin) {
        assert!(row.starts_with(&begin), "{row}\nbegins with: {begin}");
    }
}

/// The dotted names of the settings below `schema`.
fn settings(schema: &Value, name: &str, found: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        return found.push(name.to_owned());
    };
    for (key, value) in properties {
        let dot = if name.is_empty() { "" } else { "." };
        settings(value, &format!("{name}{dot}{key}"), found);
    }
}

#[test]
fn the_table_of_settings_has_every_setting() {
    let mut names = Vec::new();
    settings(
        &serde_json::from_str(&Config::schema()).unwrap(),
        "",
        &mut names,
    );
    assert!(names.len() > 15, "{names:?}");
    let text = reference();
    names.retain(|name| !text.contains(&format!("`{name}`")));
    assert_eq!(
        names,
        Vec::<String>::new(),
        "src/README.md lacks these settings"
    );
}

#[test]
fn the_table_of_commands_has_every_command() {
    let help = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let lines = commands.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let mut names: Vec<_> = names.filter(|name| *name != "help").collect();
    assert!(names.len() > 5, "{help}");
    let text = reference();
    names.retain(|name| !text.contains(&format!("`bootstrap {name}")));
    assert_eq!(
        names,
        Vec::<&str>::new(),
        "src/README.md lacks these commands"
    );
}

/// The paths of `src/paths.rs`.
fn paths() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(SOURCES).join("paths.rs")).unwrap();
    let literals = text.split('"').skip(1).step_by(2);
    let found: BTreeSet<_> = literals.map(str::to_owned).collect();
    assert!(found.len() > 30, "{found:?}");
    found
}

#[test]
fn the_table_of_files_has_every_path() {
    let text = reference();
    let (_, after) = text.split_once("## Files on a node").unwrap();
    let (table, _) = after.split_once("\n## ").unwrap();
    let told: BTreeSet<_> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.starts_with('/') && !word.contains('*'))
        .map(str::to_owned)
        .collect();
    assert_eq!(told, paths());
}

/// The paths in a line of code that are this program's, by their names, each with whether its literal begins with it.
fn named_paths(line: &str) -> Vec<(String, bool)> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let words = line.split(|c| !is_path(c)).scan(0, |at, word| {
        let begin = *at;
        *at += word.len() + 1;
        Some((begin, word))
    });
    let ours = words.filter(|(_, word)| {
        // One component is the inside of the container.
        word.starts_with('/') && word.matches('/').count() > 1 && word.contains("bootstrap")
    });
    ours.map(|(begin, word)| {
        let path = word.trim_end_matches(['/', '.']).to_owned();
        (path, line[..begin].ends_with('"'))
    })
    .collect()
}

#[test]
fn every_path_of_ours_stands_in_one_file() {
    assert_eq!(
        named_paths(r#"read("/etc/bootstrap/config.json") // below /opt/bootstrap."#),
        [
            ("/etc/bootstrap/config.json".to_owned(), true),
            ("/opt/bootstrap".to_owned(), false)
        ]
    );
    let (known, mut sentences, mut wrong) = (paths(), 0, Vec::new());
    for (inside, text) in sources() {
        if inside == "paths.rs" {
            continue;
        }
        let code = product(&text).lines();
        for line in code.filter(|line| !line.trim_start().starts_with("//")) {
            for (path, begins) in named_paths(line) {
                // A remedy that is a constant cannot be put together; what it names has to be there all the same.
                if begins || !known.contains(&path) {
                    wrong.push(format!("{inside}: {path}"));
                }
                sentences += 1;
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "belong in src/paths.rs");
    assert!(
        sentences < 16,
        "{sentences} sentences name a path: let them take it from src/paths.rs"
    );
}

/// The modules of the picture in `src/README.md`, each with the number of its layer, counted from the top.
fn layers() -> BTreeMap<String, usize> {
    let text = reference();
    let (_, picture) = text.split_once("```\ncli ").unwrap();
    let (picture, _) = picture.split_once("```").unwrap();
    let layers = format!("cli {picture}");
    let mut found = BTreeMap::new();
    for (number, layer) in layers.split('│').enumerate() {
        for line in layer.lines() {
            // Three spaces end the names and begin what they are.
            let names = line.trim_start().split("   ").next().unwrap();
            found.extend(
                names
                    .split_whitespace()
                    .map(|name| (name.to_owned(), number)),
            );
        }
    }
    found
}

/// The modules of the crate that a source file names outside its tests.
fn imports(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for after in product(source).split("crate::").skip(1) {
        let among = match after.strip_prefix('{') {
            Some(several) => several.split('}').next().unwrap().split(',').collect(),
            None => vec![after],
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let first = |path: &str| {
            path.trim()
                .split(|c| !is_name(c))
                .next()
                .unwrap()
                .to_owned()
        };
        found.extend(among.into_iter().map(first).filter(|name| !name.is_empty()));
    }
    found
}

/// The source files of the program without those for its tests, by their names below `src`.
fn sources() -> BTreeMap<String, String> {
    let (mut folders, mut found) = (vec![PathBuf::from(SOURCES)], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(SOURCES).unwrap().to_str().unwrap();
            let for_tests = ["tests.rs", "testing.rs"]
                .iter()
                .any(|name| inside.ends_with(name));
            if path.extension().is_some_and(|kind| kind == "rs") && !for_tests {
                found.insert(inside.to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// A source file without the tests at its end.
fn product(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests").next().unwrap()
}

#[test]
fn the_picture_of_the_modules_is_the_imports() {
    let layers = layers();
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (inside, text) in sources() {
        let first = inside.split('/').next().unwrap();
        let module = first.trim_end_matches(".rs");
        if ["lib", "main"].contains(&module) {
            continue;
        }
        seen.insert(module.to_owned());
        for used in imports(&text) {
            match (layers.get(module), layers.get(&used)) {
                (Some(from), Some(to)) if from > to => {
                    wrong.push(format!("{inside} uses {used}: that arrow goes up"));
                }
                (Some(_), Some(_)) => {}
                _ => wrong.push(format!("{inside} uses {used}: not in the picture")),
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(
        seen,
        layers.into_keys().collect(),
        "modules, and modules of the picture"
    );
}

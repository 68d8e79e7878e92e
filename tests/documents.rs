//! The documents: every relative link leads somewhere, the first page stays one, and no fact stands twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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

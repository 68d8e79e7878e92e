//! The fault table, as its generated page has it: so the page and `bootstrap explain` cannot disagree.

/// Made from the rows of the fault table, each of which is a test (`tests/setup/faults/guide.rs`).
const PAGE: &str = include_str!("../../tests/setup/faults/README.md");

/// Precedes the name of the check that reports a fault.
const VERIFY: &str = "`verify`, ";

/// One fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The heading that it is listed under.
    pub theme: String,
    /// What has happened.
    pub name: String,
    /// The check or the phase that reports it; empty if it is recovered from, or no phase runs yet.
    pub by: String,
    /// Whether `verify` reports it, on a node that was healthy.
    pub on_a_node: bool,
    /// What `bootstrap` says; empty if it is recovered from.
    pub says: String,
    /// What to do.
    pub remedy: String,
}

/// Every fault, in the order of the page.
pub(super) fn all() -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut theme = "";
    for line in PAGE.lines() {
        if let Some(headline) = line.strip_prefix("## ") {
            theme = headline;
        } else if let Some(names) = line.strip_prefix("Recovered automatically: ") {
            let names = names.trim_end_matches('.').split("; ");
            faults.extend(names.map(|name| Fault {
                theme: theme.to_owned(),
                name: name.to_owned(),
                by: String::new(),
                on_a_node: false,
                says: String::new(),
                remedy: String::new(),
            }));
        } else if let Some(fault) = row(theme, line) {
            faults.push(fault);
        }
    }
    faults
}

/// A row of a table, unless it is the heading.
fn row(theme: &str, line: &str) -> Option<Fault> {
    let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let mut cells = cells.split(" | ").map(plain);
    let (name, said, remedy) = (cells.next()?, cells.next()?, cells.next()?);
    if ["fault", "---"].contains(&name.as_str()) {
        return None;
    }
    let (by, says) = reporter(&said);
    Some(Fault {
        theme: theme.to_owned(),
        name,
        by: by.to_owned(),
        on_a_node: said.starts_with(VERIFY),
        says: says.to_owned(),
        remedy,
    })
}

/// The check (`` `verify`, volume: … ``) or the phase (`volume: …`) that says it, and what it says.
fn reporter(said: &str) -> (&str, &str) {
    let rest = said.strip_prefix(VERIFY).unwrap_or(said);
    let is_name = |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    match rest.split_once(": ") {
        Some((name, says)) if is_name(&name) => (name, says),
        _ => ("", said),
    }
}

/// A cell without Markdown's escapes.
fn plain(cell: &str) -> String {
    cell.replace("\\|", "|")
        .replace("&lt;", "<")
        .replace("\\*", "*")
}

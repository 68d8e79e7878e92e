//! `faults/README.md`: made from the table, so that it cannot drift. `BLESS=1` writes it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::row::{Row, table};

const BEGIN: &str = "<!-- from the fault table: BLESS=1 cargo test --test setup readme -->\n";
const END: &str = "<!-- end of the fault table -->\n";

/// What each machine has of its own, and the page therefore has an example of.
const EXAMPLES: [(&str, &str); 1] = [("registry-1.docker.io", "registry.example.org")];

/// Compares the section with the table, or writes it.
pub fn compare() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/faults/README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("no begin marker");
    let (section, after) = rest.split_once(END).expect("no end marker");
    let wanted = section_of_table();
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
    } else {
        assert!(
            section == wanted,
            "tests/setup/faults/README.md is not what the table gives; write it with: BLESS=1 cargo test --test setup readme"
        );
    }
}

fn section_of_table() -> String {
    let mut text = String::new();
    for theme in table() {
        let rows = theme.rows();
        let shown = rows.iter().filter(|row| !row.like_another);
        let (failing, passing): (Vec<_>, Vec<_>) = shown.partition(|row| !row.reason.is_empty());
        let _ = write!(text, "\n## {}\n\n", theme.theme);
        if !passing.is_empty() {
            let names: Vec<&str> = passing.iter().map(|row| row.name.as_str()).collect();
            let _ = writeln!(text, "Recovered automatically: {}.\n", names.join("; "));
        }
        if !failing.is_empty() {
            text += "| fault | what `bootstrap` says | remedy |\n| --- | --- | --- |\n";
            for row in failing {
                text += &line(row);
            }
        }
    }
    text + "\n"
}

fn line(row: &Row) -> String {
    let by = match (row.phase.as_str(), row.verifies()) {
        ("", _) => String::new(),
        (check, true) => format!("`verify`, {check}: "),
        (phase, false) => format!("{phase}: "),
    };
    let said = format!("{by}{}", row.whole_reason());
    format!(
        "| {} | {} | {} |\n",
        cell(&row.name),
        cell(&said),
        cell(&row.hint)
    )
}

/// One cell of a table, on one line.
fn cell(text: &str) -> String {
    let mut text = text.to_owned();
    for (host, example) in EXAMPLES {
        text = text.replace(host, example);
    }
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('*', "\\*")
        .replace('\n', " ")
}

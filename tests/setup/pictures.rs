//! The pictures of `.github/screens`: they still show what the commands print. `scripts/screens` takes them again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::Test;
use crate::machine::Machine;
use crate::shared::{PHASES, healthy};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("the_picture_of_explain_is_what_it_prints", the_picture_of_explain_is_what_it_prints),
    ("the_pictures_of_verify_are_what_it_prints", the_pictures_of_verify_are_what_it_prints),
    ("the_pictures_of_a_run_have_its_phases", the_pictures_of_a_run_have_its_phases),
];

/// Pixels, as in `tests/local/screen.py`: of a character, of a line, and of the margin.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 18.0;
const MARGIN: f64 = 12.0;

/// The lines of a picture, below the command that stands in its first.
fn picture(name: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(".github/screens/{name}.svg"));
    let svg = fs::read_to_string(file).unwrap();
    let mut lines = BTreeMap::<usize, String>::new();
    for element in svg.lines().filter_map(|line| line.strip_prefix("<text ")) {
        let (attributes, text) = element.split_once('>').unwrap();
        let text = text.strip_suffix("</text>").unwrap();
        let row = ((number(attributes, "y") + 5.0 - MARGIN) / HEIGHT).round();
        let column = ((number(attributes, "x") - MARGIN) / WIDTH).round();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let (row, column) = (row as usize, column as usize);
        let line = lines.entry(row).or_default();
        let gap = column - line.chars().count();
        *line += &" ".repeat(gap);
        *line += &unescaped(text);
    }
    let last = *lines.keys().last().unwrap();
    (2..=last)
        .map(|row| lines.remove(&row).unwrap_or_default())
        .collect()
}

fn number(attributes: &str, name: &str) -> f64 {
    let (_, value) = attributes.split_once(&format!("{name}=\"")).unwrap();
    value.split_once('"').unwrap().0.parse().unwrap()
}

fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    for (name, character) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&amp;", "&"),
    ] {
        text = text.replace(name, character);
    }
    text
}

/// With N for each number, and ADDRESS for each address.
fn shape(line: &str) -> String {
    let words = line.split(' ').map(|word| match word {
        word if word.starts_with("0x") => "ADDRESS",
        word if word.bytes().all(|b| b.is_ascii_digit()) && !word.is_empty() => "N",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// How many checks a verdict counts.
fn counted(verdict: &str) -> usize {
    let words = verdict.split(' ');
    words.filter_map(|word| word.parse::<usize>().ok()).sum()
}

/// A new fault of this check may stay out of the picture.
fn the_picture_of_explain_is_what_it_prints() {
    let machine = Machine::new("debian-12");
    let explain = |arguments: &[&str]| machine.run(arguments).expect(0).stdout;
    let printed = explain(&["explain", "container"]);
    let meaning = |lines: Vec<String>| {
        let count = lines.iter().position(|line| line.starts_with("Tested"));
        lines[..count.unwrap()].to_vec()
    };
    let shown = picture("explain");
    let now = printed.lines().map(str::to_owned).collect();
    assert_eq!(meaning(shown.clone()), meaning(now));
    let faults: Vec<&str> = shown
        .iter()
        .filter_map(|line| line.strip_prefix("        - "))
        .filter(|name| !name.starts_with("and "))
        .collect();
    assert!(faults.len() > 5, "{shown:?}");
    for fault in faults {
        let printed = explain(&["explain", fault]);
        assert!(
            printed.starts_with(&format!("{fault} (a fault; ")),
            "{printed}"
        );
    }
}

fn the_pictures_of_verify_are_what_it_prints() {
    let machine = healthy("debian-12");
    machine.run(&["metrics"]).expect(0);
    let printed = machine.run(&["verify"]).expect(0).stdout;
    let [shown] = &picture("verify")[..] else {
        panic!("it shows more than the verdict");
    };
    assert_eq!(shape(shown), shape(printed.trim_end()));
    assert_eq!(counted(shown), counted(&printed), "{printed}");

    machine.keep("status edgelauncher", "exited");
    machine.node.change(|node| node.down = true);
    let printed = machine.run(&["verify"]).expect(1).stdout;
    let shown = picture("unhealthy");
    // The end of the log that the cause quotes is another.
    let first = |lines: Vec<&str>| {
        let lines: Vec<&str> = lines
            .into_iter()
            .take_while(|line| !line.is_empty())
            .collect();
        let cause = lines[2].split_once("exit code ").unwrap().0;
        [lines[0], lines[1], cause, lines[lines.len() - 1]].map(shape)
    };
    assert_eq!(
        first(shown.iter().map(String::as_str).collect()),
        first(printed.lines().collect())
    );
    assert_eq!(
        counted(&shown[0]),
        counted(printed.lines().next().unwrap()),
        "{printed}"
    );
}

fn the_pictures_of_a_run_have_its_phases() {
    let named = |line: &String| {
        let name = PHASES.iter().find(|name| {
            let mark = line.trim_start_matches(|c: char| !c.is_ascii_lowercase());
            mark.split(' ').next() == Some(name)
        });
        name.copied()
    };
    let shown: Vec<&str> = picture("run").iter().filter_map(named).collect();
    assert_eq!(shown, PHASES);

    let printed = healthy("debian-12").run(&["status"]).expect(0).stdout;
    // The name, and what has come of it, up to the column of times.
    let table = |lines: &[String]| {
        let begin = lines.iter().position(|line| line.contains(" status "));
        let (head, rows) = lines[begin.unwrap()..].split_first().unwrap();
        let until = head.find("  time").unwrap();
        let rows = rows.iter().take_while(|line| !line.is_empty());
        let name_and_status = rows.map(|line| line[..until].trim_end().to_owned());
        let columns: Vec<String> = head.split_whitespace().map(str::to_owned).collect();
        (columns, name_and_status.collect::<Vec<_>>())
    };
    let shown = picture("status");
    let now: Vec<String> = printed.lines().map(str::to_owned).collect();
    assert_eq!(table(&shown), table(&now));
    let phases: Vec<&str> = shown.iter().filter_map(named).collect();
    assert_eq!(phases, [PHASES, PHASES].concat());
}

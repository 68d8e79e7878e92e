//! A long life in short: boots and metrics ticks of a node that comes and goes. Nothing may pile up.
//!
//! `SOAK_BOOTS` and `SOAK_TICKS` (for each boot) name other numbers; `scripts/faults --soak` has 100 boots and 1,000
//! ticks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::Test;
use crate::machine::{Machine, walk};
use crate::trace::{self, Nobody};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("nothing_piles_up", nothing_piles_up),
];

/// Boots until nothing is new any more: the first one's files, and the log's.
const WARM: usize = 10;
/// What a file may grow by: a height or a time with a digit more.
const DIGITS: u64 = 64;
/// Connections that a tick may be closing when it ends.
const CLOSING: u64 = 4;

fn number(variable: &str, otherwise: usize) -> usize {
    let named = std::env::var(variable).ok();
    named.map_or(otherwise, |text| text.parse().unwrap())
}

fn nothing_piles_up() {
    let (boots, ticks) = (number("SOAK_BOOTS", 14), number("SOAK_TICKS", 5));
    let mut machine = Machine::new("debian-12");
    machine.pace = 100;
    // Divided by the pace, this is minutes.
    machine.configure(|config| config["deadline_seconds"] = 43_200.into());
    machine.run(&[]).expect(0);
    let mut published = 0;
    let (mut peaks, mut open) = (Vec::new(), Vec::new());
    let mut sizes = BTreeMap::new();
    for boot in 0..boots {
        machine.reboot(u32::try_from(boot).unwrap() + 2);
        machine.node.change(|node| node.down = false);
        machine.run(&[]).expect(0);
        for tick in 0..ticks {
            // Healthy, alone, down, and back.
            machine.node.change(|node| {
                node.down = tick % 4 == 2;
                node.peers = if tick % 4 == 1 { 0 } else { 3 };
            });
            if tick % 4 == 3 {
                // Cron is late, and starts two.
                let two = [machine.start(&["metrics"]), machine.start(&["metrics"])];
                let codes = two.map(|tick| tick.wait().code);
                assert!(codes.iter().all(|code| [0, 3].contains(code)), "{codes:?}");
                published += codes.iter().filter(|code| **code == 0).count();
            } else {
                let said = machine.beside("said");
                let command = machine.command(&["metrics"]);
                let traced = trace::run(&command, &said, None, &mut Nobody);
                assert_eq!(
                    traced.code,
                    Some(0),
                    "{}",
                    fs::read_to_string(said).unwrap()
                );
                published += 1;
                peaks.push(traced.peak);
                open.push(traced.open as u64);
            }
        }
        assert_eq!(machine.aws.state().metrics().len(), published);
        assert_eq!(processes_of(&machine), Vec::<String>::new());
        if boot == WARM {
            sizes = files(&machine);
        }
    }
    let grown: Vec<_> = files(&machine)
        .into_iter()
        .filter(|(path, size)| sizes.get(path).is_none_or(|before| *size > before + DIGITS))
        .collect();
    assert_eq!(grown, [], "new, or larger than after {WARM} boots");
    let log = fs::metadata(machine.path("/var/log/bootstrap.log"))
        .unwrap()
        .len();
    assert!(log < 20 << 20, "the log has {log} bytes");
    // Each tick is a new process: what grew would have to come from a file.
    let halves = |each: &[u64]| {
        let (first, last) = each.split_at(each.len() / 2);
        [first, last].map(|half| half.iter().copied().max().unwrap())
    };
    let [first, last] = halves(&open);
    assert!(0 < first);
    assert!(last <= first + CLOSING, "{first} files open, later {last}");
    let [first, last] = halves(&peaks);
    assert!(last <= first + first / 10, "{first} KiB, later {last} KiB");
    println!(
        "soak: {boots} boots, {published} ticks; no tick had more than {} KiB",
        first.max(last)
    );
}

/// Each file's size, but for the log's, which has a bound of its own.
fn files(machine: &Machine) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    walk(&machine.root(), &mut |path| {
        let like = fs::symlink_metadata(path).unwrap();
        if like.is_file() && !path.to_string_lossy().contains("/var/log/bootstrap.log") {
            sizes.insert(path.display().to_string(), like.size());
        }
    });
    sizes
}

/// What still runs on this machine.
fn processes_of(machine: &Machine) -> Vec<String> {
    let wanted = format!("BOOTSTRAP_ROOT={}", machine.root().display());
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let of_machine = entries.filter(|entry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
    });
    of_machine
        .map(|entry| entry.path().display().to_string())
        .collect()
}

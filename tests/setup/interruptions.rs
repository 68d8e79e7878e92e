//! What comes between: signals, kills, a journal that cannot be read.

use std::fs;

use rustix::process::Signal;

use crate::Test;
use crate::machine::{Machine, is_gone, poll};
use crate::shared::{healthy, side_by_side};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("sigterm_ends_the_run_in_good_order", sigterm_ends_the_run_in_good_order),
    ("killed_the_next_run_converges", killed_the_next_run_converges),
    ("an_unreadable_journal_is_set_aside", an_unreadable_journal_is_set_aside),
];

fn sigterm_ends_the_run_in_good_order() {
    let mut machine = Machine::new("debian-12");
    let gate = machine.gate("useradd *");
    let run = machine.start(&[]);
    let mut waiting = gate.arrived();
    poll("the phases beside it did not end", || {
        let ended = machine.phases("ok");
        let others = ["image", "secret", "cloudwatch-agent"];
        others
            .iter()
            .all(|phase| ended.iter().any(|name| name == phase))
            .then_some(())
    });
    run.signal(Signal::TERM);
    run.wait().expect(1);
    assert!(is_gone(&mut waiting), "the tool outlived the run");
    assert_eq!(machine.journal()["run"]["result"], "failed");
    let user = machine.phase("user");
    assert_eq!(user["error"]["reason"], "stopped by SIGTERM", "{user:#}");
    assert_eq!(machine.phase("container")["status"], "skipped");
    let signals = machine.signals();
    assert_eq!(signals[0]["Status"], "FAILURE");
    assert_eq!(
        signals[0]["Reason"],
        "user: stopped by SIGTERM: last seen: user bcuser does not exist; applying. run `bootstrap` again: it continues from the current state of the machine"
    );
}

fn killed_the_next_run_converges() {
    side_by_side(
        &["useradd *", "mkfs.ext4 *", "mount *", "docker run *"],
        |tool| {
            let mut machine = Machine::new("debian-12");
            let gate = machine.gate(tool);
            let run = machine.start(&[]);
            let waiting = gate.arrived();
            run.signal(Signal::KILL);
            assert_eq!(run.wait().code, -1);
            drop(waiting);
            let status = machine.run(&["status"]).expect(0).stdout;
            assert!(
                status.contains("This run was interrupted (killed, or a power cut)."),
                "{status}"
            );
            machine.unrule();
            machine.run(&[]).expect(0);
            assert_eq!(machine.journal()["run"]["result"], "ok", "{tool}");
            assert_eq!(machine.signals().len(), 2, "{tool}");
            let twice = machine
                .changes()
                .iter()
                .filter(|call| call.starts_with("mkfs"))
                .count();
            assert!(twice <= 2, "{tool}");
        },
    );
}

fn an_unreadable_journal_is_set_aside() {
    let machine = healthy("debian-12");
    machine.write("/var/lib/bootstrap/journal.json", "{\"version\": 1, \"phas");
    machine.run(&[]).expect(0);
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert_eq!(machine.journal()["run"]["result"], "ok");
    let names = fs::read_dir(machine.path("/var/lib/bootstrap")).unwrap();
    let aside = names.filter(|name| {
        let name = name.as_ref().unwrap().file_name();
        name.to_string_lossy()
            .starts_with("journal.json.unreadable-")
    });
    assert_eq!(aside.count(), 1);
}

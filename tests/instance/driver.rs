//! `scripts/launch-local` itself: what it refuses, what it prints, and what it keeps from an instance.

use crate::launch::{Ended, drive, follow, launched_as, without_aws};
use crate::shared::shared;

/// What tells one boot of the instance, and one start of its container, from another.
const SINCE: &str = "cut -d ' ' -f 22 /proc/1/stat && \
                     docker inspect --format '{{.Id}} {{.State.StartedAt}}' edgelauncher";

pub fn a_refused_command_changes_nothing() {
    let shared = shared();
    let instance = shared.instance();
    let before = instance.run(SINCE);
    let again = launched_as();
    let refused = |arguments: &[&str], reason: &str| {
        let Ended { code, output } = drive(arguments);
        let told = format!("launch-local: {reason}\n");
        assert_eq!((code, output), (1, told), "{arguments:?}");
        assert_eq!(instance.run(SINCE), before, "{arguments:?}");
    };
    refused(
        &[],
        &format!(
            "instance first is running; replace it: {again} --attach-existing, or stop it: {again} --stop first"
        ),
    );
    refused(
        &["--attach-existing", "--name", "first"],
        "the running instance is called first too; give another --name",
    );
    refused(
        &["--attach-existing", "--tag", "v3"],
        "--tag takes latest, v2 or broken, not v3",
    );
    refused(
        &["--attach-existing", "--disk", "/nowhere"],
        "--disk is about a first launch, without --attach-existing",
    );
    refused(&["--stop", "second"], "there is no instance second");
    refused(
        &["--name", "--all"],
        "an instance's name is up to 12 lower-case letters and digits, not --all",
    );
    without_aws(|| {
        refused(
            &["--attach-existing"],
            &format!(
                "the AWS of instance first has ended, and its stack with it; stop the instance: {again} --stop first"
            ),
        );
    });
    let verify = instance.try_run("bootstrap verify");
    assert_eq!(verify.code, 0, "{}", verify.output);
}

pub fn an_instance_cannot_set_the_clock_of_this_machine() {
    // By the names' order in <linux/capability.h>.
    const OF_THE_MACHINE: [(&str, u32); 9] = [
        ("sys_module", 16),
        ("sys_rawio", 17),
        ("sys_pacct", 20),
        ("sys_time", 25),
        ("mac_override", 32),
        ("mac_admin", 33),
        ("syslog", 34),
        ("wake_alarm", 35),
        ("block_suspend", 36),
    ];
    let shared = shared();
    let instance = shared.instance();
    // Where it could, this machine's clock would be the same second's.
    let set = instance.try_run("LC_ALL=C date --set \"@$(date +%s)\" 2>&1 >/dev/null");
    assert_eq!(
        (set.code, set.output.trim()),
        (1, "date: cannot set date: Operation not permitted")
    );
    // Whoever comes in has no more of them than what booted there.
    let bounds = instance.run("sed -n 's/^CapBnd:\\s*//p' /proc/1/status /proc/self/status");
    assert_eq!(bounds.lines().count(), 2, "{bounds}");
    for bounds in bounds.lines() {
        let bits = u64::from_str_radix(bounds, 16).unwrap();
        for (name, bit) in OF_THE_MACHINE {
            assert_eq!(bits >> bit & 1, 0, "{name} is in {bounds}");
        }
    }
}

pub fn every_hint_of_a_launch_can_be_followed() {
    let shared = shared();
    for hint in ["Enter it", "Check it", "Operate it", "Run again"] {
        let Ended { code, output } = follow(&shared.instance().hint(hint));
        assert_eq!(code, 0, "{hint}: {output}");
    }
}

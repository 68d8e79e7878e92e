//! What a command may do, as the tools that it starts see it.

use std::fs;

use crate::Test;
use crate::shared::healthy;

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("what_only_looks_gives_up_its_rights", what_only_looks_gives_up_its_rights),
];

/// Files of others can be read (CAP_DAC_READ_SEARCH, bit 2), and nothing of root's is left to be had again.
const LOOKS: &str = "CapEff: 0000000000000004 CapBnd: 0000000000000004 NoNewPrivs: 1";

fn what_only_looks_gives_up_its_rights() {
    // It needs that right: key folder and password are another user's, and no one else's.
    let machine = healthy("amazon-linux-2023-gpu");
    for command in ["metrics", "verify"] {
        machine.forget_calls();
        machine.run(&[command]).expect(0);
        let rights = machine.rights();
        assert_eq!(rights.len(), machine.calls().len());
        assert!(rights.len() > 1, "{command}: {:?}", machine.calls());
        for (call, rights) in machine.calls().iter().zip(rights) {
            assert_eq!(rights, LOOKS, "{command}: {call}");
        }
    }
    // A run has all that it was given: packages need it.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let given = status.lines().find(|line| line.starts_with("CapBnd:"));
    let given = given.unwrap().replace('\t', " ");
    machine.forget_calls();
    machine.run(&["--phase", "docker", "--force"]).expect(0);
    let rights = machine.rights();
    assert!(!rights.is_empty());
    assert!(rights.iter().all(|all| all.contains(&given)), "{rights:?}");
}

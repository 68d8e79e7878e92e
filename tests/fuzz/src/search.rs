//! libFuzzer's program: searches for bytes that break the target that `FUZZ_TARGET` names (scripts/fuzz).

#![no_main]
#![allow(clippy::expect_used)]

use std::sync::OnceLock;

use fuzz::TARGETS;

static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = CHOSEN.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        let found = TARGETS.iter().find(|(known, _)| *known == name);
        found.expect("there is no such target").1
    });
    target(data);
});

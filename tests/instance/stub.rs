//! The user-data's own part, before bootstrap: each way in which it can fail ends with the reason at the wait handle.

use crate::launch::{Instance, Launch, PASSWORD, release_binary, sha256_of, unanswered};
use crate::shared::shared;

/// What the wait handle was told, and nobody else.
fn reason(instance: &Instance) -> String {
    let signals = instance.signals();
    assert_eq!(signals.len(), 1, "{signals:?}");
    assert_eq!(signals[0]["by"], "wait-handle");
    assert_eq!(signals[0]["Status"], "FAILURE");
    assert_eq!(
        instance.try_run("test -e /usr/local/bin/bootstrap").code,
        1,
        "what cannot be trusted is not installed"
    );
    signals[0]["Reason"].as_str().expect("a reason").to_owned()
}

/// SHA-256 of a file that is nowhere, as `tests/local/cloud.py` has it.
const ANOTHER: &str = "8f299512c037b0309d4e2635464db03d5e81b7000c279735a169e0dd0a7612c4";

pub fn a_binary_that_is_not_what_the_stack_says_is_not_started() {
    let (instance, _) = Launch::beside("hash")
        .password(PASSWORD)
        .breaking("hash")
        .run();
    let (bucket, binary) = (instance.bucket(), sha256_of(&release_binary()));
    assert_eq!(
        reason(&instance),
        format!(
            "bootstrap was not started: s3://{bucket}/bin/{binary}/bootstrap could not be fetched, or its SHA-256 is \
             not {ANOTHER}"
        )
    );
    instance.stop();
}

pub fn a_missing_binary_is_named() {
    let (instance, _) = Launch::beside("object")
        .password(PASSWORD)
        .breaking("object")
        .run();
    let (bucket, binary) = (instance.bucket(), sha256_of(&release_binary()));
    assert_eq!(
        reason(&instance),
        format!(
            "bootstrap was not started: s3://{bucket}/bin/{ANOTHER}/bootstrap could not be fetched, or its SHA-256 is \
             not {binary}. curl: (22) The requested URL returned error: 404"
        )
    );
    instance.stop();
}

pub fn a_network_that_comes_late_is_waited_for() {
    let (instance, _) = Launch::new("network")
        .password(PASSWORD)
        .breaking("network")
        .run();
    assert_eq!(unanswered(&instance.bucket()), 6, "requests to S3");
    assert_eq!(
        instance.json("bootstrap verify --json")["verdict"],
        "healthy"
    );
    shared().goes_on_with(instance);
}

//! The wallet password: one that cannot be had, is no good or is wrong, and that it is found nowhere.

use serde_json::json;
use standins::aws::Fault;
use standins::http::Response;

use crate::Test;
use crate::machine::{Machine, PASSWORD, SECRET};
use crate::shared::{expect_failure, expect_failure_signals, json_text};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_denied_secret_fails_its_phase_only", a_denied_secret_fails_its_phase_only),
    ("a_corrected_password_reaches_the_container", a_corrected_password_reaches_the_container),
    ("the_password_is_found_nowhere", the_password_is_found_nowhere),
];

fn denied(kind: &str) -> Response {
    let body =
        json!({"__type": "AccessDeniedException", "message": format!("not allowed: {kind}")});
    Response::new(400, "application/x-amz-json-1.1", body.to_string())
}

fn a_denied_secret_fails_its_phase_only() {
    let machine = Machine::new("debian-12");
    machine
        .aws
        .state()
        .fail("GetSecretValue", 1, Fault::Answer(denied("GetSecretValue")));
    machine.run(&[]).expect(1);
    let reason = format!(
        "the secret {SECRET} may not be read (AccessDeniedException: not allowed: GetSecretValue)"
    );
    let hint = "allow secretsmanager:GetSecretValue on it (and kms:Decrypt, if it has its own key) in the policy of the \
                instance's role";
    expect_failure(&machine, "secret", &reason, hint);
    expect_failure_signals(&machine, &format!("secret: {reason}. {hint}"));
    assert_eq!(machine.phases("failed"), ["secret"]);
    assert_eq!(
        machine.phases("skipped"),
        ["container", "metrics-cron", "signal"]
    );
    assert_eq!(
        machine.phase("container")["detail"],
        "needs secret, which failed"
    );
    assert_eq!(machine.phases("ok").len(), 6, "{:?}", machine.phases("ok"));

    // The next run goes on, and the stack, which has given up, is told all the same.
    machine.run(&[]).expect(0);
    assert_eq!(machine.signals()[2]["Status"], "SUCCESS");
}

fn the_password_is_found_nowhere() {
    let machine = Machine::new("ubuntu-24.04");
    let mut said = machine.run(&["-v"]).expect(0).output();
    for arguments in [
        &["verify"][..],
        &["metrics"],
        &["plan"],
        &["status"],
        &["-v", "--log-format", "json"],
    ] {
        said += &machine.run(arguments).output();
    }
    // A container that says it all, as it is and as a logger quotes it, and does not start.
    machine.keep(
        "log",
        &format!(
            "password {PASSWORD}\nlevel=debug msg=\"password {}\"",
            json_text(PASSWORD)
        ),
    );
    machine.keep("status edgelauncher", "exited");
    said += &machine.run(&["verify"]).expect(1).output();
    let inside = "root/run/bootstrap/secrets/wallet-password";
    assert_eq!(
        machine.read("/run/bootstrap/secrets/wallet-password"),
        PASSWORD
    );
    assert_eq!(
        machine.files_with(PASSWORD),
        [inside, "tools/facts/log"].map(str::to_owned)
    );
    // Escaped or cut, too.
    assert!(
        machine
            .files_with("canary-7Qm2")
            .iter()
            .all(|file| file == inside || file == "tools/facts/log")
    );
    assert!(!said.contains("canary"), "{said}");
    let signals = format!("{:?}", machine.signals());
    assert!(!signals.contains("canary"), "{signals}");
}

fn a_corrected_password_reaches_the_container() {
    const HINT: &str = "then run: bootstrap --phase secret --phase container --force";
    let machine = Machine::new("debian-12");
    let correct = |password: &str| {
        let mut cloud = machine.aws.state();
        cloud.secrets.insert(SECRET.into(), password.into());
    };
    correct("wrong");
    machine.run(&[]).expect(0);
    machine.forget_calls();
    // The launcher lives on although its core has given up.
    machine.keep(
        "log",
        "level=fatal msg=\"could not decrypt key with given password\"",
    );
    machine.node.change(|node| node.down = true);
    let text = machine.run(&["verify"]).expect(1).stdout;
    assert!(text.contains(HINT), "{text}");

    correct(PASSWORD);
    machine.keep("log", "");
    machine.node.change(|node| node.down = false);
    let (_, arguments) = HINT.split_once("bootstrap ").unwrap();
    let arguments: Vec<_> = arguments.split(' ').collect();
    machine.run(&arguments).expect(0);
    let stored = machine.read("/run/bootstrap/secrets/wallet-password");
    assert_eq!(stored, PASSWORD);
    assert_eq!(
        machine.changes(),
        [
            "docker pull --quiet thetalabsorg/edgelauncher_mainnet:latest",
            "docker stop -t 60 edgelauncher",
            "docker start edgelauncher"
        ]
    );
    machine.run(&["verify"]).expect(0);
}

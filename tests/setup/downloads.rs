//! What is downloaded: that only what is signed and trusted is used. All else that goes wrong is in the fault table.

use std::fs;

use serde_json::json;

use crate::Test;
use crate::machine::Machine;
use crate::shared::expect_failure;

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_package_with_a_bad_signature_is_not_installed", a_package_with_a_bad_signature_is_not_installed),
    ("a_certificate_that_is_not_trusted_is_met_once", a_certificate_that_is_not_trusted_is_met_once),
];

fn a_package_with_a_bad_signature_is_not_installed() {
    let mut machine = Machine::new("debian-12");
    machine.add_asset("amazon-cloudwatch-agent.gpg", "a keyring");
    let paths = [
        "opt/bootstrap/assets/amazon-cloudwatch-agent.gpg",
        "var/lib/bootstrap/amazon-cloudwatch-agent.deb.sig",
    ];
    let gpgv = format!(
        "gpgv --keyring ROOT/{} ROOT/{} ROOT/var/lib/bootstrap/amazon-cloudwatch-agent.deb",
        paths[0], paths[1]
    );
    machine.rule(json!({"run": gpgv, "error": "gpgv: BAD signature from \"Amazon CloudWatch Agent\"", "exit": 1}));
    let phases = [
        "--phase",
        "preflight",
        "--phase",
        "assets",
        "--phase",
        "cloudwatch-agent",
    ];
    machine.run(&phases).expect(1);
    let url = "https://amazoncloudwatch-agent-us-east-1.s3.us-east-1.amazonaws.com/debian/amd64/latest/amazon-cloudwatch-agent.deb";
    expect_failure(
        &machine,
        "cloudwatch-agent",
        &format!(
            "the signature of {url} is not valid: gpgv: BAD signature from \"Amazon CloudWatch Agent\""
        ),
        "Check that the assets hold AWS's current signing key (\"Verifying the signature of the CloudWatch agent \
         package\" in the CloudWatch guide), then run bootstrap again.",
    );
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.contains("install")),
        "{:#?}",
        machine.changes()
    );
    machine.unrule();
    machine.rule(json!({"run": gpgv}));
    machine.run(&phases).expect(0);
    assert_eq!(
        machine.internet.asked().last().unwrap(),
        &format!("{url}.sig")
    );
}

fn a_certificate_that_is_not_trusted_is_met_once() {
    let machine = Machine::new("debian-12");
    let trusted = |machine: &Machine| machine.root().with_file_name("internet.crt");
    let another = Machine::new("debian-12");
    fs::copy(trusted(&another), trusted(&machine)).unwrap();
    let phases = ["preflight", "assets", "cloudwatch-agent"];
    let arguments: Vec<_> = phases.iter().flat_map(|name| ["--phase", name]).collect();
    machine.run(&arguments).expect(1);
    expect_failure(
        &machine,
        "cloudwatch-agent",
        "cannot download https://amazoncloudwatch-agent-us-east-1.s3.us-east-1.amazonaws.com/debian/amd64/latest/amazon-cloudwatch-agent.deb",
        "Check the clock (`timedatectl`), the CA certificates, and whether a proxy ends TLS on the way, then run bootstrap again.",
    );
    assert_eq!(machine.phase("cloudwatch-agent")["attempts"], 1);
}

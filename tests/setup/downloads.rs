//! What is downloaded: the assets and the agent's package, and that only the right ones are used.

use std::fs;

use serde_json::json;

use crate::Test;
use crate::machine::{Machine, archive, sha256};
use crate::shared::{expect_failure, expect_failure_signals};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("assets_that_do_not_exist_are_named", assets_that_do_not_exist_are_named),
    ("assets_that_are_not_the_wanted_ones_are_refused", assets_that_are_not_the_wanted_ones_are_refused),
    ("an_archive_that_leads_elsewhere_is_refused", an_archive_that_leads_elsewhere_is_refused),
    ("a_package_with_a_bad_signature_is_not_installed", a_package_with_a_bad_signature_is_not_installed),
    ("a_certificate_that_is_not_trusted_is_met_once", a_certificate_that_is_not_trusted_is_met_once),
];

const UPLOAD: &str = "upload the archive by hand (`aws s3 cp assets.tar.gz s3://BUCKET/KEY`), then set assets.bucket, assets.key and assets.sha256 (`sha256sum assets.tar.gz`) in the config";

fn assets_that_do_not_exist_are_named() {
    let machine = Machine::new("debian-12");
    machine.aws.state().objects.clear();
    machine.run(&[]).expect(1);
    let reason = "s3://theta-assets/assets.tar.gz does not exist";
    expect_failure(&machine, "assets", reason, UPLOAD);
    expect_failure_signals(&machine, &format!("assets: {reason}. {UPLOAD}"));
    assert_eq!(
        machine.phases("skipped"),
        ["cloudwatch-agent", "container", "metrics-cron", "signal"]
    );
}

fn assets_that_are_not_the_wanted_ones_are_refused() {
    let machine = Machine::new("debian-12");
    let other = archive(&[("edge.json", "{}")]);
    let key = "theta-assets/assets.tar.gz".to_owned();
    let right = machine
        .aws
        .state()
        .objects
        .insert(key, other.clone())
        .unwrap();
    machine
        .run(&["--phase", "preflight", "--phase", "assets"])
        .expect(1);
    let reason = format!(
        "s3://theta-assets/assets.tar.gz has SHA-256 {}, expected {}",
        sha256(&other),
        sha256(&right)
    );
    expect_failure(&machine, "assets", &reason, UPLOAD);
    assert!(!machine.path("/opt/bootstrap/assets").exists());
    assert_eq!(
        fs::read_dir(machine.path("/opt/bootstrap"))
            .unwrap()
            .count(),
        0
    );
}

fn an_archive_that_leads_elsewhere_is_refused() {
    let mut machine = Machine::new("debian-12");
    let bad = archive(&[("edge.json", "{}"), ("sub/file", "x")]);
    machine.configure(|config| config["assets"]["sha256"] = sha256(&bad).into());
    machine
        .aws
        .state()
        .objects
        .insert("theta-assets/assets.tar.gz".into(), bad);
    machine
        .run(&["--phase", "preflight", "--phase", "assets"])
        .expect(1);
    expect_failure(
        &machine,
        "assets",
        "the assets archive holds \"sub/file\", which is not a plain name",
        "make the archive again (`tar -C cloudformation/assets -czf assets.tar.gz .`), upload it (`aws s3 cp`), then set assets.key \
         and assets.sha256 in the config",
    );
    assert!(!machine.path("/opt/bootstrap/assets").exists());
}

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

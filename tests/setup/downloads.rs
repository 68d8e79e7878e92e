//! What is downloaded: that only what is signed and trusted is used, and that no answer fills the memory. All else that
//! goes wrong is in the fault table.

use std::fs;

use serde_json::json;
use standins::aws::Fault;
use standins::http::Response;

use crate::Test;
use crate::machine::Machine;
use crate::shared::{expect_failure, healthy};
use crate::trace::{self, Nobody};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_package_with_a_bad_signature_is_not_installed", a_package_with_a_bad_signature_is_not_installed),
    ("a_certificate_that_is_not_trusted_is_met_once", a_certificate_that_is_not_trusted_is_met_once),
    ("an_answer_without_an_end_takes_no_memory", an_answer_without_an_end_takes_no_memory),
    ("a_large_archive_takes_no_memory", a_large_archive_takes_no_memory),
];

/// By the key that the program brings, and by the one that the assets bring instead.
fn a_package_with_a_bad_signature_is_not_installed() {
    for (asset, keyring) in [
        (None, "var/lib/bootstrap/amazon-cloudwatch-agent.gpg"),
        (
            Some("amazon-cloudwatch-agent.gpg"),
            "opt/bootstrap/assets/amazon-cloudwatch-agent.gpg",
        ),
    ] {
        let mut machine = Machine::new("debian-12");
        if let Some(name) = asset {
            machine.add_asset(name, "a keyring");
        }
        let package = "var/lib/bootstrap/amazon-cloudwatch-agent.deb";
        let gpgv = format!("gpgv --keyring ROOT/{keyring} ROOT/{package}.sig ROOT/{package}");
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
            "see what answers there, a proxy may be in between; where AWS has changed its key and says so (\"Verifying the \
             signature of the CloudWatch agent package\" in the CloudWatch guide), put the new one, as a binary keyring, \
             into the assets archive as amazon-cloudwatch-agent.gpg, deploy that archive, then run `bootstrap` again",
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
        machine.run(&phases).expect(0);
        let left = fs::read_dir(machine.path("/var/lib/bootstrap")).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<String> = left.filter(|name| name.starts_with("amazon-")).collect();
        assert_eq!(left, [""; 0]);
        assert_eq!(
            machine.internet.asked().last().unwrap(),
            &format!("{url}.sig")
        );
    }
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
        "check the clock (`timedatectl`), the CA certificates, and whether a proxy terminates TLS on the way, then run `bootstrap` again",
    );
    assert_eq!(machine.phase("cloudwatch-agent")["attempts"], 1);
}

/// In KiB, for what is read of an answer, its copies and the room that they grow in.
const MORE: u64 = 16 << 10;

fn an_answer_without_an_end_takes_no_memory() {
    // A TiB is announced, and this much comes at each attempt.
    const SENT: usize = 64 << 20;
    let mut machine = healthy("debian-12");
    machine.pace = 1000;
    machine.configure(|config| config["deadline_seconds"] = 43_200.into());
    let gone = "/opt/bootstrap/assets/edge.json";
    let edge = machine.read(gone);
    let secret = &["--phase", "secret", "--force"][..];
    let assets = &["--phase", "assets"][..];
    for (kind, status, arguments, said) in [
        (
            "GetSecretValue",
            200,
            secret,
            "a response that does not come from AWS",
        ),
        ("GetSecretValue", 400, secret, "refused (HTTP status 400)"),
        ("GetSecretValue", 503, secret, "refused (HTTP status 503)"),
        ("GetObject", 200, assets, "is larger than 1073741824 bytes"),
        (
            "GetObject",
            403,
            assets,
            "may not be read (HTTP status 403)",
        ),
        ("GetObject", 503, assets, "refused (HTTP status 503)"),
        (
            "PutMetricData",
            200,
            &["metrics"],
            "a response that does not come from AWS",
        ),
    ] {
        let peak = |code| {
            if arguments == assets {
                fs::remove_file(machine.path(gone)).unwrap();
            }
            let output = machine.beside("said");
            let traced = trace::run(&machine.command(arguments), &output, None, &mut Nobody);
            let output = fs::read_to_string(output).unwrap();
            assert_eq!(traced.code, Some(code), "{kind} {status}: {output}");
            (traced.peak, output)
        };
        let (before, _) = peak(0);
        let endless = Response::new(status, "", vec![b' '; SENT]);
        let endless = endless.with("Content-Length", (1_u64 << 40).to_string());
        let fault = Fault::Answer(endless);
        machine.aws.state().fail(kind, u32::MAX, fault);
        let (after, output) = peak(1);
        assert!(output.contains(said), "{kind} {status}: {output}");
        assert!(
            after < before + MORE,
            "{kind} {status}: {before} KiB, then {after}"
        );
        machine.aws.state().mend();
        machine.write(gone, &edge);
    }
}

fn a_large_archive_takes_no_memory() {
    let mut machine = healthy("debian-12");
    let peak = |machine: &Machine, arguments: &[&str]| {
        let output = machine.beside("said");
        let traced = trace::run(&machine.command(arguments), &output, None, &mut Nobody);
        let output = fs::read_to_string(output).unwrap();
        assert_eq!(traced.code, Some(0), "{output}");
        traced.peak
    };
    let assets = ["--phase", "assets"];
    machine.add_asset("small", "x");
    let before = peak(&machine, &assets);
    let model = "x".repeat(32 << 20);
    machine.add_asset("model", &model);
    let unpacked = peak(&machine, &assets);
    assert!(machine.read("/opt/bootstrap/assets/model") == model);
    let looked_at = peak(&machine, &assets);
    for after in [unpacked, looked_at] {
        assert!(after < before + MORE, "{before} KiB, then {after}");
    }
}

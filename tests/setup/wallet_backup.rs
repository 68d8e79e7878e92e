//! The copy of the wallet key outside the volume: made once, read back, never over anything; a bucket that refuses keeps
//! no node down.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use serde_json::{Value, json};
use standins::aws::Fault;
use standins::http::Response;

use crate::Test;
use crate::faults::{data, look_for_the_password};
use crate::machine::{ADDRESS, BACKUPS, Machine, PASSWORD, SECRET, poll};
use crate::shared::{healthy, side_by_side};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("backup::a_copy_of_the_key_is_made_once_and_read_back", a_copy_of_the_key_is_made_once_and_read_back),
    ("backup::a_bucket_that_refuses_keeps_no_node_down", a_bucket_that_refuses_keeps_no_node_down),
    ("backup::a_backup_is_never_overwritten", a_backup_is_never_overwritten),
    ("backup::a_backup_that_was_made_before_is_taken_for_one", a_backup_that_was_made_before_is_taken_for_one),
    ("backup::a_copy_that_the_password_does_not_open_is_no_backup", a_copy_that_the_password_does_not_open_is_no_backup),
    ("backup::a_key_that_is_made_late_is_waited_for", a_key_that_is_made_late_is_waited_for),
    ("backup::without_a_place_for_it_no_copy_is_made", without_a_place_for_it_no_copy_is_made),
];

const FILE: &str = "2e833968e5bb786ae419c4d13189fb081cc43bab";
const KEYS: &str = "/data/edgelauncher/edgecore/key/encrypted";
const RECORD: &str = "/var/lib/bootstrap/wallet-backup.json";

/// Of the backup, in the stand-in's S3.
fn object() -> String {
    format!("theta-assets/{BACKUPS}/{ADDRESS}/{FILE}")
}

fn backups(machine: &Machine) -> Vec<(String, Vec<u8>)> {
    let cloud = machine.aws.state();
    let mut found: Vec<_> = cloud
        .objects
        .iter()
        .filter(|(name, _)| name.contains("/wallets/"))
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .collect();
    found.sort();
    found
}

fn key(machine: &Machine) -> Vec<u8> {
    fs::read(machine.path(&format!("{KEYS}/{FILE}"))).unwrap()
}

fn is_backed_up(machine: &Machine) {
    assert_eq!(backups(machine), [(object(), key(machine))]);
    let (status, detail, _) = check(machine);
    let said = format!("the key of {ADDRESS} is in s3://{}", object());
    assert_eq!((status.as_str(), detail), ("pass", said));
}

/// What the health check says of it, which finds nothing that fails: status, detail, hint.
fn check(machine: &Machine) -> (String, String, String) {
    let report = machine.run(&["verify", "--json"]).expect(0).json();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == "wallet-backup");
    let text = |name: &str| found.unwrap()[name].as_str().unwrap_or_default().to_owned();
    (text("status"), text("detail"), text("hint"))
}

/// How often the bucket was asked about wallets.
fn asked(machine: &Machine) -> usize {
    let cloud = machine.aws.state();
    let about = |(_, request): &&(String, standins::http::Request)| {
        request.target.contains("wallets") && !request.target.contains("Signature")
    };
    cloud.requests.iter().filter(about).count()
}

fn a_copy_of_the_key_is_made_once_and_read_back() {
    let machine = healthy("debian-12");
    is_backed_up(&machine);
    let put = machine.aws.state().requests_of("PutObject");
    let [put] = put.as_slice() else {
        panic!("{put:#?}")
    };
    assert_eq!(put.header("if-none-match"), Some("*"));
    assert!(put.header("x-amz-checksum-sha256").is_some(), "{put:#?}");
    let record = fs::metadata(machine.path(RECORD)).unwrap();
    assert_eq!(record.permissions().mode() & 0o7777, 0o600);
    look_for_the_password(&machine, "");
    for (name, bytes) in &machine.aws.state().objects {
        let held = String::from_utf8_lossy(bytes);
        assert!(!held.contains(PASSWORD), "{name}");
    }

    // What is known is not asked again, neither by a run, nor by the health check, nor by the tick.
    let before = (asked(&machine), machine.snapshot());
    machine.run(&[]).expect(0);
    machine.run(&["metrics", "--dry-run"]).expect(0);
    is_backed_up(&machine);
    assert_eq!(asked(&machine), before.0);
    assert_eq!(machine.changed_since(&before.1), [""; 0]);
    // By name and by force it is.
    machine
        .run(&["--phase", "wallet-backup", "--force"])
        .expect(0);
    assert!(asked(&machine) > before.0);
    assert_eq!(machine.aws.state().requests_of("PutObject").len(), 1);
    is_backed_up(&machine);
}

fn refusal(status: u16, code: &str) -> Fault {
    let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
    Fault::Answer(Response::new(status, "application/xml", body))
}

fn a_bucket_that_refuses_keeps_no_node_down() {
    let name = format!("s3://{}", object());
    let allow =
        |permission: &str| format!("allow {permission} in the policy of the instance's role");
    let busy = "AWS is busy or has an outage; try again in a few minutes";
    let cases = [
        (
            "ListObjectsV2",
            refusal(403, "AccessDenied"),
            format!(
                "the list of s3://theta-assets/{BACKUPS}/{ADDRESS}/ was refused (AccessDenied: no)"
            ),
            allow("s3:ListBucket"),
        ),
        (
            "PutObject",
            refusal(403, "AccessDenied"),
            format!("the upload of {name} was refused (AccessDenied: no)"),
            allow("s3:PutObject"),
        ),
        (
            "PutObject",
            refusal(503, "ServiceUnavailable"),
            format!("the upload of {name} was refused (ServiceUnavailable: no)"),
            busy.into(),
        ),
        (
            "PutObject",
            refusal(503, "SlowDown"),
            format!("the upload of {name} was refused (SlowDown: no)"),
            busy.into(),
        ),
        (
            "PutObject",
            refusal(403, "RequestTimeTooSkewed"),
            format!("the upload of {name} was refused (RequestTimeTooSkewed: no)"),
            "check the instance's clock (`timedatectl`) and its credentials".into(),
        ),
        (
            "GetObject wallets",
            refusal(403, "AccessDenied"),
            format!("the download of {name} was refused (AccessDenied: no)"),
            allow("s3:GetObject"),
        ),
        (
            "GetObject wallets",
            Fault::Answer(Response::new(200, "binary/octet-stream", "{}")),
            format!("{name} was read back otherwise than it was written"),
            "see what stands between the node and S3, such as a proxy".into(),
        ),
        (
            "GetObject wallets",
            Fault::Answer(Response::new(
                200,
                "binary/octet-stream",
                vec![b' '; 70_000],
            )),
            format!("{name} is larger than 65536 bytes"),
            "see who has put it there".into(),
        ),
    ];
    side_by_side(&cases, |(calls, fault, reason, hint)| {
        let mut machine = Machine::new("debian-12");
        machine.pace = 1000;
        machine.configure(|config| config["deadline_seconds"] = 43_200.into());
        data::put_volume(&mut machine, 10);
        machine.aws.state().fail(calls, u32::MAX, fault.clone());
        let said = machine.run(&[]).expect(0);
        let warning = format!("the wallet key is not backed up: {reason}; {hint}");
        assert!(said.output().contains(&warning), "{}", said.output());
        assert_eq!(machine.phases("failed"), [""; 0]);
        let warned = (
            "warn".to_owned(),
            format!("the key of {ADDRESS} is not backed up: {reason}"),
            format!("{hint}; then run: sudo bootstrap"),
        );
        assert_eq!(check(&machine), warned);
        look_for_the_password(&machine, &said.output());

        machine.aws.state().mend();
        machine.forget_calls();
        machine.run(&[]).expect(0);
        is_backed_up(&machine);
        assert_eq!(machine.changes(), [""; 0]);
    });
}

fn a_backup_is_never_overwritten() {
    for other in [object(), object().replace("/2e83", "/2E83")] {
        let machine = Machine::new("debian-12");
        let hold = |bytes: &[u8]| {
            let mut cloud = machine.aws.state();
            cloud.objects.insert(other.clone(), bytes.to_vec());
        };
        hold(b"another");
        machine.run(&[]).expect(0);
        assert_eq!(backups(&machine), [(other.clone(), b"another".to_vec())]);
        let (status, detail, hint) = check(&machine);
        assert_eq!(status, "warn");
        assert_eq!(
            detail,
            format!(
                "the key of {ADDRESS} is not backed up: s3://{other} is another key file of {ADDRESS} than the volume's, and is \
                 not overwritten"
            )
        );
        assert!(
            hint.contains(&format!("(aws s3 rm s3://{other}, ")),
            "{hint}"
        );
        machine
            .run(&["--phase", "wallet-backup", "--force"])
            .expect(0);
        assert_eq!(backups(&machine), [(other.clone(), b"another".to_vec())]);

        machine.aws.state().objects.remove(&other);
        machine.run(&[]).expect(0);
        is_backed_up(&machine);
    }
}

/// By an instance before this one, or by a run that was killed before it could write that down.
fn a_backup_that_was_made_before_is_taken_for_one() {
    let machine = healthy("debian-12");
    fs::remove_file(machine.path(RECORD)).unwrap();
    let (status, detail, hint) = check(&machine);
    assert_eq!(
        (status.as_str(), detail, hint.as_str()),
        (
            "warn",
            format!("the key of {ADDRESS} is not backed up"),
            "run: sudo bootstrap"
        )
    );
    machine.run(&[]).expect(0);
    is_backed_up(&machine);
    assert_eq!(machine.aws.state().requests_of("PutObject").len(), 1);

    // Another bucket is another place.
    let mut machine = machine;
    machine.configure(|config| config["wallet_backup"]["bucket"] = "elsewhere".into());
    machine.run(&[]).expect(0);
    let elsewhere = object().replace("theta-assets", "elsewhere");
    assert_eq!(machine.aws.state().objects[&elsewhere], key(&machine));
}

fn a_copy_that_the_password_does_not_open_is_no_backup() {
    const STORED: &str = "/run/bootstrap/secrets/wallet-password";
    let machine = Machine::new("debian-12");
    let secret = |value: &str| {
        let mut cloud = machine.aws.state();
        cloud.secrets.insert(SECRET.into(), value.into());
    };
    secret("testpassword");
    machine.run(&[]).expect(0);
    fs::write(machine.path(&format!("{KEYS}/{FILE}")), crate::secret::KEY).unwrap();
    machine.aws.state().objects.clear();
    fs::write(machine.path(STORED), "another").unwrap();
    let back_up = || machine.run(&["--phase", "wallet-backup"]).expect(0);
    let said = back_up().output();
    let unopened = format!(
        "the wallet password in memory does not open s3://{}",
        object()
    );
    assert!(said.contains(&unopened), "{said}");
    assert_eq!(check(&machine).0, "warn");

    fs::write(machine.path(STORED), "testpassword").unwrap();
    let said = back_up().output();
    assert!(!said.contains("testpassword"), "{said}");
    is_backed_up(&machine);
}

fn a_key_that_is_made_late_is_waited_for() {
    let mut machine = Machine::new("debian-12");
    machine.rule(json!({"run": "docker run --detach *", "also": true, "write": {"/data/edgelauncher/edgecore/db": ""}}));
    let run = machine.start(&[]);
    poll("it does not wait for the key", || {
        let log = fs::read_to_string(machine.path("/var/log/bootstrap.log")).unwrap_or_default();
        log.contains("waiting for the node to make its key")
            .then_some(())
    });
    assert_eq!(backups(&machine), []);
    let aside = machine.beside(FILE);
    fs::write(&aside, "{}").unwrap();
    let folder = machine.path(KEYS);
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o600)).unwrap();
    for path in [&aside, &folder] {
        chown(path, Some(1002), Some(1002)).unwrap();
    }
    fs::rename(aside, folder.join(FILE)).unwrap();
    run.wait().expect(0);
    is_backed_up(&machine);
}

fn without_a_place_for_it_no_copy_is_made() {
    let mut machine = Machine::new("debian-12");
    machine.configure(|config| {
        config.as_object_mut().unwrap().remove("wallet_backup");
    });
    machine.run(&[]).expect(0);
    let phase = machine.phase("wallet-backup");
    assert_eq!(phase["status"], "not-applicable");
    assert_eq!(phase["detail"], "the config has no wallet_backup");
    assert_eq!(asked(&machine), 0);
    assert_eq!(backups(&machine), []);
    assert!(!machine.path(RECORD).exists());
    let (status, detail, _) = check(&machine);
    assert_eq!(
        (status.as_str(), detail.as_str()),
        ("skip", "the config has no wallet_backup")
    );
    let planned = machine.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(planned["changes"], Value::from(0));
}

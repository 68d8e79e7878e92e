//! The copy of the wallet key outside the volume: made once, read back, never over anything; a bucket that refuses keeps
//! no node down. It is put back onto a volume that is new, and onto no other.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use serde_json::{Value, json};
use standins::aws::Fault;
use standins::http::Response;

use crate::Test;
use crate::faults::{data, look_for_the_password};
use crate::machine::{ADDRESS, BACKUPS, Machine, PASSWORD, SECRET, poll};
use crate::shared::{expect_failure, healthy, named, side_by_side};
use crate::volume::{stop_and_start, with_instance_store};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("backup::a_copy_of_the_key_is_made_once_and_read_back", a_copy_of_the_key_is_made_once_and_read_back),
    ("backup::a_bucket_that_refuses_keeps_no_node_down", a_bucket_that_refuses_keeps_no_node_down),
    ("backup::a_backup_is_never_overwritten", a_backup_is_never_overwritten),
    ("backup::a_backup_that_was_made_before_is_taken_for_one", a_backup_that_was_made_before_is_taken_for_one),
    ("backup::a_copy_that_the_password_does_not_open_is_no_backup", a_copy_that_the_password_does_not_open_is_no_backup),
    ("backup::a_key_that_is_made_late_is_waited_for", a_key_that_is_made_late_is_waited_for),
    ("backup::a_key_that_is_gone_is_not_waited_for", a_key_that_is_gone_is_not_waited_for),
    ("backup::a_lost_volume_is_survived", a_lost_volume_is_survived),
    ("backup::of_several_wallets_the_one_that_is_named_is_put_back", of_several_wallets_the_one_that_is_named_is_put_back),
    ("backup::no_new_wallet_is_made_while_the_bucket_does_not_tell", no_new_wallet_is_made_while_the_bucket_does_not_tell),
    ("backup::an_instance_store_is_stopped_and_keeps_its_wallet", an_instance_store_is_stopped_and_keeps_its_wallet),
    ("backup::only_a_key_that_the_password_opens_is_put_back", only_a_key_that_the_password_opens_is_put_back),
    ("backup::a_volume_that_has_been_used_gets_nothing_back", a_volume_that_has_been_used_gets_nothing_back),
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
    let found = named(&report["checks"], "wallet-backup");
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
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
        let mut machine = Machine::new("debian-12");
        data::put_volume(&mut machine, 10);
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

fn a_key_that_is_gone_is_not_waited_for() {
    let machine = healthy("debian-12");
    let (file, aside) = (
        machine.path(&format!("{KEYS}/{FILE}")),
        machine.beside(FILE),
    );
    fs::rename(&file, &aside).unwrap();
    let report = machine.run(&["verify", "--json"]).expect(1).json();
    assert_eq!(
        named(&report["checks"], "key")["hint"],
        format!(
            "put it back from its copy, on your own machine: scripts/backup-key --restore s3://{}",
            object()
        )
    );
    machine.run(&["--phase", "wallet-backup"]).expect(0);
    let log = fs::read_to_string(machine.path("/var/log/bootstrap.log")).unwrap();
    assert!(
        log.contains(&format!(
            "the key of {ADDRESS} is not on the volume any more"
        )),
        "{log}"
    );
    assert!(
        !log.contains("waiting for the node to make its key"),
        "{log}"
    );
    // Once it is back, nothing has to be run.
    fs::rename(&aside, &file).unwrap();
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

/// Of a wallet that no stand-in makes by itself.
const LOST: &str = "0x6666666666666666666666666666666666666666";
const UNUSED: &str = "/var/lib/bootstrap/unused-filesystem";
const TAG: &str = "theta-edge:wallet";

fn backup_of(address: &str) -> String {
    format!("theta-assets/{BACKUPS}/{address}/{}", &address[2..])
}

fn key_of(address: &str) -> String {
    format!(r#"{{"address":"{}","version":3}}"#, &address[2..])
}

fn hold(machine: &Machine, address: &str) {
    let mut cloud = machine.aws.state();
    let key = key_of(address).into_bytes();
    cloud.objects.insert(backup_of(address), key);
}

/// All that is left of this machine's wallet is its backup; its volume is new.
pub fn lose_volume(machine: &Machine) {
    hold(machine, LOST);
    machine
        .node
        .change(|node| LOST[2..].clone_into(&mut node.address));
}

/// The wallet of the backup is back, and is the only one anywhere.
#[track_caller]
pub fn is_put_back(machine: &Machine) {
    let folder = machine.path(KEYS);
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, [&LOST[2..]]);
    let file = folder.join(&LOST[2..]);
    assert_eq!(fs::read_to_string(&file).unwrap(), key_of(LOST));
    let mut path = machine.path("/data/edgelauncher");
    let mut modes = vec![(file, 0o600)];
    for part in ["", "edgecore", "key", "encrypted"] {
        path.push(part);
        modes.push((path.clone(), 0o700));
    }
    for (path, mode) in modes {
        let like = fs::metadata(&path).unwrap();
        let found = (like.uid(), like.gid(), like.mode() & 0o7777);
        assert_eq!(found, (1002, 1002, mode), "{}", path.display());
    }
    let beside = fs::read_dir(machine.path("/data/edgelauncher")).unwrap();
    assert_eq!(beside.count(), 1);
    assert_eq!(
        backups(machine),
        [(backup_of(LOST), key_of(LOST).into_bytes())]
    );
    let remembered = machine.read("/var/lib/bootstrap/wallet.json");
    assert!(remembered.contains(LOST), "{remembered}");
    assert_eq!(machine.aws.state().volumes[0].tags[TAG], LOST);
    assert!(!machine.path(UNUSED).exists());
    let said = format!("the key of {LOST} is in s3://{}", backup_of(LOST));
    let (status, detail, _) = check(machine);
    assert_eq!((status.as_str(), detail), ("pass", said));
}

/// The container's phase failed so, and nothing was started.
#[track_caller]
fn refused(machine: &Machine, reason: &str, hint: &str) {
    machine.run(&[]).expect(1);
    expect_failure(machine, "container", reason, hint);
    let calls = machine.calls();
    let started = calls
        .iter()
        .find(|call| call.starts_with("docker run --detach") || call.starts_with("docker start"));
    assert_eq!(started, None);
    assert!(!machine.path(KEYS).exists());
}

const NAME_ONE: &str = "name the right one's address in wallet_backup.address of /etc/bootstrap/config.json, then run: sudo \
                        bootstrap; another node must not run with it";

fn a_lost_volume_is_survived() {
    let machine = Machine::new("debian-12");
    lose_volume(&machine);
    machine.run(&[]).expect(0);
    is_put_back(&machine);
    let before = machine.snapshot();
    machine.run(&[]).expect(0);
    assert_eq!(machine.changed_since(&before), [""; 0]);
    look_for_the_password(&machine, "");
}

fn of_several_wallets_the_one_that_is_named_is_put_back() {
    let mut machine = Machine::new("debian-12");
    lose_volume(&machine);
    hold(&machine, ADDRESS);
    let both = format!(
        "the volume is new, and there are backups of several wallet keys: {ADDRESS}, {LOST}"
    );
    refused(&machine, &both, NAME_ONE);
    refused(&machine, &both, NAME_ONE);
    // Somebody tells EC2 of a third.
    let third = "0x7777777777777777777777777777777777777777";
    let set = |address: &str| {
        let mut cloud = machine.aws.state();
        cloud.volumes[0].tags.insert(TAG.into(), address.into());
    };
    set(third);
    machine.run(&["--phase", "volume", "--force"]).expect(0);
    let other =
        format!("the wallet of this node is {third}, but its backups are of {ADDRESS}, {LOST}");
    refused(&machine, &other, NAME_ONE);

    machine.configure(|config| config["wallet_backup"]["address"] = LOST.into());
    machine.run(&[]).expect(0);
    machine
        .aws
        .state()
        .objects
        .remove(&backup_of(ADDRESS))
        .unwrap();
    is_put_back(&machine);
}

fn no_new_wallet_is_made_while_the_bucket_does_not_tell() {
    let go_on = "then run: bootstrap --phase container. To go on without a backup, take wallet_backup out of \
                 /etc/bootstrap/config.json first";
    let unknown = "the volume is new, and its wallet cannot be looked up";
    for has_backup in [true, false] {
        let mut machine = Machine::new("debian-12");
        machine.pace = 1000;
        machine.configure(|config| config["deadline_seconds"] = 43_200.into());
        if has_backup {
            lose_volume(&machine);
        }
        for (calls, fault, what, hint) in [
            (
                "ListObjectsV2",
                refusal(403, "AccessDenied"),
                format!("the list of s3://theta-assets/{BACKUPS}/ was refused (AccessDenied: no)"),
                "allow s3:ListBucket in the policy of the instance's role",
            ),
            (
                "ListObjectsV2",
                refusal(503, "ServiceUnavailable"),
                format!(
                    "the list of s3://theta-assets/{BACKUPS}/ was refused (ServiceUnavailable: no)"
                ),
                "AWS is busy or has an outage; try again in a few minutes",
            ),
        ] {
            machine.aws.state().fail(calls, u32::MAX, fault);
            let reason = format!("{unknown}: {what}");
            refused(&machine, &reason, &format!("{hint}; {go_on}"));
            machine.aws.state().mend();
        }
        if has_backup {
            machine.run(&[]).expect(0);
            is_put_back(&machine);
        } else {
            // Its own way out.
            machine
                .aws
                .state()
                .fail("ListObjectsV2", u32::MAX, refusal(403, "AccessDenied"));
            machine.configure(|config| {
                config.as_object_mut().unwrap().remove("wallet_backup");
            });
            machine.run(&[]).expect(0);
            assert!(machine.path(&format!("{KEYS}/{FILE}")).exists());
        }
    }
}

fn an_instance_store_is_stopped_and_keeps_its_wallet() {
    let machine = with_instance_store();
    machine.run(&[]).expect(0);
    is_backed_up(&machine);
    let before = key(&machine);

    stop_and_start(&machine);
    machine.run(&[]).expect(0);
    assert_eq!(key(&machine), before);
    is_backed_up(&machine);
    let log = machine.read("/var/log/bootstrap.log");
    assert!(log.contains(&format!("the key of {ADDRESS} was put back from ")));
}

fn only_a_key_that_the_password_opens_is_put_back() {
    let machine = Machine::new("debian-12");
    let name = format!("s3://{}", object());
    let keep = |bytes: &str| {
        let mut cloud = machine.aws.state();
        cloud.objects.insert(object(), bytes.into());
    };
    let secret = |value: &str| {
        let mut cloud = machine.aws.state();
        cloud.secrets.insert(SECRET.into(), value.into());
    };
    keep("{");
    refused(
        &machine,
        &format!("the key file {name} is damaged: EOF while parsing an object at line 1 column 1"),
        "keep it, and put the key back from a copy (scripts/backup-key --restore), then run: bootstrap --phase secret --phase container",
    );
    keep(&key_of(LOST));
    refused(
        &machine,
        &format!("{name} says of itself that it is the key of {}", &LOST[2..]),
        "see who has put it there, and put the right one into its place; nothing was changed on the volume",
    );
    keep(crate::secret::KEY);
    refused(
        &machine,
        &format!("the wallet password does not open {name}"),
        "put the password with which the key was created back into the secret (aws secretsmanager put-secret-value), then run: \
         bootstrap --phase secret --phase container --force",
    );
    secret("testpassword");
    machine
        .run(&["--phase", "secret", "--phase", "container", "--force"])
        .expect(0);
    machine.run(&[]).expect(0);
    assert_eq!(key(&machine), crate::secret::KEY.as_bytes());
    is_backed_up(&machine);
}

/// Whatever is on it, or was: somebody may have moved the key away, to where another node runs with it.
fn a_volume_that_has_been_used_gets_nothing_back() {
    let machine = healthy("debian-12");
    is_backed_up(&machine);
    fs::rename(machine.path(KEYS), machine.beside("keys")).unwrap();
    machine.keep("status edgelauncher", "exited");
    machine.run(&[]).expect(1);
    let gone = format!("the wallet key of {ADDRESS} is gone: {KEYS} holds none");
    assert_eq!(machine.phase("container")["error"]["reason"], gone);
    assert!(!machine.path(KEYS).exists());

    // A replacement on a volume that an earlier node has left, and whose key is not in its place.
    let mut machine = Machine::new("debian-12");
    data::put_volume(&mut machine, 10);
    data::leave_out(&machine);
    hold(&machine, LOST);
    machine.run(&[]).expect(0);
    assert!(!machine.path(&format!("{KEYS}/{}", &LOST[2..])).exists());
}

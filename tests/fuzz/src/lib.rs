//! Every parser of what comes from outside, as a fuzz target.
//!
//! A target takes any bytes. It must neither panic nor hang nor take much memory, and what comes out of it must keep
//! what the rest of the program relies on: no control character in what is shown to people, no name that leads
//! elsewhere, an edit that needs no second one. `scripts/fuzz` searches for bytes that break this (libFuzzer);
//! `tests/fuzz/corpus/TARGET` holds those that lead to all the places which it has found, and every file there is a test.

#![allow(clippy::panic, clippy::expect_used)]

use std::io;

use serde_json::Value;

use bootstrap::aws::{ec2, imds, query, xml};
use bootstrap::config::{Config, Origin, render};
use bootstrap::edge::container::Container;
use bootstrap::edge::earnings;
use bootstrap::edge::image::ImageFacts;
use bootstrap::edge::keystore::{Keystore, Read};
use bootstrap::edge::processes::Answer;
use bootstrap::edge::run_as::RunAs;
use bootstrap::edge::{Spec, rpc, trouble};
use bootstrap::engine::journal::Journal;
use bootstrap::error::{Error, OrFail as _};
use bootstrap::health::progress::Progress;
use bootstrap::host::Host;
use bootstrap::host::disk::{VolumeId, parse_wipefs};
use bootstrap::host::failures;
use bootstrap::host::mounts::{FstabEntry, parse_mount};
use bootstrap::host::nvidia::cards;
use bootstrap::host::openpgp::only_key;
use bootstrap::host::os::recognise;
use bootstrap::host::users::{parse_account, parse_group};
use bootstrap::http::Response;
use bootstrap::log::printable;
use bootstrap::phases::{VolumeOrigin, daemon_json, read_archive, volume_origin};
use bootstrap::report::{svg, text};
use bootstrap::wallet_password::WalletPassword;

/// A name, and what is done with the bytes.
type Target = (&'static str, fn(&[u8]));

/// All of them.
#[rustfmt::skip]
pub const TARGETS: [Target; 19] = [
    ("archive", archive),
    ("accounts", accounts),
    ("config", config),
    ("daemon_json", docker_config),
    ("fstab", fstab),
    ("imds", metadata),
    ("inspect", inspect),
    ("journal", journal),
    ("keystore", keystore),
    ("mounts", mounts),
    ("nvidia_smi", nvidia_smi),
    ("openpgp", openpgp),
    ("os_release", os_release),
    ("redaction", redaction),
    ("rpc", json_rpc),
    ("spec", spec),
    ("tags", tags),
    ("tool_messages", tool_messages),
    ("wipefs", wipefs),
];

/// Our own spec, for the arguments that a config leads to.
const EDGE: &[u8] = include_bytes!("../../../cloudformation/assets/edge.json");

/// What is quoted to people is one line and steers no terminal.
fn shown(text: &str) {
    let bad = text
        .chars()
        .find(|c| c.is_control() || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    assert_eq!(bad, None, "{text:?}");
}

fn told(error: &Error) {
    shown(error.reason());
    shown(error.hint());
    assert!(!error.hint().is_empty(), "no hint: {}", error.reason());
}

fn archive(data: &[u8]) {
    let mut total = 0;
    let read = read_archive(data, |name, content| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!(
            name.chars().all(is_plain) && !name.starts_with('.'),
            "{name:?}"
        );
        total += io::copy(content, &mut io::sink()).or_fail(|| "it cannot be taken", "take it")?;
        assert!(total <= 1 << 30, "{total} bytes");
        Ok(())
    });
    if let Err(error) = read {
        told(&error);
    }
}

fn accounts(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines() {
        let _ = parse_account(line);
        let _ = parse_group(line);
    }
}

fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Config::load(text) {
        Err(problems) => {
            assert!(!problems.is_empty());
            render(&problems).lines().for_each(shown);
        }
        Ok(config) => {
            // Whatever the table lets through becomes arguments of a command.
            let spec = Spec::parse(EDGE, &config.edge.network).expect("our own spec");
            let image = ImageFacts {
                id: "sha256:0".into(),
                argv: vec!["/start".into()],
                ..ImageFacts::default()
            };
            spec.wanted(&config, &image, RunAs::Image)
                .argv
                .iter()
                .for_each(|word| shown(word));
        }
    }
}

fn docker_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match daemon_json(Some(&text)) {
        Err(error) => told(&error),
        Ok(None) => {}
        Ok(Some(merged)) => {
            let again = daemon_json(Some(&merged)).expect("what we wrote");
            assert_eq!(again, None, "a second edit");
        }
    }
}

fn fstab(data: &[u8]) {
    let entry = FstabEntry {
        uuid: "5ca1ab1e-0000-4000-8000-00000000da7a".into(),
        target: "/data".into(),
        filesystem: "ext4".into(),
        volume: Some("vol-0123456789abcdef0".into()),
    };
    match entry.edit(data) {
        Err(error) => told(&error),
        Ok(None) => {}
        Ok(Some(edited)) => {
            assert_eq!(
                entry.edit(&edited).expect("what we wrote"),
                None,
                "a second edit"
            );
            for line in data.split(|byte| *byte == b'\n') {
                let is_ours = line.windows(11).any(|part| part == b"x-bootstrap");
                let is_kept = edited.split(|byte| *byte == b'\n').any(|kept| kept == line);
                assert!(is_ours || is_kept, "a line is lost: {line:?}");
            }
        }
    }
}

/// What the metadata service says of the instance, one answer a line; then what AWS's Query APIs say.
fn metadata(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        for is_valid in [
            imds::is_instance_id,
            imds::is_region,
            imds::is_instance_type,
        ] {
            if is_valid(line) {
                shown(line);
                assert!(!line.contains(['/', ' ', '?', '@']), "{line:?}");
            }
        }
    }
    let root = xml::parse(&text);
    if let Some(root) = &root {
        let _ = ec2::volume(root);
    }
    let response = Response {
        status: 400,
        body: data.to_vec(),
    };
    shown(&query::refusal(400, root.as_ref(), &response).text());
}

fn inspect(data: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    if let Err(error) = ImageFacts::from_inspect(&document) {
        told(&error);
    }
    let container = Container::from_inspect(document);
    shown(&container.status);
    let _ = container.age(jiff::Timestamp::UNIX_EPOCH);
}

fn journal(data: &[u8]) {
    let now = jiff::Timestamp::UNIX_EPOCH;
    match Journal::parse(data) {
        Err(error) => told(&error),
        Ok(journal) => {
            let _ = text::summary(&journal);
            let _ = text::timeline(&journal, 80, now);
            assert!(svg::chart(&journal, now).starts_with("<svg"));
            let bytes = serde_json::to_vec(&journal).expect("a journal");
            assert_eq!(Journal::parse(&bytes).expect("what we wrote"), journal);
        }
    }
    let _ = serde_json::from_slice::<Progress>(data);
}

/// The first line is the password, the rest the key file: it may ask for no more than it is allowed, and opens nothing else
/// than what was encrypted with the password.
fn keystore(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (Some(password), Some(file)) = (parts.next(), parts.next()) else {
        return;
    };
    let keystore = match Keystore::read(file, "/key") {
        Err(error) => return told(&error),
        Ok(Read::Unknown(what)) => return shown(&what),
        Ok(Read::Known(keystore)) => keystore,
    };
    // What the reader passes over may be no JSON to others.
    let Ok(file) = serde_json::from_slice::<Value>(file) else {
        return;
    };
    let crypto = file.get("crypto").or_else(|| file.get("Crypto"));
    let params = crypto
        .and_then(|crypto| crypto.get("kdfparams"))
        .expect("its parameters");
    let number = |name: &str| params[name].as_u64().unwrap_or_default();
    let (n, r, p, rounds) = (number("n"), number("r"), number("p"), number("c"));
    let is_scrypt = crypto.is_some_and(|crypto| crypto["kdf"] == "scrypt");
    let work = if is_scrypt { n * r * p } else { rounds };
    assert!(
        work <= 10_000_000 && (!is_scrypt || n * r <= 4 << 20),
        "{params}"
    );
    // What is allowed takes seconds; here it is the parser that is looked at.
    if work <= 1 << 10 {
        let opened = keystore.opens(&WalletPassword::new(password.to_vec()));
        let other = keystore.opens(&WalletPassword::new([password, b"?"].concat()));
        assert!(!(opened && other), "any password opens it");
    }
}

/// What DescribeVolumes says of the volume, and what is made of its tags.
fn tags(data: &[u8]) {
    let root = xml::parse(&String::from_utf8_lossy(data));
    let Some(known) = root.as_ref().and_then(ec2::volume) else {
        return;
    };
    // A machine that remembers nothing.
    let host = Host::at("/nonexistent");
    let id = VolumeId::parse("vol-0abc1234").expect("an id");
    let has_memory = ["theta-edge:filesystem", "theta-edge:wallet"]
        .iter()
        .any(|tag| known.tags.contains_key(*tag));
    let is_copy = known
        .snapshot_id
        .as_deref()
        .is_some_and(|id| !id.is_empty());
    for origin in [Origin::New, Origin::Given] {
        match volume_origin(&host, &id, origin, &known, "i-me").expect("it is told") {
            VolumeOrigin::Kept(why) => shown(&why),
            made => {
                assert_eq!(made, VolumeOrigin::New);
                assert!(
                    origin == Origin::New && !has_memory && !is_copy,
                    "{known:?}"
                );
            }
        }
    }
}

fn mounts(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines() {
        let _ = parse_mount(line);
    }
}

fn nvidia_smi(data: &[u8]) {
    match cards(&String::from_utf8_lossy(data)) {
        Err(said) => shown(&said),
        Ok(cards) => {
            for card in cards {
                shown(&card.name);
                shown(&card.driver);
            }
        }
    }
}

fn openpgp(data: &[u8]) {
    if let Some(fingerprint) = only_key(data) {
        assert_eq!(fingerprint.len(), 40);
        // Nobody smuggles a second key in behind it.
        assert_eq!(only_key(&[data, data].concat()), None);
    }
}

fn os_release(data: &[u8]) {
    if let Err(error) = recognise(&String::from_utf8_lossy(data), "/etc/os-release") {
        told(&error);
    }
}

/// The first line is the password, the rest is the log.
fn redaction(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((password, log)) = text.split_once('\n') else {
        return;
    };
    let secret = WalletPassword::new(password.as_bytes().to_vec());
    let quoted = trouble::last_lines(log, Some(&secret));
    shown(&quoted);
    if let Some(error) = trouble::known(log) {
        told(&error);
    }
    // One that shares letters with what is put in its place, is said around it, or escapes something, proves nothing.
    let password = printable(password);
    let own = "[redacted] its log ends: is empty | …\\u{0123456789abcdef}";
    if !password.is_empty() && !password.contains(|c: char| own.contains(c)) {
        assert!(!quoted.contains(&password), "{quoted:?} tells {password:?}");
    }
}

/// The first line is the tool and its subcommand, the rest what it printed.
fn tool_messages(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((tool, said)) = text.split_once('\n') else {
        return;
    };
    let (program, verb) = tool.split_once(' ').unwrap_or((tool, ""));
    let tool = failures::tool(program, verb);
    for (stderr, stdout) in [(said, ""), ("", said)] {
        let failure = failures::read_as(tool, stderr, stdout);
        shown(&failure.reason);
        assert!(!failure.hint.is_empty());
        // Whatever was said, something is quoted.
        assert_eq!(
            failure.reason.is_empty(),
            printable(said).is_empty(),
            "{said:?}"
        );
    }
    failures::docker::is_absent(said);
    failures::docker::is_program_missing(said);
    failures::systemctl::is_unit_absent(said);
    failures::modprobe::is_refused(said);
}

fn json_rpc(data: &[u8]) {
    let response = Response {
        status: 200,
        body: data.to_vec(),
    };
    match rpc::result(&response) {
        Err(fault) => shown(&fault.to_string()),
        Ok(result) => {
            if let Ok(status) = rpc::status(&result) {
                status
                    .address
                    .iter()
                    .chain(&status.chain)
                    .for_each(|text| shown(text));
            }
            for question in Spec::parse(EDGE, "mainnet")
                .expect("our own spec")
                .questions
            {
                let said = Ok(result.clone());
                let told = earnings::told(&[Answer { question, said }], 1_700_000_000);
                assert!(
                    told.pending_tfuel
                        .is_none_or(|tfuel| tfuel >= 0.0 && tfuel.is_finite())
                );
                assert!(
                    told.jobs
                        .is_none_or(|jobs| jobs.failed_in_a_row <= jobs.failed)
                );
            }
            if let Ok(peers) = rpc::peers(&result) {
                assert!(peers.len() <= 1_000);
                for peer in peers {
                    shown(&peer);
                }
            }
        }
    }
}

fn spec(data: &[u8]) {
    match Spec::parse(data, "mainnet") {
        Err(error) => told(&error),
        Ok(spec) => {
            let below = |path: &str| !path.split('/').any(|part| part == ".." || part.is_empty());
            assert!(below(&spec.data.source) && below(&spec.keys), "{spec:?}");
            shown(&spec.name);
        }
    }
}

fn wipefs(data: &[u8]) {
    if let Ok(found) = parse_wipefs(&String::from_utf8_lossy(data)) {
        for finding in found {
            shown(&finding.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::TARGETS;

    #[test]
    fn every_file_of_the_corpora_is_taken() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        for (name, target) in TARGETS {
            let files = fs::read_dir(corpora.join(name)).expect("a corpus");
            let mut count = 0;
            for file in files {
                let path = file.expect("an entry").path();
                let bytes = fs::read(&path).expect("a file");
                let taken = std::panic::catch_unwind(|| target(&bytes));
                assert!(taken.is_ok(), "{}", path.display());
                count += 1;
            }
            assert!(count > 0, "{name} has no corpus");
        }
    }
}

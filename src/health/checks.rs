//! Judges what is right and what is wrong, from the facts alone. Every failure says what to run.

use std::collections::BTreeMap;
use std::fmt;

use super::facts::Facts;
use super::progress::STALL_SECONDS;
use super::report::{Check, RUN, Status};
use crate::config::Config;
use crate::edge::container::Container;
use crate::edge::keys::Keys;
use crate::edge::processes::{self, ANYCAST, Process};
use crate::edge::rpc::Fault;
use crate::edge::wallet;
use crate::engine::State;
use crate::engine::journal::lasting;
use crate::error::Result;
use crate::host::room::Space;
use crate::shell::word;

/// How long the node may take, in seconds, until its RPC answers (the blueprint's guide says ten minutes).
const START_SECONDS: i64 = 15 * 60;

/// How long the node may take, in seconds, until it has a height and peers.
const JOIN_SECONDS: i64 = 30 * 60;

/// This many failed jobs in a row are no accident (alarm `JobsFailing` uses the same number).
const FAILING: u64 = 3;

/// How long the node may be without a job, in seconds, before that is mentioned.
const IDLE_SECONDS: i64 = 3 * 24 * 3600;

/// Limit for the last vote's age, in seconds: votes follow checkpoints, which come about every ten minutes.
const VOTE_SECONDS: i64 = 3600;

/// A tick comes every 60 s; this many seconds without one are a failure.
const TICK_SECONDS: i64 = 180;

/// Shorter uptimes than this, in seconds, with this many restarts are a crash loop.
const LOOP_SECONDS: i64 = 600;
const LOOP_RESTARTS: u64 = 3;

/// The groups that `verify --only` takes, and their checks.
pub const GROUPS: &[(&str, &[&str])] = &[
    (
        "machine",
        &["os", "boot-service", "ssm-agent", "user", "disk-root"],
    ),
    ("gpu", &["gpu-driver", "gpu-container"]),
    (
        "volume",
        &[
            "volume",
            "volume-encrypted",
            "disk-data",
            "key",
            "wallet-backup",
        ],
    ),
    (
        "container",
        &[
            "docker",
            "assets",
            "image",
            "secret",
            "container",
            "spec",
            "password",
            "ports",
        ],
    ),
    (
        "node",
        &[
            "rpc", "launcher", "encoder", "anycast", "height", "peers", "staking",
        ],
    ),
    ("earnings", &["pending-tfuel", "jobs", "uptime-vote"]),
    ("metrics", &["cloudwatch-agent", "metrics"]),
];

/// Every check in the order of reports, and the checks that it depends on: if one of those fails, it could only repeat
/// the failure in other words, or mislead (the key folder of an unmounted volume holds no key, yet the key is not
/// lost).
const CHECKS: &[(&str, &[&str])] = &[
    ("os", &[]),
    ("boot-service", &["os"]),
    ("ssm-agent", &[]),
    ("gpu-driver", &[]),
    ("docker", &[]),
    ("image", &["docker"]),
    ("user", &[]),
    ("volume", &[]),
    ("volume-encrypted", &[]),
    ("disk-root", &[]),
    ("disk-data", &["volume"]),
    ("assets", &[]),
    ("secret", &[]),
    ("cloudwatch-agent", &["assets"]),
    ("key", &["volume", "assets"]),
    ("wallet-backup", &["key"]),
    (
        "container",
        &["docker", "image", "volume", "assets", "secret"],
    ),
    ("spec", &["container"]),
    ("password", &[]),
    ("gpu-container", &["gpu-driver", "container"]),
    ("ports", &["container"]),
    ("rpc", &["container"]),
    ("launcher", &["container"]),
    ("encoder", &["container"]),
    ("anycast", &["container"]),
    ("height", &["rpc"]),
    ("peers", &["rpc"]),
    ("metrics", &["assets"]),
    ("staking", &["rpc"]),
    ("pending-tfuel", &["encoder"]),
    ("jobs", &["launcher", "encoder"]),
    ("uptime-vote", &["rpc"]),
];

/// Phases whose check has another name than the phase.
const RENAMED: [(&str, &str); 3] = [
    ("nvidia", "gpu-driver"),
    ("container", "spec"),
    ("metrics-cron", "metrics"),
];

/// Every check, in the order of reports.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// What the check depends on.
pub fn needs(check: &str) -> &'static [&'static str] {
    let found = CHECKS.iter().find(|(name, _)| *name == check);
    found.map_or(&[], |(_, needs)| needs)
}

/// The checks that report the result of a phase's own check.
pub fn checks_of(phase: &str) -> Vec<&'static str> {
    if phase == "preflight" {
        return vec!["os", "boot-service"];
    }
    let renamed = RENAMED.iter().find(|(name, _)| *name == phase);
    let check = renamed.map_or(phase, |(_, check)| check);
    names().filter(|name| *name == check).collect()
}

/// Checks that see nothing of the volume while it is not mounted, and would pass.
const BLIND: [&str; 2] = ["disk-data", "key"];

/// The status of a check, the evidence, and what to do.
type Finding = (Status, String, Option<String>);

/// Judges everything.
pub(super) fn judge(facts: &Facts, config: &Config) -> Vec<Check> {
    let mut findings = of_phases(facts);
    findings.extend([
        ("volume-encrypted", encrypted(facts)),
        (
            "disk-root",
            room(
                &facts.spaces,
                "see what fills it: docker system df; journalctl --disk-usage",
            ),
        ),
        (
            "disk-data",
            room(
                std::slice::from_ref(&facts.data_space),
                "make the EBS volume larger, then run: sudo bootstrap",
            ),
        ),
        ("key", key(facts)),
        ("container", container(facts)),
        ("password", password(facts)),
        ("gpu-container", gpu_container(facts)),
        ("ports", ports(facts, config)),
        ("rpc", rpc(facts)),
        ("launcher", process(facts, Process::Launcher)),
        ("encoder", process(facts, Process::Encoder)),
        ("anycast", anycast(facts)),
        ("height", height(facts)),
        ("peers", peers(facts)),
        ("staking", staking(facts)),
        ("pending-tfuel", pending_tfuel(facts)),
        ("jobs", jobs(facts)),
        ("uptime-vote", uptime_vote(facts)),
    ]);
    let place = |name: &str| CHECKS.iter().position(|(known, _)| *known == name);
    findings.sort_by_key(|(name, _)| place(name).unwrap_or(CHECKS.len()));
    let check = |(name, (status, detail, hint))| Check {
        name,
        status,
        detail,
        hint,
        cause: None,
    };
    with_causes(findings.into_iter().map(check).collect())
}

/// The results of the phases' own checks; preflight's is reported twice, for the system and for the boot service.
fn of_phases(facts: &Facts) -> Vec<(&'static str, Finding)> {
    let mut findings = Vec::new();
    for (phase, said) in &facts.phases {
        let finding = match said {
            Ok(State::Done(evidence)) => pass(evidence.as_str()),
            Ok(State::NotApplicable(why)) => skip(why.as_str()),
            Ok(State::Needed(missing)) => fail(missing.as_str(), RUN),
            Err(error) => fail(error.to_string(), error.hint()),
        };
        let renamed = RENAMED.iter().find(|(name, _)| name == phase);
        let of_phase = match (*phase, renamed) {
            ("preflight", _) => {
                let os = match (said, &facts.os) {
                    (Ok(_), Ok(name)) => pass(name.as_str()),
                    _ => finding.clone(),
                };
                findings.push(("os", os));
                let right = "bootstrap.service runs at every boot";
                let is_done = finding.0 == Status::Pass;
                ("boot-service", if is_done { pass(right) } else { finding })
            }
            ("metrics-cron", _) if finding.0 == Status::Pass => ("metrics", metrics(facts)),
            ("wallet-backup", _) => ("wallet-backup", wallet_backup(facts, finding)),
            ("secret", _) if finding.0 == Status::Pass => ("secret", secret(facts, finding)),
            (_, Some((_, check))) => (*check, finding),
            (phase, None) => (phase, finding),
        };
        findings.push(of_phase);
    }
    findings
}

/// The checks; one that depends on a failed one is skipped because of it, unless it passes anyway.
fn with_causes(mut checks: Vec<Check>) -> Vec<Check> {
    let mut causes: BTreeMap<&str, &'static str> = BTreeMap::new();
    for check in &mut checks {
        let mut needs = needs(check.name).iter();
        let cause = needs.find_map(|need| causes.get(need).copied());
        let is_wrong = matches!(check.status, Status::Fail | Status::Warn);
        if let Some(cause) = cause
            && (is_wrong || BLIND.contains(&check.name))
        {
            check.status = Status::Skip;
            check.detail = format!("because of {cause}");
            check.hint = None;
            check.cause = Some(cause);
            causes.insert(check.name, cause);
        } else if check.status == Status::Fail {
            causes.insert(check.name, check.name);
        }
    }
    checks
}

fn pass(detail: impl Into<String>) -> Finding {
    (Status::Pass, detail.into(), None)
}

fn skip(detail: impl Into<String>) -> Finding {
    (Status::Skip, detail.into(), None)
}

fn warn(detail: impl Into<String>, hint: impl Into<String>) -> Finding {
    (Status::Warn, detail.into(), Some(hint.into()))
}

fn fail(detail: impl Into<String>, hint: impl Into<String>) -> Finding {
    (Status::Fail, detail.into(), Some(hint.into()))
}

fn encrypted(facts: &Facts) -> Finding {
    match &facts.encrypted {
        None => skip("an instance store"),
        Some(Err(error)) => skip(format!("AWS did not say: {error}")),
        Some(Ok(encrypted)) => holds(
            *encrypted,
            "encrypted",
            "the volume that holds the wallet key is not encrypted",
            "copy it: snapshot, encrypted volume from it, then deploy with that volume's id",
        ),
    }
}

/// Compares the password in memory with the one that the next boot would fetch.
fn secret(facts: &Facts, in_memory: Finding) -> Finding {
    match &facts.secret_changed {
        Some(Ok(true)) => warn(
            "the secret was changed: the next boot takes another wallet password than the one in use",
            "run: bootstrap --phase secret --force, which says whether the new one opens the key, and what to do",
        ),
        Some(Err(error)) if !error.is_transient() || error.is_settling() => warn(
            format!("the next boot cannot fetch it: {error}"),
            error.hint(),
        ),
        _ => in_memory,
    }
}

/// A node without a backup works as well as one with it, as long as it has its volume.
fn wallet_backup(facts: &Facts, said: Finding) -> Finding {
    match (said, &facts.backup_trouble) {
        ((Status::Fail, missing, _), Some(trouble)) => warn(
            format!("{missing}: {}", trouble.reason),
            format!("{}; then {RUN}", trouble.hint),
        ),
        ((Status::Fail, missing, hint), None) => (Status::Warn, missing, hint),
        (said, _) => said,
    }
}

/// Free space on each of the disks; the worst status decides.
fn room(disks: &[(String, Result<Space>)], hint: &str) -> Finding {
    let mut worst = Status::Pass;
    let mut details = Vec::new();
    for (place, answer) in disks {
        let space = match answer {
            Err(error) => return fail(error.to_string(), error.hint()),
            Ok(space) => space,
        };
        let percent = space.free.saturating_mul(100) / space.size.max(1);
        details.push(format!("{place}: {percent} % free ({})", size(space.free)));
        worst = match (percent, worst) {
            (0..5, _) | (_, Status::Fail) => Status::Fail,
            (5..15, _) | (_, Status::Warn) => Status::Warn,
            _ => worst,
        };
    }
    let hint = (worst != Status::Pass).then(|| hint.to_owned());
    (worst, details.join(", "), hint)
}

/// Bytes for people, to at least two digits.
fn size(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        gib @ 1..10 => format!("{gib}.{} GiB", ((bytes % (1 << 30)) * 10) >> 30),
        gib => format!("{gib} GiB"),
    }
}

/// How long ago something was, for people; zero if the clock was set back.
fn ago(seconds: i64) -> String {
    match u32::try_from(seconds.max(0)).unwrap_or(u32::MAX) {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => lasting(seconds.into()),
    }
}

fn key(facts: &Facts) -> Finding {
    let folder = match &facts.keys {
        Err(error) => {
            return fail(error.to_string(), error.hint());
        }
        Ok(folder) => folder,
    };
    let path = &folder.path;
    let answered = facts.edge.live.status.as_ref().ok();
    let by_rpc = answered.and_then(|status| status.address.as_deref());
    let wallet = facts.wallet.as_deref();
    if let Some(another) = wallet.and_then(|known| wallet::contradiction(known, folder, by_rpc)) {
        return fail(another.reason(), another.hint());
    }
    match &folder.keys {
        Keys::None if by_rpc.is_some() => fail(
            format!(
                "the node has an address, but {path} holds no key: it is not kept on the volume"
            ),
            facts.backup.as_ref().map_or_else(
                || {
                    "do not reboot or stop the instance; run: docker inspect edgelauncher, and save the key from inside the \
                     container"
                        .into()
                },
                |copy| {
                    format!(
                        "put it back from its copy, on your own machine: scripts/backup-key --restore {}",
                        word(copy)
                    )
                },
            ),
        ),
        Keys::None if facts.wallet.is_some() => {
            let gone = wallet::gone(facts.wallet.as_deref().unwrap_or_default(), path);
            fail(gone.reason(), gone.hint())
        }
        Keys::None => warn(
            format!("{path} holds no key yet: the node makes one at its first start"),
            "wait: bootstrap verify --wait 15m",
        ),
        Keys::Several(names) => fail(
            format!(
                "{path} holds several files, the node will not start: {}",
                names.join(", ")
            ),
            "move all but the right key file to a safe place outside that folder, then run: bootstrap --phase container",
        ),
        Keys::One(address) if by_rpc.is_some_and(|by_rpc| by_rpc != address) => fail(
            format!(
                "{path} holds the key of {address}, but the node runs as {}",
                by_rpc.unwrap_or_default()
            ),
            "run: docker restart edgelauncher, then: bootstrap verify",
        ),
        _ if !folder.foreign.is_empty() => fail(
            folder.foreign.join("; "),
            format!(
                "run: bootstrap --phase container --force, which names the remedy; look: ls -la {}",
                word(path)
            ),
        ),
        _ if !folder.closed.is_empty() => {
            let (found, mend) = modes(&folder.closed);
            fail(format!("{found}: the node cannot read its key"), mend)
        }
        _ if !folder.unsafe_modes.is_empty() => {
            let (found, mend) = modes(&folder.unsafe_modes);
            warn(found, mend)
        }
        Keys::Unknown(name) => warn(
            format!("{path} holds {name}, which is not named like a key"),
            format!("look at it: ls -la {}", word(path)),
        ),
        Keys::One(address) => pass(format!("one key, {address}")),
    }
}

/// What is wrong with permissions, and the commands that fix it.
fn modes(modes: &[(String, String)]) -> (String, String) {
    let (found, mend): (Vec<&str>, Vec<&str>) = modes
        .iter()
        .map(|(found, mend)| (found.as_str(), mend.as_str()))
        .unzip();
    (found.join("; "), format!("run: {}", mend.join(" && ")))
}

fn container(facts: &Facts) -> Finding {
    let wrong = |detail: String, hint: &str| fail(detail, hint);
    let found = match &facts.edge.live.container {
        Err(error) => return wrong(error.to_string(), error.hint()),
        Ok(None) => return wrong("there is no container".into(), RUN),
        Ok(Some(found)) => found,
    };
    if found.spec.is_none() {
        return wrong(
            "a container of that name exists that bootstrap did not make".into(),
            "run: bootstrap --phase container, which says how to move it aside",
        );
    }
    if let Some((reason, hint)) = &facts.edge.trouble {
        return wrong(reason.clone(), hint);
    }
    let age = found.age(facts.now).unwrap_or_default();
    let ends = || {
        facts
            .edge
            .log_end
            .as_deref()
            .unwrap_or("its log is not known")
    };
    if !found.is_up() {
        return wrong(
            format!("{}, exit code {}; {}", found.status, found.end(), ends()),
            RUN,
        );
    }
    if found.restarts >= LOOP_RESTARTS && age < LOOP_SECONDS {
        return wrong(
            format!(
                "started again {} times, last {} ago; {}",
                found.restarts,
                ago(age),
                ends()
            ),
            "read its log: docker logs --tail 100 edgelauncher",
        );
    }
    let restarts = match found.restarts {
        0 => String::new(),
        1 => ", 1 restart".into(),
        some => format!(", {some} restarts"),
    };
    pass(format!("running for {}{restarts}", ago(age)))
}

fn password(facts: &Facts) -> Finding {
    match facts.edge.exposed {
        None => skip("nothing to look for"),
        Some(exposed) => holds(
            !exposed,
            "not in docker inspect",
            "docker inspect shows the wallet password",
            "remove the container (docker rm -f edgelauncher), then run: bootstrap --phase container",
        ),
    }
}

fn gpu_container(facts: &Facts) -> Finding {
    let now = facts.now.as_second();
    match &facts.edge.live.gpus {
        None => skip("gpu is false"),
        Some(Ok(seen)) if let Some((said, hint)) = &seen.doubt => {
            warn(format!("{} {said}", seen.names).trim().to_owned(), *hint)
        }
        Some(Ok(seen)) => pass(match facts.progress.gpu_restarted_at {
            // Worth mentioning for about a day.
            Some(time) if (0..24 * 3600).contains(&(now - time)) => {
                format!(
                    "{}; restarted {} ago, since it had lost its GPU",
                    seen.names,
                    ago(now - time)
                )
            }
            _ => seen.names.clone(),
        }),
        Some(Err(said)) => fail(
            match (facts.progress.gpu_restarted_at, facts.progress.gpu_lost_at) {
                (Some(restarted), Some(lost)) if lost <= restarted => format!(
                    "the container does not see its GPU, and a restart {} ago did not help: {said}",
                    ago(now - restarted)
                ),
                _ => format!("the container does not see its GPU: {said}"),
            },
            "run: docker restart edgelauncher; if that does not help: bootstrap --phase nvidia --phase docker",
        ),
    }
}

fn ports(facts: &Facts, config: &Config) -> Finding {
    let (Ok(spec), Some(found)) = (&facts.spec, running(facts).filter(|found| found.is_up()))
    else {
        return fail("no container runs", RUN);
    };
    let bind = config.edge.rpc_bind.to_string();
    let foreign = found
        .ports
        .iter()
        .find(|(address, port)| *address != bind || !spec.ports.contains(port));
    let closed = spec
        .ports
        .iter()
        .find(|port| !found.ports.iter().any(|(_, open)| open == *port));
    let mend = "run: bootstrap --phase container --force; if it stays: docker rm -f edgelauncher, then bootstrap --phase container";
    match (foreign, closed) {
        (Some((address, port)), _) => fail(format!("port {port} is published at {address}"), mend),
        (None, Some(port)) => fail(format!("port {port} is not published"), mend),
        (None, None) => pass(format!("published at {bind} only")),
    }
}

fn rpc(facts: &Facts) -> Finding {
    match &facts.edge.live.status {
        Ok(status) => match &status.address {
            Some(address) => {
                let chain = status.chain.as_deref().unwrap_or("chain not named");
                let version = facts.edge.version.as_deref().unwrap_or("version not named");
                pass(format!("{address}, {chain}, {version}"))
            }
            None => fail(
                "the node answers, but reports no address",
                "wait: bootstrap verify --wait 15m; if it stays: docker restart edgelauncher",
            ),
        },
        Err(fault) => {
            let detail = with_last_word(facts, "core", fault);
            match starting(facts) {
                Some(since) if *fault == Fault::Refused => fail(format!("{detail}; {since}"), WAIT),
                _ => fail(detail, READ),
            }
        }
    }
}

const READ: &str =
    "read the log: docker logs --tail 100 edgelauncher; then: docker restart edgelauncher";
const WAIT: &str = "wait, a start can take ten minutes: bootstrap verify --wait 15m";

/// Since when the container runs, if it may still be starting.
fn starting(facts: &Facts) -> Option<String> {
    let age = running(facts).and_then(|found| found.age(facts.now))?;
    (age < START_SECONDS).then(|| format!("the container started {} ago", ago(age)))
}

/// What is wrong with a process, and what its own log last said.
fn with_last_word(facts: &Facts, process: &str, fault: impl fmt::Display) -> String {
    match facts.edge.last_words.get(process) {
        Some(word) => format!("{fault}; {word}"),
        None => fault.to_string(),
    }
}

/// A process besides the core. The core alone may look fine while nothing does the jobs.
fn process(facts: &Facts, process: Process) -> Finding {
    let fault = match processes::lives(process, &facts.edge.live.answers) {
        None => return skip("edge.json has no question for it"),
        Some(Ok(())) => return pass("answers"),
        Some(Err(fault)) => fault,
    };
    let detail = with_last_word(facts, process.name(), &fault);
    match starting(facts) {
        Some(since) => warn(format!("{detail}; {since}"), WAIT),
        None => fail(detail, READ),
    }
}

/// The process that answers no RPC.
fn anycast(facts: &Facts) -> Finding {
    match facts.edge.anycast_runs {
        None => skip("it was not seen to run since the container's start"),
        Some(true) => pass("runs"),
        Some(false) => warn(with_last_word(facts, ANYCAST, "it has ended"), READ),
    }
}

fn height(facts: &Facts) -> Finding {
    let stuck = "read the log: docker logs --tail 100 edgelauncher; check outbound TCP 16888; then: docker restart edgelauncher";
    let Ok(status) = &facts.edge.live.status else {
        return fail("not known", stuck);
    };
    let wait = "wait: bootstrap verify --wait 30m";
    match status.height.filter(|height| *height > 0) {
        None if joined_long_ago(facts) => fail("not known 30 minutes after the start", stuck),
        None => warn("not known yet", wait),
        Some(height) => {
            let age = facts.progress.height_age(facts.now.as_second());
            match (facts.edge.next_height, age) {
                (Some(next), _) => pass(format!("{next}, advancing")),
                (None, Some(age)) if age >= STALL_SECONDS => {
                    fail(format!("{height}, the same for {}", ago(age)), stuck)
                }
                (None, _) => warn(format!("{height}, not advancing yet"), wait),
            }
        }
    }
}

fn peers(facts: &Facts) -> Finding {
    let stuck = "check outbound TCP 16888 (security group, network ACL, NAT), then: docker restart edgelauncher";
    let detail = match &facts.edge.live.peers {
        Ok(peers) if !peers.is_empty() => return pass(format!("{}", peers.len())),
        Ok(_) => "none".to_owned(),
        Err(fault) => fault.to_string(),
    };
    if joined_long_ago(facts) {
        fail(format!("{detail}, 30 minutes after the start"), stuck)
    } else {
        warn(format!("{detail} yet"), "wait: bootstrap verify --wait 30m")
    }
}

/// The scheduled tick.
fn metrics(facts: &Facts) -> Finding {
    let now = facts.now.as_second();
    let due = facts.scheduled_since.map_or(0, |since| now - since);
    match facts.progress.last_success.map(|time| now - time) {
        Some(age) if (0..=TICK_SECONDS).contains(&age) => {
            pass(format!("published {} ago", ago(age)))
        }
        _ if due.min(facts.uptime) <= TICK_SECONDS => pass("the first tick is due"),
        Some(age) if age < 0 => fail(
            "last published at a time that is still to come: the clock was set back",
            "wait for the next tick: bootstrap verify --wait 2m",
        ),
        Some(age) => fail(
            format!("last published {} ago", ago(age)),
            "run it to see why: bootstrap metrics",
        ),
        None => fail("never published", "run it to see why: bootstrap metrics"),
    }
}

fn staking(facts: &Facts) -> Finding {
    match &facts.edge.summary {
        Some(summary) => pass(format!("node summary {summary}")),
        None => skip("the node returns no summary"),
    }
}

// Whether the node earns is not entirely up to it: these checks warn, and never fail.

fn pending_tfuel(facts: &Facts) -> Finding {
    match facts.edge.earnings.pending_tfuel {
        Some(pending) => pass(format!("{pending} TFUEL are earned and not paid yet")),
        None => skip("the node does not say"),
    }
}

fn jobs(facts: &Facts) -> Finding {
    let Some(jobs) = facts.edge.earnings.jobs else {
        return skip("the node does not say");
    };
    let counts = format!(
        "{} done and {} failed since yesterday",
        jobs.done, jobs.failed
    );
    let idle = jobs.last.map(|last| facts.now.as_second() - last);
    let runs = running(facts).and_then(|found| found.age(facts.now));
    match idle.or(runs) {
        _ if jobs.failed_in_a_row >= FAILING => warn(
            format!("the last {} failed; {counts}", jobs.failed_in_a_row),
            "see why: docker logs --tail 100 edgelauncher; then: bootstrap verify --only gpu",
        ),
        Some(idle) if idle >= IDLE_SECONDS && runs.is_some_and(|runs| runs >= IDLE_SECONDS) => {
            warn(
                format!("none for {}", ago(idle)),
                "nothing fails on this machine; whether the network has jobs for it, only its operators know",
            )
        }
        _ => pass(match idle {
            Some(idle) => format!("{counts}, the last {} ago", ago(idle)),
            None => "none yet".into(),
        }),
    }
}

fn uptime_vote(facts: &Facts) -> Finding {
    let now = facts.now.as_second();
    let mut known = facts.progress.clone();
    known.observe_vote(facts.edge.earnings.last_vote);
    match known.vote_age(now) {
        None => skip("the node's log shows none; a node that is not staked does not vote"),
        Some(age) if age >= VOTE_SECONDS => warn(
            format!("the last {} ago; one is due every ten minutes", ago(age)),
            "see whether it follows the chain: bootstrap verify --only node; and whether its stake still stands",
        ),
        Some(age) => pass(format!("the last {} ago", ago(age))),
    }
}

/// Our container, whatever its state.
fn running(facts: &Facts) -> Option<&Container> {
    let found = facts.edge.live.container.as_ref().ok()?.as_ref()?;
    found.spec.is_some().then_some(found)
}

fn joined_long_ago(facts: &Facts) -> bool {
    running(facts)
        .and_then(|found| found.age(facts.now))
        .is_some_and(|age| age >= JOIN_SECONDS)
}

fn holds(holds: bool, right: &str, wrong: &str, hint: &str) -> Finding {
    if holds {
        pass(right)
    } else {
        fail(wrong, hint)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::facts::Edge;
    use super::*;
    use crate::edge::backup::Trouble;
    use crate::edge::earnings::{Earnings, Jobs};
    use crate::edge::keys::KeyFolder;
    use crate::edge::processes::tests::answer;
    use crate::edge::rpc;
    use crate::edge::spec::Spec;
    use crate::error::{Error, Result};
    use crate::health::probes::Live;
    use crate::health::progress::Progress;
    use crate::health::report::{Report, Verdict};

    const PHASES: [&str; 13] = [
        "preflight",
        "ssm-agent",
        "nvidia",
        "docker",
        "image",
        "user",
        "volume",
        "assets",
        "secret",
        "cloudwatch-agent",
        "container",
        "wallet-backup",
        "metrics-cron",
    ];
    const NOW: i64 = 1_700_000_000;
    const ADDRESS: &str = "0x2e833968e5bb786ae419c4d13189fb081cc43bab";

    fn config() -> Config {
        serde_json::from_value(serde_json::json!({
            "gpu": true,
            "volume": {"id": "vol-0123456789abcdef0"},
            "assets": {"bucket": "b", "key": "k", "sha256": "00"},
            "secret": {"arn": "arn"}
        }))
        .unwrap()
    }

    /// A node with nothing wrong, started an hour ago.
    fn good() -> Facts {
        let text = include_str!("../../cloudformation/assets/edge.json");
        let space = Space {
            free: 50 << 30,
            size: 100 << 30,
        };
        Facts {
            now: Timestamp::from_second(NOW).unwrap(),
            uptime: 7200,
            os: Ok("Debian 12".into()),
            phases: PHASES
                .map(|name| (name, Ok(State::Done(format!("{name} is done")))))
                .into(),
            encrypted: Some(Ok(true)),
            secret_changed: Some(Ok(false)),
            spaces: vec![("/".into(), Ok(space))],
            data_space: ("/data".into(), Ok(space)),
            keys: Ok(KeyFolder {
                path: "/data/keys".into(),
                keys: Keys::One(ADDRESS.into()),
                file: None,
                unsafe_modes: Vec::new(),
                closed: Vec::new(),
                foreign: Vec::new(),
            }),
            wallet: Some(ADDRESS.into()),
            backup_trouble: None,
            backup: None,
            spec: Ok(Spec::parse(text.as_bytes(), "mainnet").unwrap()),
            edge: Edge {
                live: Live {
                    container: Ok(Some(Container {
                        spec: Some("hash".into()),
                        status: "running".into(),
                        started: since(3600),
                        ports: [15888, 17888, 17935]
                            .map(|port| ("127.0.0.1".to_owned(), port))
                            .to_vec(),
                        ..Container::default()
                    })),
                    status: Ok(rpc::Status {
                        address: Some(ADDRESS.into()),
                        chain: Some("mainnet".into()),
                        height: Some(100),
                    }),
                    peers: Ok(vec!["a".into()]),
                    answers: [Process::Launcher, Process::Encoder]
                        .map(|process| answer(process, Ok(serde_json::Value::Null)))
                        .into(),
                    processes: None,
                    gpus: Some(Ok("GPU 0: Tesla T4".into())),
                },
                next_height: Some(101),
                version: Some("1.0".into()),
                summary: Some("0xabc".into()),
                trouble: None,
                log_end: None,
                anycast_runs: Some(true),
                last_words: BTreeMap::new(),
                earnings: Earnings {
                    pending_tfuel: Some(0.25),
                    jobs: Some(Jobs {
                        done: 4,
                        failed: 1,
                        failed_in_a_row: 0,
                        last: Some(NOW - 7200),
                    }),
                    last_vote: Some(NOW - 300),
                },
                exposed: Some(false),
            },
            scheduled_since: Some(NOW - 3600),
            progress: Progress {
                last_success: Some(NOW - 40),
                ..Progress::default()
            },
        }
    }

    /// Makes a process refuse connections.
    fn dies(facts: &mut Facts, process: Process) {
        let mut answers = facts.edge.live.answers.iter_mut();
        let mut of = answers.find(|answer| answer.question.process == process);
        of.as_mut().unwrap().said = Err(Fault::Refused);
    }

    /// Replaces the result of a phase's check.
    fn says(facts: &mut Facts, phase: &str, said: Result<State>) {
        let mut phases = facts.phases.iter_mut();
        phases.find(|(name, _)| *name == phase).unwrap().1 = said;
    }

    fn needed(what: &str) -> State {
        State::Needed(what.into())
    }

    fn since(seconds: i64) -> Option<Timestamp> {
        Timestamp::from_second(NOW - seconds).ok()
    }

    fn container(facts: &mut Facts) -> &mut Container {
        match &mut facts.edge.live.container {
            Ok(Some(found)) => found,
            _ => panic!("no container"),
        }
    }

    /// The facts with something broken, judged: the verdict, and the named check as "status: detail".
    fn judged(name: &str, spoil: &dyn Fn(&mut Facts)) -> (Verdict, String) {
        let mut facts = good();
        spoil(&mut facts);
        let report = Report::of(judge(&facts, &config()), None);
        for check in &report.checks {
            let told = matches!(check.status, Status::Fail | Status::Warn);
            assert_eq!(told, check.hint.is_some(), "{check:?}");
            assert!(!check.detail.is_empty(), "{check:?}");
        }
        let check = report
            .checks
            .iter()
            .find(|check| check.name == name)
            .unwrap();
        let status = format!("{:?}", check.status).to_lowercase();
        (report.verdict, format!("{status}: {}", check.detail))
    }

    #[test]
    fn a_good_node_passes_everything() {
        let report = Report::of(judge(&good(), &config()), good().address());
        assert_eq!(report.verdict, Verdict::Healthy);
        let wrong: Vec<_> = report
            .checks
            .iter()
            .filter(|check| check.status != Status::Pass)
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(report.address.as_deref(), Some(ADDRESS));
    }

    #[test]
    #[allow(clippy::too_many_lines)]
    fn every_fault_is_named() {
        use Verdict::{Degraded, Healthy, Syncing, Unhealthy};
        type Spoil = fn(&mut Facts);
        #[rustfmt::skip]
        let table: &[(&str, Spoil, Verdict, &str)] = &[
            ("os", |f| says(f, "preflight", Err(Error::new("no IMDS", "h"))), Degraded, "fail: no IMDS"),
            ("boot-service", |f| says(f, "preflight", Err(Error::new("no IMDS", "h"))), Degraded, "skip: because of os"),
            ("boot-service", |f| says(f, "preflight", Ok(needed("not enabled"))), Degraded, "fail: not enabled"),
            ("ssm-agent", |f| says(f, "ssm-agent", Ok(State::NotApplicable("none".into()))), Healthy, "skip: none"),
            ("gpu-driver", |f| says(f, "nvidia", Ok(needed("not loaded"))), Unhealthy, "fail: not loaded"),
            ("docker", |f| says(f, "docker", Ok(needed("docker does not answer"))), Unhealthy, "fail: docker does not answer"),
            ("image", |f| says(f, "image", Ok(needed("not pulled"))), Degraded, "fail: not pulled"),
            ("container", |f| {
                says(f, "image", Ok(needed("not pulled")));
                f.edge.live.container = Ok(None);
            }, Unhealthy, "skip: because of image"),
            ("volume", |f| says(f, "volume", Err(Error::new("it holds xfs", "h"))), Unhealthy, "fail: it holds xfs"),
            ("spec", |f| says(f, "container", Ok(needed("another image"))), Degraded, "fail: another image"),
            ("metrics", |f| says(f, "metrics-cron", Ok(needed("the table is not as desired"))), Degraded, "fail: the table is not as desired"),
            ("container", |f| {
                says(f, "secret", Ok(needed("no password")));
                container(f).status = "exited".into();
            }, Unhealthy, "skip: because of secret"),
            ("container", |f| says(f, "secret", Ok(needed("no password"))), Degraded, "pass: running for 1 h"),
            ("secret", |f| f.secret_changed = Some(Ok(true)), Healthy, "warn: the secret was changed: the next boot takes another wallet password than the one in use"),
            ("secret", |f| f.secret_changed = Some(Err(Error::new("denied", "h"))), Healthy, "warn: the next boot cannot fetch it: denied"),
            ("secret", |f| f.secret_changed = Some(Err(Error::new("denied", "h").settling_if(true))), Healthy, "warn: the next boot cannot fetch it: denied"),
            ("secret", |f| f.secret_changed = Some(Err(Error::new("busy", "h").transient())), Healthy, "pass: secret is done"),
            ("volume-encrypted", |f| f.encrypted = Some(Ok(false)), Degraded, "fail: the volume that holds the wallet key is not encrypted"),
            ("volume-encrypted", |f| f.encrypted = Some(Err(Error::new("denied", "allow it"))), Healthy, "skip: AWS did not say: denied"),
            ("disk-root", |f| f.spaces[0].1 = Ok(Space { free: 14, size: 100 }), Healthy, "warn: /: 14 % free (0 MiB)"),
            ("disk-root", |f| f.spaces.push(("/var".into(), Ok(Space { free: 4, size: 100 }))), Degraded, "fail: /: 50 % free (50 GiB), /var: 4 % free (0 MiB)"),
            ("disk-root", |f| f.spaces.insert(0, ("/x".into(), Ok(Space { free: 14, size: 100 }))), Healthy, "warn: /x: 14 % free (0 MiB), /: 50 % free (50 GiB)"),
            ("disk-data", |f| f.data_space.1 = Ok(Space { free: 4 << 30, size: 100 << 30 }), Degraded, "fail: /data: 4 % free (4.0 GiB)"),
            ("disk-data", |f| f.data_space.1 = Ok(Space { free: 0, size: 0 }), Degraded, "fail: /data: 0 % free (0 MiB)"),
            ("key", |f| f.keys.as_mut().unwrap().keys = Keys::None, Unhealthy, "fail: the node has an address, but /data/keys holds no key: it is not kept on the volume"),
            ("key", |f| {
                f.keys.as_mut().unwrap().keys = Keys::None;
                f.edge.live.status = Err(Fault::Refused);
            }, Unhealthy, "fail: the wallet key of 0x2e833968e5bb786ae419c4d13189fb081cc43bab is gone: /data/keys holds none"),
            ("key", |f| f.keys.as_mut().unwrap().keys = Keys::Several(vec!["a".into(), "b".into()]), Unhealthy, "fail: /data/keys holds several files, the node will not start: a, b"),
            ("key", |f| f.keys.as_mut().unwrap().keys = Keys::One("0xother".into()), Unhealthy, "fail: /data/keys holds the key of 0xother, but the wallet of this node is 0x2e833968e5bb786ae419c4d13189fb081cc43bab"),
            ("key", |f| { f.wallet = None; f.keys.as_mut().unwrap().keys = Keys::One("0xother".into()); }, Unhealthy, "fail: /data/keys holds the key of 0xother, but the node runs as 0x2e833968e5bb786ae419c4d13189fb081cc43bab"),
            ("key", |f| f.wallet = Some("0xold".into()), Unhealthy, "fail: /data/keys holds the key of 0x2e833968e5bb786ae419c4d13189fb081cc43bab, but the wallet of this node is 0xold"),
            ("key", |f| { f.wallet = Some("0xold".into()); f.keys.as_mut().unwrap().keys = Keys::One("0xold".into()); }, Unhealthy, "fail: the node runs as 0x2e833968e5bb786ae419c4d13189fb081cc43bab, but its wallet is 0xold"),
            ("key", |f| f.keys.as_mut().unwrap().keys = Keys::Unknown("k.json".into()), Healthy, "warn: /data/keys holds k.json, which is not named like a key"),
            ("key", |f| f.keys.as_mut().unwrap().foreign = vec!["/data/keys is owned by uid 0".into()], Unhealthy, "fail: /data/keys is owned by uid 0"),
            ("key", |f| f.keys.as_mut().unwrap().unsafe_modes = vec![("/data/keys has mode 0755".into(), "chmod 700 /data/keys".into())], Healthy, "warn: /data/keys has mode 0755"),
            ("wallet-backup", |f| says(f, "wallet-backup", Ok(State::NotApplicable("not wanted".into()))), Healthy, "skip: not wanted"),
            ("wallet-backup", |f| says(f, "wallet-backup", Ok(needed("not backed up"))), Healthy, "warn: not backed up"),
            ("wallet-backup", |f| {
                says(f, "wallet-backup", Ok(needed("not backed up")));
                f.backup_trouble = Some(Trouble { reason: "denied".into(), hint: "allow it".into() });
            }, Healthy, "warn: not backed up: denied"),
            ("wallet-backup", |f| {
                says(f, "wallet-backup", Ok(needed("no key")));
                f.keys.as_mut().unwrap().keys = Keys::None;
            }, Unhealthy, "skip: because of key"),
            ("container", |f| f.edge.live.container = Ok(None), Unhealthy, "fail: there is no container"),
            ("container", |f| container(f).spec = None, Unhealthy, "fail: a container of that name exists that bootstrap did not make"),
            ("container", |f| { container(f).status = "exited".into(); f.edge.log_end = Some("its log ends: x".into()); }, Unhealthy, "fail: exited, exit code 0; its log ends: x"),
            ("container", |f| { container(f).restarts = 3; container(f).started = since(9); }, Unhealthy, "fail: started again 3 times, last 9 s ago; its log is not known"),
            ("container", |f| container(f).restarts = 3, Healthy, "pass: running for 1 h, 3 restarts"),
            ("container", |f| f.edge.trouble = Some(("the wallet password is empty".into(), "h".into())), Unhealthy, "fail: the wallet password is empty"),
            ("password", |f| f.edge.exposed = Some(true), Unhealthy, "fail: docker inspect shows the wallet password"),
            ("password", |f| f.edge.exposed = None, Healthy, "skip: nothing to look for"),
            ("gpu-container", |f| f.edge.live.gpus = Some(Err("NVML".into())), Unhealthy, "fail: the container does not see its GPU: NVML"),
            ("gpu-container", |f| f.progress.gpu_restarted_at = Some(NOW - 60), Healthy, "pass: GPU 0: Tesla T4; restarted 1 min ago, since it had lost its GPU"),
            ("gpu-container", |f| f.progress.gpu_restarted_at = Some(NOW - 86_400), Healthy, "pass: GPU 0: Tesla T4"),
            ("gpu-container", |f| {
                f.edge.live.gpus = Some(Err("NVML".into()));
                (f.progress.gpu_lost_at, f.progress.gpu_restarted_at) = (Some(NOW - 120), Some(NOW - 60));
            }, Unhealthy, "fail: the container does not see its GPU, and a restart 1 min ago did not help: NVML"),
            ("ports", |f| container(f).ports = vec![("0.0.0.0".into(), 17888)], Degraded, "fail: port 17888 is published at 0.0.0.0"),
            ("ports", |f| container(f).ports.truncate(2), Degraded, "fail: port 17935 is not published"),
            ("rpc", |f| f.edge.live.status = Err(Fault::TimedOut), Unhealthy, "fail: no answer within 5 s"),
            ("rpc", |f| { f.edge.live.status = Err(Fault::Refused); container(f).started = since(60); }, Unhealthy, "fail: the connection is refused; the container started 1 min ago"),
            ("rpc", |f| f.edge.live.status.as_mut().unwrap().address = None, Unhealthy, "fail: the node answers, but reports no address"),
            ("rpc", |f| {
                f.edge.live.status = Err(Fault::Refused);
                f.edge.last_words.insert("core", "edgecore.log says: panic: x".into());
            }, Unhealthy, "fail: the connection is refused; edgecore.log says: panic: x"),
            ("launcher", |f| dies(f, Process::Launcher), Degraded, "fail: the connection is refused"),
            ("encoder", |f| {
                dies(f, Process::Encoder);
                f.edge.last_words.insert("encoder", "edgeencoder.log says: panic: x".into());
            }, Degraded, "fail: the connection is refused; edgeencoder.log says: panic: x"),
            ("encoder", |f| { dies(f, Process::Encoder); container(f).started = since(60); }, Syncing, "warn: the connection is refused; the container started 1 min ago"),
            ("encoder", |f| f.edge.live.answers = vec![answer(Process::Encoder, Err(Fault::Error("no such method".into())))], Healthy, "pass: answers"),
            ("encoder", |f| f.edge.live.answers.clear(), Healthy, "skip: edge.json has no question for it"),
            ("anycast", |f| {
                f.edge.anycast_runs = Some(false);
                f.edge.last_words.insert(ANYCAST, "anycast.log says: panic: x".into());
            }, Healthy, "warn: it has ended; anycast.log says: panic: x"),
            ("anycast", |f| f.edge.anycast_runs = None, Healthy, "skip: it was not seen to run since the container's start"),
            ("height", |f| f.edge.live.status = Err(Fault::Refused), Unhealthy, "skip: because of rpc"),
            ("key", |f| {
                says(f, "volume", Ok(needed("not mounted")));
                f.keys.as_mut().unwrap().keys = Keys::None;
                f.edge.live.status = Err(Fault::Refused);
            }, Unhealthy, "skip: because of volume"),
            ("rpc", |f| {
                f.edge.live.container = Ok(None);
                f.edge.live.status = Err(Fault::Refused);
            }, Unhealthy, "skip: because of container"),
            ("peers", |f| {
                says(f, "docker", Ok(needed("down")));
                f.edge.live.container = Ok(None);
                f.edge.live.status = Err(Fault::Refused);
                f.edge.live.peers = Err(Fault::Refused);
            }, Unhealthy, "skip: because of docker"),
            ("height", |f| f.edge.live.status.as_mut().unwrap().height = None, Degraded, "fail: not known 30 minutes after the start"),
            ("height", |f| { f.edge.live.status.as_mut().unwrap().height = Some(0); container(f).started = since(60); }, Syncing, "warn: not known yet"),
            ("height", |f| f.edge.next_height = None, Syncing, "warn: 100, not advancing yet"),
            ("height", |f| { f.edge.next_height = None; f.progress.height_moved_at = Some(NOW - 900); }, Degraded, "fail: 100, the same for 15 min"),
            ("peers", |f| f.edge.live.peers = Ok(Vec::new()), Degraded, "fail: none, 30 minutes after the start"),
            ("peers", |f| { f.edge.live.peers = Ok(Vec::new()); container(f).started = since(60); }, Syncing, "warn: none yet"),
            ("metrics", |f| f.progress.last_success = Some(NOW - 181), Degraded, "fail: last published 3 min 1 s ago"),
            ("metrics", |f| f.progress.last_success = Some(NOW + 500), Degraded, "fail: last published at a time that is still to come: the clock was set back"),
            ("metrics", |f| f.progress.last_success = None, Degraded, "fail: never published"),
            ("metrics", |f| { f.progress.last_success = None; f.scheduled_since = Some(NOW - 20); }, Healthy, "pass: the first tick is due"),
            ("metrics", |f| { f.progress.last_success = Some(NOW - 9000); f.uptime = 90; }, Healthy, "pass: the first tick is due"),
            ("pending-tfuel", |_| {}, Healthy, "pass: 0.25 TFUEL are earned and not paid yet"),
            ("pending-tfuel", |f| f.edge.earnings.pending_tfuel = None, Healthy, "skip: the node does not say"),
            ("jobs", |_| {}, Healthy, "pass: 4 done and 1 failed since yesterday, the last 2 h ago"),
            ("jobs", |f| f.edge.earnings.jobs = None, Healthy, "skip: the node does not say"),
            ("jobs", |f| f.edge.earnings.jobs = Some(Jobs::default()), Healthy, "pass: none yet"),
            ("jobs", |f| f.edge.earnings.jobs.as_mut().unwrap().failed_in_a_row = 2, Healthy, "pass: 4 done and 1 failed since yesterday, the last 2 h ago"),
            ("jobs", |f| f.edge.earnings.jobs.as_mut().unwrap().failed_in_a_row = 3, Healthy, "warn: the last 3 failed; 4 done and 1 failed since yesterday"),
            ("jobs", |f| {
                f.edge.earnings.jobs.as_mut().unwrap().last = Some(NOW - 4 * 86_400);
                container(f).started = since(5 * 86_400);
            }, Healthy, "warn: none for 96 h"),
            ("jobs", |f| f.edge.earnings.jobs.as_mut().unwrap().last = Some(NOW - 4 * 86_400), Healthy, "pass: 4 done and 1 failed since yesterday, the last 96 h ago"),
            ("uptime-vote", |_| {}, Healthy, "pass: the last 5 min ago"),
            ("uptime-vote", |f| { f.edge.earnings.last_vote = None; f.progress.last_vote = Some(NOW - 7200); }, Healthy, "warn: the last 2 h ago; one is due every ten minutes"),
            ("uptime-vote", |f| f.edge.earnings.last_vote = None, Healthy, "skip: the node's log shows none; a node that is not staked does not vote"),
            ("uptime-vote", |f| f.edge.live.status = Err(Fault::Refused), Unhealthy, "pass: the last 5 min ago"),
            ("jobs", |f| {
                dies(f, Process::Encoder);
                f.edge.earnings.jobs.as_mut().unwrap().failed_in_a_row = 3;
            }, Degraded, "skip: because of encoder"),
            ("staking", |f| f.edge.summary = None, Healthy, "skip: the node returns no summary"),
        ];
        for (name, spoil, verdict, detail) in table {
            assert_eq!(
                judged(name, spoil),
                (*verdict, (*detail).to_owned()),
                "{name}"
            );
        }
    }

    #[test]
    fn every_check_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, checks)| *checks)
            .copied()
            .collect();
        let mut checks: Vec<&str> = judge(&good(), &config())
            .iter()
            .map(|check| check.name)
            .collect();
        grouped.sort_unstable();
        checks.sort_unstable();
        assert_eq!(grouped, checks);
    }

    #[test]
    fn what_a_check_stands_on_comes_before_it() {
        let names: Vec<&str> = judge(&good(), &config())
            .iter()
            .map(|check| check.name)
            .collect();
        let place = |name: &str| names.iter().position(|found| *found == name).unwrap();
        assert_eq!(
            names,
            CHECKS.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        );
        for (check, needs) in CHECKS {
            for need in *needs {
                assert!(place(need) < place(check), "{check} stands on {need}");
            }
        }
    }

    #[test]
    fn a_node_without_gpu_is_not_asked_for_one() {
        let plain = |f: &mut Facts| f.edge.live.gpus = None;
        assert_eq!(
            judged("gpu-container", &plain),
            (Verdict::Healthy, "skip: gpu is false".into())
        );
    }

    #[test]
    fn sizes_and_times_are_for_people() {
        let gib = 1 << 30;
        for (bytes, text) in [
            (500 << 20, "500 MiB"),
            (gib + gib / 2, "1.5 GiB"),
            (64 * gib, "64 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in [(-5, "0 s"), (9, "9 s"), (345, "5 min 45 s"), (7200, "2 h")] {
            assert_eq!(ago(seconds), text);
        }
    }
}

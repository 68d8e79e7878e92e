//! What is right and what is wrong: pure judgement of facts. Every failure says what to run.

use std::collections::BTreeMap;

use super::facts::{Answer, Facts, Space, Unit};
use super::progress::STALL_SECONDS;
use super::report::{Check, Status};
use crate::config::Config;
use crate::edge::container::Container;
use crate::edge::keys::Keys;
use crate::edge::rpc::Fault;
use crate::edge::wallet;
use crate::shell::word;

/// The node may take this long, in seconds, until its RPC answers (the blueprint's guide says ten minutes).
const START_SECONDS: i64 = 15 * 60;

/// The node may take this long, in seconds, until it has a height and peers.
const JOIN_SECONDS: i64 = 30 * 60;

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
        &["volume", "volume-encrypted", "disk-data", "key"],
    ),
    (
        "container",
        &["docker", "container", "spec", "password", "ports"],
    ),
    ("node", &["rpc", "height", "peers", "staking"]),
    ("metrics", &["cloudwatch-agent", "metrics"]),
];

/// What checks stand on: where that fails, they could only repeat it in other words, or say what is not so (a key
/// folder that is not mounted holds no key, which is not lost for that).
const STANDS_ON: &[(&str, &[&str])] = &[
    ("disk-data", &["volume"]),
    ("key", &["volume"]),
    ("container", &["docker", "volume"]),
    ("spec", &["container"]),
    ("gpu-container", &["gpu-driver", "container"]),
    ("ports", &["container"]),
    ("rpc", &["container"]),
    ("height", &["rpc"]),
    ("peers", &["rpc"]),
    ("staking", &["rpc"]),
];

/// How a check went, the evidence, and what to do.
type Finding = (Status, String, Option<String>);

/// Judges everything, in the order of setting up.
pub fn judge(facts: &Facts, config: &Config) -> Vec<Check> {
    let findings = [
        (
            "os",
            asked(&facts.os, "preflight", |name| pass(name.as_str())),
        ),
        ("boot-service", boot_service(facts)),
        ("ssm-agent", ssm_agent(facts)),
        ("gpu-driver", driver(facts)),
        ("docker", docker(facts)),
        ("user", user(facts, config)),
        ("volume", volume(facts, config)),
        ("volume-encrypted", encrypted(facts)),
        (
            "disk-root",
            space(
                &facts.root_space,
                "see what fills it: docker system df; journalctl --disk-usage",
            ),
        ),
        (
            "disk-data",
            space(
                &facts.data_space,
                "make the EBS volume larger, then run: bootstrap --phase volume",
            ),
        ),
        ("cloudwatch-agent", cloudwatch_agent(facts)),
        ("key", key(facts)),
        ("container", container(facts)),
        ("spec", spec(facts)),
        ("password", password(facts)),
        ("gpu-container", gpu_container(facts)),
        ("ports", ports(facts, config)),
        ("rpc", rpc(facts)),
        ("height", height(facts)),
        ("peers", peers(facts)),
        ("metrics", metrics(facts)),
        ("staking", staking(facts)),
    ];
    let checks = findings.map(|(name, (status, detail, hint))| Check {
        name,
        status,
        detail,
        hint,
    });
    with_causes(checks.into())
}

/// The checks, those that stand on one that fails skipped because of it; they come after what they stand on.
fn with_causes(mut checks: Vec<Check>) -> Vec<Check> {
    let mut causes: BTreeMap<&str, &str> = BTreeMap::new();
    for check in &mut checks {
        let needs = STANDS_ON.iter().find(|(name, _)| *name == check.name);
        let mut needs = needs.into_iter().flat_map(|(_, needs)| *needs);
        if let Some(cause) = needs.find_map(|need| causes.get(need).copied()) {
            check.status = Status::Skip;
            check.detail = format!("because of {cause}");
            check.hint = None;
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

fn cloudwatch_agent(facts: &Facts) -> Finding {
    asked(&facts.cloudwatch_agent, "cloudwatch-agent", |active| {
        let mend = "run: bootstrap --phase cloudwatch-agent";
        holds(*active, "active", "not active", mend)
    })
}

fn boot_service(facts: &Facts) -> Finding {
    asked(&facts.boot_service, "preflight", |enabled| {
        holds(
            *enabled,
            "bootstrap.service runs at every boot",
            "bootstrap.service is not enabled: after a reboot the container would not start",
            "run: bootstrap --phase preflight",
        )
    })
}

fn ssm_agent(facts: &Facts) -> Finding {
    asked(&facts.ssm_agent, "ssm-agent", |unit| match unit {
        Unit::Active => pass("active"),
        Unit::Inactive => fail(
            "enabled, but not active",
            "run: bootstrap --phase ssm-agent",
        ),
        Unit::Unwanted => skip("not installed"),
    })
}

fn driver(facts: &Facts) -> Finding {
    match &facts.driver {
        None => skip("gpu is false"),
        Some(answer) => asked(answer, "nvidia", |gpus| pass(gpus.as_str())),
    }
}

fn docker(facts: &Facts) -> Finding {
    asked(&facts.docker, "docker", |version| match version {
        Some(version) => pass(format!("engine {version}")),
        None => fail(
            "the engine does not answer",
            "run: bootstrap --phase docker",
        ),
    })
}

fn user(facts: &Facts, config: &Config) -> Finding {
    let user = &config.user;
    asked(&facts.account, "user", |missing| {
        holds(
            missing.is_nothing(),
            &format!("{} ({}:{})", user.name, user.uid, user.gid),
            &format!("{} is not an account in the group docker", user.name),
            "run: bootstrap --phase user",
        )
    })
}

fn volume(facts: &Facts, config: &Config) -> Finding {
    let place = &config.volume.mount;
    let wrong = |detail: String| fail(detail, "run: bootstrap --phase volume");
    let mount = match &facts.mount {
        Err(error) => return wrong(error.clone()),
        Ok(None) => return wrong(format!("nothing is mounted at {place}")),
        Ok(Some(mount)) => mount,
    };
    if mount.read_only {
        return fail(
            format!("{place} is read-only"),
            "look for disk errors (dmesg), then run: bootstrap --phase volume",
        );
    }
    match &facts.device {
        Some(Err(error)) => return wrong(error.clone()),
        Some(Ok(None)) => return wrong("the volume is not attached".into()),
        Some(Ok(Some(device))) if *device != mount.device => {
            return wrong(format!(
                "{place} is device {} ({}), but the volume is {device}",
                mount.device, mount.source
            ));
        }
        _ => {}
    }
    match facts.owner {
        Ok(owner) if owner == (config.user.uid, config.user.gid) => pass(format!(
            "{} ({}) at {place}",
            mount.source, mount.filesystem
        )),
        Ok((uid, gid)) => wrong(format!("{place} is owned by {uid}:{gid}")),
        Err(ref error) => wrong(error.clone()),
    }
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

fn space(answer: &Answer<Space>, hint: &str) -> Finding {
    let space = match answer {
        Err(error) => return fail(error.as_str(), hint),
        Ok(space) => space,
    };
    let percent = space.free.saturating_mul(100) / space.size.max(1);
    let gib = space.free >> 30;
    let detail = format!("{percent} % free ({gib} GiB)");
    match percent {
        0..5 => fail(detail, hint),
        5..15 => warn(detail, hint),
        _ => pass(detail),
    }
}

fn key(facts: &Facts) -> Finding {
    let folder = match &facts.keys {
        Err(error) => {
            return fail(
                error.as_str(),
                "run: bootstrap --phase volume --phase assets",
            );
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
            "do not reboot or stop the instance; run: docker inspect edgelauncher, and save the key from inside the container",
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
        _ if !folder.unsafe_modes.is_empty() => {
            let (found, mend): (Vec<&str>, Vec<&str>) = folder
                .unsafe_modes
                .iter()
                .map(|(found, mend)| (found.as_str(), mend.as_str()))
                .unzip();
            warn(found.join("; "), format!("run: {}", mend.join(" && ")))
        }
        Keys::Unknown(name) => warn(
            format!("{path} holds {name}, which is not named like a key"),
            format!("look at it: ls -la {}", word(path)),
        ),
        Keys::One(address) => pass(format!("one key, {address}")),
    }
}

fn container(facts: &Facts) -> Finding {
    let wrong = |detail: String, hint: &str| fail(detail, hint);
    let found = match &facts.edge.live.container {
        Err(error) => return wrong(error.clone(), "run: bootstrap --phase container"),
        Ok(None) => {
            return wrong(
                "there is no container".into(),
                "run: bootstrap --phase container",
            );
        }
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
            format!(
                "{}, exit code {}; {}",
                found.status,
                found.exit_code,
                ends()
            ),
            "read its log: docker logs --tail 100 edgelauncher; start it: bootstrap --phase container",
        );
    }
    if found.restarts >= LOOP_RESTARTS && age < LOOP_SECONDS {
        return wrong(
            format!(
                "started again {} times, last {age} s ago; {}",
                found.restarts,
                ends()
            ),
            "read its log: docker logs --tail 100 edgelauncher",
        );
    }
    pass(format!("running for {age} s, {} restarts", found.restarts))
}

fn spec(facts: &Facts) -> Finding {
    let Some(found) = running(facts) else {
        return skip("no container of ours");
    };
    match &facts.edge.wanted {
        Err(error) => fail(error.as_str(), "run: bootstrap --phase container"),
        Ok(wanted) => holds(
            found.spec.as_ref() == Some(wanted),
            "the container is as config and assets want it",
            "the container was made from another config, assets or image",
            "run: bootstrap --phase container",
        ),
    }
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
            // A day is about as long as it is news.
            Some(time) if (0..24 * 3600).contains(&(now - time)) => {
                format!(
                    "{}; restarted {} s ago, since it had lost its GPU",
                    seen.names,
                    now - time
                )
            }
            _ => seen.names.clone(),
        }),
        Some(Err(said)) => fail(
            match (facts.progress.gpu_restarted_at, facts.progress.gpu_lost_at) {
                (Some(restarted), Some(lost)) if lost <= restarted => format!(
                    "the container does not see its GPU, and a restart {} s ago did not help: {said}",
                    now - restarted
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
        return skip("no container runs");
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
                "the node answers, but names no address",
                "wait: bootstrap verify --wait 15m; if it stays: docker restart edgelauncher",
            ),
        },
        Err(fault) => {
            let age = running(facts).and_then(|found| found.age(facts.now));
            match age {
                Some(age) if *fault == Fault::Refused && age < START_SECONDS => fail(
                    format!("{fault}; the container started {age} s ago"),
                    "wait, a start can take ten minutes: bootstrap verify --wait 15m",
                ),
                _ => fail(
                    fault.to_string(),
                    "read the log: docker logs --tail 100 edgelauncher; then: docker restart edgelauncher",
                ),
            }
        }
    }
}

fn height(facts: &Facts) -> Finding {
    let Ok(status) = &facts.edge.live.status else {
        return skip("not known");
    };
    let stuck = "read the log: docker logs --tail 100 edgelauncher; check outbound TCP 16888; then: docker restart edgelauncher";
    let wait = "wait: bootstrap verify --wait 30m";
    match status.height.filter(|height| *height > 0) {
        None if joined_long_ago(facts) => fail("not known 30 minutes after the start", stuck),
        None => warn("not known yet", wait),
        Some(height) => {
            let age = facts.progress.height_age(facts.now.as_second());
            match (facts.edge.next_height, age) {
                (Some(next), _) => pass(format!("{next}, advancing")),
                (None, Some(age)) if age >= STALL_SECONDS => {
                    fail(format!("{height}, the same for {age} s"), stuck)
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

fn metrics(facts: &Facts) -> Finding {
    let now = facts.now.as_second();
    asked(&facts.scheduled_since, "metrics-cron", |since| {
        let Some(since) = since else {
            return fail(
                "no metrics tick is scheduled",
                "run: bootstrap --phase metrics-cron",
            );
        };
        let age = facts.progress.last_success.map(|time| now - time);
        let due = (now - since).min(facts.uptime);
        match age {
            Some(age) if (0..=TICK_SECONDS).contains(&age) => {
                pass(format!("published {age} s ago"))
            }
            _ if due <= TICK_SECONDS => pass("the first tick is due"),
            Some(age) => fail(
                format!("last published {age} s ago"),
                "run it to see why: bootstrap metrics",
            ),
            None => fail("never published", "run it to see why: bootstrap metrics"),
        }
    })
}

fn staking(facts: &Facts) -> Finding {
    match &facts.edge.summary {
        Some(summary) => pass(format!("node summary {summary}")),
        None => skip("the node gives no summary"),
    }
}

/// Our container, in whatever state.
fn running(facts: &Facts) -> Option<&Container> {
    let found = facts.edge.live.container.as_ref().ok()?.as_ref()?;
    found.spec.is_some().then_some(found)
}

fn joined_long_ago(facts: &Facts) -> bool {
    running(facts)
        .and_then(|found| found.age(facts.now))
        .is_some_and(|age| age >= JOIN_SECONDS)
}

/// A check of what could be had; what could not is a failure that names the phase to rerun.
fn asked<T>(answer: &Answer<T>, phase: &str, judge: impl FnOnce(&T) -> Finding) -> Finding {
    match answer {
        Ok(value) => judge(value),
        Err(error) => fail(error.as_str(), format!("run: bootstrap --phase {phase}")),
    }
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
    use crate::edge::keys::KeyFolder;
    use crate::edge::rpc;
    use crate::edge::spec::Spec;
    use crate::health::probes::Live;
    use crate::health::progress::Progress;
    use crate::health::report::{Report, Verdict};
    use crate::host::mounts::Mount;
    use crate::host::users::Missing;

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

    /// A node at which nothing is wrong, started an hour ago.
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
            boot_service: Ok(true),
            ssm_agent: Ok(Unit::Active),
            driver: Some(Ok("Tesla T4, 570.1".into())),
            docker: Ok(Some("20.10.24".into())),
            account: Ok(Missing::default()),
            mount: Ok(Some(Mount {
                device: "259:1".into(),
                root: "/".into(),
                target: "/data".into(),
                filesystem: "ext4".into(),
                source: "/dev/nvme1n1".into(),
                read_only: false,
            })),
            owner: Ok((1002, 1002)),
            device: Some(Ok(Some("259:1".into()))),
            encrypted: Some(Ok(true)),
            root_space: Ok(space),
            data_space: Ok(space),
            keys: Ok(KeyFolder {
                path: "/data/keys".into(),
                keys: Keys::One(ADDRESS.into()),
                file: None,
                unsafe_modes: Vec::new(),
                foreign: Vec::new(),
            }),
            wallet: Some(ADDRESS.into()),
            spec: Ok(Spec::parse(text.as_bytes(), "mainnet").unwrap()),
            edge: Edge {
                wanted: Ok("hash".into()),
                live: Live {
                    container: Ok(Some(Container {
                        spec: Some("hash".into()),
                        status: "running".into(),
                        started: ago(3600),
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
                    gpus: Some(Ok("GPU 0: Tesla T4".into())),
                },
                next_height: Some(101),
                version: Some("1.0".into()),
                summary: Some("0xabc".into()),
                trouble: None,
                log_end: None,
                exposed: Some(false),
            },
            cloudwatch_agent: Ok(true),
            scheduled_since: Ok(Some(NOW - 3600)),
            progress: Progress {
                last_success: Some(NOW - 40),
                ..Progress::default()
            },
        }
    }

    fn ago(seconds: i64) -> Option<Timestamp> {
        Timestamp::from_second(NOW - seconds).ok()
    }

    fn container(facts: &mut Facts) -> &mut Container {
        match &mut facts.edge.live.container {
            Ok(Some(found)) => found,
            _ => panic!("no container"),
        }
    }

    /// The facts with something spoiled, judged: the verdict, and the one named check as "status: detail".
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
            ("os", |f| f.os = Err("unknown".into()), Degraded, "fail: unknown"),
            ("boot-service", |f| f.boot_service = Ok(false), Degraded, "fail: bootstrap.service is not enabled: after a reboot the container would not start"),
            ("ssm-agent", |f| f.ssm_agent = Ok(Unit::Inactive), Degraded, "fail: enabled, but not active"),
            ("ssm-agent", |f| f.ssm_agent = Ok(Unit::Unwanted), Healthy, "skip: not installed"),
            ("gpu-driver", |f| f.driver = Some(Err("no devices".into())), Unhealthy, "fail: no devices"),
            ("docker", |f| f.docker = Ok(None), Unhealthy, "fail: the engine does not answer"),
            ("user", |f| f.account = Ok(Missing { account: true, ..Missing::default() }), Degraded, "fail: bcuser is not an account in the group docker"),
            ("volume", |f| f.mount = Ok(None), Unhealthy, "fail: nothing is mounted at /data"),
            ("volume", |f| f.mount.as_mut().unwrap().as_mut().unwrap().read_only = true, Unhealthy, "fail: /data is read-only"),
            ("volume", |f| f.device = Some(Ok(None)), Unhealthy, "fail: the volume is not attached"),
            ("volume", |f| f.device = Some(Ok(Some("259:7".into()))), Unhealthy, "fail: /data is device 259:1 (/dev/nvme1n1), but the volume is 259:7"),
            ("volume", |f| f.owner = Ok((0, 0)), Unhealthy, "fail: /data is owned by 0:0"),
            ("volume-encrypted", |f| f.encrypted = Some(Ok(false)), Degraded, "fail: the volume that holds the wallet key is not encrypted"),
            ("volume-encrypted", |f| f.encrypted = Some(Err("denied".into())), Healthy, "skip: AWS did not say: denied"),
            ("disk-root", |f| f.root_space = Ok(Space { free: 14, size: 100 }), Healthy, "warn: 14 % free (0 GiB)"),
            ("disk-data", |f| f.data_space = Ok(Space { free: 4 << 30, size: 100 << 30 }), Degraded, "fail: 4 % free (4 GiB)"),
            ("disk-data", |f| f.data_space = Ok(Space { free: 0, size: 0 }), Degraded, "fail: 0 % free (0 GiB)"),
            ("cloudwatch-agent", |f| f.cloudwatch_agent = Ok(false), Degraded, "fail: not active"),
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
            ("container", |f| f.edge.live.container = Ok(None), Unhealthy, "fail: there is no container"),
            ("container", |f| container(f).spec = None, Unhealthy, "fail: a container of that name exists that bootstrap did not make"),
            ("container", |f| { container(f).status = "exited".into(); f.edge.log_end = Some("its log ends: x".into()); }, Unhealthy, "fail: exited, exit code 0; its log ends: x"),
            ("container", |f| { container(f).restarts = 3; container(f).started = ago(9); }, Unhealthy, "fail: started again 3 times, last 9 s ago; its log is not known"),
            ("container", |f| container(f).restarts = 3, Healthy, "pass: running for 3600 s, 3 restarts"),
            ("container", |f| f.edge.trouble = Some(("the wallet password is empty".into(), "h".into())), Unhealthy, "fail: the wallet password is empty"),
            ("spec", |f| f.edge.wanted = Ok("other".into()), Degraded, "fail: the container was made from another config, assets or image"),
            ("spec", |f| f.edge.wanted = Err("the image a:b is not on this machine".into()), Degraded, "fail: the image a:b is not on this machine"),
            ("password", |f| f.edge.exposed = Some(true), Unhealthy, "fail: docker inspect shows the wallet password"),
            ("password", |f| f.edge.exposed = None, Healthy, "skip: nothing to look for"),
            ("gpu-container", |f| f.edge.live.gpus = Some(Err("NVML".into())), Unhealthy, "fail: the container does not see its GPU: NVML"),
            ("gpu-container", |f| f.progress.gpu_restarted_at = Some(NOW - 60), Healthy, "pass: GPU 0: Tesla T4; restarted 60 s ago, since it had lost its GPU"),
            ("gpu-container", |f| f.progress.gpu_restarted_at = Some(NOW - 86_400), Healthy, "pass: GPU 0: Tesla T4"),
            ("gpu-container", |f| {
                f.edge.live.gpus = Some(Err("NVML".into()));
                (f.progress.gpu_lost_at, f.progress.gpu_restarted_at) = (Some(NOW - 120), Some(NOW - 60));
            }, Unhealthy, "fail: the container does not see its GPU, and a restart 60 s ago did not help: NVML"),
            ("ports", |f| container(f).ports = vec![("0.0.0.0".into(), 17888)], Degraded, "fail: port 17888 is published at 0.0.0.0"),
            ("ports", |f| container(f).ports.truncate(2), Degraded, "fail: port 17935 is not published"),
            ("rpc", |f| f.edge.live.status = Err(Fault::TimedOut), Unhealthy, "fail: no answer within 5 s"),
            ("rpc", |f| { f.edge.live.status = Err(Fault::Refused); container(f).started = ago(60); }, Unhealthy, "fail: the connection is refused; the container started 60 s ago"),
            ("rpc", |f| f.edge.live.status.as_mut().unwrap().address = None, Unhealthy, "fail: the node answers, but names no address"),
            ("height", |f| f.edge.live.status = Err(Fault::Refused), Unhealthy, "skip: because of rpc"),
            ("key", |f| {
                f.mount = Ok(None);
                f.keys.as_mut().unwrap().keys = Keys::None;
                f.edge.live.status = Err(Fault::Refused);
            }, Unhealthy, "skip: because of volume"),
            ("rpc", |f| {
                f.edge.live.container = Ok(None);
                f.edge.live.status = Err(Fault::Refused);
            }, Unhealthy, "skip: because of container"),
            ("peers", |f| {
                f.docker = Ok(None);
                f.edge.live.container = Ok(None);
                f.edge.live.peers = Err(Fault::Refused);
            }, Unhealthy, "skip: because of docker"),
            ("height", |f| f.edge.live.status.as_mut().unwrap().height = None, Degraded, "fail: not known 30 minutes after the start"),
            ("height", |f| { f.edge.live.status.as_mut().unwrap().height = Some(0); container(f).started = ago(60); }, Syncing, "warn: not known yet"),
            ("height", |f| f.edge.next_height = None, Syncing, "warn: 100, not advancing yet"),
            ("height", |f| { f.edge.next_height = None; f.progress.height_moved_at = Some(NOW - 900); }, Degraded, "fail: 100, the same for 900 s"),
            ("peers", |f| f.edge.live.peers = Ok(Vec::new()), Degraded, "fail: none, 30 minutes after the start"),
            ("peers", |f| { f.edge.live.peers = Ok(Vec::new()); container(f).started = ago(60); }, Syncing, "warn: none yet"),
            ("metrics", |f| f.scheduled_since = Ok(None), Degraded, "fail: no metrics tick is scheduled"),
            ("metrics", |f| f.progress.last_success = Some(NOW - 181), Degraded, "fail: last published 181 s ago"),
            ("metrics", |f| f.progress.last_success = Some(NOW + 500), Degraded, "fail: last published -500 s ago"),
            ("metrics", |f| f.progress.last_success = None, Degraded, "fail: never published"),
            ("metrics", |f| { f.progress.last_success = None; f.scheduled_since = Ok(Some(NOW - 20)); }, Healthy, "pass: the first tick is due"),
            ("metrics", |f| { f.progress.last_success = Some(NOW - 9000); f.uptime = 90; }, Healthy, "pass: the first tick is due"),
            ("staking", |f| f.edge.summary = None, Healthy, "skip: the node gives no summary"),
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
        for (check, needs) in STANDS_ON {
            for need in *needs {
                assert!(place(need) < place(check), "{check} stands on {need}");
            }
        }
    }

    #[test]
    fn a_node_without_gpu_is_not_asked_for_one() {
        let plain = |f: &mut Facts| {
            f.driver = None;
            f.edge.live.gpus = None;
        };
        assert_eq!(
            judged("gpu-driver", &plain),
            (Verdict::Healthy, "skip: gpu is false".into())
        );
        assert_eq!(judged("gpu-container", &plain).1, "skip: gpu is false");
    }
}

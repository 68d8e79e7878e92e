//! What is right and what is wrong: pure judgement of facts. Every failure says what to run.

use super::facts::{Answer, Facts, Space, Unit};
use super::progress::STALL_SECONDS;
use super::report::Check;
use crate::config::Config;
use crate::edge::container::Container;
use crate::edge::keys::Keys;
use crate::edge::rpc::Fault;

/// The node may take this long, in seconds, until its RPC answers (the blueprint's guide says ten minutes).
const START_SECONDS: i64 = 15 * 60;

/// The node may take this long, in seconds, until it has a height and peers.
const JOIN_SECONDS: i64 = 30 * 60;

/// A tick comes every 60 s; this many seconds without one are a failure.
const TICK_SECONDS: i64 = 180;

/// Shorter uptimes than this, in seconds, with this many restarts are a crash loop.
const LOOP_SECONDS: i64 = 600;
const LOOP_RESTARTS: u64 = 3;

/// Judges everything, in the order of setting up.
pub fn judge(facts: &Facts, config: &Config) -> Vec<Check> {
    vec![
        asked("os", &facts.os, "preflight", |name| {
            Check::pass("os", name.as_str())
        }),
        boot_service(facts),
        ssm_agent(facts),
        driver(facts),
        docker(facts),
        user(facts, config),
        volume(facts, config),
        encrypted(facts),
        space(
            "disk-root",
            &facts.root_space,
            "docker system df; journalctl --disk-usage",
        ),
        space(
            "disk-data",
            &facts.data_space,
            "make the EBS volume larger, then run: bootstrap --phase volume",
        ),
        asked(
            "cloudwatch-agent",
            &facts.cloudwatch_agent,
            "cloudwatch-agent",
            |active| {
                holds(
                    "cloudwatch-agent",
                    *active,
                    "active",
                    "not active",
                    "run: bootstrap --phase cloudwatch-agent",
                )
            },
        ),
        key(facts),
        container(facts),
        spec(facts),
        password(facts),
        gpu_container(facts),
        ports(facts, config),
        rpc(facts),
        height(facts),
        peers(facts),
        metrics(facts),
        staking(facts),
    ]
}

fn boot_service(facts: &Facts) -> Check {
    asked(
        "boot-service",
        &facts.boot_service,
        "preflight",
        |enabled| {
            holds(
                "boot-service",
                *enabled,
                "bootstrap.service runs at every boot",
                "bootstrap.service is not enabled: after a reboot the container would not start",
                "run: bootstrap --phase preflight",
            )
        },
    )
}

fn ssm_agent(facts: &Facts) -> Check {
    asked(
        "ssm-agent",
        &facts.ssm_agent,
        "ssm-agent",
        |unit| match unit {
            Unit::Active => Check::pass("ssm-agent", "active"),
            Unit::Inactive => Check::fail(
                "ssm-agent",
                "enabled, but not active",
                "run: bootstrap --phase ssm-agent",
            ),
            Unit::Unwanted => Check::skip("ssm-agent", "not installed"),
        },
    )
}

fn driver(facts: &Facts) -> Check {
    match &facts.driver {
        None => Check::skip("gpu-driver", "gpu is false"),
        Some(answer) => asked("gpu-driver", answer, "nvidia", |gpus| {
            Check::pass("gpu-driver", gpus.as_str())
        }),
    }
}

fn docker(facts: &Facts) -> Check {
    asked("docker", &facts.docker, "docker", |version| match version {
        Some(version) => Check::pass("docker", format!("engine {version}")),
        None => Check::fail(
            "docker",
            "the engine does not answer",
            "run: bootstrap --phase docker",
        ),
    })
}

fn user(facts: &Facts, config: &Config) -> Check {
    let user = &config.user;
    asked("user", &facts.account, "user", |missing| {
        holds(
            "user",
            missing.is_nothing(),
            &format!("{} ({}:{})", user.name, user.uid, user.gid),
            &format!("{} is not an account in the group docker", user.name),
            "run: bootstrap --phase user",
        )
    })
}

fn volume(facts: &Facts, config: &Config) -> Check {
    let place = &config.volume.mount;
    let wrong = |detail: String| Check::fail("volume", detail, "run: bootstrap --phase volume");
    let mount = match &facts.mount {
        Err(error) => return wrong(error.clone()),
        Ok(None) => return wrong(format!("nothing is mounted at {place}")),
        Ok(Some(mount)) => mount,
    };
    if mount.read_only {
        return Check::fail(
            "volume",
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
        Ok(owner) if owner == (config.user.uid, config.user.gid) => Check::pass(
            "volume",
            format!("{} ({}) at {place}", mount.source, mount.filesystem),
        ),
        Ok((uid, gid)) => wrong(format!("{place} is owned by {uid}:{gid}")),
        Err(ref error) => wrong(error.clone()),
    }
}

fn encrypted(facts: &Facts) -> Check {
    match &facts.encrypted {
        None => Check::skip("volume-encrypted", "an instance store"),
        Some(Err(error)) => Check::skip("volume-encrypted", format!("AWS was not asked: {error}")),
        Some(Ok(encrypted)) => holds(
            "volume-encrypted",
            *encrypted,
            "encrypted",
            "the volume that holds the wallet key is not encrypted",
            "copy it: snapshot, encrypted volume from it, then deploy with that volume's id",
        ),
    }
}

fn space(name: &'static str, answer: &Answer<Space>, hint: &str) -> Check {
    let space = match answer {
        Err(error) => return Check::fail(name, error.as_str(), hint),
        Ok(space) => space,
    };
    let percent = space.free.saturating_mul(100) / space.size.max(1);
    let gib = space.free >> 30;
    let detail = format!("{percent} % free ({gib} GiB)");
    match percent {
        0..5 => Check::fail(name, detail, hint),
        5..15 => Check::warn(name, detail, hint),
        _ => Check::pass(name, detail),
    }
}

fn key(facts: &Facts) -> Check {
    let folder = match &facts.keys {
        Err(error) => {
            return Check::fail(
                "key",
                error.as_str(),
                "run: bootstrap --phase volume --phase assets",
            );
        }
        Ok(folder) => folder,
    };
    let path = &folder.path;
    let answered = facts.live.status.as_ref().ok();
    let by_rpc = answered.and_then(|status| status.address.as_deref());
    match &folder.keys {
        Keys::None if by_rpc.is_some() => Check::fail(
            "key",
            format!(
                "the node has an address, but {path} holds no key: it is not kept on the volume"
            ),
            "do not reboot or stop the instance; run: docker inspect edgelauncher, and save the key from inside the container",
        ),
        Keys::None => Check::warn(
            "key",
            format!("{path} holds no key yet: the node makes one at its first start"),
            "wait: bootstrap verify --wait 15m",
        ),
        Keys::Several(names) => Check::fail(
            "key",
            format!(
                "{path} holds several files, the node will not start: {}",
                names.join(", ")
            ),
            "move all but the right key file to a safe place outside that folder, then run: bootstrap --phase container",
        ),
        Keys::One(address) if by_rpc.is_some_and(|by_rpc| by_rpc != address) => Check::fail(
            "key",
            format!(
                "{path} holds the key of {address}, but the node runs as {}",
                by_rpc.unwrap_or_default()
            ),
            "run: docker restart edgelauncher, then: bootstrap verify",
        ),
        _ if !folder.foreign.is_empty() => Check::fail(
            "key",
            folder.foreign.join("; "),
            format!(
                "run: bootstrap --phase container --force, which names the remedy; look: ls -la {path}"
            ),
        ),
        _ if !folder.unsafe_modes.is_empty() => {
            let (found, mend): (Vec<&str>, Vec<&str>) = folder
                .unsafe_modes
                .iter()
                .map(|(found, mend)| (found.as_str(), mend.as_str()))
                .unzip();
            Check::warn(
                "key",
                found.join("; "),
                format!("run: {}", mend.join(" && ")),
            )
        }
        Keys::Unknown(name) => Check::warn(
            "key",
            format!("{path} holds {name}, which is not named like a key"),
            format!("look at it: ls -la {path}"),
        ),
        Keys::One(address) => Check::pass("key", format!("one key, {address}")),
    }
}

fn container(facts: &Facts) -> Check {
    let wrong = |detail: String, hint: &str| Check::fail("container", detail, hint);
    let found = match &facts.live.container {
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
    if let Some((reason, hint)) = &facts.trouble {
        return wrong(reason.clone(), hint);
    }
    let age = found.age(facts.now).unwrap_or_default();
    let ends = || facts.log_end.as_deref().unwrap_or("its log is not known");
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
    Check::pass(
        "container",
        format!("running for {age} s, {} restarts", found.restarts),
    )
}

fn spec(facts: &Facts) -> Check {
    let Some(found) = running(facts) else {
        return Check::skip("spec", "no container of ours");
    };
    match &facts.wanted {
        Err(error) => Check::fail("spec", error.as_str(), "run: bootstrap --phase container"),
        Ok(wanted) => holds(
            "spec",
            found.spec.as_ref() == Some(wanted),
            "the container is as config and assets want it",
            "the container was made from another config, assets or image",
            "run: bootstrap --phase container",
        ),
    }
}

fn password(facts: &Facts) -> Check {
    match facts.exposed {
        None => Check::skip("password", "nothing to look for"),
        Some(exposed) => holds(
            "password",
            !exposed,
            "not in docker inspect",
            "docker inspect shows the wallet password",
            "remove the container (docker rm -f edgelauncher), then run: bootstrap --phase container",
        ),
    }
}

fn gpu_container(facts: &Facts) -> Check {
    match &facts.live.gpus {
        None => Check::skip("gpu-container", "gpu is false"),
        Some(Ok(gpus)) => Check::pass("gpu-container", gpus.as_str()),
        Some(Err(_)) if running(facts).is_none_or(|found| !found.is_up()) => Check::fail(
            "gpu-container",
            "the container does not run",
            "run: bootstrap --phase container",
        ),
        Some(Err(said)) => Check::fail(
            "gpu-container",
            format!("the container does not see its GPU: {said}"),
            "run: docker restart edgelauncher; if that does not help: bootstrap --phase nvidia --phase docker",
        ),
    }
}

fn ports(facts: &Facts, config: &Config) -> Check {
    let (Ok(spec), Some(found)) = (&facts.spec, running(facts).filter(|found| found.is_up()))
    else {
        return Check::skip("ports", "no container runs");
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
        (Some((address, port)), _) => Check::fail(
            "ports",
            format!("port {port} is published at {address}"),
            mend,
        ),
        (None, Some(port)) => Check::fail("ports", format!("port {port} is not published"), mend),
        (None, None) => Check::pass("ports", format!("published at {bind} only")),
    }
}

fn rpc(facts: &Facts) -> Check {
    match &facts.live.status {
        Ok(status) => match &status.address {
            Some(address) => {
                let chain = status.chain.as_deref().unwrap_or("chain not named");
                let version = facts.version.as_deref().unwrap_or("version not named");
                Check::pass("rpc", format!("{address}, {chain}, {version}"))
            }
            None => Check::fail(
                "rpc",
                "the node answers, but names no address",
                "wait: bootstrap verify --wait 15m; if it stays: docker restart edgelauncher",
            ),
        },
        Err(fault) => {
            let age = running(facts).and_then(|found| found.age(facts.now));
            match age {
                Some(age) if *fault == Fault::Refused && age < START_SECONDS => Check::fail(
                    "rpc",
                    format!("{fault}; the container started {age} s ago"),
                    "wait, a start can take ten minutes: bootstrap verify --wait 15m",
                ),
                _ => Check::fail(
                    "rpc",
                    fault.to_string(),
                    "read the log: docker logs --tail 100 edgelauncher; then: docker restart edgelauncher",
                ),
            }
        }
    }
}

fn height(facts: &Facts) -> Check {
    let Ok(status) = &facts.live.status else {
        return Check::skip("height", "the RPC does not answer");
    };
    let stuck = "read the log: docker logs --tail 100 edgelauncher; check outbound TCP 16888; then: docker restart edgelauncher";
    let wait = "wait: bootstrap verify --wait 30m";
    match status.height.filter(|height| *height > 0) {
        None if joined_long_ago(facts) => {
            Check::fail("height", "not known 30 minutes after the start", stuck)
        }
        None => Check::warn("height", "not known yet", wait),
        Some(height) => {
            let age = facts.progress.height_age(facts.now.as_second());
            match (facts.next_height, age) {
                (Some(next), _) => Check::pass("height", format!("{next}, advancing")),
                (None, Some(age)) if age >= STALL_SECONDS => {
                    Check::fail("height", format!("{height}, the same for {age} s"), stuck)
                }
                (None, _) => Check::warn("height", format!("{height}, not advancing yet"), wait),
            }
        }
    }
}

fn peers(facts: &Facts) -> Check {
    if facts.live.status.is_err() {
        return Check::skip("peers", "the RPC does not answer");
    }
    let stuck = "check outbound TCP 16888 (security group, network ACL, NAT), then: docker restart edgelauncher";
    let detail = match &facts.live.peers {
        Ok(peers) if !peers.is_empty() => return Check::pass("peers", format!("{}", peers.len())),
        Ok(_) => "none".to_owned(),
        Err(fault) => fault.to_string(),
    };
    if joined_long_ago(facts) {
        Check::fail(
            "peers",
            format!("{detail}, 30 minutes after the start"),
            stuck,
        )
    } else {
        Check::warn(
            "peers",
            format!("{detail} yet"),
            "wait: bootstrap verify --wait 30m",
        )
    }
}

fn metrics(facts: &Facts) -> Check {
    let now = facts.now.as_second();
    asked("metrics", &facts.scheduled_since, "metrics-cron", |since| {
        let Some(since) = since else {
            return Check::fail(
                "metrics",
                "no metrics tick is scheduled",
                "run: bootstrap --phase metrics-cron",
            );
        };
        let age = facts.progress.last_success.map(|time| now - time);
        let due = (now - since).min(facts.uptime);
        match age {
            Some(age) if (0..=TICK_SECONDS).contains(&age) => {
                Check::pass("metrics", format!("published {age} s ago"))
            }
            _ if due <= TICK_SECONDS => Check::pass("metrics", "the first tick is due"),
            Some(age) => Check::fail(
                "metrics",
                format!("last published {age} s ago"),
                "run it to see why: bootstrap metrics",
            ),
            None => Check::fail(
                "metrics",
                "never published",
                "run it to see why: bootstrap metrics",
            ),
        }
    })
}

fn staking(facts: &Facts) -> Check {
    match &facts.summary {
        Some(summary) => Check::pass("staking", format!("node summary {summary}")),
        None => Check::skip("staking", "the node gives no summary"),
    }
}

/// Our container, in whatever state.
fn running(facts: &Facts) -> Option<&Container> {
    let found = facts.live.container.as_ref().ok()?.as_ref()?;
    found.spec.is_some().then_some(found)
}

fn joined_long_ago(facts: &Facts) -> bool {
    running(facts)
        .and_then(|found| found.age(facts.now))
        .is_some_and(|age| age >= JOIN_SECONDS)
}

/// A check of what could be had; what could not is a failure that names the phase to rerun.
fn asked<T>(
    name: &'static str,
    answer: &Answer<T>,
    phase: &str,
    judge: impl FnOnce(&T) -> Check,
) -> Check {
    match answer {
        Ok(value) => judge(value),
        Err(error) => Check::fail(
            name,
            error.as_str(),
            format!("run: bootstrap --phase {phase}"),
        ),
    }
}

fn holds(name: &'static str, holds: bool, right: &str, wrong: &str, hint: &str) -> Check {
    if holds {
        Check::pass(name, right)
    } else {
        Check::fail(name, wrong, hint)
    }
}

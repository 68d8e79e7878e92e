//! Every check: what it depends on, and who judges it. Each is judged from the facts alone, and every failure says what
//! to run.

mod container;
mod earnings;
mod machine;
mod node;
mod tick;
mod wallet;

use std::collections::BTreeMap;

use self::By::{Facts as F, Phase as P};
use super::facts::Facts;
use super::finding::{Finding, of_phase};
use super::report::{Check, Status};
use crate::edge::container::Container;
use crate::engine::State;
use crate::error::Result;

/// The groups that `verify --only` takes.
pub const GROUPS: [&str; 7] = [
    "machine",
    "gpu",
    "volume",
    "container",
    "node",
    "earnings",
    "metrics",
];

/// Who judges a check.
enum By {
    /// What the phase's own check has found, and perhaps what else is known.
    Phase(&'static str, fn(&Facts, &Result<State>) -> Finding),
    /// What is known.
    Facts(fn(&Facts) -> Finding),
}

/// One check. If one of those that it depends on fails, it could only repeat the failure in other words, or mislead (the
/// key folder of an unmounted volume holds no key, yet the key is not lost).
struct Row {
    name: &'static str,
    group: &'static str,
    needs: &'static [&'static str],
    by: By,
}

/// Every check, in the order of reports.
#[rustfmt::skip]
const CHECKS: &[Row] = &[
    //  name                group        depends on                                            judged by
    row("os",               "machine",   &[],                                                  P("preflight", machine::os)),
    row("boot-service",     "machine",   &["os"],                                              P("preflight", machine::boot_service)),
    row("ssm-agent",        "machine",   &[],                                                  P("ssm-agent", as_it_says)),
    row("gpu-driver",       "gpu",       &[],                                                  P("nvidia", as_it_says)),
    row("docker",           "container", &[],                                                  P("docker", as_it_says)),
    row("image",            "container", &["docker"],                                          P("image", as_it_says)),
    row("user",             "machine",   &[],                                                  P("user", as_it_says)),
    row("volume",           "volume",    &[],                                                  P("volume", as_it_says)),
    row("volume-encrypted", "volume",    &[],                                                  F(wallet::encrypted)),
    row("disk-root",        "machine",   &[],                                                  F(machine::disk_root)),
    row("disk-data",        "volume",    &["volume"],                                          F(machine::disk_data)),
    row("assets",           "container", &[],                                                  P("assets", as_it_says)),
    row("secret",           "container", &[],                                                  P("secret", wallet::secret)),
    row("cloudwatch-agent", "metrics",   &["assets"],                                          P("cloudwatch-agent", as_it_says)),
    row("key",              "volume",    &["volume", "assets"],                                F(wallet::key)),
    row("wallet-backup",    "volume",    &["key"],                                             P("wallet-backup", wallet::wallet_backup)),
    row("container",        "container", &["docker", "image", "volume", "assets", "secret"],   F(container::container)),
    row("spec",             "container", &["container"],                                       P("container", as_it_says)),
    row("password",         "container", &[],                                                  F(container::password)),
    row("gpu-container",    "gpu",       &["gpu-driver", "container"],                         F(container::gpu_container)),
    row("ports",            "container", &["container"],                                       F(container::ports)),
    row("rpc",              "node",      &["container"],                                       F(node::rpc)),
    row("launcher",         "node",      &["container"],                                       F(node::launcher)),
    row("encoder",          "node",      &["container"],                                       F(node::encoder)),
    row("anycast",          "node",      &["container"],                                       F(node::anycast)),
    row("height",           "node",      &["rpc"],                                             F(node::height)),
    row("peers",            "node",      &["rpc"],                                             F(node::peers)),
    row("metrics",          "metrics",   &["assets"],                                          P("metrics-cron", tick::metrics)),
    row("staking",          "node",      &["rpc"],                                             F(node::staking)),
    row("pending-tfuel",    "earnings",  &["encoder"],                                         F(earnings::pending_tfuel)),
    row("jobs",             "earnings",  &["launcher", "encoder"],                             F(earnings::jobs)),
    row("uptime-vote",      "earnings",  &["rpc"],                                             F(earnings::uptime_vote)),
];

const fn row(
    name: &'static str,
    group: &'static str,
    needs: &'static [&'static str],
    by: By,
) -> Row {
    Row {
        name,
        group,
        needs,
        by,
    }
}

fn as_it_says(_: &Facts, said: &Result<State>) -> Finding {
    of_phase(said)
}

/// Every check, in the order of reports.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|row| row.name)
}

/// What the check depends on.
pub fn needs(check: &str) -> &'static [&'static str] {
    named(check).map_or(&[], |row| row.needs)
}

/// The check's group.
pub fn group(check: &str) -> Option<&'static str> {
    named(check).map(|row| row.group)
}

/// The checks that report the result of a phase's own check.
pub fn checks_of(phase: &str) -> Vec<&'static str> {
    let reports = |row: &&Row| matches!(row.by, P(name, _) if name == phase);
    CHECKS.iter().filter(reports).map(|row| row.name).collect()
}

fn named(check: &str) -> Option<&'static Row> {
    CHECKS.iter().find(|row| row.name == check)
}

/// Checks that see nothing of the volume while it is not mounted, and would pass.
const BLIND: [&str; 2] = ["disk-data", "key"];

/// Judges everything.
pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let judged = CHECKS.iter().filter_map(|row| {
        let (status, detail, hint) = match row.by {
            F(judge) => judge(facts),
            P(phase, judge) => {
                let (_, said) = facts.phases.iter().find(|(name, _)| *name == phase)?;
                judge(facts, said)
            }
        };
        Some(Check {
            name: row.name,
            status,
            detail,
            hint,
            cause: None,
        })
    });
    with_causes(judged.collect())
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

/// Our container, whatever its state.
fn running(facts: &Facts) -> Option<&Container> {
    let found = facts.edge.live.container.as_ref().ok()?.as_ref()?;
    found.spec.is_some().then_some(found)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::facts::Edge;
    use super::*;
    use crate::edge::backup::Trouble;
    use crate::edge::earnings::{Earnings, Jobs};
    use crate::edge::keys::{KeyFolder, Keys};
    use crate::edge::processes::tests::answer;
    use crate::edge::processes::{ANYCAST, Process};
    use crate::edge::rpc::{self, Fault};
    use crate::edge::spec::Spec;
    use crate::error::Error;
    use crate::health::probes::Live;
    use crate::health::progress::Progress;
    use crate::health::report::{Report, Verdict};
    use crate::host::room::Space;

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

    /// A node with nothing wrong, started an hour ago.
    fn good() -> Facts {
        let text = include_str!("../../cloudformation/assets/edge.json");
        let space = Space {
            free: 50 << 30,
            size: 100 << 30,
        };
        Facts {
            rpc_bind: std::net::Ipv4Addr::LOCALHOST.into(),
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
        let report = Report::of(judge(&facts), None);
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
        let report = Report::of(judge(&good()), good().address());
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
    fn every_check_is_judged_and_has_a_group_and_stands_on_earlier_ones() {
        let judged = judge(&good());
        assert!(judged.iter().map(|check| check.name).eq(names()));
        assert!(
            GROUPS
                .iter()
                .all(|group| CHECKS.iter().any(|row| row.group == *group))
        );
        for (place, row) in CHECKS.iter().enumerate() {
            assert!(GROUPS.contains(&row.group), "{}", row.name);
            for need in row.needs {
                let found = names().position(|name| name == *need);
                assert!(
                    found.is_some_and(|found| found < place),
                    "{} stands on {need}",
                    row.name
                );
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
}

//! A night on call: the node is broken, `verify` is asked, and what it says is done, word for word and nothing else.

use crate::launch::{Instance, PASSWORD, Place, aws};
use crate::shared::shared;

/// The first lines of `verify`: of whatever it prints, these are what a person reads in any case.
const FIRST: usize = 5;

/// What stands in the first lines of `verify`.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub verdict: String,
    /// How many checks failed; the others are skipped because of it.
    pub failed: usize,
    /// The check, and what it found.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

/// What `verify` says of a breakage, which stands in the test's output, too.
pub fn told(instance: &Instance, of: &str) -> Told {
    let output = instance.try_run("bootstrap verify").output;
    let first: Vec<&str> = output.lines().take_while(|line| !line.is_empty()).collect();
    show(of, &first);
    let place = |name: &str| first.iter().position(|line| line.starts_with(name));
    let paragraph = |name: &str| {
        let (begin, rest) = first[place(name)?..].split_first()?;
        let rest = rest.iter().take_while(|line| line.starts_with(' '));
        let begin = begin.strip_prefix(name)?.trim().to_owned();
        Some(rest.fold(begin, |text, line| format!("{text} {}", line.trim())))
    };
    let remedy = place("Repair:").or_else(|| place("Help:"));
    assert!(remedy.is_none_or(|at| at < FIRST), "{of}: {output}");
    let counts = first[0].split(", ");
    let failed = counts.filter_map(|count| count.strip_suffix(" failed"));
    Told {
        verdict: output.split(':').next().unwrap_or_default().into(),
        failed: failed.map(|count| count.parse::<usize>().unwrap()).sum(),
        cause: paragraph("Cause:").unwrap_or_default(),
        remedy: (paragraph("Repair:").or_else(|| paragraph("Help:"))).unwrap_or_default(),
    }
}

fn show(of: &str, lines: &[&str]) {
    let first = &lines[..lines.len().min(FIRST)];
    eprintln!("on call, {of}:\n    {}", first.join("\n    "));
}

/// The commands in a remedy: from the last "run: " on, without what is said about them.
pub fn commands(remedy: &str) -> &str {
    let from = remedy
        .rsplit_once("run: ")
        .map_or(remedy, |(_, after)| after);
    from.split_once(", which ")
        .map_or(from, |(before, _)| before)
}

struct Breakage {
    what: &'static str,
    /// How it comes about.
    broken_by: &'static str,
    verdict: &'static str,
    /// How the cause begins.
    cause: &'static str,
    /// How the remedy begins.
    remedy: &'static str,
    /// What a person does of it by hand, before the command.
    by_hand: &'static str,
}

const WHOLE_RUN: &str = "sudo bootstrap";

const BREAKAGES: &[Breakage] = &[
    Breakage {
        what: "the container was stopped",
        broken_by: "docker stop edgelauncher",
        verdict: "unhealthy",
        cause: "container: exited, exit code ",
        remedy: WHOLE_RUN,
        by_hand: "",
    },
    Breakage {
        what: "the container was removed",
        broken_by: "docker rm --force edgelauncher",
        verdict: "unhealthy",
        cause: "container: there is no container",
        remedy: WHOLE_RUN,
        by_hand: "",
    },
    Breakage {
        what: "Docker is down",
        broken_by: "systemctl stop docker.socket docker.service",
        verdict: "unhealthy",
        cause: "docker: ",
        remedy: WHOLE_RUN,
        by_hand: "",
    },
    Breakage {
        what: "the volume is not mounted, and the container runs",
        broken_by: "umount --lazy /data",
        verdict: "unhealthy",
        cause: "volume: ",
        remedy: WHOLE_RUN,
        by_hand: "",
    },
    Breakage {
        what: "the volume is not mounted, and there is no container",
        broken_by: "docker rm --force edgelauncher && umount /data",
        verdict: "unhealthy",
        cause: "volume: ",
        remedy: WHOLE_RUN,
        by_hand: "",
    },
    Breakage {
        what: "the node cannot read its key folder",
        broken_by: "chmod 000 /data/edgelauncher/edgecore/key/encrypted",
        verdict: "unhealthy",
        cause: "key: /data/edgelauncher/edgecore/key/encrypted has mode 0000",
        remedy: "run: chmod ",
        by_hand: "",
    },
    Breakage {
        what: "a second key lies in the folder",
        broken_by: "cd /data/edgelauncher/edgecore/key/encrypted && cp -a \"$(ls)\" second",
        verdict: "unhealthy",
        cause: "key: /data/edgelauncher/edgecore/key/encrypted holds several files, the node will not start: ",
        remedy: "move all but the right key file to a safe place outside that folder, then run: bootstrap --phase container",
        by_hand: "mv /data/edgelauncher/edgecore/key/encrypted/second /root/",
    },
    Breakage {
        what: "the cron line is gone",
        broken_by: "rm /etc/cron.d/bootstrap-metrics",
        verdict: "degraded",
        cause: "metrics: ",
        remedy: WHOLE_RUN,
        by_hand: "",
    },
    Breakage {
        what: "the agent is down",
        broken_by: "systemctl stop amazon-cloudwatch-agent",
        verdict: "degraded",
        cause: "cloudwatch-agent: ",
        remedy: WHOLE_RUN,
        by_hand: "",
    },
    Breakage {
        what: "edge.json is gone",
        broken_by: "rm /opt/bootstrap/assets/edge.json",
        verdict: "unhealthy",
        cause: "assets: ",
        remedy: WHOLE_RUN,
        by_hand: "",
    },
];

pub fn is_healthy(instance: &Instance, address: &str, after: &str) {
    let verify = instance.try_run("bootstrap verify --wait 3m");
    let lines: Vec<&str> = verify.output.lines().collect();
    show(&format!("after {after}"), &lines);
    assert_eq!(verify.code, 0, "{after}: {}", verify.output);
    assert!(lines[0].starts_with("healthy: "), "{after}: {}", lines[0]);
    assert_eq!(instance.address(), address, "{after}");
}

pub fn the_remedy_of_every_breakage_makes_the_node_healthy() {
    let shared = shared();
    let instance = shared.instance();
    // What is down would be repaired before anyone looks.
    instance.run("systemctl stop bootstrap-repair.timer bootstrap-repair.service");
    for breakage in BREAKAGES {
        instance.run(breakage.broken_by);
        let told = told(instance, breakage.what);
        assert_eq!(
            (told.verdict.as_str(), told.failed),
            (breakage.verdict, 1),
            "{}: {told:?}",
            breakage.what
        );
        // The whole command where there is nothing but one.
        let is_remedy = match breakage.remedy {
            WHOLE_RUN => told.remedy == WHOLE_RUN,
            begin => told.remedy.starts_with(begin),
        };
        let is_cause = told.cause.starts_with(breakage.cause);
        assert!(is_cause && is_remedy, "{}: {told:?}", breakage.what);
        let command = commands(&told.remedy);
        instance.run(&format!(
            "sudo() {{ \"$@\"; }}; {}\n{command}",
            breakage.by_hand
        ));
        is_healthy(instance, &shared.address, breakage.what);
    }
}

/// The new value does not open the key, so the old one is made the current one again, as the second remedy says.
pub fn a_changed_secret_is_told_before_the_next_boot_fails() {
    let shared = shared();
    let instance = shared.instance();
    let secret = instance.run("grep -o 'arn:aws:secretsmanager:[^\"]*' /etc/bootstrap/config.json");
    let set = |value: &str| {
        let put = ["secretsmanager", "put-secret-value", "--secret-id", &secret];
        let told = aws(
            Place::Container,
            &[&put[..], &["--secret-string", value]].concat(),
        );
        assert_eq!(told.code, 0, "{}", told.output);
    };
    set("another one");
    let told = told(instance, "the secret was changed");
    assert_eq!((told.verdict.as_str(), told.failed), ("healthy", 0));
    assert_eq!(
        told.cause,
        "secret: the secret was changed: the next boot takes another wallet password than the one in use"
    );
    let refused = instance.try_run(commands(&told.remedy));
    assert_eq!(refused.code, 1, "{}", refused.output);
    let way = "the secret's previous value (AWSPREVIOUS) opens it: make that the current one again (aws secretsmanager \
               update-secret-version-stage --version-stage AWSCURRENT)";
    let said = refused
        .output
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(said.contains(way), "{said}");
    // As after a boot of another instance: nothing has the old password, and no container comes of the new one.
    instance.run("docker rm --force edgelauncher && rm -r /run/bootstrap/secrets");
    let refused = instance.try_run("bootstrap");
    assert_eq!(refused.code, 1, "{}", refused.output);
    assert_eq!(instance.run("docker ps --all --quiet"), "");
    // As good as that stage, which the simulated AWS does not move.
    set(PASSWORD);
    instance.run("bootstrap");
    is_healthy(instance, &shared.address, "a changed secret");
}

/// What a run remembers is no more than a record: the node is well without it.
pub fn a_broken_journal_and_a_killed_run_need_nobody_but_the_next_run() {
    let shared = shared();
    let instance = shared.instance();
    instance.run("echo '{\"version\": 1, \"run\"' >/var/lib/bootstrap/journal.json");
    is_healthy(instance, &shared.address, "a broken journal");
    let status = instance.try_run("bootstrap status");
    assert_eq!(status.code, 1, "{}", status.output);
    let lines: Vec<&str> = status.output.lines().collect();
    show("a broken journal, of which status says", &lines);
    let (_, help) = status.output.split_once("help: ").unwrap();
    assert_eq!(
        help.trim(),
        "the next run sets it aside and starts a new one"
    );
    instance.run("bootstrap");
    instance.run("bootstrap status");

    instance.run("docker rm --force edgelauncher");
    assert!(
        instance.kill_in("container"),
        "the run was over before the kill"
    );
    let told = told(instance, "a run was killed");
    assert_eq!(
        (told.verdict.as_str(), told.remedy.as_str()),
        ("unhealthy", WHOLE_RUN),
        "{told:?}"
    );
    instance.run("bootstrap");
    is_healthy(instance, &shared.address, "a killed run");
    instance.run("systemctl start bootstrap-repair.timer");
}

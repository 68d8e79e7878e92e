//! The health check: probes gather facts, checks judge them, the report presents the result.

mod checks;
mod facts;
mod finding;
pub mod probes;
pub mod progress;
mod report;

use std::time::Duration;

use tokio::time::Instant;

pub use checks::{GROUPS, checks_of, group, names, needs};
#[cfg(test)]
pub use report::{Check, Status};
pub use report::{Report, Shape, Verdict};

use crate::engine::Engine;
use crate::node::Node;

/// The systemd timer that starts the metrics tick in place of cron, if the config says so.
pub const TIMER: &str = "bootstrap-metrics.timer";

/// Pause between two health checks while waiting.
const PAUSE: Duration = Duration::from_millis(750);

/// Checks everything once: the phases' own checks, and the node itself. Changes nothing.
pub async fn verify(node: &Node, phases: &Engine) -> Report {
    verify_only(node, phases, &[]).await
}

/// The same, judged by the checks of these groups only; if there are none, by all.
async fn verify_only(node: &Node, phases: &Engine, groups: &[String]) -> Report {
    let facts = Box::pin(facts::gather(node, phases)).await;
    let mut checks = checks::judge(&facts);
    checks.retain(|check| {
        let wanted = |group: &str| groups.iter().any(|name| name == group);
        groups.is_empty() || checks::group(check.name).is_some_and(wanted)
    });
    let address = facts.address();
    Report {
        staking: facts.edge.summary,
        ..Report::of(checks, address)
    }
}

/// Repeats the health check until the node is healthy or `patience` runs out, and returns the last report. It covers
/// the checks of these groups only; if there are none, all.
pub async fn verify_within(
    node: &Node,
    phases: &Engine,
    groups: &[String],
    patience: Duration,
) -> Report {
    let until = Instant::now() + patience;
    let mut told = None;
    loop {
        node.host.look_again();
        let report = Box::pin(verify_only(node, phases, groups)).await;
        if report.verdict == Verdict::Healthy || Instant::now() + PAUSE > until {
            return report;
        }
        let line = report.line();
        if told.as_ref() != Some(&line) {
            tracing::info!("{line}");
            told = Some(line);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::imds::Imds;
    use crate::host::testing::Tree;
    use crate::retry::Policy;

    const NEVER: Policy = Policy::without_pause(1);

    fn node(tree: &Tree) -> Node {
        let config = serde_json::from_value(serde_json::json!({
            "gpu": true,
            "volume": {"kind": "instance-store"},
            "assets": {"bucket": "b", "key": "k", "sha256": "00"},
            "secret": {"arn": "arn"}
        }));
        let imds = Imds::at("http://127.0.0.1:1", NEVER);
        Node::new(config.unwrap(), tree.host.clone(), imds)
    }

    fn found<'a>(report: &'a Report, name: &str) -> &'a Check {
        let mut checks = report.checks.iter();
        checks.find(|check| check.name == name).unwrap()
    }

    #[tokio::test]
    async fn a_bare_machine_is_told_not_crashed_on() {
        let tree = Tree::new();
        let report = verify(&node(&tree), &Engine::new(Vec::new()).unwrap()).await;
        assert_eq!(
            (report.verdict, &report.address),
            (Verdict::Unhealthy, &None)
        );
        assert!(
            report.line().starts_with("unhealthy: "),
            "{}",
            report.line()
        );
        let spec = "/opt/bootstrap/assets/edge.json does not exist";
        assert_eq!(found(&report, "container").detail, spec);
    }

    #[tokio::test]
    async fn a_wrong_password_is_named_by_the_containers_own_log() {
        let tree = Tree::new();
        let spec = include_str!("../../cloudformation/assets/edge.json")
            .replace("\"core\": 17888", "\"core\": 1");
        tree.file(crate::paths::SPEC, spec.replace("[15888,", "[1, 15888,"));
        tree.file(crate::paths::PASSWORD, "pass word");
        tree.tool(
            "docker",
            r#"case "$1" in
            container) echo '[{"State":{"Status":"restarting","ExitCode":1},"RestartCount":2,"Args":["pass word"],
              "Config":{"Labels":{"io.theta.bootstrap.spec":"x"}}}]' ;;
            logs) echo 'level=fatal msg="could not decrypt key with given password"' ;;
            *) exit 1 ;; esac"#,
        );
        let report = verify(&node(&tree), &Engine::new(Vec::new()).unwrap()).await;
        assert_eq!(
            found(&report, "container").detail,
            "the wallet password does not open the key on the volume"
        );
        assert_eq!(
            found(&report, "password").detail,
            "docker inspect shows the wallet password"
        );
        assert!(!report.json().contains("pass word"));
    }
}

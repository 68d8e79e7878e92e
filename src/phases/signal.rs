//! Phase `signal`: CloudFormation is notified that the node is up, or why it is not.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::time::Instant;

use crate::edge::keys::{self, Keys};
use crate::edge::{Spec, wallet};
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, Result};
use crate::health::{self, Report, Verdict};
use crate::node::Node;
use crate::notify;
use crate::phases::{container, volume};

/// How long the node may take to become good; the phase's own deadline is a little longer.
const PATIENCE: Patience = Patience {
    pause: Duration::from_millis(750),
    looks: 9,
    same: Duration::from_secs(90),
    limit: Duration::from_mins(18),
};

/// What fails while a node is only starting: the RPC may take ten minutes to answer (AWS blueprint's README). A
/// container that cannot start fails more than this.
const STARTING: [&str; 1] = ["rpc"];

/// Waits until the node is good, then signals success; without a stack in the config it only waits.
pub(super) struct Signal(pub Arc<Node>);

#[async_trait]
impl Phase for Signal {
    async fn check(&self) -> Result<State> {
        let node = self.0.as_ref();
        let told = match notify::waiting(node) {
            None => "no stack waits".into(),
            Some(stack) => {
                let name = stack.short_name();
                match notify::accepted(node, stack).await? {
                    None => {
                        return Ok(State::Needed(format!(
                            "the stack {name} has not been notified yet"
                        )));
                    }
                    Some(record) if record.failed => {
                        format!(
                            "the stack {name} was notified of a failure at {}",
                            record.at
                        )
                    }
                    Some(record) => format!("the stack {name} was notified at {}", record.at),
                }
            }
        };
        // An earlier signal says nothing about the node now.
        let report = health::verify(node, &super::verified(&self.0)?).await;
        Ok(
            if is_good(report.verdict) && container::has_previous(node).await? {
                State::Needed("the container that was replaced is still kept".into())
            } else if is_good(report.verdict) {
                State::Done(format!("verify says {}; {told}", report.verdict.word()))
            } else {
                State::Needed(verdict_line(&report))
            },
        )
    }

    async fn apply(&self) -> Result<Applied> {
        let node = self.0.as_ref();
        let phases = super::verified(&self.0)?;
        let look = || {
            node.host.look_again();
            health::verify(node, &phases)
        };
        let report = settle(PATIENCE, look).await?;
        remember_wallet(node).await?;
        volume::tell_wallet(node).await?;
        container::forget_previous(node).await?;
        if let Some(stack) = notify::waiting(node)
            && notify::accepted(node, stack).await?.is_none()
        {
            let instance = &node.identity().await?.instance_id;
            notify::success(node, stack, &success_data(&report, instance)).await?;
        }
        Ok(Applied::Finished)
    }
}

/// Records the wallet of the key on the disk, which the node creates at its first start.
async fn remember_wallet(node: &Node) -> Result<()> {
    let folder = Spec::require(&node.host, &node.config)?.key_folder(&node.config);
    match keys::look(&node.host, &folder, None)?.keys {
        Keys::One(address) => wallet::remember(&node.host, &node.disk().await?, &address, &folder),
        _ => Ok(()),
    }
}

fn is_good(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Healthy | Verdict::Syncing)
}

struct Patience {
    /// Between two checks.
    pause: Duration,
    /// Gives up once the same checks have failed this many times in a row, for at least this long. A node that is just
    /// starting fails some, but not for long; a wrong password or a container that cannot start keeps failing the
    /// same ones.
    looks: u32,
    same: Duration,
    /// Overall time limit.
    limit: Duration,
}

/// Checks until the node is good, the same checks keep failing, or time is up.
async fn settle<F: Future<Output = Report>>(
    patience: Patience,
    mut look: impl FnMut() -> F,
) -> Result<Report> {
    let until = Instant::now() + crate::pace::of(patience.limit);
    let mut failing: Vec<&'static str> = Vec::new();
    let mut looks = 0;
    let mut since = Instant::now();
    loop {
        let report = look().await;
        if is_good(report.verdict) {
            return Ok(report);
        }
        let names: Vec<_> = report.failing().map(|check| check.name).collect();
        if failing == names {
            looks += u32::from(names != STARTING);
        } else {
            failing = names;
            looks = 1;
            since = Instant::now();
            tracing::info!("{}", verdict_line(&report));
        }
        let stuck = looks >= patience.looks && since.elapsed() >= crate::pace::of(patience.same);
        if stuck || Instant::now() + crate::pace::of(patience.pause) > until {
            let hint = report.failing().find_map(|check| check.hint.clone());
            return Err(Error::new(
                verdict_line(&report),
                hint.unwrap_or_else(|| "run `bootstrap verify` on the node".into()),
            ));
        }
        crate::pace::pause(patience.pause).await;
    }
}

fn verdict_line(report: &Report) -> String {
    let details: Vec<String> = report
        .failing()
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    format!(
        "verify says {} ({})",
        report.verdict.word(),
        details.join("; ")
    )
}

#[derive(Serialize)]
struct Success<'a> {
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    instance: &'a str,
    verdict: &'static str,
}

fn success_data(report: &Report, instance: &str) -> String {
    let data = Success {
        address: report.address.as_deref(),
        summary: report.staking.as_deref().filter(|text| is_summary(text)),
        instance,
        verdict: report.verdict.word(),
    };
    serde_json::to_string(&data).unwrap_or_default()
}

/// Whether it can be a node's Summary: hex digits, 458 of them in the ledger's guardian nodes. It goes to the stack's
/// outputs, where it outlives the node; a tag of the volume is limited to 256 characters.
fn is_summary(text: &str) -> bool {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    (1..=1_000).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::health::Check;

    fn report(verdict: Verdict, failing: &[&'static str]) -> Report {
        let check = |name: &&'static str| Check {
            name,
            status: health::Status::Fail,
            detail: format!("{name} is bad"),
            hint: Some(format!("mend {name}")),
            cause: None,
        };
        Report {
            verdict,
            checks: failing.iter().map(check).collect(),
            address: Some("0xab".into()),
            staking: None,
        }
    }

    async fn settled(limit: Duration, reports: Vec<Report>) -> (Result<Report>, usize) {
        let patience = Patience {
            pause: Duration::ZERO,
            looks: 3,
            same: Duration::ZERO,
            limit,
        };
        let mut looks = 0;
        let result = settle(patience, || {
            looks += 1;
            ready(reports[(looks - 1).min(reports.len() - 1)].clone())
        })
        .await;
        (result, looks)
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn healthy_and_syncing_are_both_good_enough() {
        for verdict in [Verdict::Healthy, Verdict::Syncing] {
            let starting = report(Verdict::Unhealthy, &["rpc"]);
            let (result, looks) =
                settled(LONG, vec![starting.clone(), starting, report(verdict, &[])]).await;
            assert_eq!((result.unwrap().verdict, looks), (verdict, 3));
        }
    }

    #[tokio::test]
    async fn the_same_failure_is_not_waited_for_long_but_a_changing_one_is() {
        let (result, looks) = settled(
            LONG,
            vec![
                report(Verdict::Unhealthy, &["rpc"]),
                report(Verdict::Unhealthy, &["container", "rpc"]),
                report(Verdict::Unhealthy, &["rpc"]),
                report(Verdict::Unhealthy, &["metrics", "password", "rpc"]),
            ],
        )
        .await;
        let error = result.unwrap_err();
        assert_eq!(looks, 6);
        assert_eq!(
            (error.reason(), error.hint()),
            (
                "verify says unhealthy (password: password is bad; rpc: rpc is bad; metrics: metrics is bad)",
                "mend password"
            )
        );
        let (result, looks) =
            settled(Duration::ZERO, vec![report(Verdict::Degraded, &["disk"])]).await;
        assert_eq!(looks, 1);
        assert_eq!(
            result.unwrap_err().reason(),
            "verify says degraded (disk: disk is bad)"
        );
    }

    #[test]
    fn success_tells_address_summary_and_verdict() {
        let told = |summary: &str| {
            let staking = Some(summary.to_owned());
            success_data(
                &Report {
                    staking,
                    ..report(Verdict::Syncing, &[])
                },
                "i-1",
            )
        };
        let none = r#"{"address":"0xab","instance":"i-1","verdict":"syncing"}"#;
        for strange in ["", "0x", "<b>", "ab\u{1b}[2J", &"a".repeat(1_001)] {
            assert_eq!(told(strange), none, "{strange}");
        }
        assert_eq!(
            told("0xAb12"),
            r#"{"address":"0xab","summary":"0xAb12","instance":"i-1","verdict":"syncing"}"#
        );
    }
}

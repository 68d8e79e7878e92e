//! Is the node healthy? Probes shared by `verify` and `metrics`, and the checks made of them.

use crate::node::Node;

/// The cron table that starts the metrics tick; its name has no dot, or cron would skip it.
pub const CRON_FILE: &str = "/etc/cron.d/bootstrap-metrics";
/// The systemd timer that starts it instead where the config says so.
pub const TIMER: &str = "bootstrap-metrics.timer";
/// The timer's file.
pub const TIMER_FILE: &str = "/etc/systemd/system/bootstrap-metrics.timer";

/// Pause between two looks while waiting.
const PAUSE: Duration = Duration::from_secs(5);

/// Looks at everything once. Changes nothing.
pub async fn verify(node: &Node) -> Report {
    let facts = Box::pin(facts::gather(node)).await;
    Report::of(checks::judge(&facts, &node.config), facts.address())
}

/// Looks again and again until the node is healthy or `patience` is over; the last report is the answer.
pub async fn verify_within(node: &Node, patience: Duration) -> Report {
    let until = Instant::now() + patience;
    let mut told = None;
    loop {
        let report = Box::pin(verify(node)).await;
        if report.verdict == Verdict::Healthy || Instant::now() + PAUSE > until {
            return report;
        }
    }
}

/// The whole health check.
#[derive(Clone, Debug)]
pub struct Report {
    /// All checks in one word.
    pub verdict: Verdict,
    /// Every check.
    pub checks: Vec<Check>,
    /// The node's wallet address, where known.
    pub address: Option<String>,
}

/// Looks at everything once. Changes nothing.
pub async fn verify(_node: &Node) -> Report {
    todo!()
}

//! `bootstrap verify`

use std::io::IsTerminal;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;

use super::{Exit, Output, block_on, fail, host, node, say, schema};
use crate::engine::journal::{Status, lasting};
use crate::engine::{Engine, Journal, Lock};
use crate::health::{self, GROUPS, Report, Shape, Verdict};
use crate::host::Host;
use crate::node::Node;
use crate::paths::{JOURNAL, RUN_LOCK};
use crate::rights::only_look;
use crate::{log, pace, phases};

/// Pause between two looks of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);

/// Puts the cursor into the first place of an empty screen.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J\u{1b}[3J";

/// How the node is looked at.
#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct Verify {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Keep checking until the node is healthy, for at most this long ("90s", "10m")
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,

    /// Check again every two seconds until Ctrl-C; the exit code is that of the last check
    #[arg(long, conflicts_with = "wait")]
    pub watch: bool,

    /// Also try the wallet password on the key, which takes about a second and 256 MB of memory
    #[arg(long, conflicts_with_all = ["wait", "watch"])]
    pub prove_password: bool,

    /// Run only this group of checks; repeat for several
    #[arg(long, value_name = "GROUP", value_parser = PossibleValuesParser::new(GROUPS))]
    pub only: Vec<String>,

    /// Print the JSON Schema of what --json prints
    #[arg(long, conflicts_with_all = ["json", "wait", "watch", "prove_password", "only"])]
    pub schema: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "write a duration such as 90s or 10m".into())
}

/// Checks the node's health: once, until it is healthy, or until nobody watches any more.
pub fn verify(config: &Path, what: &Verify, output: Output) -> Exit {
    if what.schema {
        return schema::<Shape<'_>>();
    }
    only_look();
    let host = host();
    output.log_beside_answer(&host);
    let node = match node(config, host) {
        Ok(node) => Arc::new(node.proving_password(what.prove_password)),
        Err(exit) => return exit,
    };
    phases::leave_size();
    let show = |report: &Report| {
        let run: Vec<String> = at_work(&node.host).into_iter().collect();
        say(&if what.json || output.format == log::Format::Json {
            report.json()
        } else {
            report.text(output.verbose, &run)
        });
    };
    let looked = phases::verified(&node).and_then(|phases| {
        block_on(async {
            if what.watch {
                return watch(&node, &phases, &what.only, show).await;
            }
            let patience = what.wait.unwrap_or_default();
            let report = health::verify_within(&node, &phases, &what.only, patience).await;
            show(&report);
            report.verdict
        })
    });
    match looked {
        Ok(Verdict::Healthy) => Exit::Done,
        Ok(Verdict::Syncing) => Exit::Syncing,
        Ok(Verdict::Degraded | Verdict::Unhealthy) => Exit::Failed,
        Err(error) => fail(&error),
    }
}

/// Shows report after report, on a terminal each in place of the one before, until someone ends it; the last verdict.
async fn watch(node: &Node, phases: &Engine, groups: &[String], show: impl Fn(&Report)) -> Verdict {
    let mut last = Verdict::Unhealthy;
    let mut ended = pin!(tokio::signal::ctrl_c());
    loop {
        let looks = health::verify_within(node, phases, groups, Duration::ZERO);
        let report = tokio::select! {
            report = looks => report,
            _ = &mut ended => return last,
        };
        if std::io::stdout().is_terminal() {
            say(CLEAR);
        }
        show(&report);
        last = report.verdict;
        tokio::select! {
            () = pace::pause(PAUSE) => {}
            _ = &mut ended => return last,
        }
    }
}

/// What the run that is under way is doing, if one is: what fails may be what it is about to set up.
fn at_work(host: &Host) -> Option<String> {
    if !Lock::is_held(&host.path(RUN_LOCK)) {
        return None;
    }
    let journal = host.read(JOURNAL).ok().flatten();
    let journal = journal.and_then(|bytes| Journal::parse(&bytes).ok());
    let now = Timestamp::now();
    let phases: Vec<String> = journal
        .iter()
        .flat_map(|journal| &journal.phases)
        .filter(|record| record.status == Status::Running)
        .filter_map(|record| {
            let took = now.duration_since(record.started?).as_secs_f64().max(0.0);
            Some(format!("{} for {}", record.name, lasting(took)))
        })
        .collect();
    let doing = if phases.is_empty() {
        String::new()
    } else {
        format!(" ({})", phases.join(", "))
    };
    Some(format!(
        "A run is in progress{doing}: wait for it, bootstrap verify --wait 15m"
    ))
}

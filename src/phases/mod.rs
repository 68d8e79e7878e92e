//! The table of phases; one file per phase next to this one.

mod assets;
mod clean;
mod cloudwatch_agent;
mod container;
mod docker;
mod download;
mod image;
mod metrics_cron;
mod nvidia;
mod preflight;
mod prepared;
mod repository;
mod secret;
mod signal;
mod ssm_agent;
#[cfg(test)]
mod testing;
mod units;
mod user;
mod volume;
mod wallet_backup;

pub use assets::read as read_archive;
pub use docker::merged as daemon_json;
pub use prepared::image_table;
use signal::Signal;
pub use volume::{Origin as VolumeOrigin, Volume, leave_size, origin as volume_origin};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::engine::{Applied, Engine, Entry, Phase, State};
use crate::error::Result;
use crate::node::Node;

/// Every phase of the [`table`], for callers without a node.
#[rustfmt::skip]
pub const NAMES: &[&str] = &[
    "preflight", "ssm-agent", "nvidia", "docker", "image", "user", "volume", "assets", "secret", "cloudwatch-agent",
    "container", "wallet-backup", "metrics-cron", "signal",
];

/// The phases whose checks the health check runs: all but `signal`, which runs the health check itself.
pub fn verified(node: &Arc<Node>) -> Result<Engine> {
    let mut table = table(node);
    table.retain(|entry| entry.name != "signal");
    Engine::new(table)
}

/// Whether a phase uses the package manager.
const PACKAGES: bool = true;
const NONE: bool = false;

fn entry(
    name: &'static str,
    needs: &'static [&'static str],
    minutes: u64,
    packages: bool,
    phase: impl Phase + 'static,
) -> Entry {
    Entry {
        name,
        needs,
        deadline: Duration::from_secs(minutes * 60),
        packages,
        phase: Box::new(phase),
    }
}

/// Every phase, in the order of reports.
///
/// The minutes are generous, for a slow mirror or a busy volume; the run's own deadline (`deadline_seconds`) prevails.
///
/// `volume` sets owners by numeric ID, so it waits for neither account nor driver.
/// `secret` could do without `volume` but needs it all the same: while the password is missing, nothing can start the
/// container on the wrong volume.
pub fn table(node: &Arc<Node>) -> Vec<Entry> {
    let n = || Arc::clone(node);

    #[rustfmt::skip]
    let table = vec![
        //    name                needs                                    minutes  uses     work
        entry("preflight",        &[],                                          25, PACKAGES, preflight::Preflight(n())),
        entry("ssm-agent",        &["preflight"],                                5, PACKAGES, ssm_agent::SsmAgent(n())),
        entry("nvidia",           &["preflight"],                               25, PACKAGES, nvidia::Nvidia(n())),
        entry("docker",           &["preflight", "nvidia"],                     15, PACKAGES, docker::Docker(n())),
        entry("image",            &["docker"],                                  25, NONE,     image::Image(n())),
        entry("user",             &["docker"],                                   2, NONE,     user::User(n())),
        entry("volume",           &["preflight"],                               15, NONE,     Volume(n())),
        entry("assets",           &["preflight"],                                5, NONE,     assets::Assets(n())),
        entry("secret",           &["volume", "assets"],                         5, NONE,     secret::Secret(n())),
        entry("cloudwatch-agent", &["assets"],                                  10, PACKAGES, cloudwatch_agent::CloudWatchAgent(n())),
        entry("container",        &["image", "user", "volume", "secret", "cloudwatch-agent"],
                                                                                10, NONE,     container::Container(n())),
        entry("wallet-backup",    &["container"],                               15, NONE,     wallet_backup::WalletBackup::new(n())),
        entry("metrics-cron",     &["container"],                                5, PACKAGES, metrics_cron::MetricsCron(n())),
        entry("signal",           &["preflight", "ssm-agent", "nvidia", "docker", "image", "user", "volume", "assets",
                                    "secret", "cloudwatch-agent", "container", "wallet-backup", "metrics-cron"],
                                                                                20, NONE,     Signal(n())),
    ];
    table.into_iter().map(|entry| shared(entry, node)).collect()
}

/// The same phase, whose check looks once for all who ask: a run, its last phase, and the health check.
fn shared(entry: Entry, node: &Arc<Node>) -> Entry {
    let phase = Shared {
        name: entry.name,
        node: Arc::clone(node),
        phase: entry.phase,
    };
    Entry {
        phase: Box::new(phase),
        ..entry
    }
}

struct Shared {
    name: &'static str,
    node: Arc<Node>,
    phase: Box<dyn Phase>,
}

#[async_trait]
impl Phase for Shared {
    async fn check(&self) -> Result<State> {
        let checks = &self.node.checks;
        checks.get_good(self.name, self.phase.check()).await
    }

    async fn apply(&self) -> Result<Applied> {
        self.node.host.end_sharing();
        self.phase.apply().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;
    use crate::host::testing::Tree;
    use crate::phases::testing::{DEBIAN, config, node_in_cloud};

    /// Fails at first, and counts how often it is looked at.
    struct Counted(Arc<AtomicUsize>);

    #[async_trait]
    impl Phase for Counted {
        async fn check(&self) -> Result<State> {
            let looks = self.0.fetch_add(1, Ordering::Relaxed);
            if looks == 0 {
                return Err(Error::new("not yet", "wait"));
            }
            Ok(State::Done(looks.to_string()))
        }

        async fn apply(&self) -> Result<Applied> {
            Ok(Applied::Finished)
        }
    }

    #[tokio::test]
    async fn a_check_looks_once_until_something_is_applied() {
        let tree = Tree::new();
        let (node, _server) = node_in_cloud(&tree, DEBIAN, config(false));
        node.host.share_looks();
        let looks = Arc::default();
        let of = |looks: &Arc<AtomicUsize>| {
            let counted = Counted(Arc::clone(looks));
            shared(entry("counted", &[], 1, NONE, counted), &node).phase
        };
        let (one, other) = (of(&looks), of(&looks));
        assert!(one.check().await.is_err());
        for _ in 0..2 {
            assert_eq!(one.check().await.unwrap(), State::Done("1".into()));
            assert_eq!(other.check().await.unwrap(), State::Done("1".into()));
        }
        node.host.look_again();
        assert_eq!(other.check().await.unwrap(), State::Done("2".into()));
        one.apply().await.unwrap();
        assert_eq!(one.check().await.unwrap(), State::Done("3".into()));
        assert_eq!(other.check().await.unwrap(), State::Done("4".into()));
    }

    #[test]
    fn the_names_are_those_of_the_table() {
        let tree = Tree::new();
        let (node, _server) = node_in_cloud(&tree, DEBIAN, config(false));
        let names: Vec<_> = table(&node).iter().map(|entry| entry.name).collect();
        assert_eq!(names, NAMES);
    }

    /// Otherwise `verify` would call a node healthy whatever becomes of the phase.
    #[test]
    fn every_phase_but_the_signal_has_a_health_check() {
        let is_unseen = |phase: &&str| crate::health::checks_of(phase).is_empty();
        let unseen: Vec<_> = NAMES.iter().copied().filter(is_unseen).collect();
        assert_eq!(unseen, ["signal"]);
    }
}

//! The state that the last metrics tick left (`metrics.json`): how far the chain was and when, and who the instance is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::edge::logs::Place;
use crate::error::Result;
use crate::host::Host;
use crate::host::files::Access;
use crate::paths::TICK;

/// A height that has not moved for longer, in seconds, is a stall: checkpoints come every 100 blocks, about 10 minutes.
pub const STALL_SECONDS: i64 = 15 * 60;

/// An RPC that has been silent for this long, in seconds, hangs: after a start it takes up to ten minutes.
const SILENT_SECONDS: i64 = 15 * 60;

/// A node whose height has not moved, or that has had no peers, for this long, in seconds, hangs, too.
const STUCK_SECONDS: i64 = 30 * 60;

/// What was seen longer ago, in seconds, says nothing about now: there is a tick every minute.
const STALE_SECONDS: i64 = 3 * 60;

/// Minimum time, in seconds, between two restarts for a lost GPU.
const GPU_RESTART_SECONDS: i64 = 3600;

/// The most peers that get a metric of their own in one day; a node has a few dozen at a time.
const PEERS_A_DAY: usize = 200;

/// A greater age, in seconds, is not believed: the clock has jumped.
const ABSURD_SECONDS: i64 = 30 * 24 * 3600;

/// The tick's state. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Version of this format; 1.
    pub version: u32,
    /// The last known height.
    pub last_height: Option<u64>,
    /// When the height was last seen to change.
    pub height_moved_at: Option<i64>,
    /// When a tick last published.
    pub last_success: Option<i64>,
    /// Whether the node was up then.
    pub up: Option<bool>,
    /// When it was last looked at.
    pub looked_at: Option<i64>,
    /// Since when it has not answered; `None` if it answers.
    pub silent_since: Option<i64>,
    /// Since when it has had no peers; `None` if it has some.
    pub lonely_since: Option<i64>,
    /// Since when the running container has not seen its GPU; `None` if it does.
    pub gpu_lost_at: Option<i64>,
    /// When a tick last restarted the container because of that.
    pub gpu_restarted_at: Option<i64>,
    /// When the container was started in which `processes` were seen.
    pub container_started: Option<i64>,
    /// The processes in it that answer no RPC and were seen running.
    pub processes: BTreeSet<String>,
    /// How far the logs of the node's processes were copied.
    pub logs: BTreeMap<String, Place>,
    /// When the node last voted for its uptime; kept here because its log is truncated from time to time.
    pub last_vote: Option<i64>,
    /// The instance's identity; queried again after a reboot.
    pub identity: Option<Identity>,
    /// The day (since 1970) that `peers_named` is about.
    pub peers_day: i64,
    /// The peers that have had a metric of their own that day.
    pub peers_named: BTreeSet<String>,
}

/// The metadata service's answer, kept so that it is not queried every minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Boot during which it was asked.
    pub boot: String,
    /// `i-…`
    pub instance: String,
    /// The Auto Scaling group, if the instance is in one and its tags can be read.
    pub asg: Option<String>,
    /// Region.
    pub region: String,
}

impl Progress {
    /// The state that the last tick left; empty if there is none or the file is damaged: the next tick repairs it.
    pub fn load(host: &Host) -> Self {
        host.read(TICK)
            .ok()
            .flatten()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .filter(|progress: &Self| progress.version == 1)
            .unwrap_or_default()
    }

    /// Saves it for the next tick.
    pub fn save(&self, host: &Host) -> Result<()> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        host.write_if_changed(TICK, &bytes, Access::mode(0o600))
            .map(drop)
    }

    /// Records the height seen `now`. Any change counts as movement: a node that syncs from scratch goes back first.
    pub fn observe(&mut self, height: Option<u64>, now: i64) {
        self.version = 1;
        let moved = height.is_some() && height != self.last_height;
        let age = self.height_moved_at.map(|moved_at| now - moved_at);
        if moved || !age.is_some_and(|age| (0..=ABSURD_SECONDS).contains(&age)) {
            self.height_moved_at = Some(now);
        }
        self.last_height = height.or(self.last_height);
    }

    /// Records whether the node answers, and whether it has peers.
    pub fn observe_life(&mut self, answers: bool, has_peers: bool, now: i64) {
        self.looked_at = Some(now);
        let since = |is_well: bool, before: Option<i64>| {
            let before = before.filter(|since| (0..=ABSURD_SECONDS).contains(&(now - since)));
            (!is_well).then(|| before.unwrap_or(now))
        };
        self.silent_since = since(answers, self.silent_since);
        self.lonely_since = since(has_peers, self.lonely_since);
    }

    /// How a node that has run for `age` seconds hangs, going by recent ticks. One that never had a height is syncing.
    pub fn hangs(&self, age: i64, now: i64) -> Option<String> {
        let is_fresh = |looked_at| (0..STALE_SECONDS).contains(&(now - looked_at));
        if !self.looked_at.is_some_and(is_fresh) {
            return None;
        }
        let moved_at = self.height_moved_at.filter(|_| self.last_height > Some(0));
        let signs = [
            (
                self.silent_since,
                SILENT_SECONDS,
                "its RPC has not answered",
            ),
            (moved_at, STUCK_SECONDS, "its height has not moved"),
            (self.lonely_since, STUCK_SECONDS, "it has had no peers"),
        ];
        signs.into_iter().find_map(|(since, limit, sign)| {
            let lasted = now - since?;
            (lasted >= limit && age >= limit).then(|| format!("{sign} for {} min", lasted / 60))
        })
    }

    /// Those of these peers that may have a metric of their own: each metric is billed, and only the node vouches for
    /// the peers, so it could keep naming new ones.
    pub fn admit_peers(&mut self, peers: &[String], now: i64) -> Vec<String> {
        let day = now.div_euclid(24 * 3600);
        if day != self.peers_day {
            self.peers_day = day;
            self.peers_named.clear();
        }
        let mut admitted = Vec::new();
        for peer in peers {
            if self.peers_named.contains(peer) || self.peers_named.len() < PEERS_A_DAY {
                self.peers_named.insert(peer.clone());
                admitted.push(peer.clone());
            }
        }
        admitted
    }

    /// Records whether the running container sees its GPU; `None` if it does not run, or needs none.
    pub fn observe_gpu(&mut self, seen: Option<bool>, now: i64) {
        self.gpu_lost_at = match seen {
            Some(false) => self.gpu_lost_at.or(Some(now)),
            Some(true) => None,
            None => self.gpu_lost_at,
        };
    }

    /// Whether a restart may help the container that has lost its GPU: it has had its GPU since the last restart, which
    /// was at least an hour ago. So a restart that does not help is not repeated.
    pub fn is_gpu_restart_due(&self, now: i64) -> bool {
        self.gpu_lost_at.is_some_and(|lost_at| {
            self.gpu_restarted_at.is_none_or(|restarted_at| {
                restarted_at < lost_at && now - restarted_at >= GPU_RESTART_SECONDS
            })
        })
    }

    /// Records which processes run in the container that was started then.
    pub fn observe_processes(&mut self, started: Option<i64>, running: &BTreeSet<String>) {
        if self.container_started != started {
            self.container_started = started;
            self.processes.clear();
        }
        self.processes.extend(running.iter().cloned());
    }

    /// The processes that were seen in the container that was started then.
    pub fn processes_since(&self, started: Option<i64>) -> BTreeSet<String> {
        if started.is_some() && self.container_started == started {
            self.processes.clone()
        } else {
            BTreeSet::new()
        }
    }

    /// Records when the log says that the node last voted; an earlier record is kept if the log no longer says.
    pub fn observe_vote(&mut self, vote: Option<i64>) {
        self.last_vote = self.last_vote.max(vote);
    }

    /// Seconds since the node last voted; unknown if the clock has jumped.
    pub fn vote_age(&self, now: i64) -> Option<i64> {
        let age = now - self.last_vote?;
        (-60..=ABSURD_SECONDS).contains(&age).then_some(age.max(0))
    }

    /// Seconds since the height last moved.
    pub fn height_age(&self, now: i64) -> Option<i64> {
        self.height_moved_at.map(|moved_at| (now - moved_at).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    #[test]
    fn what_ran_is_known_until_the_container_starts_again() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut progress = Progress::default();
        progress.observe_processes(Some(1), &set(&["anycast"]));
        progress.observe_processes(Some(1), &set(&[]));
        assert_eq!(progress.processes_since(Some(1)), set(&["anycast"]));
        assert_eq!(progress.processes_since(Some(2)), set(&[]));
        assert_eq!(progress.processes_since(None), set(&[]));
        progress.observe_processes(Some(2), &set(&[]));
        assert_eq!(progress.processes_since(Some(2)), set(&[]));
    }

    #[test]
    fn ever_new_peers_have_a_limit_each_day() {
        let mut progress = Progress::default();
        let tick =
            |from: usize| -> Vec<String> { (from..from + 150).map(|n| n.to_string()).collect() };
        assert_eq!(progress.admit_peers(&tick(0), 10).len(), 150);
        assert_eq!(progress.admit_peers(&tick(0), 20).len(), 150);
        assert_eq!(progress.admit_peers(&tick(150), 30).len(), 50);
        assert_eq!(progress.admit_peers(&tick(300), 40), Vec::<String>::new());
        assert_eq!(progress.admit_peers(&tick(0), 50).len(), 150);
        assert_eq!(progress.admit_peers(&tick(300), 24 * 3600).len(), 150);
    }

    #[test]
    fn a_vote_stays_known_when_its_log_is_cut() {
        let mut progress = Progress::default();
        assert_eq!(progress.vote_age(1000), None);
        progress.observe_vote(Some(1000));
        progress.observe_vote(None);
        progress.observe_vote(Some(900));
        assert_eq!(progress.vote_age(1600), Some(600));
        assert_eq!(progress.vote_age(990), Some(0));
        assert_eq!(progress.vote_age(100), None, "the clock was set back");
        assert_eq!(progress.vote_age(1000 + ABSURD_SECONDS + 1), None);
    }

    fn after(seen: &[(Option<u64>, i64)]) -> Progress {
        let mut progress = Progress::default();
        for (height, now) in seen {
            progress.observe(*height, *now);
        }
        progress
    }

    #[test]
    fn a_lost_gpu_is_worth_one_restart() {
        let mut progress = Progress::default();
        progress.observe_gpu(Some(false), 1000);
        progress.observe_gpu(None, 1030);
        progress.observe_gpu(Some(false), 1060);
        assert!(progress.is_gpu_restart_due(1060));
        progress.gpu_restarted_at = Some(1060);
        progress.observe_gpu(Some(false), 9000);
        assert!(!progress.is_gpu_restart_due(9000), "it did not help");
        progress.observe_gpu(Some(true), 9060);
        for (lost, now, due) in [(9120, 9180, true), (4600, 4659, false), (4600, 4660, true)] {
            let lost_again = Progress {
                gpu_lost_at: Some(lost),
                ..progress.clone()
            };
            assert_eq!(lost_again.is_gpu_restart_due(now), due, "{now}");
        }
    }

    #[test]
    fn a_node_hangs_that_has_shown_no_life_for_long() {
        let mut progress = after(&[(Some(5), 0)]);
        progress.observe_life(false, false, 0);
        progress.observe_life(false, false, 1790);
        for (age, now, hangs) in [
            (899, 1800, None),
            (900, 1800, Some("its RPC has not answered for 30 min")),
            // Nobody has looked since.
            (9000, 1970, None),
            (9000, 1000, None),
        ] {
            assert_eq!(progress.hangs(age, now).as_deref(), hangs, "{age} {now}");
        }
        progress.observe_life(true, true, 1800);
        let stuck = Some("its height has not moved for 30 min".to_owned());
        assert_eq!(progress.hangs(1800, 1800), stuck);
        assert_eq!(progress.hangs(1799, 1800), None, "it was just started");
        progress.observe_life(true, false, 1801);
        progress.observe(Some(6), 1801);
        progress.observe_life(true, false, 3601);
        progress.observe(Some(7), 3601);
        let lonely = Some("it has had no peers for 30 min".to_owned());
        assert_eq!(progress.hangs(9000, 3601), lonely);
        progress.observe_life(true, true, 3602);
        assert_eq!(progress.hangs(9000, 3602), None);

        let mut syncing = after(&[(None, 0), (None, 9000)]);
        syncing.observe_life(true, true, 9000);
        assert_eq!(syncing.hangs(9000, 9000), None);
    }

    #[test]
    fn the_age_grows_until_the_height_moves() {
        assert_eq!(
            after(&[(Some(5), 100), (Some(5), 160)]).height_age(220),
            Some(120)
        );
        assert_eq!(
            after(&[(Some(5), 100), (Some(6), 160)]).height_age(220),
            Some(60)
        );
        assert_eq!(
            after(&[(Some(5), 100), (Some(4), 160)]).height_age(220),
            Some(60)
        );
        // A node that does not answer has not moved.
        let silent = after(&[(Some(5), 100), (None, 160), (Some(5), 220)]);
        assert_eq!(
            (silent.height_age(220), silent.last_height),
            (Some(120), Some(5))
        );
        // A node that never knew its height counts from the first look.
        assert_eq!(after(&[(None, 100), (None, 160)]).height_age(160), Some(60));
    }

    #[test]
    fn a_clock_that_jumps_starts_the_age_anew() {
        assert_eq!(
            after(&[(Some(5), 1000), (Some(5), 10)]).height_age(10),
            Some(0)
        );
        let year = 365 * 24 * 3600;
        assert_eq!(
            after(&[(Some(5), 10), (Some(5), year)]).height_age(year),
            Some(0)
        );
        assert_eq!(after(&[(Some(5), 1000)]).height_age(10), Some(0));
    }

    #[test]
    fn a_damaged_or_foreign_file_is_forgotten() {
        let tree = Tree::new();
        assert_eq!(Progress::load(&tree.host), Progress::default());
        for content in [
            "",
            "{",
            r#"{"version":2,"last_height":7}"#,
            r#"{"version":"1"}"#,
        ] {
            tree.file(TICK, content);
            assert_eq!(Progress::load(&tree.host), Progress::default(), "{content}");
        }
        let progress = after(&[(Some(5), 100)]);
        progress.save(&tree.host).unwrap();
        assert_eq!(Progress::load(&tree.host), progress);
    }
}

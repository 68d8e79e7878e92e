//! How often a node is repaired (`repairs.json`). The limits survive reboots and clock changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::error::Result;
use crate::host::Host;
use crate::host::files::Access;
use crate::paths::REPAIRS;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// From this many repairs of one kind in a day, `is_due` allows fewer, or none.
const FEW: usize = 3;

/// The repairs of the last day. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repairs {
    /// Version of this format; 1.
    version: u32,
    /// When the repairs of each kind began.
    began: BTreeMap<Kind, Vec<i64>>,
    /// The last repair before it was last reported that they do not help.
    told: Option<i64>,
}

impl Repairs {
    /// What is recorded; empty if the file is damaged.
    pub fn load(host: &Host) -> Self {
        let bytes = host.read(REPAIRS).ok().flatten().unwrap_or_default();
        let known: Option<Self> = serde_json::from_slice(&bytes).ok();
        known.filter(|known| known.version == 1).unwrap_or_default()
    }

    /// Saves it; once this returns, it survives a power failure.
    pub fn save(&mut self, host: &Host) -> Result<()> {
        self.version = 1;
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        host.write(REPAIRS, &bytes, Access::mode(0o600))
    }

    /// Whether a repair of this kind may begin.
    pub fn is_due(&self, kind: Kind, now: i64) -> bool {
        let is_recent = |time: &i64| (0..HOUR).contains(&(now - time));
        let rests = !self.of(kind).iter().any(is_recent);
        match kind {
            Kind::Down => rests || self.in_a_day(kind, now) < FEW,
            Kind::Hung => rests && self.in_a_day(kind, now) < FEW,
            Kind::Unfinished => rests,
        }
    }

    /// Records one that begins.
    pub fn note(&mut self, kind: Kind, now: i64) {
        let times = self.began.entry(kind).or_default();
        times.retain(|time| now - *time < DAY);
        times.push(now);
    }

    /// Whether those of this kind have reached `FEW` and nobody was told since the last; from now on somebody was.
    pub fn tell_once(&mut self, kind: Kind, now: i64) -> bool {
        let last = self.of(kind).last().copied();
        let tells = self.told != last && self.in_a_day(kind, now) >= FEW;
        if tells {
            self.told = last;
        }
        tells
    }

    /// How many there were in the last day, of all kinds.
    pub fn count(&self, now: i64) -> usize {
        let kinds = self.began.keys();
        kinds.map(|kind| self.in_a_day(*kind, now)).sum()
    }

    /// How many there were in the last day. Those in the future, after a clock was set back, leave room for one more.
    fn in_a_day(&self, kind: Kind, now: i64) -> usize {
        let (past, future): (Vec<i64>, Vec<i64>) =
            self.of(kind).iter().partition(|time| **time <= now);
        let past = past.iter().filter(|time| now - **time < DAY).count();
        past + future.len().min(FEW - 1)
    }

    fn of(&self, kind: Kind) -> &[i64] {
        self.began.get(&kind).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    /// When, in minutes, a node is repaired that has the fault every 20 s for a day.
    fn day(kind: Kind) -> (Vec<i64>, usize) {
        let (mut repairs, mut told) = (Repairs::default(), 0);
        let mut began = Vec::new();
        for now in (0..DAY).step_by(20) {
            if repairs.is_due(kind, now) {
                repairs.note(kind, now);
                began.push(now / 60);
            } else {
                told += usize::from(repairs.tell_once(kind, now));
            }
        }
        (began, told)
    }

    #[test]
    fn what_is_down_is_repaired_three_times_at_once_and_then_hourly() {
        let (began, told) = day(Kind::Down);
        assert_eq!(began[..5], [0, 0, 0, 60, 120]);
        assert_eq!(began.len(), 26);
        assert_eq!(told, 24, "once after each that was not one of few");
    }

    #[test]
    fn what_hangs_for_a_day_is_restarted_three_times_and_then_only_told_of() {
        let (began, told) = day(Kind::Hung);
        assert_eq!((began, told), (vec![0, 60, 120], 1));
    }

    #[test]
    fn what_was_not_finished_goes_on_hourly() {
        let (began, _) = day(Kind::Unfinished);
        assert_eq!((began[1], began.len()), (60, 24));
    }

    #[test]
    fn a_quiet_day_later_three_are_few_again() {
        let mut repairs = Repairs::default();
        for now in [0, 10, 20] {
            assert!(repairs.is_due(Kind::Down, now));
            repairs.note(Kind::Down, now);
        }
        assert!(!repairs.is_due(Kind::Down, 30));
        for now in [DAY + 20, DAY + 30, DAY + 40] {
            assert!(repairs.is_due(Kind::Down, now));
            repairs.note(Kind::Down, now);
        }
        assert!(!repairs.is_due(Kind::Down, DAY + 50));
        assert!(
            repairs.is_due(Kind::Unfinished, DAY + 50),
            "each kind has its own"
        );
    }

    #[test]
    fn a_clock_that_is_set_back_sets_one_free() {
        let mut repairs = Repairs::default();
        for now in [9000, 9010, 9020] {
            repairs.note(Kind::Down, now);
        }
        assert!(repairs.is_due(Kind::Down, 100));
        repairs.note(Kind::Down, 100);
        assert!(!repairs.is_due(Kind::Down, 110));
        assert!(repairs.is_due(Kind::Down, 100 + HOUR));
        // The clock is right again.
        assert!(!repairs.is_due(Kind::Down, 9030));
        assert_eq!(repairs.count(9030), 4);

        let mut hung = Repairs::default();
        for now in [90_000, 93_600, 97_200] {
            hung.note(Kind::Hung, now);
        }
        assert!(hung.is_due(Kind::Hung, 100));
        hung.note(Kind::Hung, 100);
        assert!(!hung.is_due(Kind::Hung, 80_000));
    }

    #[test]
    fn they_are_kept_and_a_damaged_file_is_as_none() {
        let tree = Tree::new();
        let mut repairs = Repairs::default();
        repairs.note(Kind::Down, 5);
        repairs.save(&tree.host).unwrap();
        assert_eq!(Repairs::load(&tree.host), repairs);
        for text in ["", "{", r#"{"version":2}"#, r#"{"version":1,"began":7}"#] {
            tree.file(REPAIRS, text);
            assert_eq!(Repairs::load(&tree.host), Repairs::default(), "{text}");
        }
    }
}

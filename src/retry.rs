//! The one retry helper: bounded, with jitter, and only for failures that say they are transient.
//!
//! Throttling is not the caller's fault: it is waited out for as long as the caller has time, which for phases is until
//! their deadline. How long it takes depends on how many others are asking.

use std::time::Duration;

use crate::doing::doing;
use crate::error::Result;

/// How often and how patiently to try.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Tries in all, the first one included.
    pub attempts: u32,
    /// Pause after the first failure; doubled after each further one.
    pub first_pause: Duration,
    /// No single pause is longer than this.
    pub longest_pause: Duration,
}

impl Policy {
    /// For tests: so many tries, with no pause between them.
    #[cfg(test)]
    pub(crate) const fn without_pause(attempts: u32) -> Self {
        Self {
            attempts,
            first_pause: Duration::ZERO,
            longest_pause: Duration::ZERO,
        }
    }

    /// The pause after failure number `failures` (1 for the first), with up to half of it taken off at random so
    /// that nodes started together do not try together.
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
        doubled
            .min(self.longest_pause)
            .mul_f64(1.0 - fastrand::f64() / 2.0)
    }

    /// The pause after being throttled `times` times. It begins longer, and any part of it can be taken off at random:
    /// callers that are turned away at the same moment come back evenly spread, not in waves.
    fn throttled_pause(&self, times: u32) -> Duration {
        self.first_pause
            .saturating_mul(2u32.saturating_pow(times.saturating_add(2)))
            .min(self.longest_pause)
            .mul_f64(fastrand::f64())
    }
}

/// Repeats `operation` while it fails transiently and `policy` allows; returns the last failure. Throttling does not
/// count as a failure and has no limit: the caller's time has one.
///
/// Not `AsyncFnMut`: the compiler cannot prove its future `Send`, which phases need (rust-lang/rust#110338).
pub async fn retry<T, F: Future<Output = Result<T>>>(
    policy: Policy,
    what: &str,
    mut operation: impl FnMut() -> F,
) -> Result<T> {
    let (mut failures, mut throttled) = (0, 0);
    loop {
        match operation().await {
            Err(error) if error.is_throttled() => {
                throttled += 1;
                let pause = policy.throttled_pause(throttled);
                doing(&format!("AWS is throttling {what}; waiting for a turn"));
                tracing::info!("{what}: {error}; retrying in {:.1} s", pause.as_secs_f64());
                crate::pace::pause(pause).await;
            }
            Err(error) if error.is_transient() && failures + 1 < policy.attempts => {
                failures += 1;
                let pause = policy.pause(failures);
                tracing::info!(
                    "{what}: {error}; retrying in {:.1} s (try {} of {})",
                    pause.as_secs_f64(),
                    failures + 1,
                    policy.attempts
                );
                crate::pace::pause(pause).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    const QUICK: Policy = Policy {
        attempts: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
    };

    async fn tries(transient: bool, succeed_at: u32) -> (u32, bool) {
        let mut tried = 0;
        let answer = retry(QUICK, "test", || {
            tried += 1;
            let error = Error::new("no", "none");
            std::future::ready(match (tried == succeed_at, transient) {
                (true, _) => Ok(()),
                (false, true) => Err(error.transient()),
                (false, false) => Err(error),
            })
        })
        .await;
        (tried, answer.is_ok())
    }

    #[tokio::test]
    async fn repeats_transient_failures_until_success_or_the_bound() {
        assert_eq!(tries(true, 2).await, (2, true));
        assert_eq!(tries(true, 9).await, (3, false));
    }

    #[tokio::test]
    async fn never_repeats_a_final_failure() {
        assert_eq!(tries(false, 2).await, (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_is_waited_out_and_uses_up_no_try() {
        let mut tried = 0;
        let answer = retry(QUICK, "test", || {
            tried += 1;
            let error = Error::new("no", "none").throttled_if(tried % 10 != 0);
            std::future::ready(match tried {
                25 => Ok(()),
                _ => Err(error.transient()),
            })
        });
        // Only failures 10 and 20 count towards the three tries.
        assert!(answer.await.is_ok());
        assert_eq!(tried, 25);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_are_throttled_together_come_back_spread_out() {
        fastrand::seed(1);
        let policy = Policy {
            attempts: 1,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(20),
        };
        let began = tokio::time::Instant::now();
        let caller = || async move {
            let mut tries = Vec::new();
            let operation = || {
                tries.push(began.elapsed().as_secs());
                let busy = tries.len() < 9;
                std::future::ready(if busy {
                    Err(Error::new("no", "none").throttled_if(true))
                } else {
                    Ok(())
                })
            };
            assert!(retry(policy, "test", operation).await.is_ok());
            tries
        };
        let callers: tokio::task::JoinSet<_> = (0..400).map(|_| caller()).collect();
        let mut in_second = std::collections::BTreeMap::new();
        for tries in callers.join_all().await {
            for second in &tries[1..] {
                *in_second.entry(*second).or_insert(0) += 1;
            }
        }
        // At first within eight seconds, then within sixteen …
        assert!(
            in_second.values().all(|tries| *tries < 110),
            "{in_second:?}"
        );
        assert!(in_second.len() > 60, "{in_second:?}");
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = Policy {
            attempts: 9,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(5),
        };
        for (failures, full) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (40, 5.0)] {
            let pause = policy.pause(failures).as_secs_f64();
            assert!(
                pause > full * 0.499 && pause <= full,
                "after {failures} failures: {pause}"
            );
        }
    }
}

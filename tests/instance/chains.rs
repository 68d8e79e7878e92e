//! Chains of tests that run side by side: in one, each goes on from where the one before has left the instance.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The places in one chain whose tests have not ended yet.
#[derive(Default)]
pub struct Chain {
    waiting: Mutex<BTreeSet<usize>>,
    shorter: Condvar,
}

/// A test's place in its chain. Dropped when the test has ended, or was never wanted.
pub struct Turn {
    chain: Arc<Chain>,
    place: usize,
}

impl Chain {
    fn waiting(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The next place of the chain.
    pub fn at_the_end_of(chain: &Arc<Chain>) -> Self {
        let mut waiting = chain.waiting();
        let place = waiting.last().map_or(0, |last| last + 1);
        waiting.insert(place);
        drop(waiting);
        Self {
            chain: Arc::clone(chain),
            place,
        }
    }

    /// Waits until every test before it is over.
    pub fn wait(&self) {
        let mut waiting = self.chain.waiting();
        while waiting.first() != Some(&self.place) {
            let woken = self.chain.shorter.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.chain.waiting().remove(&self.place);
        self.chain.shorter.notify_all();
    }
}

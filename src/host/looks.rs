//! The latest answers of read-only questions, shared so that a plan, a health check or a run that finds nothing to do
//! asks each thing only once, no matter which part asks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

/// Older answers are not used: machines also change by themselves.
const FRESH: Duration = Duration::from_secs(2);

/// Whether answers are shared, and which: those of the current period, which are the odd ones.
#[derive(Clone, Debug, Default)]
pub struct Sharing(Arc<AtomicU64>);

impl Sharing {
    /// Shares answers from now on.
    pub(super) fn begin(&self) {
        self.0.fetch_or(1, Ordering::SeqCst);
    }

    /// Stops sharing answers: something is about to change.
    pub(super) fn end(&self) {
        let _ = self.advance(1);
    }

    /// Forgets the answers so far.
    pub(super) fn forget(&self) {
        let _ = self.advance(2);
    }

    /// Whether answers are shared.
    pub(super) fn is_on(&self) -> bool {
        self.period().is_some()
    }

    fn advance(&self, by: u64) -> Result<u64, u64> {
        let next = |period: u64| (period % 2 == 1).then_some(period + by);
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, next)
    }

    fn period(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|period| period % 2 == 1)
    }
}

/// The answer to one question; whoever asks while it is pending waits for the same one.
type Answer<T> = Arc<OnceCell<T>>;

/// Each with its period, and when it was asked for.
type Known<T> = HashMap<String, (u64, Instant, Answer<T>)>;

/// Answers by question.
#[derive(Debug)]
pub struct Looks<T> {
    sharing: Sharing,
    known: Mutex<Known<T>>,
}

impl<T: Clone> Looks<T> {
    pub(super) fn new(sharing: &Sharing) -> Self {
        Self {
            sharing: sharing.clone(),
            known: Mutex::default(),
        }
    }

    /// What `ask` returns, or has returned to somebody else who had the same question.
    pub async fn get(&self, question: &str, ask: impl Future<Output = T>) -> T {
        match self.answer(question) {
            Some(answer) => answer.get_or_init(|| ask).await.clone(),
            None => ask.await,
        }
    }

    /// The same, but a failure is not shared: whoever tries again wants to know whether it has passed.
    pub async fn get_good<E>(
        &self,
        question: &str,
        ask: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.answer(question) {
            Some(answer) => answer.get_or_try_init(|| ask).await.cloned(),
            None => ask.await,
        }
    }

    /// Where the answer is, or is to be put; `None` if answers are not shared.
    fn answer(&self, question: &str) -> Option<Answer<T>> {
        let now = self.sharing.period()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (period, asked, _)| *period == now && asked.elapsed() < FRESH);
        let fresh = || (now, Instant::now(), Answer::default());
        let (.., answer) = known.entry(question.to_owned()).or_insert_with(fresh);
        Some(Arc::clone(answer))
    }
}

#[cfg(test)]
mod tests {
    use crate::host::testing::Tree;

    async fn ask(tree: &Tree, word: &str) -> String {
        let look = tree.host.command("look").arg(word).looks();
        look.run().await.unwrap().stdout.trim().to_owned()
    }

    #[tokio::test]
    async fn each_thing_is_asked_once_until_something_changes() {
        let tree = Tree::new();
        tree.tool("look", "echo $1");
        tree.tool("change", "");
        tree.host.share_looks();
        let both = tokio::join!(ask(&tree, "a"), ask(&tree, "a"));
        assert_eq!(both, ("a".to_owned(), "a".to_owned()));
        ask(&tree, "b").await;
        assert_eq!(tree.calls(), ["look a", "look b"]);

        tree.host.look_again();
        ask(&tree, "a").await;
        assert_eq!(tree.calls().len(), 3);

        tree.host.command("change").run().await.unwrap();
        ask(&tree, "a").await;
        ask(&tree, "a").await;
        assert_eq!(tree.calls().len(), 6);
    }

    #[tokio::test]
    async fn a_machine_of_its_own_accord_shares_nothing() {
        let tree = Tree::new();
        tree.tool("look", "");
        ask(&tree, "a").await;
        ask(&tree, "a").await;
        assert_eq!(tree.calls().len(), 2);
    }
}

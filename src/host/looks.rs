//! The latest answers of read-only commands, shared so that a plan, a health check or a run that finds nothing to do
//! asks each thing only once, no matter which part asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::command::Output;
use crate::error::Result;

/// Older answers are not used: machines also change by themselves.
const FRESH: Duration = Duration::from_secs(2);

/// The answer of one command; whoever asks while it is pending waits for the same one.
pub(super) type Answer = Arc<OnceCell<Result<Output>>>;

/// Answers by command; `None` while answers are not shared.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<HashMap<String, (Instant, Answer)>>>);

impl Looks {
    /// Shares answers from now on.
    pub(super) fn share(&self) {
        *self.known() = Some(HashMap::new());
    }

    /// Stops sharing answers: something is about to change.
    pub(super) fn end(&self) {
        *self.known() = None;
    }

    /// Whether answers are shared.
    pub(super) fn are_shared(&self) -> bool {
        self.known().is_some()
    }

    /// Forgets the answers so far.
    pub(super) fn forget(&self) {
        if let Some(known) = self.known().as_mut() {
            known.clear();
        }
    }

    /// Where the answer of `command` is, or is to be put; `None` if answers are not shared.
    pub(super) fn answer(&self, command: &str) -> Option<Answer> {
        let mut known = self.known();
        let known = known.as_mut()?;
        known.retain(|_, (asked, _)| asked.elapsed() < FRESH);
        let fresh = || (Instant::now(), Answer::default());
        let (_, answer) = known.entry(command.to_owned()).or_insert_with(fresh);
        Some(Arc::clone(answer))
    }

    fn known(&self) -> MutexGuard<'_, Option<HashMap<String, (Instant, Answer)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

//! Progress of the current work, passed from whoever does it to whoever follows it.

use std::future::Future;
use std::sync::Arc;

/// Follows a piece of work. Called from several tasks; must return quickly.
pub trait Follower: Send + Sync {
    /// The work is now doing `what` ("checking", "docker is not installed; applying").
    fn now(&self, what: &str);
}

tokio::task_local! {
    static FOLLOWER: Arc<dyn Follower>;
}

/// Reports what the running phase is doing now ("waiting for i-0abc… to release the volume"): for the log, the live
/// view, and the error if it takes too long. Outside a phase it goes nowhere.
pub fn doing(what: &str) {
    let _ = FOLLOWER.try_with(|follower| follower.now(what));
}

/// Does `work`, followed by `follower`.
pub async fn followed<T>(follower: Arc<dyn Follower>, work: impl Future<Output = T>) -> T {
    FOLLOWER.scope(follower, work).await
}

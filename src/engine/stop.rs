//! The request to stop a run early.

use std::sync::Arc;

use tokio::sync::watch;

/// Stops a run: its phases are cancelled and recorded as failed. Clones share one request.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<Option<String>>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Stop {
    /// Asks the run to stop because of `what` ("SIGTERM"); only the first request is reported.
    pub fn request(&self, what: &str) {
        self.0.send_if_modified(|request| {
            let first = request.is_none();
            request.get_or_insert_with(|| what.to_owned());
            first
        });
    }

    /// Waits for a request and returns its reason.
    pub async fn requested(&self) -> String {
        let mut requests = self.0.subscribe();
        let request = requests.wait_for(Option::is_some).await;
        // No error: `self` keeps the sender alive.
        request
            .ok()
            .and_then(|what| what.clone())
            .unwrap_or_default()
    }
}

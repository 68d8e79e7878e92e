//! The time scale of deliberate waiting: real time, or, in a test's tree, faster by a factor.
//!
//! Only waiting that nothing else ends goes through here: between tries, between polls, until a limit is over. The time
//! that a command or a response may take is never shortened, so a slow test machine makes nothing fail.

use std::sync::OnceLock;
use std::time::Duration;

/// The environment variable with the factor; read only if the machine is a directory tree.
pub const VARIABLE: &str = "BOOTSTRAP_PACE";

static FASTER: OnceLock<u32> = OnceLock::new();

/// Makes all waiting of this process `times` faster. Only the first call counts.
pub fn hasten(times: u32) {
    let _ = FASTER.set(times.max(1));
}

/// How long `wait` lasts at this pace.
pub fn of(wait: Duration) -> Duration {
    wait / FASTER.get().copied().unwrap_or(1)
}

/// The unscaled duration of what lasts `wait` at this pace: undoes [`of`], for a duration read back from a library.
pub fn in_the_world(wait: Duration) -> Duration {
    wait.saturating_mul(FASTER.get().copied().unwrap_or(1))
}

/// Waits for `length`, at this pace.
pub async fn pause(length: Duration) {
    tokio::time::sleep(of(length)).await;
}

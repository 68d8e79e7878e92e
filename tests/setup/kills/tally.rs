//! What the campaign came to, counted from what happened.

use std::sync::atomic::{AtomicUsize, Ordering};

static KILLED: AtomicUsize = AtomicUsize::new(0);
static THROUGH: AtomicUsize = AtomicUsize::new(0);
static RECOVERED: AtomicUsize = AtomicUsize::new(0);

/// A run was ended, or was through before.
pub fn killed(was_killed: bool) {
    let counter = if was_killed { &KILLED } else { &THROUGH };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// After it, the next run left the machine as an undisturbed one does.
pub fn recovered() {
    RECOVERED.fetch_add(1, Ordering::Relaxed);
}

/// One line, or nothing where no run was to be ended.
pub fn line() -> Option<String> {
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (killed, through) = (count(&KILLED), count(&THROUGH));
    (killed + through > 0).then(|| {
        format!(
            "kills: {killed} runs killed, {through} through before their instant, {} of them in the end like an \
             undisturbed run",
            count(&RECOVERED)
        )
    })
}

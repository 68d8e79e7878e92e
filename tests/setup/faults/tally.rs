//! What the table came to, counted from what happened.

use std::sync::atomic::{AtomicUsize, Ordering};

static TRIED: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);
static FAILING: AtomicUsize = AtomicUsize::new(0);
static HEALED: AtomicUsize = AtomicUsize::new(0);
static CHECKED: AtomicUsize = AtomicUsize::new(0);
static LOST: AtomicUsize = AtomicUsize::new(0);

fn add(counter: &AtomicUsize, count: usize) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// A fault was injected.
pub fn tried() {
    add(&TRIED, 1);
}

/// The run got over the fault by itself, or it did not.
pub fn ended(code: i32) {
    add(if code == 0 { &HELD } else { &FAILING }, 1);
}

/// The next run made the node whole.
pub fn healed() {
    add(&HEALED, 1);
}

/// Files were looked at, and so many of them were lost.
pub fn looked(files: usize, lost: usize) {
    add(&CHECKED, files);
    add(&LOST, lost);
}

/// One line, or nothing where no fault was tried.
pub fn line() -> Option<String> {
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let tried = count(&TRIED);
    (tried > 0).then(|| {
        format!(
            "faults: {tried} rows tried, {} got over in the same run, {} failed with their reason, {} of those healed by \
             the next run; data: {} files compared, {} lost",
            count(&HELD),
            count(&FAILING),
            count(&HEALED),
            count(&CHECKED),
            count(&LOST)
        )
    })
}

//! The engine: runs phases in dependency order and records what happened; knows no phase by name.

mod phase;

pub use phase::{Applied, Entry, Phase, State};

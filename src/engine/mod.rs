//! The engine: runs phases in dependency order and records what happened; knows no phase by name.

pub mod journal;
pub mod lock;
mod observer;
mod phase;
mod plan;
mod run;
mod stop;
pub mod store;
mod table;
mod work;

pub use journal::Journal;
pub use lock::Lock;
pub use observer::{Event, Observer};
pub use phase::{Applied, Entry, Phase, State};
#[cfg(test)]
pub use plan::Planned;
pub use plan::{Plan, Prospect};
pub use run::{About, Finished, Outcome};
pub use stop::Stop;
pub use table::{Engine, Selection};

#[cfg(test)]
mod tests;

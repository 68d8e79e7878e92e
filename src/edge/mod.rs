//! The edge node itself: container spec, image, the user it runs as, JSON-RPC client, processes and their logs,
//! earnings, key folder, log, entrypoint.

pub mod backup;
pub mod belief;
pub mod container;
pub mod earnings;
pub mod entrypoint;
pub mod image;
mod init;
pub mod keys;
pub mod keystore;
pub mod logs;
pub mod look;
pub mod processes;
pub mod rpc;
pub mod run_as;
pub mod spec;
pub mod trouble;
pub mod wallet;

pub use spec::Spec;

/// Label that marks a container as ours; its value is the hash of the spec that it was made from.
pub const SPEC_LABEL: &str = "io.theta.bootstrap.spec";

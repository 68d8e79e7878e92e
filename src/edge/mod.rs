//! The edge node itself: container spec, image, whom it runs as, JSON-RPC client, processes and their logs, earnings,
//! key folder, log, entrypoint.

pub mod backup;
pub mod belief;
pub mod container;
pub mod earnings;
pub mod entrypoint;
pub mod image;
mod init;
pub mod keys;
pub mod keystore;
pub mod look;
pub mod own_logs;
pub mod processes;
pub mod rpc;
pub mod run_as;
pub mod spec;
pub mod trouble;
pub mod wallet;

pub use spec::Spec;

/// The container spec, as the `assets` phase unpacks it.
pub const SPEC_FILE: &str = "/opt/bootstrap/assets/edge.json";
/// Folder of the wallet password, in memory-backed storage; the container sees it under the same path.
pub const SECRET_FOLDER: &str = "/run/bootstrap/secrets";
/// The wallet password, on the host and inside the container.
pub const SECRET_FILE: &str = "/run/bootstrap/secrets/wallet-password";
/// This program on the host.
pub const PROGRAM: &str = "/usr/local/bin/bootstrap";
/// Label that marks a container as ours; its value is the hash of the spec that it was made from.
pub const SPEC_LABEL: &str = "io.theta.bootstrap.spec";

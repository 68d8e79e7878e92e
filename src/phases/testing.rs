//! Nodes for the tests of phases.

use std::sync::Arc;

use crate::aws::imds::Imds;
use crate::config::Config;
use crate::host::testing::Tree;
use crate::node::Node;
use crate::retry::Policy;
use standins::scripted::{Reply, Server, serve};

/// The os-release of each system.
pub(super) const DEBIAN: &str = "ID=debian\nVERSION_ID=\"12\"\n";
pub(super) const UBUNTU: &str = "ID=ubuntu\nVERSION_ID=\"24.04\"\n";
pub(super) const AMAZON: &str = "ID=\"amzn\"\nVERSION_ID=\"2023\"\n";

/// A minimal config, with or without GPU.
pub(super) fn config(gpu: bool) -> Config {
    let text = format!(
        r#"{{"gpu": {gpu}, "volume": {{"id": "vol-0123456789abcdef0"}}, "secret": {{"arn": "wallet"}},
            "assets": {{"bucket": "assets", "key": "a", "sha256": "{}"}}}}"#,
        "a".repeat(64)
    );
    Config::load(&text).unwrap()
}

/// A node on `tree` that runs `os_release`; its metadata service is never asked.
pub(super) fn node(tree: &Tree, os_release: &str, config: Config) -> Arc<Node> {
    tree.file("/etc/os-release", os_release);
    let imds = imds("http://127.0.0.1:9");
    Arc::new(Node::new(config, tree.host.clone(), imds))
}

/// The same with a metadata service for instance i-0123456789abcdef0.
pub(super) fn node_in_cloud(tree: &Tree, os_release: &str, config: Config) -> (Arc<Node>, Server) {
    tree.file("/etc/os-release", os_release);
    let server = serve(|request| match request.target.rsplit('/').next() {
        Some("token") => {
            Reply::new(200, "token").header("x-aws-ec2-metadata-token-ttl-seconds", "600")
        }
        Some("instance-id") => Reply::new(200, "i-0123456789abcdef0"),
        Some("region") => Reply::new(200, "us-east-1"),
        Some("availability-zone") => Reply::new(200, "us-east-1a"),
        Some("instance-type") => Reply::new(200, "g4dn.xlarge"),
        _ => Reply::new(404, ""),
    });
    let imds = imds(&server.url);
    (Arc::new(Node::new(config, tree.host.clone(), imds)), server)
}

fn imds(endpoint: &str) -> Imds {
    let once = Policy::without_pause(1);
    Imds::at(endpoint, once)
}

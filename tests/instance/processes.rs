//! The three processes that the node's launcher starts. It starts none of them again.

use serde_json::Value;

use crate::launch::Instance;
use crate::oncall::is_healthy;
use crate::shared::shared;

/// What a check found.
fn found(instance: &Instance, check: &str) -> (String, String) {
    let report = instance.json("bootstrap verify --json");
    let mut checks = report["checks"].as_array().unwrap().iter();
    let found = checks.find(|found| found["name"] == check).expect(check);
    let word = |key: &str| found[key].as_str().unwrap().to_owned();
    (word("status"), word("detail"))
}

/// What a tick would publish.
fn published(instance: &Instance, metric: &str) -> f64 {
    let shown: Value = instance.json("bootstrap metrics --dry-run");
    let mut metrics = shown["metrics"].as_array().unwrap().iter();
    let found = metrics.find(|found| found["name"] == metric);
    found.expect(metric)["value"].as_f64().unwrap()
}

pub fn a_killed_process_is_named_with_its_log() {
    let shared = shared();
    let instance = shared.instance();
    instance.run("systemctl stop bootstrap-repair.timer bootstrap-repair.service");
    for (process, check, metric) in [
        ("anycast", "anycast", "edge_anycast_up"),
        ("edgeencoder", "encoder", "edge_encoder_up"),
        ("edgecore", "rpc", "edge_up"),
    ] {
        // One that answers nothing can be missed only where a tick has seen it.
        instance.run("bootstrap metrics");
        assert!(published(instance, metric) > 0.5, "{process}");
        instance.run(&format!(
            "pkill --signal KILL --exact {process} && while pgrep --exact {process}; do sleep 0.1; done"
        ));
        // A warning as long as the container is young.
        let (status, detail) = found(instance, check);
        assert_ne!(status, "pass", "{process}: {detail}");
        let quoted = format!("; {process}.log says: ");
        assert!(detail.contains(&quoted), "{process}: {detail}");
        assert!(published(instance, metric) < 0.5, "{process}");
        instance.run("docker restart edgelauncher");
        is_healthy(instance, &shared.address, process);
    }
    instance.run("systemctl start bootstrap-repair.timer");
}

//! The three processes that the node's launcher starts. It starts none of them again.

use crate::launch::check;
use crate::oncall::is_healthy;
use crate::shared::shared;

/// As a real Docker logs it; no agent ships it as it is.
pub fn what_the_container_writes_is_copied_for_cloudwatch() {
    let shared = shared();
    let instance = shared.instance();
    let last = instance.run("docker logs edgelauncher 2>&1 | tail --lines 1");
    instance.run("bootstrap metrics");
    let copied = instance.run("grep '^container: ' /var/log/bootstrap-edge.log");
    assert!(
        copied.contains(&format!("container: {last}")),
        "{last}\nnot in\n{copied}"
    );
    let config = instance.run("cat /var/lib/bootstrap/cloudwatch-agent.json");
    assert!(
        config.contains("bootstrap-edge.log") && !config.contains("/var/lib/docker"),
        "{config}"
    );
}

pub fn a_killed_process_is_named_with_its_log() {
    let shared = shared();
    let instance = shared.instance();
    instance.run("systemctl stop bootstrap-repair.timer bootstrap-repair.service");
    for (process, name, metric) in [
        ("anycast", "anycast", "edge_anycast_up"),
        ("edgeencoder", "encoder", "edge_encoder_up"),
        ("edgecore", "rpc", "edge_up"),
    ] {
        // One that answers nothing can be missed only where a tick has seen it.
        instance.run("bootstrap metrics");
        assert!(instance.published(metric) > 0.5, "{process}");
        instance.run(&format!(
            "pkill --signal KILL --exact {process} && while pgrep --exact {process}; do sleep 0.1; done"
        ));
        // A warning as long as the container is young.
        let report = instance.json("bootstrap verify --json");
        let found = check(&report, name);
        assert_ne!(found["status"], "pass", "{process}: {found}");
        let quoted = format!("; {process}.log says: ");
        let detail = found["detail"].as_str().unwrap();
        assert!(detail.contains(&quoted), "{process}: {detail}");
        assert!(instance.published(metric) < 0.5, "{process}");
        instance.run("docker restart edgelauncher");
        is_healthy(instance, &shared.address, process);
    }
    instance.run("systemctl start bootstrap-repair.timer");
}

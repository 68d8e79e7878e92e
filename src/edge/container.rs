//! The edge container as Docker sees it.

use jiff::Timestamp;
use serde_json::Value;

use super::{SPEC_LABEL, Spec};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::log::printable;

/// A container, as `docker inspect` describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    /// Hash of the spec that it was made from; `None` where it is a stranger's.
    pub spec: Option<String>,
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub status: String,
    /// Exit code of the last run.
    pub exit_code: i64,
    /// How often the restart policy has started it again.
    pub restarts: u64,
    /// When it was last started.
    pub started: Option<Timestamp>,
    /// Published TCP ports: host address and host port.
    pub ports: Vec<(String, u16)>,
    /// All that Docker says, searched for the password by the health check.
    pub document: Value,
}

impl Container {
    /// Whether it runs, and not just between two crashes.
    pub fn is_up(&self) -> bool {
        self.status == "running"
    }

    /// Seconds since its last start.
    pub fn age(&self, now: Timestamp) -> Option<i64> {
        Some(now.as_second() - self.started?.as_second())
    }

    /// Reads what `docker container inspect` says about one container.
    pub fn from_inspect(document: Value) -> Self {
        let text = |path: &str| document.pointer(path).and_then(Value::as_str);
        let labels = document.pointer("/Config/Labels");
        let ports = document.pointer("/NetworkSettings/Ports");
        let bindings = ports.and_then(Value::as_object).into_iter().flatten();
        Self {
            spec: labels
                .and_then(|labels| labels.get(SPEC_LABEL))
                .and_then(Value::as_str)
                .map(String::from),
            status: printable(text("/State/Status").unwrap_or("unknown")),
            exit_code: document
                .pointer("/State/ExitCode")
                .and_then(Value::as_i64)
                .unwrap_or_default(),
            restarts: document
                .get("RestartCount")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
            // One that was never started says year 1.
            started: text("/State/StartedAt")
                .and_then(|time| time.parse::<Timestamp>().ok())
                .filter(|time| time.as_second() > 0),
            ports: bindings
                .filter_map(|(_, hosts)| hosts.as_array())
                .flatten()
                .filter_map(|host| {
                    let address = host.get("HostIp")?.as_str()?.to_owned();
                    let port = host.get("HostPort")?.as_str()?.parse().ok()?;
                    Some((address, port))
                })
                .collect(),
            document,
        }
    }
}

/// The container of that name, or `None` where there is none.
pub async fn find(host: &Host, name: &str) -> Result<Option<Container>> {
    let document = host.docker().container(name).await?;
    Ok(document.map(Container::from_inspect))
}

/// The GPUs that a program inside the container sees, or what it says instead.
///
/// Only inside counts: `systemctl daemon-reload` can cut a running container off its GPU while the host still has it
/// ("Failed to initialize NVML: Unknown Error", NVIDIA/nvidia-container-toolkit#48).
pub async fn gpus(host: &Host, name: &str) -> Result<String, String> {
    match host.docker().exec(name, &["nvidia-smi", "-L"]).await {
        Err(error) => Err(error.to_string()),
        Ok(output) if output.code == 0 && output.stdout.contains("GPU ") => {
            // "GPU 0: Tesla T4 (UUID: GPU-…)", and below it "  MIG 1g.5gb     Device  0: (UUID: MIG-…)" for each part of
            // one that is shared out.
            let names = output.stdout.lines().filter_map(|line| {
                let name = line.split("(UUID").next().unwrap_or(line);
                let words: Vec<&str> = name.split_whitespace().collect();
                (!words.is_empty()).then(|| printable(&words.join(" ")))
            });
            Ok(names.collect::<Vec<_>>().join(", "))
        }
        Ok(output) => Err(printable(&format!("{} {}", output.stdout, output.stderr))),
    }
}

/// Restarts the container where it has lost its GPU: for phases that had systemd read its units again, and for the tick.
pub async fn restore_gpu(host: &Host, config: &Config) -> Result<()> {
    let spec = Spec::require(host, config)?;
    if !config.gpu || gpus(host, &spec.name).await.is_ok() {
        return Ok(());
    }
    tracing::warn!("{} has lost its GPU; restarting it", spec.name);
    host.docker().restart(&spec.name, spec.stop_seconds).await?;
    gpus(host, &spec.name).await.map(drop).map_err(|said| {
        Error::new(
            format!("{} does not see its GPU after a restart: {said}", spec.name),
            "run: bootstrap --phase nvidia --phase docker --phase container",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    #[test]
    fn reads_what_docker_says() {
        let document = serde_json::json!({
            "RestartCount": 3,
            "State": {"Status": "restarting", "ExitCode": 1, "StartedAt": "2024-05-01T10:00:00.123456789Z"},
            "Config": {"Labels": {"io.theta.bootstrap.spec": "abc"}},
            "NetworkSettings": {"Ports": {
                "17888/tcp": [{"HostIp": "127.0.0.1", "HostPort": "17888"}], "9/tcp": null
            }}
        });
        let container = Container::from_inspect(document);
        assert_eq!(container.spec.as_deref(), Some("abc"));
        assert_eq!((container.restarts, container.exit_code), (3, 1));
        assert!(!container.is_up());
        assert_eq!(container.ports, [("127.0.0.1".to_owned(), 17888)]);
        let later = "2024-05-01T10:01:00Z".parse().unwrap();
        assert_eq!(container.age(later), Some(60));

        let created = Container::from_inspect(
            serde_json::json!({"State": {"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"}}),
        );
        assert_eq!((created.spec, created.started), (None, None));
        assert_eq!(Container::from_inspect(Value::Null).status, "unknown");
    }

    #[tokio::test]
    async fn a_gpu_counts_only_where_the_container_sees_it() {
        let tree = Tree::new();
        tree.tool("docker", "echo 'GPU 0: Tesla T4 (UUID: GPU-1)'");
        assert_eq!(gpus(&tree.host, "edge").await.unwrap(), "GPU 0: Tesla T4");
        assert_eq!(tree.calls(), ["docker exec edge nvidia-smi -L"]);
        tree.tool(
            "docker",
            "echo 'GPU 0: A100 (UUID: GPU-1)\n  MIG 1g.5gb     Device  0: (UUID: MIG-1)'",
        );
        assert_eq!(
            gpus(&tree.host, "edge").await.unwrap(),
            "GPU 0: A100, MIG 1g.5gb Device 0:"
        );
        tree.tool(
            "docker",
            "echo 'Failed to initialize NVML: Unknown Error'; exit 255",
        );
        assert_eq!(
            gpus(&tree.host, "edge").await.unwrap_err(),
            "Failed to initialize NVML: Unknown Error"
        );
    }
}

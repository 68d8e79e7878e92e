//! The edge container as Docker sees it.

use jiff::Timestamp;
use serde_json::Value;

use super::{SPEC_LABEL, Spec};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::host::failures::docker::is_program_missing;
use crate::host::{Host, nvidia};
use crate::log::printable;

/// A container, as `docker inspect` describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    /// Hash of the spec that it was made from; `None` if this program did not make it.
    pub spec: Option<String>,
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub status: String,
    /// Exit code of the last run.
    pub exit_code: i64,
    /// How often the restart policy has restarted it.
    pub restarts: u64,
    /// When it was last started.
    pub started: Option<Timestamp>,
    /// Published TCP ports: host address and host port.
    pub ports: Vec<(String, u16)>,
    /// Docker's whole answer, which the health check searches for the password.
    pub document: Value,
}

impl Container {
    /// Whether it is running, and not just between two crashes.
    pub fn is_up(&self) -> bool {
        self.status == "running"
    }

    /// Whether its last run ended with SIGKILL.
    pub fn was_killed(&self) -> bool {
        !self.is_up() && self.exit_code == 137
    }

    /// Exit code of its last run, with the meaning of those that need explaining.
    pub fn end(&self) -> String {
        let out_of_memory = self.document.pointer("/State/OOMKilled") == Some(&Value::Bool(true));
        let meaning = match self.exit_code {
            _ if out_of_memory => " (killed: out of memory)",
            137 => " (killed)",
            _ => "",
        };
        format!("{}{meaning}", self.exit_code)
    }

    /// Process ID of its first process on the host, if it is running.
    pub fn process(&self) -> Option<u32> {
        let number = self.document.pointer("/State/Pid")?.as_u64()?;
        let number = u32::try_from(number).ok()?;
        (self.is_up() && number > 0).then_some(number)
    }

    /// The file that Docker writes its output to, if it uses one (log driver json-file).
    pub fn log(&self) -> Option<&str> {
        let path = self.document.get("LogPath")?.as_str()?;
        (!path.is_empty()).then_some(path)
    }

    /// Seconds since its last start.
    pub fn age(&self, now: Timestamp) -> Option<i64> {
        Some(now.as_second() - self.started?.as_second())
    }

    /// Reads the answer of `docker container inspect` for one container.
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
            // For one that was never started, this is in year 1.
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

/// The container with that name, if there is one.
pub async fn find(host: &Host, name: &str) -> Result<Option<Container>> {
    let document = host.docker().container(name).await?;
    Ok(document.map(Container::from_inspect))
}

const WARNED: &str =
    "the GPU works; if it fails later, replace the instance: the new one has another card";
const NO_UTILITY: &str = "the image's NVIDIA_DRIVER_CAPABILITIES leaves out `utility`: to have the GPU watched, set it to compute,utility in \
    the environment of /opt/bootstrap/assets/edge.json's archive, or use an image that has it";

/// What a program inside the container sees of the GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Their names; empty if the image has no nvidia-smi to ask.
    pub names: String,
    /// A warning, and what to do about it.
    pub doubt: Option<(String, &'static str)>,
}

impl From<&str> for Sight {
    fn from(names: &str) -> Self {
        Self {
            names: names.into(),
            doubt: None,
        }
    }
}

/// The GPUs that a program inside the container sees, or the error that it gets.
///
/// Only the view from inside counts: `systemctl daemon-reload` can cut a running container off from its GPU while the
/// host still has it ("Failed to initialize NVML: Unknown Error", NVIDIA/nvidia-container-toolkit#48).
pub async fn gpus(host: &Host, name: &str) -> Result<Sight, String> {
    match host.docker().exec(name, &["nvidia-smi", "-L"]).await {
        Err(error) => Err(error.to_string()),
        Ok(output) if nvidia::works(&output) && output.stdout.contains("GPU ") => {
            // "GPU 0: Tesla T4 (UUID: GPU-…)", followed by "  MIG 1g.5gb     Device  0: (UUID: MIG-…)" for each
            // instance of a GPU that is partitioned with MIG.
            let lines = output.stdout.lines();
            let lines = lines.filter(|line| !line.starts_with("WARNING:"));
            let names = lines.filter_map(|line| {
                let name = line.split("(UUID").next().unwrap_or(line);
                let words: Vec<&str> = name.split_whitespace().collect();
                (!words.is_empty()).then(|| printable(&words.join(" ")))
            });
            Ok(Sight {
                names: names.collect::<Vec<_>>().join(", "),
                doubt: nvidia::warning(&output).map(|said| (said, WARNED)),
            })
        }
        // Says nothing about the GPU: the toolkit adds nvidia-smi only if the image asks for the capability `utility`.
        Ok(output) if is_program_missing(&format!("{}\n{}", output.stdout, output.stderr)) => {
            Ok(Sight {
                names: String::new(),
                doubt: Some((
                    "cannot be looked at: the container has no nvidia-smi".into(),
                    NO_UTILITY,
                )),
            })
        }
        Ok(output) => Err(printable(&format!("{} {}", output.stdout, output.stderr))),
    }
}

/// Restarts the container if it has lost its GPU: for phases that made systemd reload its units, and for the tick.
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
        assert_eq!(
            (container.end(), container.was_killed()),
            ("1".into(), false)
        );
        for (memory, end) in [
            (false, "137 (killed)"),
            (true, "137 (killed: out of memory)"),
        ] {
            let killed = Container::from_inspect(serde_json::json!({
                "State": {"Status": "exited", "ExitCode": 137, "OOMKilled": memory}
            }));
            assert_eq!((killed.end(), killed.was_killed()), (end.into(), true));
        }

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
        assert_eq!(
            gpus(&tree.host, "edge").await.unwrap(),
            "GPU 0: Tesla T4".into()
        );
        assert_eq!(tree.calls(), ["docker exec edge nvidia-smi -L"]);
        tree.tool(
            "docker",
            "echo 'GPU 0: A100 (UUID: GPU-1)\n  MIG 1g.5gb     Device  0: (UUID: MIG-1)'",
        );
        assert_eq!(
            gpus(&tree.host, "edge").await.unwrap(),
            "GPU 0: A100, MIG 1g.5gb Device 0:".into()
        );
        tree.tool(
            "docker",
            "echo 'GPU 0: Tesla T4 (UUID: GPU-1)\nWARNING: infoROM is corrupted at gpu 0000:00:1E.0'; exit 14",
        );
        let seen = gpus(&tree.host, "edge").await.unwrap();
        assert_eq!(
            (seen.names.as_str(), seen.doubt.unwrap().0.as_str()),
            (
                "GPU 0: Tesla T4",
                "WARNING: infoROM is corrupted at gpu 0000:00:1E.0"
            )
        );
        for said in [
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nvidia-smi\": executable file not \
             found in $PATH: unknown",
            "exec: \"nvidia-smi\": stat nvidia-smi: no such file or directory: unknown",
        ] {
            tree.tool("docker", &format!("echo '{said}' >&2; exit 127"));
            let seen = gpus(&tree.host, "edge").await.unwrap();
            assert_eq!(
                (seen.names.as_str(), seen.doubt.unwrap().1),
                ("", NO_UTILITY)
            );
        }
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

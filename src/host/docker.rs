//! The Docker engine, through its command line: only flags that Docker 20.10 to 29 share, and only JSON output.

mod engine;

use std::time::Duration;

use serde_json::Value;

use super::Host;
use super::command::{Command, Output};
use super::failures;
use super::files::without_mark;
use crate::error::{Error, Result};
use crate::log::printable;

/// How much of a container's log is read, in lines.
const LOG_LINES: &str = "200";

/// The engine's config, and where it keeps images and containers unless that says otherwise.
pub const CONFIG: &str = "/etc/docker/daemon.json";
const DATA: &str = "/var/lib/docker";

/// Where engines that use containerd's image store (the default from 29 on) keep images.
pub const CONTAINERD: &str = "/var/lib/containerd";

/// Where the engine listens, on every supported system.
const SOCKET: &str = "/run/docker.sock";

/// The Docker engine of a machine.
pub struct Docker<'a> {
    host: &'a Host,
}

impl Host {
    /// This machine's Docker engine.
    pub fn docker(&self) -> Docker<'_> {
        Docker { host: self }
    }
}

impl Docker<'_> {
    /// Where the engine keeps images and containers.
    pub fn data_root(&self) -> String {
        let config = self.host.read_others(CONFIG).ok().flatten();
        let config: Option<Value> =
            config.and_then(|text| serde_json::from_str(without_mark(&text)).ok());
        let named = config.as_ref().and_then(|config| config.get("data-root"));
        let named = named.and_then(Value::as_str).unwrap_or(DATA);
        named.to_owned()
    }

    /// Engine version, or `None` if the engine does not answer.
    pub async fn server_version(&self) -> Result<Option<String>> {
        let ask = Box::pin(async {
            if let Ok(server) = engine::version(&self.host.path(SOCKET)).await {
                return Ok(Some(server));
            }
            let output = self
                .docker(["version", "--format", "{{json .Server}}"])
                .looks()
                .timeout(Duration::from_secs(20))
                .output()
                .await?;
            Ok(serde_json::from_str(&output.stdout).ok())
        });
        let server = self.host.documents.get("version", ask).await?;
        let version = server.as_ref().and_then(engine::version_in);
        Ok(version.map(printable))
    }

    /// `docker inspect` of the container, or `None` if there is none of that name. Asks the engine directly; if that
    /// fails, asks `docker`, which says why.
    pub async fn container(&self, name: &str) -> Result<Option<Value>> {
        let ask = Box::pin(async {
            match engine::container(&self.host.path(SOCKET), name).await {
                Ok(found) => Ok(found),
                Err(_) => self.inspect("container", name).await,
            }
        });
        self.host
            .documents
            .get(&format!("container {name}"), ask)
            .await
    }

    /// `docker inspect` of the image, or `None` if it is not on this machine.
    pub async fn image(&self, reference: &str) -> Result<Option<Value>> {
        let ask = Box::pin(async {
            match engine::image(&self.host.path(SOCKET), reference).await {
                Ok(found) => Ok(found),
                Err(_) => self.inspect("image", reference).await,
            }
        });
        self.host
            .documents
            .get(&format!("image {reference}"), ask)
            .await
    }

    /// Pulls the image. Rate limits, timeouts and broken connections are transient; a missing image is not.
    pub async fn pull(&self, reference: &str, timeout: Duration) -> Result<()> {
        let output = self
            .docker(["pull", "--quiet", reference])
            .timeout(timeout)
            .output()
            .await?;
        if output.code == 0 {
            return Ok(());
        }
        let failure = failures::read(&output);
        let reason = format!("cannot pull {reference}: {}", failure.reason);
        Err(Error::new(reason, failure.hint).transient_if(failure.passes))
    }

    /// Runs `docker` with a complete `run …` argv and returns what it printed. The error leaves the argv to the log: it
    /// is long, and the reason that follows it might be cut off.
    pub async fn run(&self, argv: &[String]) -> Result<String> {
        let command = self.docker(argv).timeout(Duration::from_mins(3));
        let output = command.output().await?;
        if output.code == 0 {
            return Ok(output.stdout);
        }
        Err(failures::read(&output).into_error("docker run", output.code))
    }

    /// Starts an existing container.
    pub async fn start(&self, name: &str) -> Result<()> {
        let command = self.docker(["start", name]);
        let command = command.timeout(Duration::from_mins(3));
        command.run().await.map(drop)
    }

    /// Stops the container; it is killed after `seconds`.
    pub async fn stop(&self, name: &str, seconds: u32) -> Result<()> {
        let grace = seconds.to_string();
        let command = self
            .docker(["stop", "-t", &grace, name])
            .timeout(Duration::from_secs(u64::from(seconds) + 60));
        command.run().await.map(drop)
    }

    /// Stops the container (killed after `seconds`) and starts it. The engine does both as one step, which it completes
    /// even if this program is killed.
    pub async fn restart(&self, name: &str, seconds: u32) -> Result<()> {
        let grace = seconds.to_string();
        let command = self
            .docker(["restart", "-t", &grace, name])
            .timeout(Duration::from_secs(u64::from(seconds) + 240));
        command.run().await.map(drop)
    }

    /// Renames the container.
    pub async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.docker(["rename", from, to]).run().await.map(drop)
    }

    /// Removes a container that is not running.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.docker(["rm", name]).run().await.map(drop)
    }

    /// The end of the container's log, both streams, since `since` (RFC 3339) if given.
    pub async fn log(&self, name: &str, since: Option<&str>) -> Result<String> {
        let mut command = self.docker(["logs", "--tail", LOG_LINES]).looks();
        if let Some(since) = since {
            command = command.args(["--since", since]);
        }
        let output = command
            .arg(name)
            .timeout(Duration::from_secs(20))
            .run()
            .await?;
        Ok(format!("{}\n{}", output.stdout, output.stderr))
    }

    /// Runs a read-only program inside the container; any exit code is an answer.
    pub async fn exec(&self, name: &str, argv: &[&str]) -> Result<Output> {
        let command = self
            .docker(["exec", name])
            .args(argv.iter().copied())
            .looks();
        command.timeout(Duration::from_secs(20)).output().await
    }

    async fn inspect(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let output = self
            .docker([kind, "inspect", name])
            .looks()
            .timeout(Duration::from_secs(20))
            .output()
            .await?;
        if output.code != 0 {
            return if failures::docker::is_absent(&output.stderr) {
                Ok(None)
            } else {
                Err(output.failure())
            };
        }
        let mut found: Value = serde_json::from_str(&output.stdout).map_err(|error| {
            Error::new(
                format!("`{}` printed something that is not JSON", output.command),
                "run it by hand; an alias or a wrapper named docker may be in the way",
            )
            .because(error)
        })?;
        Ok(found.get_mut(0).map(Value::take))
    }

    fn docker<S: Into<std::ffi::OsString> + Clone>(&self, args: impl AsRef<[S]>) -> Command {
        self.host
            .command("docker")
            .args(args.as_ref().iter().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    fn docker(script: &str) -> Tree {
        let tree = Tree::new();
        tree.tool("docker", script);
        tree
    }

    #[tokio::test]
    async fn the_version_is_the_engines() {
        let up = docker(r#"echo '{"Version":"20.10.24+dfsg1","Os":"linux"}'"#);
        let version = up.host.docker().server_version().await.unwrap();
        assert_eq!(version.unwrap(), "20.10.24+dfsg1");
        assert_eq!(up.calls(), ["docker version --format {{json .Server}}"]);
        let down = docker("echo null; echo 'Cannot connect to the Docker daemon' >&2; exit 1");
        assert_eq!(down.host.docker().server_version().await.unwrap(), None);
    }

    #[tokio::test]
    async fn each_thing_is_asked_once_until_something_changes() {
        let tree = docker(r#"echo '[{"Id":"sha256:aa"}]'"#);
        let (host, docker) = (&tree.host, tree.host.docker());
        host.share_looks();
        for asked in [1, 1, 2] {
            if asked == 2 {
                host.look_again();
            }
            let found = tokio::join!(docker.container("x"), docker.container("x"));
            assert!(found.0.unwrap().is_some() && found.1.unwrap().is_some());
            assert_eq!(tree.calls().len(), asked);
        }
        docker.remove("x").await.unwrap();
        docker.container("x").await.unwrap();
        assert_eq!(tree.calls().len(), 4);
    }

    #[tokio::test]
    async fn an_absent_container_differs_from_a_failure() {
        for text in [
            "Error: No such container: x",
            "Error response from daemon: No such container: x",
            "error: no such object: x",
        ] {
            let tree = docker(&format!("echo '[]'; echo '{text}' >&2; exit 1"));
            assert_eq!(tree.host.docker().container("x").await.unwrap(), None);
        }
        let tree = docker("echo 'permission denied' >&2; exit 1");
        assert_eq!(
            tree.host
                .docker()
                .container("x")
                .await
                .unwrap_err()
                .reason(),
            "`docker container inspect x` failed with exit code 1: permission denied"
        );
        let tree = docker("echo hello");
        assert_eq!(
            tree.host.docker().image("i").await.unwrap_err().reason(),
            "`docker image inspect i` printed something that is not JSON"
        );
        let tree = docker(r#"echo '[{"Id":"sha256:aa"}]'"#);
        assert_eq!(
            tree.host.docker().image("i").await.unwrap().unwrap()["Id"],
            "sha256:aa"
        );
    }

    #[tokio::test]
    async fn a_failed_pull_is_tried_again_only_where_that_can_help() {
        for (text, transient, hint) in [
            (
                "toomanyrequests: You have reached your pull rate limit.",
                true,
                "name a mirror",
            ),
            (
                "Error response from daemon: manifest for a/b:c not found: manifest unknown: manifest unknown",
                false,
                "no such image",
            ),
            (
                "pull access denied for a/b, repository does not exist or may require docker login",
                false,
                "no such image",
            ),
            (
                "denied: requested access to the resource is denied",
                false,
                "without logging in",
            ),
            (
                "read tcp 10.0.0.1:4->1.2.3.4:443: read: connection reset by peer",
                true,
                "reaches the registry",
            ),
            (
                "Get https://registry-1.docker.io/v2/: net/http: TLS handshake timeout",
                true,
                "reaches the registry",
            ),
            (
                "dial tcp: lookup registry-1.docker.io on 10.0.0.2:53: no such host",
                true,
                "reaches the registry",
            ),
            (
                "write /var/lib/docker/tmp/x: no space left on device",
                false,
                "free space",
            ),
            (
                "no matching manifest for linux/amd64 in the manifest list entries",
                false,
                "linux/amd64",
            ),
            ("something new", true, "by hand"),
        ] {
            let tree = docker(&format!("echo 'Trying' >&2; echo '{text}' >&2; exit 1"));
            let error = tree
                .host
                .docker()
                .pull("a/b:c", Duration::from_secs(9))
                .await
                .unwrap_err();
            assert_eq!(error.reason(), format!("cannot pull a/b:c: {text}"));
            assert_eq!(error.is_transient(), transient, "{text}");
            assert!(error.hint().contains(hint), "{}", error.hint());
        }
    }
}

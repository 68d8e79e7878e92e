//! Phase `container`: exactly one container runs as wanted; never without its volume.

mod restore;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::config::Config;
use crate::edge::container::{Container as Found, find};
use crate::edge::keys::{self, Keys};
use crate::edge::rpc::Client;
use crate::edge::run_as::{self, RunAs};
use crate::edge::spec::{Spec, Wanted};
use crate::edge::{image, logs, trouble, wallet};
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::files::Access;
use crate::node::Node;
use crate::paths::PASSWORD;
use crate::phases::volume;
use crate::shell::word;

/// How long a started container is watched: a wrong password shows within seconds.
const WATCH: Watch = Watch {
    looks: 30,
    pause: Duration::from_millis(500),
};

/// See [`Phase`]; the container that [`Spec`] and config want.
pub(super) struct Container(pub Arc<Node>);

#[async_trait]
impl Phase for Container {
    async fn check(&self) -> Result<State> {
        let Node { host, config, .. } = &*self.0;
        let needed = |what: String| Ok(State::Needed(what));
        let Some(spec) = Spec::load(host, config)? else {
            return needed("the container spec is not unpacked yet".into());
        };
        let folder = keys::look(host, &spec.key_folder(config), None)?;
        if folder.keys != Keys::None
            && let Some(wallet) = wallet::remembered(host, &self.0.disk().await?)
            && let Some(another) = wallet::contradiction(&wallet, &folder, None)
        {
            return Err(another);
        }
        let engine = host.docker().server_version().await;
        if !matches!(engine, Ok(Some(_))) {
            return needed("Docker does not run yet".into());
        }
        let reference = image::reference(&config.edge);
        let Some(image) = image::facts(host, &config.edge).await? else {
            return needed(format!("{reference} is not pulled"));
        };
        let name = &spec.name;
        let found = find_ours(host, name).await?;
        let Some(decision) = run_as::known(host, config, &spec, &image)? else {
            return needed(format!("whom {name} runs as is not decided for this image"));
        };
        let wanted = spec.wanted(config, &image, decision.run_as);
        match found {
            None => needed(format!("there is no container {name}")),
            Some(found) if found.spec.as_ref() != Some(&wanted.hash) => {
                needed(format!("{name} was created from another spec or image"))
            }
            Some(found) if !found.is_up() => needed(format!(
                "{name} is {}, last exit code {}",
                found.status,
                found.end()
            )),
            Some(_)
                if find_ours(host, &previous(name))
                    .await?
                    .is_some_and(|found| found.is_up()) =>
            {
                needed(format!("{} runs, too", previous(name)))
            }
            Some(_) => Ok(State::Done(format!(
                "{name} runs {reference} {}",
                decision.told(config, &image)
            ))),
        }
    }

    async fn apply(&self) -> Result<Applied> {
        let Node { host, config, .. } = &*self.0;
        let spec = Spec::require(host, config)?;
        // All is well, so this is --force, which asks for a fresh start. This never pulls (see phase `image`).
        let forced = matches!(self.check().await?, State::Done(_));
        let image = image::facts(host, &config.edge).await?.ok_or_else(|| {
            let reference = image::reference(&config.edge);
            Error::new(
                format!("{reference} is not pulled"),
                "run: bootstrap --phase image --phase container",
            )
        })?;
        let decision = run_as::decide(host, config, &spec, &image).await?;
        let work = Work {
            disk: self.0.disk().await?,
            wanted: spec.wanted(config, &image, decision.run_as),
            run_as: decision.run_as,
            host,
            config,
            spec,
            watch: WATCH,
            restart: forced,
        };
        if volume::is_unused(&self.0).await? && !work.is_any_up().await? {
            work.require_volume()?;
            restore::restore(&self.0, &work.spec, work.run_as).await?;
            volume::used(host)?;
        }
        work.converge().await?;
        volume::tell_wallet(&self.0).await?;
        Ok(Applied::Finished)
    }
}

/// Whether the container that was replaced is still there.
pub(super) async fn has_previous(node: &Node) -> Result<bool> {
    let spec = Spec::require(&node.host, &node.config)?;
    let found = find_ours(&node.host, &previous(&spec.name)).await?;
    Ok(found.is_some())
}

/// Removes it: its replacement has been found healthy.
pub(super) async fn forget_previous(node: &Node) -> Result<()> {
    let Node { host, config, .. } = node;
    let spec = Spec::require(host, config)?;
    let name = previous(&spec.name);
    match find_ours(host, &name).await? {
        None => Ok(()),
        Some(found) => {
            if found.is_up() {
                stop(host, &spec, &name, &found).await?;
            }
            host.docker().remove(&name).await
        }
    }
}

/// Stops the container if it runs, and logs it if the container had to be killed: its work in progress is lost, and an
/// unfinished job may not be paid.
async fn stop(host: &Host, spec: &Spec, name: &str, found: &Found) -> Result<()> {
    host.docker().stop(name, spec.stop_seconds).await?;
    if found.is_up() && find(host, name).await?.is_some_and(|now| now.was_killed()) {
        tracing::warn!(
            "{name} was killed (exit code 137): it had not ended {} s after it was asked to",
            spec.stop_seconds
        );
    }
    Ok(())
}

/// Name of the container that is kept until its replacement is found healthy.
fn previous(name: &str) -> String {
    format!("{name}-previous")
}

/// Our container of that name; one that is not ours is an error, and is never touched.
async fn find_ours(host: &Host, name: &str) -> Result<Option<Found>> {
    match find(host, name).await? {
        Some(found) if found.spec.is_none() => Err(Error::new(
            format!("a container named {name} exists that bootstrap did not make"),
            format!(
                "if it runs this node's key, stop it first; then: docker rename {} {}, and run: bootstrap --phase container",
                word(name),
                word(&format!("{name}-old"))
            ),
        )),
        found => Ok(found),
    }
}

#[derive(Clone, Copy)]
struct Watch {
    looks: u32,
    pause: Duration,
}

/// One run of the phase's apply.
struct Work<'a> {
    /// The disk whose wallet it is, see [`wallet`].
    disk: String,
    host: &'a Host,
    config: &'a Config,
    spec: Spec,
    run_as: RunAs,
    wanted: Wanted,
    watch: Watch,
    /// Restart it even if it runs as wanted: a new password is read only at a start.
    restart: bool,
}

impl Work<'_> {
    /// Makes it run as wanted, whatever is there, including what a killed run has left.
    async fn converge(&self) -> Result<()> {
        let name = &self.spec.name;
        let docker = self.host.docker();
        let current = find_ours(self.host, name).await?;
        let mut fallback = find_ours(self.host, &previous(name)).await?;
        let as_wanted = |found: &Found| found.spec.as_deref() == Some(self.wanted.hash.as_str());
        let is_well = |found: &Found| as_wanted(found) && found.is_up();
        if !self.restart && current.as_ref().is_some_and(is_well) {
            return self.rest(fallback.as_ref()).await;
        }
        let keys = self.guard()?;
        if keys == Keys::None
            && !current.as_ref().is_some_and(Found::is_up)
            && let Some(address) = wallet::remembered(self.host, &self.disk)
        {
            let folder = self.spec.key_folder(self.config);
            return Err(wallet::gone(&address, &folder));
        }
        self.rest(fallback.as_ref()).await?;
        let began = Timestamp::now();
        let started = match current {
            None => self.run(began).await,
            Some(found) => {
                if !as_wanted(&found) && found.is_up() && keys == Keys::None {
                    return Err(self.key_elsewhere());
                }
                stop(self.host, &self.spec, name, &found).await?;
                if as_wanted(&found) {
                    self.start(began, found.restarts).await
                } else {
                    if fallback.is_none() {
                        docker.rename(name, &previous(name)).await?;
                        fallback = Some(found);
                    } else {
                        // A replacement that was never found healthy; the fallback is the last one that was.
                        docker.remove(name).await?;
                    }
                    self.run(began).await
                }
            }
        };
        match (started, &fallback) {
            (Err(error), Some(_)) => Err(self.fall_back(error).await),
            (ended, _) => ended,
        }
    }

    /// A running node has a key; if that is not on the volume, removing the container would destroy it.
    fn key_elsewhere(&self) -> Error {
        let name = &self.spec.name;
        let container = word(name);
        Error::new(
            format!(
                "{name} runs, but {} holds no key: it may be inside the container, which is not replaced",
                self.spec.key_folder(self.config)
            ),
            format!(
                "look for it (docker exec {container} find / -path '*key/encrypted/*'), save it (docker cp), then run: docker \
                 rm --force {container}; bootstrap --phase container"
            ),
        )
    }

    /// Whether the container runs, or the one that it replaced.
    async fn is_any_up(&self) -> Result<bool> {
        for name in [self.spec.name.clone(), previous(&self.spec.name)] {
            let found = find_ours(self.host, &name).await?;
            if found.is_some_and(|found| found.is_up()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The volume must be mounted and writable.
    fn require_volume(&self) -> Result<()> {
        let mount = &self.config.volume.mount;
        let mend = "run: bootstrap --phase volume --phase container";
        match self.host.mounted_at(mount)? {
            None => Err(Error::new(
                format!("nothing is mounted at {mount}; the container is not started"),
                mend,
            )),
            Some(found) if found.read_only => Err(Error::new(
                format!("{mount} is mounted read-only; the container is not started"),
                format!("look for disk errors (dmesg), then {mend}"),
            )),
            Some(_) => Ok(()),
        }
    }

    /// What must hold before anything is started: otherwise the node would create a new key on the root disk, or hang.
    /// Returns the keys that there are.
    fn guard(&self) -> Result<Keys> {
        self.require_volume()?;
        if trouble::password(self.host).is_none() {
            return Err(Error::new(
                format!("{PASSWORD} is missing or empty; the container is not started"),
                "run: bootstrap --phase secret --phase container",
            ));
        }
        let user = &self.config.user;
        let data = self.spec.data_folder(self.config);
        let access = Access {
            mode: 0o700,
            owner: Some((user.uid, user.gid)),
        };
        self.host.make_dir(&data, access)?;

        let owner = (self.run_as == RunAs::User).then_some(user.uid);
        let folder = keys::look(self.host, &self.spec.key_folder(self.config), owner)?;
        if let Keys::Several(names) = &folder.keys {
            return Err(Error::new(
                format!("{} holds several files: {}", folder.path, names.join(", ")),
                "move all but the right key file to a safe place outside that folder, then run: bootstrap --phase container",
            ));
        }
        if let Some(foreign) = folder.foreign.first() {
            return Err(Error::new(
                format!("{foreign}, but the container runs as uid {}", user.uid),
                format!(
                    "run: chown -R {}:{} {}, then: bootstrap --phase container",
                    user.uid,
                    user.gid,
                    word(&data)
                ),
            ));
        }
        if let Keys::One(address) = &folder.keys {
            wallet::remember(self.host, &self.disk, address, &folder.path)?;
        }
        Ok(folder.keys)
    }

    async fn run(&self, began: Timestamp) -> Result<()> {
        self.host.docker().run(&self.wanted.argv).await?;
        self.settle(began, 0).await
    }

    async fn start(&self, began: Timestamp, restarts: u64) -> Result<()> {
        self.host.docker().start(&self.spec.name).await?;
        self.settle(began, restarts).await
    }

    /// Waits until the container has stayed up, or its RPC answers; `restarts` is the count before.
    async fn settle(&self, began: Timestamp, restarts: u64) -> Result<()> {
        let name = &self.spec.name;
        let rpc = Client::at(self.config.edge.rpc_bind, self.spec.rpc.core);
        for look in 1..=self.watch.looks {
            crate::pace::pause(self.watch.pause).await;
            let found = find(self.host, name).await?.unwrap_or_default();
            // Docker may or may not reset the count at a start.
            if !found.is_up() || (found.restarts != 0 && found.restarts != restarts) {
                // One that is up again no longer shows the exit code of the run that ended.
                let end = if found.is_up() {
                    format!("restarts: {}", found.restarts)
                } else {
                    format!("{}, exit code {}", found.status, found.end())
                };
                let reason = format!("{name} did not stay up ({end})");
                return Err(self.explain_log(began, &reason).await);
            }
            if rpc.status().await.is_ok() {
                return Ok(());
            }
            // The launcher can stay alive although its core has given up.
            if look % 10 == 0 || look == self.watch.looks {
                let since = began.to_string();
                let log = self.host.docker().log(name, Some(&since)).await?;
                if let Some(error) = trouble::known(&log) {
                    logs::keep(self.host, &log, trouble::password(self.host).as_ref());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Why the container is down, according to its own log.
    async fn explain_log(&self, began: Timestamp, reason: &str) -> Error {
        let name = &self.spec.name;
        let log = self.host.docker().log(name, Some(&began.to_string())).await;
        let log = log.unwrap_or_default();
        let password = trouble::password(self.host);
        logs::keep(self.host, &log, password.as_ref());
        trouble::known(&log).unwrap_or_else(|| {
            let quoted = trouble::last_lines(&log, password.as_ref());
            Error::new(
                format!("{reason}; {quoted}"),
                format!("read the whole log: docker logs {}", word(name)),
            )
        })
    }

    /// Makes sure that the kept container does not run: never two with the same key.
    async fn rest(&self, fallback: Option<&Found>) -> Result<()> {
        match fallback.filter(|found| found.is_up()) {
            Some(found) => stop(self.host, &self.spec, &previous(&self.spec.name), found).await,
            None => Ok(()),
        }
    }

    /// Restores the previous container and logs it.
    async fn fall_back(&self, error: Error) -> Error {
        let name = &self.spec.name;
        let docker = self.host.docker();
        let back = async {
            if find_ours(self.host, name).await?.is_some() {
                docker.stop(name, self.spec.stop_seconds).await?;
                docker.remove(name).await?;
            }
            docker.rename(&previous(name), name).await?;
            docker.start(name).await
        };
        let outcome = match back.await {
            Ok(()) => "the previous container runs again".into(),
            Err(failure) => format!("the previous container could not be started again: {failure}"),
        };
        Error::new(
            format!("the new container failed: {error}; {outcome}"),
            error.hint(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::edge::image::ImageFacts;
    use crate::host::testing::Tree;

    /// Keeps one file per container. `run` fails if the file `refuse` exists, and the container dies if `dies` does.
    const DOCKER: &str = r#"
S=$BOOTSTRAP_ROOT/docker; mkdir -p "$S"
put() { echo "{\"State\":{\"Status\":\"$2\",\"ExitCode\":1},\"Config\":{\"Labels\":{$3}}}" > "$S/$1"; }
turn() { sed -i "s/\"Status\":\"[a-z]*\"/\"Status\":\"$2\"/" "$S/$1"; }
case $1 in
container) [ -f "$S/$3" ] || { echo "Error: No such container: $3" >&2; exit 1; }; echo "[$(cat "$S/$3")]" ;;
run) hash=$(echo "$*" | sed 's/.*bootstrap.spec=\([^ ]*\).*/\1/'); state=running; [ -f "$S/dies" ] && state=exited
     [ -f "$S/refuse" ] && state=created; put "$4" $state "\"io.theta.bootstrap.spec\":\"$hash\""
     [ -f "$S/refuse" ] && { cat "$S/refuse" >&2; exit 125; } ;;
start) turn "$2" running ;;
stop) turn "$4" exited ;;
rename) mv "$S/$2" "$S/$3" ;;
rm) rm "$S/$2" ;;
logs) cat "$S/log" 2>/dev/null ;;
esac; exit 0"#;

    const KEYS: &str = "/data/edgelauncher/edgecore/key/encrypted";

    const ADDRESS: &str = "0f18bfe0dacbd35b83554dfbb5c686b11e34aaef";

    struct Stage {
        tree: Tree,
        config: Config,
    }

    impl Stage {
        /// A machine with volume and password, and these containers: name, status, spec hash (`WANTED` for the right one).
        fn with(containers: &[(&str, &str, Option<&str>)]) -> Self {
            let tree = Tree::new();
            tree.tool("docker", DOCKER);
            tree.file(
                "/proc/self/mountinfo",
                "36 35 259:1 / /data rw,noatime - ext4 /dev/nvme1n1 rw\n",
            );
            tree.file("/data/lost+found", "");
            tree.file(PASSWORD, "pass word");
            tree.file(&format!("{KEYS}/{ADDRESS}"), "{}");
            let config = serde_json::from_value(serde_json::json!({
                "user": {"name": "bcuser", "uid": rustix::process::getuid().as_raw(), "gid": rustix::process::getgid().as_raw()},
                "volume": {"id": "vol-0123456789abcdef0"},
                "assets": {"bucket": "b", "key": "k", "sha256": "00"},
                "secret": {"arn": "arn"}
            }))
            .unwrap();
            let machine = Self { tree, config };
            let hash = machine.work().wanted.hash;
            for (name, status, spec) in containers {
                let labels = spec.map_or(String::new(), |spec| {
                    let spec = spec.replace("WANTED", &hash);
                    format!("\"io.theta.bootstrap.spec\":\"{spec}\"")
                });
                let state = format!(
                    "{{\"State\":{{\"Status\":\"{status}\"}},\"Config\":{{\"Labels\":{{{labels}}}}}}}"
                );
                machine.tree.file(&format!("/docker/{name}"), state);
            }
            machine
        }

        fn work(&self) -> Work<'_> {
            let text = include_str!("../../cloudformation/assets/edge.json");
            let mut spec = Spec::parse(text.as_bytes(), "mainnet").unwrap();
            // A port on which nothing answers.
            spec.rpc.core = 1;
            let image = ImageFacts {
                id: "sha256:aa".into(),
                argv: vec!["/bin/start.sh".into()],
                ..ImageFacts::default()
            };
            Work {
                disk: "vol-0123456789abcdef0".into(),
                wanted: spec.wanted(&self.config, &image, RunAs::User),
                run_as: RunAs::User,
                host: &self.tree.host,
                config: &self.config,
                spec,
                watch: Watch {
                    looks: 1,
                    pause: Duration::ZERO,
                },
                restart: false,
            }
        }

        async fn converge(&self) -> Result<()> {
            self.work().converge().await
        }

        async fn restart(&self) -> Result<()> {
            let mut work = self.work();
            work.restart = true;
            work.converge().await
        }

        /// The calls that change something, `run` without its flags.
        fn changes(&self) -> Vec<String> {
            let calls = self.tree.calls().into_iter();
            calls
                .filter(|call| !call.contains(" inspect ") && !call.contains(" logs "))
                .map(|call| {
                    if call.starts_with("docker run") {
                        "docker run".into()
                    } else {
                        call
                    }
                })
                .collect()
        }

        fn containers(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(self.tree.host.path("/docker"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with("edge"))
                .collect();
            names.sort();
            names
        }
    }

    #[tokio::test]
    async fn runs_a_container_that_is_missing_on_a_private_data_folder() {
        use std::os::unix::fs::MetadataExt;
        let stage = Stage::with(&[]);
        stage.converge().await.unwrap();
        assert_eq!(stage.changes(), ["docker run"]);
        let data = fs::metadata(stage.tree.host.path("/data/edgelauncher")).unwrap();
        assert_eq!(data.mode() & 0o7777, 0o700);
    }

    #[tokio::test]
    async fn leaves_alone_what_is_as_wanted_and_starts_what_is_stopped() {
        let stage = Stage::with(&[("edgelauncher", "running", Some("WANTED"))]);
        stage.converge().await.unwrap();
        assert_eq!(stage.changes(), [""; 0]);
        let stage = Stage::with(&[("edgelauncher", "exited", Some("WANTED"))]);
        stage.converge().await.unwrap();
        assert_eq!(
            stage.changes(),
            [
                "docker stop -t 60 edgelauncher",
                "docker start edgelauncher"
            ]
        );
    }

    #[tokio::test]
    async fn a_restart_is_graceful_and_only_where_all_that_it_needs_is_there() {
        let stage = Stage::with(&[("edgelauncher", "running", Some("WANTED"))]);
        stage.restart().await.unwrap();
        assert_eq!(
            stage.changes(),
            [
                "docker stop -t 60 edgelauncher",
                "docker start edgelauncher"
            ]
        );
        let stage = Stage::with(&[("edgelauncher", "running", Some("WANTED"))]);
        stage.tree.file(PASSWORD, "");
        assert_eq!(
            stage.restart().await.unwrap_err().reason(),
            "/run/bootstrap/secrets/wallet-password is missing or empty; the container is not started"
        );
        assert_eq!(stage.changes(), [""; 0]);
    }

    #[tokio::test]
    async fn never_touches_a_strangers_container() {
        for name in ["edgelauncher", "edgelauncher-previous"] {
            let stage = Stage::with(&[(name, "running", None)]);
            assert_eq!(
                stage.converge().await.unwrap_err().reason(),
                format!("a container named {name} exists that bootstrap did not make")
            );
            assert_eq!(stage.changes(), [""; 0]);
        }
    }

    const REPLACED: [&str; 3] = [
        "docker stop -t 60 edgelauncher",
        "docker rename edgelauncher edgelauncher-previous",
        "docker run",
    ];

    /// The replacement, and what it replaced, kept until the replacement is found healthy.
    const BOTH: [&str; 2] = ["edgelauncher", "edgelauncher-previous"];

    #[tokio::test]
    async fn replaces_a_container_of_another_spec() {
        let stage = Stage::with(&[("edgelauncher", "running", Some("old"))]);
        stage.converge().await.unwrap();
        assert_eq!(stage.changes(), REPLACED);
        assert_eq!(stage.containers(), BOTH);
    }

    #[tokio::test]
    async fn a_running_container_without_a_key_on_the_volume_is_not_replaced() {
        let stage = Stage::with(&[("edgelauncher", "running", Some("other"))]);
        stage
            .tree
            .host
            .remove(&format!("{KEYS}/{ADDRESS}"))
            .unwrap();
        let error = stage.converge().await.unwrap_err();
        assert_eq!(
            error.reason(),
            format!(
                "edgelauncher runs, but {KEYS} holds no key: it may be inside the container, which is not replaced"
            )
        );
        let calls = stage.tree.calls();
        assert!(
            calls.iter().all(|call| call.contains("inspect")),
            "{calls:?}"
        );
    }

    #[tokio::test]
    async fn a_killed_replacement_is_carried_on_from_every_instant() {
        let old = Some("old");
        for (left, changes) in [
            // After the stop; after the rename; the new one created, but not started; started.
            (&[("edgelauncher", "exited", old)][..], &REPLACED[..]),
            (&[("edgelauncher-previous", "exited", old)], &REPLACED[2..]),
            (
                &[
                    ("edgelauncher-previous", "exited", old),
                    ("edgelauncher", "created", Some("WANTED")),
                ],
                &[
                    "docker stop -t 60 edgelauncher",
                    "docker start edgelauncher",
                ],
            ),
            (
                &[
                    ("edgelauncher-previous", "exited", old),
                    ("edgelauncher", "running", Some("WANTED")),
                ],
                &[],
            ),
            // Someone has started what was kept.
            (
                &[
                    ("edgelauncher-previous", "running", old),
                    ("edgelauncher", "running", Some("WANTED")),
                ],
                &["docker stop -t 60 edgelauncher-previous"],
            ),
            // A replacement that never came up, or was not found healthy, and then the config changed again.
            (
                &[
                    ("edgelauncher-previous", "running", old),
                    ("edgelauncher", "created", Some("other")),
                ],
                &[
                    "docker stop -t 60 edgelauncher-previous",
                    "docker stop -t 60 edgelauncher",
                    "docker rm edgelauncher",
                    "docker run",
                ],
            ),
            (
                &[
                    ("edgelauncher-previous", "exited", old),
                    ("edgelauncher", "running", Some("other")),
                ],
                &[
                    "docker stop -t 60 edgelauncher",
                    "docker rm edgelauncher",
                    "docker run",
                ],
            ),
        ] {
            let stage = Stage::with(left);
            stage.converge().await.unwrap();
            assert_eq!(stage.changes(), changes, "{left:?}");
            assert_eq!(stage.containers(), BOTH);
        }
    }

    #[tokio::test]
    async fn puts_the_previous_container_back_where_the_new_one_fails() {
        let stage = Stage::with(&[("edgelauncher", "running", Some("old"))]);
        stage.tree.file(
            "/docker/refuse",
            "Bind for 127.0.0.1:17888 failed: port is already allocated",
        );
        let error = stage.converge().await.unwrap_err();
        assert!(
            error
                .reason()
                .starts_with("the new container failed: `docker run"),
            "{error}"
        );
        assert!(
            error
                .reason()
                .ends_with("port is already allocated; the previous container runs again"),
            "{error}"
        );
        assert!(
            error.hint().starts_with("see who has the port"),
            "{}",
            error.hint()
        );
        let changes = stage.changes();
        assert_eq!(changes.last().unwrap(), "docker start edgelauncher");
        assert_eq!(stage.containers(), ["edgelauncher"]);
        let kept = fs::read_to_string(stage.tree.host.path("/docker/edgelauncher")).unwrap();
        assert!(
            kept.contains("\"running\"") && kept.contains("\"old\""),
            "{kept}"
        );
    }

    #[tokio::test]
    async fn names_a_wrong_password_and_never_quotes_the_right_one() {
        let stage = Stage::with(&[]);
        stage.tree.file("/docker/dies", "");
        stage.tree.file(
            "/docker/log",
            "Setup wallet...\nfatal: could not decrypt key with given password\n",
        );
        assert_eq!(
            stage.converge().await.unwrap_err().reason(),
            "the wallet password does not open the key on the volume"
        );
        let stage = Stage::with(&[]);
        stage.tree.file("/docker/dies", "");
        stage.tree.file("/docker/log", "panic: pass word is bad\n");
        assert_eq!(
            stage.converge().await.unwrap_err().reason(),
            "edgelauncher did not stay up (exited, exit code 1); its log ends: panic: [redacted] is bad"
        );
        // The launcher stays alive although its core has given up.
        let stage = Stage::with(&[("edgelauncher", "exited", Some("WANTED"))]);
        stage
            .tree
            .file("/docker/log", "Multiple encrypted keys detected\n");
        assert_eq!(
            stage.converge().await.unwrap_err().reason(),
            "there are several files in the key folder"
        );
    }

    #[tokio::test]
    async fn nothing_starts_without_volume_password_and_one_readable_key() {
        type Spoil = fn(&Tree);
        let spoil: [(Spoil, &str); 5] = [
            (
                |tree| {
                    tree.file(
                        "/proc/self/mountinfo",
                        "36 35 259:0 / / rw - ext4 /dev/root rw\n",
                    );
                },
                "nothing is mounted at /data; the container is not started",
            ),
            (
                |tree| {
                    tree.file(
                        "/proc/self/mountinfo",
                        "36 35 259:1 / /data ro - ext4 /dev/nvme1n1 ro\n",
                    );
                },
                "/data is mounted read-only; the container is not started",
            ),
            (
                |tree| fs::remove_file(tree.host.path(PASSWORD)).unwrap(),
                "/run/bootstrap/secrets/wallet-password is missing or empty; the container is not started",
            ),
            (
                |tree| tree.file(PASSWORD, ""),
                "/run/bootstrap/secrets/wallet-password is missing or empty; the container is not started",
            ),
            (
                |tree| tree.file(&format!("{KEYS}/bb"), ""),
                "/data/edgelauncher/edgecore/key/encrypted holds several files: \
                 0f18bfe0dacbd35b83554dfbb5c686b11e34aaef, bb",
            ),
        ];
        for (spoil, reason) in spoil {
            let stage = Stage::with(&[("edgelauncher", "exited", Some("old"))]);
            spoil(&stage.tree);
            let error = stage.converge().await.unwrap_err();
            assert_eq!(error.reason(), reason);
            assert_eq!(stage.changes(), [""; 0], "{error}");
        }
    }
}

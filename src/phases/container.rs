//! Phase `container`: the image is pulled and exactly one container runs as wanted; never without its volume.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::config::Config;
use crate::edge::container::{Container as Found, find, gpus};
use crate::edge::keys::{self, Keys};
use crate::edge::rpc::Client;
use crate::edge::spec::{RunAs, Spec, Wanted};
use crate::edge::{SECRET_FILE, image, trouble};
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::files::Access;
use crate::node::Node;

/// How long a started container is watched: a wrong password shows within seconds.
const WATCH: Watch = Watch {
    looks: 15,
    pause: Duration::from_secs(1),
};

/// See [`Phase`]; the container that [`Spec`] and config want.
pub struct Container(pub Arc<Node>);

#[async_trait]
impl Phase for Container {
    async fn check(&self) -> Result<State> {
        let Node { host, config, .. } = &*self.0;
        let needed = |what: String| Ok(State::Needed(what));
        let Some(spec) = Spec::load(host, config)? else {
            return needed("the container spec is not unpacked yet".into());
        };
        let engine = host.docker().server_version().await;
        if !matches!(engine, Ok(Some(_))) {
            return needed("Docker does not run yet".into());
        }
        let reference = image::reference(&config.edge);
        let Some(image) = image::facts(host, &config.edge).await? else {
            return needed(format!("{reference} is not pulled"));
        };
        let name = &spec.name;
        let wanted = spec.wanted(config, &image);
        match find_ours(host, name).await? {
            None => needed(format!("there is no container {name}")),
            Some(found) if found.spec.as_ref() != Some(&wanted.hash) => {
                needed(format!("{name} was made from another spec or image"))
            }
            Some(found) if !found.is_up() => needed(format!(
                "{name} is {}, last exit code {}",
                found.status, found.exit_code
            )),
            Some(_) if find_ours(host, &previous(name)).await?.is_some() => {
                needed(format!("{} is left over", previous(name)))
            }
            Some(_) => Ok(State::Done(format!("{name} runs {reference}"))),
        }
    }

    async fn apply(&self) -> Result<Applied> {
        let Node { host, config, .. } = &*self.0;
        let spec = Spec::require(host, config)?;
        // Called although all is well: by --force, which also asks for a newer image.
        let forced = matches!(self.check().await?, State::Done(_));
        let image = image::ensure(host, &config.edge, forced).await?;
        let work = Work {
            wanted: spec.wanted(config, &image),
            host,
            config,
            spec,
            watch: WATCH,
        };
        work.converge().await?;
        Ok(Applied::Finished)
    }
}

/// Restarts the container where it has lost its GPU, for phases that had systemd read its units again.
pub async fn restore_gpu(node: &Node) -> Result<()> {
    let Node { host, config, .. } = node;
    let spec = Spec::require(host, config)?;
    if !config.gpu || gpus(host, &spec.name).await.is_ok() {
        return Ok(());
    }
    tracing::info!("{} has lost its GPU; restarting it", spec.name);
    host.docker().stop(&spec.name, spec.stop_seconds).await?;
    host.docker().start(&spec.name).await?;
    gpus(host, &spec.name).await.map(drop).map_err(|said| {
        Error::new(
            format!("{} does not see its GPU after a restart: {said}", spec.name),
            "run: bootstrap --phase nvidia --phase docker --phase container",
        )
    })
}

/// Name of the container that is kept until its replacement runs.
fn previous(name: &str) -> String {
    format!("{name}-previous")
}

/// Our container of that name; a stranger's is an error, and is never touched.
async fn find_ours(host: &Host, name: &str) -> Result<Option<Found>> {
    match find(host, name).await? {
        Some(found) if found.spec.is_none() => Err(Error::new(
            format!("a container named {name} exists that bootstrap did not make"),
            format!(
                "if it runs this node's key, stop it first; then: docker rename {name} {name}-old, and run: bootstrap --phase container"
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

/// One application of the phase.
struct Work<'a> {
    host: &'a Host,
    config: &'a Config,
    spec: Spec,
    wanted: Wanted,
    watch: Watch,
}

impl Work<'_> {
    /// Makes it so from whatever is there, also from what a killed run has left.
    async fn converge(&self) -> Result<()> {
        let name = &self.spec.name;
        let docker = self.host.docker();
        let current = find_ours(self.host, name).await?;
        let mut fallback = find_ours(self.host, &previous(name)).await?;
        let as_wanted = |found: &Found| found.spec.as_deref() == Some(self.wanted.hash.as_str());
        if current
            .as_ref()
            .is_some_and(|found| as_wanted(found) && found.is_up())
        {
            return self.forget(&fallback).await;
        }
        self.guard()?;
        if fallback.as_ref().is_some_and(Found::is_up) {
            // Never two with one key.
            docker.stop(&previous(name), self.spec.stop_seconds).await?;
        }
        let began = Timestamp::now();
        let started = match current {
            None => self.run(began).await,
            Some(found) => {
                docker.stop(name, self.spec.stop_seconds).await?;
                if as_wanted(&found) {
                    self.start(began, found.restarts).await
                } else {
                    if fallback.is_none() || found.is_up() {
                        self.forget(&fallback).await?;
                        docker.rename(name, &previous(name)).await?;
                        fallback = Some(found);
                    } else {
                        // A replacement that never came up; the fallback is what last ran.
                        docker.remove(name).await?;
                    }
                    self.run(began).await
                }
            }
        };
        match (started, &fallback) {
            (Err(error), Some(_)) => Err(self.fall_back(error).await),
            (Err(error), None) => Err(error),
            (Ok(()), _) => self.forget(&fallback).await,
        }
    }

    /// What must hold before anything is started: else the node would make itself a new key on the root disk, or hang.
    fn guard(&self) -> Result<()> {
        let mount = &self.config.volume.mount;
        let mend = "run: bootstrap --phase volume --phase container";
        match self.host.mounted_at(mount)? {
            None => {
                return Err(Error::new(
                    format!("nothing is mounted at {mount}; the container is not started"),
                    mend,
                ));
            }
            Some(found) if found.read_only => {
                return Err(Error::new(
                    format!("{mount} is mounted read-only; the container is not started"),
                    format!("look for disk errors (dmesg), then {mend}"),
                ));
            }
            Some(_) => {}
        }
        if self
            .host
            .read(SECRET_FILE)?
            .is_none_or(|secret| secret.is_empty())
        {
            return Err(Error::new(
                format!("{SECRET_FILE} is missing or empty; the container is not started"),
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

        let owner = (self.spec.run_as == RunAs::User).then_some(user.uid);
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
                    "run: chown -R {}:{} {data}, then: bootstrap --phase container",
                    user.uid, user.gid
                ),
            ));
        }
        Ok(())
    }

    async fn run(&self, began: Timestamp) -> Result<()> {
        let ran = self.host.docker().run(&self.wanted.argv).await;
        ran.map_err(explain)?;
        self.settle(began, 0).await
    }

    async fn start(&self, began: Timestamp, restarts: u64) -> Result<()> {
        let started = self.host.docker().start(&self.spec.name).await;
        started.map_err(explain)?;
        self.settle(began, restarts).await
    }

    /// Waits until the container has stayed up, or its RPC answers; `restarts` is the count before.
    async fn settle(&self, began: Timestamp, restarts: u64) -> Result<()> {
        let name = &self.spec.name;
        let rpc = Client::at(self.config.edge.rpc_bind, self.spec.rpc.core);
        for look in 1..=self.watch.looks {
            tokio::time::sleep(self.watch.pause).await;
            let found = find(self.host, name).await?.unwrap_or_default();
            // Docker may or may not begin to count anew at a start.
            if !found.is_up() || (found.restarts != 0 && found.restarts != restarts) {
                let reason = format!(
                    "{name} did not stay up ({}, exit code {})",
                    found.status, found.exit_code
                );
                return Err(self.explain_log(began, &reason).await);
            }
            if rpc.status().await.is_ok() {
                return Ok(());
            }
            // The launcher can live on although its core has given up.
            if look % 5 == 0 || look == self.watch.looks {
                let log = self
                    .host
                    .docker()
                    .log(name, Some(&began.to_string()))
                    .await?;
                if let Some(error) = trouble::known(&log) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Why the container is down, by its own log.
    async fn explain_log(&self, began: Timestamp, reason: &str) -> Error {
        let name = &self.spec.name;
        let log = self.host.docker().log(name, Some(&began.to_string())).await;
        let log = log.unwrap_or_default();
        trouble::known(&log).unwrap_or_else(|| {
            let quoted = trouble::last_lines(&log, trouble::password(self.host).as_ref());
            Error::new(
                format!("{reason}; {quoted}"),
                format!("read all of it: docker logs {name}"),
            )
        })
    }

    /// Removes what was kept.
    async fn forget(&self, fallback: &Option<Found>) -> Result<()> {
        let name = previous(&self.spec.name);
        if fallback.is_some() {
            self.host
                .docker()
                .stop(&name, self.spec.stop_seconds)
                .await?;
            self.host.docker().remove(&name).await?;
        }
        Ok(())
    }

    /// Puts the previous container back and says so.
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

/// Adds what to do to Docker's refusal to start a container.
fn explain(error: Error) -> Error {
    const KNOWN: &[(&str, &str)] = &[
        (
            "could not select device driver",
            "run: bootstrap --phase nvidia --phase docker --phase container",
        ),
        (
            "nvidia-container-cli",
            "run: bootstrap --phase nvidia --phase docker --phase container",
        ),
        (
            "port is already allocated",
            "see who has the port (ss -ltnp), stop it, then run: bootstrap --phase container",
        ),
        (
            "address already in use",
            "see who has the port (ss -ltnp), stop it, then run: bootstrap --phase container",
        ),
        (
            "bind source path does not exist",
            "run: bootstrap --phase volume --phase secret --phase container",
        ),
    ];
    match KNOWN.iter().find(|(text, _)| error.reason().contains(text)) {
        Some((_, hint)) => Error::new(error.reason(), *hint),
        None => error,
    }
}

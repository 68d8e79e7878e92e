//! `bootstrap prepare`

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use serde_json::json;

use super::run::{Task, conclude, lock, observe, to_the_end};
use super::{Exit, Output, block_on, complain, fail, host, need_root, say};
use crate::aws::imds::Imds;
use crate::config::{Config, render};
use crate::engine::journal::Store;
use crate::engine::{Engine, Outcome, Prospect};
use crate::error::{Error, Result};
use crate::node::{Document, Node};
use crate::{phases, report};

/// What the image is to have.
#[derive(Args)]
pub struct Wanted {
    /// Install the NVIDIA driver and the container toolkit too; the machine need not have a GPU
    #[arg(long)]
    gpu: bool,

    /// The branch of the driver (default: the config's)
    #[arg(long, value_name = "NUMBER", requires = "gpu")]
    gpu_driver: Option<u16>,

    /// The network whose edge image is pulled
    #[arg(long, value_name = "NAME", default_value = "mainnet")]
    network: String,

    /// The edge image's repository (default: thetalabsorg/edgelauncher_NETWORK)
    #[arg(long, value_name = "REPOSITORY")]
    image: Option<String>,

    /// Its tag: a node that wants this tag takes the image that is here, and pulls none
    #[arg(long, default_value = "latest")]
    tag: String,

    /// Its digest, which wins over the tag
    #[arg(long, value_name = "sha256:…")]
    digest: Option<String>,

    /// Install the operating system's security updates first
    #[arg(long)]
    security_updates: bool,

    /// Only say whether this machine has all of that, as an instance from the image does; exit code 1 if not
    #[arg(long)]
    check: bool,
}

impl Wanted {
    /// The config of a node as far as its image goes, checked like one. An image has no volume, no assets and no secret,
    /// and its phases ask for none.
    fn config(&self) -> Result<Config, String> {
        let mut config = json!({
            "gpu": self.gpu,
            "volume": {"kind": "instance-store"},
            "assets": {"bucket": "none", "key": "none", "sha256": "0".repeat(64)},
            "secret": {"arn": "none"},
            "edge": {"network": self.network, "tag": self.tag},
            "system": {"update": if self.security_updates { "security" } else { "none" }},
        });
        for (pointer, key, value) in [
            ("", "gpu_driver", self.gpu_driver.map(Into::into)),
            ("/edge", "image", self.image.clone().map(Into::into)),
            ("/edge", "digest", self.digest.clone().map(Into::into)),
        ] as [(&str, &str, Option<serde_json::Value>); 3]
        {
            if let (Some(value), Some(object)) = (value, config.pointer_mut(pointer)) {
                object[key] = value;
            }
        }
        Config::load(&config.to_string()).map_err(|problems| render(&problems))
    }
}

/// Makes true what belongs to a machine image, and nothing of an instance.
pub fn prepare(
    config_file: &Path,
    wanted: &Wanted,
    documents: fn() -> Vec<Document>,
    output: Output,
) -> Exit {
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let host = host();
    if let Err(exit) = need_root(&host) {
        return exit;
    }
    let config = match wanted.config() {
        Ok(config) => config,
        Err(mistakes) => {
            complain(&mistakes);
            return Exit::Usage;
        }
    };
    if config_file.exists() {
        fail(&Error::new(
            format!("this machine is a node: it has {}", config_file.display()),
            "prepare a new instance of the base AMI, without the user-data of a node. An image can be made of a node as it is, \
             too: other instances do not act on its config",
        ));
        return Exit::Usage;
    }
    if wanted.check {
        output.log_beside_answer(&host);
        let node = Node::new(config, host, Imds::from_env()).with_documents(documents);
        return check(&Arc::new(node)).unwrap_or_else(|error| fail(&error));
    }
    let observer = observe(output, &host);
    let node = Node::new(config, host, Imds::from_env()).with_documents(documents);
    let node = Arc::new(node);
    let ended = block_on(async {
        let Some(_lock) = lock(&node.host)? else {
            return Ok(Exit::Locked);
        };
        let engine = Engine::new(phases::image_table(&node))?;
        let task = Task {
            selection: engine.everything(),
            jobs: None,
            reason: None,
            store: Box::new(Memory::default()),
        };
        let finished = to_the_end(&node, engine, task, observer).await?;
        if finished.outcome == Outcome::Done {
            tracing::info!("make the image now, before this machine boots again");
        }
        conclude(&node, &finished, false, output).await
    });
    match ended.flatten() {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("{error}");
            fail(&error)
        }
    }
}

/// Whether everything is there; that nothing is left of the machine's own is not asked of one that has booted.
fn check(node: &Arc<Node>) -> Result<Exit> {
    let mut table = phases::image_table(node);
    table.retain(|entry| entry.name != "clean");
    let engine = Engine::new(table)?;
    let plan = block_on(async move { engine.plan().await })?;
    say(&report::text::plan(&plan));
    let holds = [Prospect::Done, Prospect::NotApplicable];
    let is_whole = plan.phases.iter().all(|phase| holds.contains(&phase.state));
    Ok(if is_whole { Exit::Done } else { Exit::Failed })
}

/// A journal for the one run: those of an image would be no instance's.
#[derive(Default)]
struct Memory(Mutex<Option<Vec<u8>>>);

impl Store for Memory {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }

    fn save(&self, bytes: &[u8]) -> Result<()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes.to_owned());
        Ok(())
    }

    fn set_aside(&self, _why: &str) -> Result<()> {
        Ok(())
    }
}

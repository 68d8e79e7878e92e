//! Probes of the edge node that the health check and the metrics tick share.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::edge::Spec;
use crate::edge::container::{Container, Sight, find, gpus};
use crate::edge::processes::{self, Answer};
use crate::edge::rpc::{Client, Fault, Status};
use crate::host::Host;

/// The edge node right now. Failures are values.
#[derive(Clone, Debug)]
pub struct Live {
    /// The container.
    pub container: crate::error::Result<Option<Container>>,
    /// What its RPC says about itself.
    pub status: Result<Status, Fault>,
    /// Its peers.
    pub peers: Result<Vec<String>, Fault>,
    /// The answers of the processes besides the core.
    pub answers: Vec<Answer>,
    /// Which of the processes that answer no RPC run; `None` if that cannot be seen.
    pub processes: Option<BTreeSet<String>>,
    /// The GPUs that it sees; `None` if none is wanted.
    pub gpus: Option<Result<Sight, String>>,
}

/// Probes the container, the RPC and the GPU inside, concurrently.
pub async fn live(host: &Host, config: &Config, spec: &Spec) -> Live {
    let rpc = Client::at(config.edge.rpc_bind, spec.rpc.core);
    let gpus = async {
        if config.gpu {
            Some(gpus(host, &spec.name).await)
        } else {
            None
        }
    };
    let (container, status, peers, answers, gpus) = tokio::join!(
        find(host, &spec.name),
        rpc.status(),
        rpc.peers(),
        processes::ask(config, spec),
        gpus
    );
    let found = container.as_ref().ok().and_then(Option::as_ref);
    Live {
        processes: found.and_then(|found| processes::running(host, spec, found)),
        container,
        status,
        peers,
        answers,
        gpus,
    }
}

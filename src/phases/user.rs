//! Phase `user`: the unprivileged account that owns the data and runs the container.

use std::sync::Arc;

use async_trait::async_trait;

use crate::engine::{Applied, Phase, State};
use crate::error::Result;
use crate::host::users::{Account, Missing};
use crate::node::Node;

/// The group whose members may use Docker.
const DOCKER: &str = "docker";

/// The account exists with the wanted numbers and is in group docker.
pub(super) struct User(pub Arc<Node>);

/// What the account still needs. That its name or numbers belong to someone else is told by `preflight`, before a phase
/// gives a folder to them.
pub(super) fn missing(node: &Node) -> Result<Missing> {
    node.host.account_missing(&wanted(node), DOCKER)
}

fn wanted(node: &Node) -> Account {
    let user = &node.config.user;
    Account {
        name: user.name.clone(),
        uid: user.uid,
        gid: user.gid,
    }
}

#[async_trait]
impl Phase for User {
    async fn check(&self) -> Result<State> {
        Ok(state(&wanted(&self.0), missing(&self.0)?))
    }

    async fn apply(&self) -> Result<Applied> {
        let missing = missing(&self.0)?;
        let wanted = wanted(&self.0);
        self.0.host.create_account(&wanted, DOCKER, missing).await?;
        Ok(Applied::Finished)
    }
}

fn state(wanted: &Account, missing: Missing) -> State {
    let Account { name, uid, gid } = wanted;
    if missing.is_nothing() {
        State::Done(format!(
            "{name} has uid {uid} and gid {gid} and is in group {DOCKER}"
        ))
    } else if missing.account {
        State::Needed(format!("user {name} does not exist"))
    } else if missing.group {
        State::Needed(format!("group {name} does not exist"))
    } else {
        State::Needed(format!("{name} is not in group {DOCKER}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_missing() {
        let wanted = Account {
            name: "bcuser".into(),
            uid: 1002,
            gid: 1002,
        };
        let missing = |group, account, membership| Missing {
            group,
            account,
            membership,
        };
        let needed = |text: &str| State::Needed(text.into());
        for (missing, wanted_state) in [
            (
                missing(false, false, false),
                State::Done("bcuser has uid 1002 and gid 1002 and is in group docker".into()),
            ),
            (
                missing(true, true, true),
                needed("user bcuser does not exist"),
            ),
            (
                missing(true, false, false),
                needed("group bcuser does not exist"),
            ),
            (
                missing(false, false, true),
                needed("bcuser is not in group docker"),
            ),
        ] {
            assert_eq!(state(&wanted, missing), wanted_state);
        }
    }
}

//! Phase `user`: the unprivileged account that owns the data and runs the container.

use std::sync::Arc;

use async_trait::async_trait;

use crate::engine::{Applied, Phase, State};
use crate::error::Result;
use crate::host::files::Access;
use crate::host::users::{Account, Missing};
use crate::node::Node;
use crate::paths::DOCKER_GROUP;

/// The group whose members may use Docker.
const DOCKER: &str = "docker";

/// The account exists with the wanted IDs, and is in group docker only if the config says so.
pub(super) struct User(pub Arc<Node>);

/// What the account still lacks. If its name or IDs belong to someone else, `preflight` reports that before a phase
/// gives them a folder.
pub(super) fn missing(node: &Node) -> Result<Missing> {
    node.host.account_missing(&wanted(node), group(node))
}

fn wanted(node: &Node) -> Account {
    let user = &node.config.user;
    Account {
        name: user.name.clone(),
        uid: user.uid,
        gid: user.gid,
    }
}

fn group(node: &Node) -> Option<&'static str> {
    node.config.user.docker_group.then_some(DOCKER)
}

/// Whether this phase has added the account to group docker, and the config no longer wants that.
fn is_to_leave(node: &Node) -> Result<bool> {
    let Node { host, config, .. } = node;
    let name = &config.user.name;
    let put = host.read_text(DOCKER_GROUP)?;
    Ok(!config.user.docker_group
        && put.is_some_and(|put| put == *name)
        && host.is_member(name, DOCKER)?)
}

#[async_trait]
impl Phase for User {
    async fn check(&self) -> Result<State> {
        let name = &self.0.config.user.name;
        let missing = missing(&self.0)?;
        Ok(if missing.is_nothing() && is_to_leave(&self.0)? {
            State::Needed(format!("{name} is still in group {DOCKER}"))
        } else {
            state(&wanted(&self.0), group(&self.0), missing)
        })
    }

    async fn apply(&self) -> Result<Applied> {
        let host = &self.0.host;
        let missing = missing(&self.0)?;
        let wanted = wanted(&self.0);
        if missing.membership {
            host.write(DOCKER_GROUP, wanted.name.as_bytes(), Access::mode(0o600))?;
        }
        host.create_account(&wanted, group(&self.0), missing)
            .await?;
        if is_to_leave(&self.0)? {
            host.leave_group(&wanted.name, DOCKER).await?;
            host.remove(DOCKER_GROUP)?;
        }
        Ok(Applied::Finished)
    }
}

fn state(wanted: &Account, group: Option<&str>, missing: Missing) -> State {
    let Account { name, uid, gid } = wanted;
    if missing.is_nothing() {
        let group = group.map_or(String::new(), |group| format!(" and is in group {group}"));
        State::Done(format!("{name} has uid {uid} and gid {gid}{group}"))
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
        let all = missing(false, false, false);
        for (missing, wanted_state) in [
            (
                all,
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
            assert_eq!(state(&wanted, Some(DOCKER), missing), wanted_state);
        }
        let done = State::Done("bcuser has uid 1002 and gid 1002".into());
        assert_eq!(state(&wanted, None, all), done);
    }
}

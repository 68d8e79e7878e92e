//! The wallet key, its copy, and the password that opens it.

use crate::edge::keys::Keys;
use crate::edge::wallet;
use crate::engine::State;
use crate::error::Result;
use crate::health::facts::Facts;
use crate::health::finding::{Finding, fail, holds, of_phase, pass, skip, warn};
use crate::health::report::{RUN, Status};
use crate::shell::word;

pub(super) fn encrypted(facts: &Facts) -> Finding {
    match &facts.encrypted {
        None => skip("an instance store"),
        Some(Err(error)) => skip(format!("AWS did not say: {error}")),
        Some(Ok(encrypted)) => holds(
            *encrypted,
            "encrypted",
            "the volume that holds the wallet key is not encrypted",
            "copy it: snapshot, encrypted volume from it, then deploy with that volume's id",
        ),
    }
}

/// Compares the password in memory with the one that the next boot would fetch.
pub(super) fn secret(facts: &Facts, said: &Result<State>) -> Finding {
    match (of_phase(said), &facts.secret_changed) {
        ((Status::Pass, ..), Some(Ok(true))) => warn(
            "the secret was changed: the next boot takes another wallet password than the one in use",
            "run: bootstrap --phase secret --force, which says whether the new one opens the key, and what to do",
        ),
        ((Status::Pass, ..), Some(Err(error))) if !error.is_transient() || error.is_settling() => {
            warn(
                format!("the next boot cannot fetch it: {error}"),
                error.hint(),
            )
        }
        (found, _) => found,
    }
}

/// A node without a backup works as well as one with it, as long as it has its volume.
pub(super) fn wallet_backup(facts: &Facts, said: &Result<State>) -> Finding {
    match (of_phase(said), &facts.backup_trouble) {
        ((Status::Fail, missing, _), Some(trouble)) => warn(
            format!("{missing}: {}", trouble.reason),
            format!("{}; then {RUN}", trouble.hint),
        ),
        ((Status::Fail, missing, hint), None) => (Status::Warn, missing, hint),
        (found, _) => found,
    }
}

pub(super) fn key(facts: &Facts) -> Finding {
    let folder = match &facts.keys {
        Err(error) => {
            return fail(error.to_string(), error.hint());
        }
        Ok(folder) => folder,
    };
    let path = &folder.path;
    let answered = facts.edge.live.status.as_ref().ok();
    let by_rpc = answered.and_then(|status| status.address.as_deref());
    let wallet = facts.wallet.as_deref();
    if let Some(another) = wallet.and_then(|known| wallet::contradiction(known, folder, by_rpc)) {
        return fail(another.reason(), another.hint());
    }
    match &folder.keys {
        Keys::None if by_rpc.is_some() => fail(
            format!(
                "the node has an address, but {path} holds no key: it is not kept on the volume"
            ),
            facts.backup.as_ref().map_or_else(
                || {
                    "do not reboot or stop the instance; run: docker inspect edgelauncher, and save the key from inside the \
                     container"
                        .into()
                },
                |copy| {
                    format!(
                        "put it back from its copy, on your own machine: scripts/backup-key --restore {}",
                        word(copy)
                    )
                },
            ),
        ),
        Keys::None if facts.wallet.is_some() => {
            let gone = wallet::gone(facts.wallet.as_deref().unwrap_or_default(), path);
            fail(gone.reason(), gone.hint())
        }
        Keys::None => warn(
            format!("{path} holds no key yet: the node makes one at its first start"),
            "wait: bootstrap verify --wait 15m",
        ),
        Keys::Several(names) => fail(
            format!(
                "{path} holds several files, the node will not start: {}",
                names.join(", ")
            ),
            "move all but the right key file to a safe place outside that folder, then run: bootstrap --phase container",
        ),
        Keys::One(address) if by_rpc.is_some_and(|by_rpc| by_rpc != address) => fail(
            format!(
                "{path} holds the key of {address}, but the node runs as {}",
                by_rpc.unwrap_or_default()
            ),
            "run: docker restart edgelauncher, then: bootstrap verify",
        ),
        _ if !folder.foreign.is_empty() => fail(
            folder.foreign.join("; "),
            format!(
                "run: bootstrap --phase container --force, which names the remedy; look: ls -la {}",
                word(path)
            ),
        ),
        _ if !folder.closed.is_empty() => {
            let (found, mend) = modes(&folder.closed);
            fail(format!("{found}: the node cannot read its key"), mend)
        }
        _ if !folder.unsafe_modes.is_empty() => {
            let (found, mend) = modes(&folder.unsafe_modes);
            warn(found, mend)
        }
        Keys::Unknown(name) => warn(
            format!("{path} holds {name}, which is not named like a key"),
            format!("look at it: ls -la {}", word(path)),
        ),
        Keys::One(address) => pass(format!("one key, {address}")),
    }
}

/// What is wrong with permissions, and the commands that fix it.
fn modes(modes: &[(String, String)]) -> (String, String) {
    let (found, mend): (Vec<&str>, Vec<&str>) = modes
        .iter()
        .map(|(found, mend)| (found.as_str(), mend.as_str()))
        .unzip();
    (found.join("; "), format!("run: {}", mend.join(" && ")))
}

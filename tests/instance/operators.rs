//! The scripts that operators use, on a real instance: SSM's commands run inside it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use crate::launch::{Place, operate, scratch};
use crate::shared::shared;

/// Where the test keeps the backup of the key, from the node that had it to the one that takes it over.
fn backup() -> PathBuf {
    scratch("wallet.theta-key")
}

fn passphrase() -> String {
    let file = scratch("passphrase");
    let mut options = std::fs::File::options();
    let options = options.create(true).truncate(true).write(true).mode(0o600);
    let mut open = options.open(&file).unwrap();
    writeln!(open, "correct horse battery staple").unwrap();
    file.display().to_string()
}

pub fn verify_prints_what_the_node_says() {
    let shared = shared();
    let verify = operate(
        Place::Container,
        "verify",
        &["--name", &shared.instance().stack()],
    );
    assert_eq!(verify.code, 0, "{}", verify.output);
    let says = |wanted: &dyn Fn(&str) -> bool| verify.output.lines().any(wanted);
    let is_healthy = says(&|line| line.starts_with("healthy: ") && line.contains(" passed"));
    let names_the_node = says(&|line| line.ends_with(&shared.address));
    assert!(is_healthy && names_the_node, "{}", verify.output);
}

pub fn the_key_is_backed_up() {
    let shared = shared();
    let file = backup();
    let _ = std::fs::remove_file(&file);
    let made = operate(
        Place::Container,
        "backup-key",
        &[
            "--name",
            &shared.instance().stack(),
            "--to",
            &file.display().to_string(),
            "--passphrase-file",
            &passphrase(),
        ],
    );
    assert_eq!(made.code, 0, "{}", made.output);
    assert!(file.exists(), "{}", made.output);
}

/// The node that runs is another one, on a volume of its own: what is left after everything else was lost.
pub fn a_new_node_takes_over_a_backed_up_key() {
    let mut shared = shared();
    let instance = shared.instance();
    let own = instance.address();
    assert_ne!(own, shared.address);
    let restored = operate(
        Place::Container,
        "backup-key",
        &[
            "--name",
            &instance.stack(),
            "--restore",
            &backup().display().to_string(),
            "--replace",
            &own,
            "--passphrase-file",
            &passphrase(),
        ],
    );
    assert_eq!(restored.code, 0, "{}", restored.output);
    let verify = instance.try_run("bootstrap verify --wait 3m");
    assert_eq!(verify.code, 0, "{}", verify.output);
    assert_eq!(instance.address(), shared.address);
    shared.stop();
}

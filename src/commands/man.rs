//! `bootstrap man` and `bootstrap completions`.

use clap::Command;
use clap_complete::Shell;

use super::{Exit, say};

/// Prints the manual page, made from the same definitions as `--help`.
pub fn page(command: Command) -> Exit {
    let mut page = Vec::new();
    match clap_mangen::Man::new(command).render(&mut page) {
        Ok(()) => print(&page),
        Err(_) => Exit::Failed,
    }
}

/// Prints the completion script for `shell`.
pub fn completions(shell: Shell, mut command: Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "bootstrap", &mut script);
    print(&script)
}

/// By way of memory, since the generators take a reader that has gone away (`| head`) for a failure, or panic.
fn print(text: &[u8]) -> Exit {
    say(&String::from_utf8_lossy(text));
    Exit::Done
}

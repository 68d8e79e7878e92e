//! `bootstrap man` and `bootstrap completions`.

use clap::Command;
use clap_complete::Shell;

use crate::cli::Exit;

/// Prints the manual page, made from the same definitions as `--help`.
pub fn page(command: Command) -> Exit {
    match clap_mangen::Man::new(command).render(&mut std::io::stdout()) {
        Ok(()) => Exit::Done,
        Err(_) => Exit::Failed,
    }
}

/// Prints the completion script for `shell`.
pub fn completions(shell: Shell, mut command: Command) -> Exit {
    clap_complete::generate(shell, &mut command, "bootstrap", &mut std::io::stdout());
    Exit::Done
}

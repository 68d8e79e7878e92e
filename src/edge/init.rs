//! The first process of a container whose own program is a shell script.
//!
//! The kernel delivers to the first process only signals that it handles, and a shell neither handles SIGTERM nor
//! forwards it: a stop would take its whole grace period and end with SIGKILL. Docker's `--init` does not help: it
//! exits with the script, which kills everything else. So this process stays PID 1, forwards a signal to every process
//! in the container, and exits after the last of them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

const SHELLS: &[&str] = &["sh", "bash", "dash", "ash"];

/// Whether the program is a shell or a script. If it cannot be read, starting it fails with its own error.
pub(super) fn is_script(program: &OsStr) -> bool {
    let Ok(program) = which::which(program) else {
        return false;
    };
    let is_shell = program
        .file_name()
        .is_some_and(|name| SHELLS.iter().any(|shell| name == *shell));
    let mut start = [0; 2];
    let read = File::open(program).and_then(|mut file| file.read_exact(&mut start));
    is_shell || (read.is_ok() && start == *b"#!")
}

/// Runs the program as its init and returns its exit code. Fails only if it cannot be started.
pub(super) fn supervise(program: Command) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(program))
}

async fn run(mut program: Command) -> io::Result<u8> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut children = signal(SignalKind::child())?;
    let main = program.spawn()?.id();
    // Its environment has the password.
    drop(program);
    let mut stopping = false;
    let mut end = None;
    loop {
        let asked = tokio::select! {
            _ = terminate.recv() => Some(Signal::TERM),
            _ = interrupt.recv() => Some(Signal::INT),
            _ = quit.recv() => Some(Signal::QUIT),
            _ = children.recv() => None,
        };
        if let Some(asked) = asked {
            stopping = true;
            tell_everyone(asked);
        }
        let is_last = reap(main, &mut end);
        match end {
            Some(code) if is_last || !stopping => return Ok(code),
            _ => {}
        }
    }
}

/// Reaps every process that has ended, which may include the program itself; returns whether none is left.
fn reap(main: u32, end: &mut Option<u8>) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if u32::try_from(pid.as_raw_nonzero().get()) == Ok(main) {
                    *end = Some(exit_code(status));
                }
            }
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// The exit code by the shell's convention.
fn exit_code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Sends the signal to all processes but this one, which is PID 1.
fn tell_everyone(asked: Signal) {
    let processes = fs::read_dir(Path::new("/proc")).into_iter().flatten();
    for process in processes.flatten() {
        let number = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(pid) = number.filter(|number| *number != 1).and_then(Pid::from_raw) {
            // A process that has ended in the meantime needs no signal.
            let _ = kill_process(pid, asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_script_is_known_by_its_first_line_or_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            is_script(path.as_os_str())
        };
        assert!(file("start.sh", b"#!/bin/sh\nexec edge\n"));
        assert!(file("bash", b"\x7fELF"));
        assert!(!file("edge.sh", b"\x7fELF"));
        assert!(!file("empty", b""));
        assert!(!is_script(OsStr::new("/nowhere/start.sh")));
        assert!(is_script(OsStr::new("sh")));
    }
}

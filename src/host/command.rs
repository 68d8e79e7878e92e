//! The one command runner: argv quoted in errors, exit code, tail of stderr, timeout, process group killed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

use super::Host;
use super::failures;
use crate::error::{Error, OrFail, Result};
use crate::log::printable;
use crate::shell::quote;

/// How much of each output stream is kept: the beginning of stdout (it is parsed), the end of stderr (it is shown).
const KEPT: usize = 1024 * 1024;
/// How long to keep reading after the command has exited: a daemon it left behind may hold the pipes open forever.
const GRACE: Duration = Duration::from_millis(500);
/// Numbers the commands of this run in the log.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// A system command to run. No shell is involved.
///
/// It gets a clean environment: `PATH`, a fixed locale, `HOME` and the proxy variables, and what [`Command::env`] adds.
#[derive(Debug)]
pub struct Command {
    host: Host,
    program: String,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    timeout: Duration,
    effect: Effect,
}

/// What a command does to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It may change the machine.
    Changes,
    /// Read-only; its answer may be shared.
    Looks,
    /// Read-only; its answer is not shared.
    LooksAlone,
}

/// Result of a finished command.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; 128 + signal number if a signal killed it.
    pub code: i32,
    /// Standard output, lossily decoded, the first MiB.
    pub stdout: String,
    /// Standard error, lossily decoded, the last MiB.
    pub stderr: String,
    /// The command as it can be pasted into a shell.
    pub command: String,
    /// Name of the program.
    pub program: String,
    /// Its first argument: for many programs, the subcommand.
    pub verb: String,
}

impl Output {
    /// The error for an exit code that means failure: quotes the command and the reason it gave.
    pub fn failure(&self) -> Error {
        failures::read(self).into_error(&self.command, self.code)
    }
}

impl Host {
    fn find(&self, program: &str) -> Result<PathBuf, which::Error> {
        which::which_in(program, Some(&self.search_path), "/")
    }

    /// Whether there is a program of this name.
    pub fn has_program(&self, program: &str) -> bool {
        self.find(program).is_ok()
    }
}

impl Command {
    pub(super) fn new(host: &Host, program: &str) -> Self {
        Self {
            host: host.clone(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            timeout: Duration::from_mins(1),
            effect: Effect::Changes,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable for the command.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Kills it, and its process group, after this long. Default 60 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Marks it as read-only: its answer may be shared with others that ask the same (see [`Host::share_looks`]).
    pub fn looks(mut self) -> Self {
        self.effect = Effect::Looks;
        self
    }

    /// Marks it as read-only, but run anew each time: its answer decides whether something is overwritten.
    pub fn looks_alone(mut self) -> Self {
        self.effect = Effect::LooksAlone;
        self
    }

    /// Runs it; an exit code other than 0 is an error that quotes the argv and the tail of stderr.
    pub async fn run(self) -> Result<Output> {
        let output = self.output().await?;
        if output.code == 0 {
            Ok(output)
        } else {
            Err(output.failure())
        }
    }

    /// Runs it; any exit code is an answer. A missing program and the like are errors; a timeout is a transient one.
    pub async fn output(self) -> Result<Output> {
        match self.effect {
            Effect::Changes => {
                self.host.end_sharing();
                self.ended().await
            }
            Effect::Looks => {
                let (looks, question) = (Arc::clone(&self.host.looks), self.quoted());
                looks.get(&question, self.ended()).await
            }
            Effect::LooksAlone => self.ended().await,
        }
    }

    async fn ended(self) -> Result<Output> {
        let program = self.host.find(&self.program).or_fail(
            || format!("cannot find `{}` on this machine", self.program),
            format!(
                "install the package that has `{}`, or put its directory on PATH",
                self.program
            ),
        )?;
        let command = self.quoted();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        tracing::debug!("op {number}: started {command}");
        let started = Instant::now();
        let limit = self.timeout;
        let result = match tokio::time::timeout(limit, self.execute(&program, &command)).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(
                format!("`{command}` did not finish within {} s", limit.as_secs_f64()),
                "see what the machine is busy with (`systemctl list-jobs`, `ps`), then run `bootstrap` again",
            )
            .transient()),
        };
        let seconds = started.elapsed().as_secs_f64();
        match &result {
            Ok(output) if output.code == 0 => {
                tracing::debug!("op {number}: finished in {seconds:.1} s");
            }
            Ok(output) => tracing::debug!(
                "op {number}: failed with exit code {} after {seconds:.1} s: {}",
                output.code,
                failures::read(output).reason
            ),
            Err(error) => tracing::debug!("op {number}: failed after {seconds:.1} s: {error}"),
        }
        result
    }

    /// Runs it from start to exit. Dropping the future kills the process group.
    async fn execute(self, program: &Path, command: &str) -> Result<Output> {
        let first = self
            .args
            .first()
            .map(|arg| arg.to_string_lossy().into_owned());
        let mut child = self.spawn(program).await.or_fail(
            || format!("cannot start `{command}`"),
            format!("check that {} is intact and executable", program.display()),
        )?;
        let mut group = Group::of(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (mut head, mut tail) = (Vec::new(), VecDeque::new());
        let streams = async {
            tokio::join!(
                read(stdout, |bytes| {
                    let room = KEPT.saturating_sub(head.len()).min(bytes.len());
                    head.extend(bytes.iter().take(room));
                }),
                read(stderr, |bytes| {
                    tail.extend(bytes);
                    let excess = tail.len().saturating_sub(KEPT);
                    tail.drain(..excess);
                }),
            );
        };
        let status = {
            tokio::pin!(streams);
            let mut drained = false;
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status,
                    () = &mut streams, if !drained => drained = true,
                }
            };
            // It has been reaped; its PID may now belong to another process.
            group.release();
            if !drained {
                let _ = tokio::time::timeout(GRACE, streams).await;
            }
            status
        };
        let status = status.or_fail(
            || format!("cannot wait for `{command}`"),
            "run `bootstrap` again",
        )?;
        Ok(Output {
            code: exit_code(status),
            stdout: String::from_utf8_lossy(&head).into_owned(),
            stderr: String::from_utf8_lossy(tail.make_contiguous()).into_owned(),
            command: command.to_owned(),
            program: self.program,
            verb: first.unwrap_or_default(),
        })
    }

    /// Starts the process as leader of its own process group.
    async fn spawn(&self, program: &Path) -> std::io::Result<Child> {
        let mut command = tokio::process::Command::new(program);
        command
            .args(&self.args)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_proxy(name)))
            .env("PATH", &self.host.search_path)
            .env("LC_ALL", "C.UTF-8")
            .env("LANG", "C.UTF-8")
            .env("HOME", "/root")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if !self.host.is_real() {
            command.env("BOOTSTRAP_ROOT", &self.host.root);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        // A program file that is just being written is "busy" (ETXTBSY) for a moment.
        for _ in 0..50 {
            match command.spawn() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                result => return result,
            }
        }
        command.spawn()
    }

    /// The command as it can be pasted into a shell.
    fn quoted(&self) -> String {
        let words = std::iter::once(OsStr::new(&self.program))
            .chain(self.args.iter().map(OsString::as_os_str))
            .map(|word| quote(&word.to_string_lossy()));
        printable(&words.collect::<Vec<_>>().join(" "))
    }
}

/// Kills the process group if dropped before it is released.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw),
        )
    }

    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Passes everything read from the pipe to `keep`, until EOF.
async fn read(pipe: Option<impl AsyncRead + Unpin>, mut keep: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        keep(buffer.get(..count).unwrap_or_default());
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

/// `http_proxy`, `HTTPS_PROXY`, `no_proxy` and the like.
fn is_proxy(name: &OsStr) -> bool {
    name.to_string_lossy().to_lowercase().ends_with("_proxy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    #[tokio::test]
    async fn runs_without_a_shell_in_a_clean_environment() {
        let tree = Tree::new();
        tree.tool(
            "show",
            "printf '%s|' \"$@\"; echo \"$LC_ALL $HOME $EXTRA${CARGO:+leak}\"",
        );
        let output = tree
            .host
            .command("show")
            .args(["a b", "$HOME;`id`"])
            .env("EXTRA", "x")
            .run()
            .await
            .unwrap();
        assert_eq!(output.stdout, "a b|$HOME;`id`|C.UTF-8 /root x\n");
        assert_eq!(output.code, 0);
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let tree = Tree::new();
        let error = tree.host.command("mkfs.ext4").run().await.unwrap_err();
        assert_eq!(error.reason(), "cannot find `mkfs.ext4` on this machine");
        assert_eq!(
            error.hint(),
            "install the package that has `mkfs.ext4`, or put its directory on PATH"
        );
        assert!(!error.is_transient());
    }

    #[tokio::test]
    async fn a_failure_quotes_the_command_and_the_end_of_stderr() {
        let tree = Tree::new();
        tree.tool(
            "broken",
            "for i in 1 2 3 4 5 6 7; do echo \"line $i\" >&2; done; printf 'bad \\033[1mbyte\\n' >&2; exit 3",
        );
        let error = tree
            .host
            .command("broken")
            .args(["-x", "it's"])
            .run()
            .await
            .unwrap_err();
        assert_eq!(
            error.reason(),
            r"`broken -x 'it'\''s'` failed with exit code 3: line 4 / line 5 / line 6 / line 7 / bad \u{1b}[1mbyte"
        );
        assert!(!error.is_transient());
    }

    #[tokio::test]
    async fn an_exit_code_or_a_signal_is_an_answer_of_output() {
        let tree = Tree::new();
        tree.tool("three", "exit 3");
        tree.tool("killed", "kill -9 $$");
        assert_eq!(tree.host.command("three").output().await.unwrap().code, 3);
        assert_eq!(
            tree.host.command("killed").output().await.unwrap().code,
            137
        );
    }

    #[tokio::test]
    async fn keeps_the_head_of_stdout_and_the_tail_of_stderr() {
        let tree = Tree::new();
        tree.tool(
            "flood",
            "echo first; head -c 2000000 /dev/zero; head -c 2000000 /dev/zero >&2; echo last >&2",
        );
        let output = tree.host.command("flood").run().await.unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (KEPT, KEPT));
        assert!(output.stdout.starts_with("first\n"));
        assert!(output.stderr.ends_with("last\n"));
    }

    /// Whether a process still runs; a zombie does not.
    fn runs(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn until(what: impl Fn() -> bool) {
        tokio::time::timeout(Duration::from_secs(20), async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_timeout_is_transient_and_kills_the_whole_group() {
        let tree = Tree::new();
        tree.tool(
            "hang",
            "sleep 1000 & echo $! > \"$1.new\"; mv \"$1.new\" \"$1\"; wait",
        );
        let file = tree.host.path("/pid");
        let error = tree
            .host
            .command("hang")
            .arg(&file)
            .timeout(Duration::from_secs(2))
            .run()
            .await
            .unwrap_err();
        assert_eq!(
            error.reason(),
            format!("`hang {}` did not finish within 2 s", file.display())
        );
        assert!(error.is_transient());
        let pid = std::fs::read_to_string(&file).unwrap();
        until(|| !runs(&pid)).await;
    }

    #[tokio::test]
    async fn dropping_it_kills_the_whole_group() {
        let tree = Tree::new();
        tree.tool(
            "hang",
            "sleep 1000 & echo $! > \"$1.new\"; mv \"$1.new\" \"$1\"; wait",
        );
        let file = tree.host.path("/pid");
        let task = tokio::spawn(tree.host.command("hang").arg(&file).run());
        until(|| file.exists()).await;
        let pid = std::fs::read_to_string(&file).unwrap();
        assert!(runs(&pid));
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        until(|| !runs(&pid)).await;
    }

    #[tokio::test]
    async fn a_daemon_that_holds_the_pipe_does_not_hold_us() {
        let tree = Tree::new();
        tree.tool("daemon", "sleep 30 & echo $!");
        let output = tree
            .host
            .command("daemon")
            .timeout(Duration::from_secs(20))
            .run()
            .await
            .unwrap();
        assert!(
            runs(&output.stdout),
            "what a command leaves behind lives on"
        );
        let pid = Pid::from_raw(output.stdout.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn quoting_can_be_pasted() {
        for (word, quoted) in [
            ("-L", "-L"),
            ("UUID=a-b/c:d", "UUID=a-b/c:d"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(x)", "'$(x)'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }
}

//! Runs a program, and all that it starts, under ptrace(2): tells of each call of the kernel that leaves something
//! behind, and ends everything, or the program alone, at a chosen one.
//!
//! Calls are counted over all threads and processes, in the order in which they stop here; so two runs count alike as
//! far as their threads take turns alike.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The program and every tool that it has started, but for those that have begun to change something: a half of
    /// what a stand-in does is nothing that a real tool leaves.
    Everything,
    /// The program; the tools that it has started go on to their end.
    Program,
}

/// A call that leaves something behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A file is opened to be written; made where it is missing, or emptied.
    Open {
        path: PathBuf,
        empties: bool,
    },
    /// A file's content is changed.
    Write(PathBuf),
    /// File or directory is brought to the disk.
    Sync(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    /// Directory, link or node.
    Make(PathBuf),
    /// Anything else: a connection and what is sent over it, a lock, owner or mode, a program that starts or ends.
    Other,
}

/// What hears of the program's own calls.
pub trait Witness {
    /// The call is about to be made by this thread, which stands still.
    fn before(&mut self, thread: Pid, call: &Call);
    /// It was made, and did what it should.
    fn after(&mut self, thread: Pid, call: &Call);
}

/// Hears nothing.
pub struct Nobody;

impl Witness for Nobody {
    fn before(&mut self, _: Pid, _: &Call) {}
    fn after(&mut self, _: Pid, _: &Call) {}
}

/// How a run went.
#[derive(Debug)]
pub struct Traced {
    /// The calls that leave something behind.
    pub calls: u64,
    /// The exit code, where the program came to its end.
    pub code: Option<i32>,
    /// The signal that ended it, and whether that left a core dump.
    pub signal: Option<(Signal, bool)>,
    /// The most memory that it had, in KiB, where it came to its end.
    pub peak: u64,
    /// How many files and sockets it had open then.
    pub open: usize,
}

/// Runs `command` with its output in `said`; at call number `end.0`, before it is made, `end.1` is killed.
pub fn run(
    command: &Command,
    said: &Path,
    end: Option<(u64, Victim)>,
    witness: &mut dyn Witness,
) -> Traced {
    let program = start(command, said);
    let mut tracer = Tracer {
        program,
        threads: HashMap::new(),
        busy: HashSet::new(),
        end,
        is_over: false,
        traced: Traced {
            calls: 0,
            code: None,
            signal: None,
            peak: 0,
            open: 0,
        },
    };
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
        tracer.hear(status, witness);
    }
    tracer.traced
}

/// Starts it stopped, so that no call is missed.
#[expect(clippy::zombie_processes, reason = "the tracer waits for it")]
fn start(command: &Command, said: &Path) -> Pid {
    let said = File::create(said).unwrap();
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(n, v)| Some((n, v?))))
        .stdin(Stdio::null())
        .stdout(said.try_clone().unwrap())
        .stderr(said);
    let child = shell.spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    pid
}

struct Tracer {
    program: Pid,
    /// Each thread, and the call that it is in.
    threads: HashMap<Pid, Option<Call>>,
    end: Option<(u64, Victim)>,
    /// Processes of tools that have begun to change something.
    busy: HashSet<Pid>,
    /// The killing is done.
    is_over: bool,
    traced: Traced,
}

impl Tracer {
    fn hear(&mut self, status: WaitStatus, witness: &mut dyn Witness) {
        let (pid, signal) = match status {
            WaitStatus::Exited(pid, code) => {
                self.threads.remove(&pid);
                if pid == self.program {
                    self.traced.code = Some(code);
                }
                return;
            }
            WaitStatus::Signaled(pid, signal, dumped) => {
                self.threads.remove(&pid);
                if pid == self.program {
                    self.traced.signal = Some((signal, dumped));
                }
                return;
            }
            WaitStatus::PtraceSyscall(pid) => {
                self.at_call(pid, witness);
                (pid, None)
            }
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            WaitStatus::PtraceEvent(pid, ..) => (pid, None),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => return,
        };
        self.threads.entry(pid).or_default();
        if self.is_over {
            self.kill(pid);
        }
        match ptrace::syscall(pid, signal) {
            // Killed meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("ptrace of {pid}: {error}"),
        }
    }

    fn at_call(&mut self, pid: Pid, witness: &mut dyn Witness) {
        let Ok(registers) = ptrace::getregs(pid) else {
            return;
        };
        let is_own = Path::new(&format!("/proc/{}/task/{pid}", self.program)).exists();
        let result = registers.rax.cast_signed();
        let was_in = self.threads.insert(pid, None).flatten();
        if result != -i64::from(libc::ENOSYS) {
            if let Some(call) = was_in
                && is_own
                && result >= 0
                && !self.is_over
            {
                witness.after(pid, &call);
            }
            return;
        }
        let is_last = registers.orig_rax.cast_signed() == libc::SYS_exit_group;
        if is_last && is_own {
            self.traced.peak = peak(pid);
            self.traced.open = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        }
        let Some(call) = read(pid, &registers) else {
            return;
        };
        if self.is_over {
            return;
        }
        self.traced.calls += 1;
        if self.end.is_some_and(|(at, _)| at == self.traced.calls) {
            self.is_over = true;
            let _ = kill(self.program, Signal::SIGKILL);
            for thread in self.threads.keys() {
                self.kill(*thread);
            }
            return;
        }
        if is_own {
            witness.before(pid, &call);
        } else if call.changes_a_machine() {
            self.busy.insert(pid);
        }
        self.threads.insert(pid, Some(call));
    }

    /// Kills what this thread belongs to, where it is to be.
    fn kill(&self, thread: Pid) {
        let everything = self.end.is_some_and(|(_, who)| who == Victim::Everything);
        if everything && !self.busy.contains(&thread) {
            let _ = kill(thread, Signal::SIGKILL);
        }
    }
}

impl Call {
    /// Whether a tool that makes it has done more than to note that it was called.
    fn changes_a_machine(&self) -> bool {
        match self {
            Self::Open { path, .. } | Self::Write(path) => {
                let notes = ["calls.log", "environment.log", "rights.log"];
                !notes.iter().any(|name| path.ends_with(name))
            }
            Self::Rename { .. } | Self::Remove(_) | Self::Make(_) => true,
            Self::Sync(_) | Self::Other => false,
        }
    }
}

/// The call that a thread is about to make, where it leaves something behind.
fn read(pid: Pid, registers: &libc::user_regs_struct) -> Option<Call> {
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
    let path = |at: usize| path_at(pid, None, arguments[at]);
    let path_in = |folder: usize, at: usize| path_at(pid, Some(arguments[folder]), arguments[at]);
    let opened = |at: usize| open_file(pid, arguments[at]);
    let open = |path: Option<PathBuf>, flags: u64| {
        let has = |flag: i32| flags & u64::from(flag.cast_unsigned()) != 0;
        let writes = has(libc::O_WRONLY) || has(libc::O_RDWR) || has(libc::O_CREAT);
        writes.then_some(Call::Open {
            path: path?,
            empties: has(libc::O_TRUNC),
        })
    };
    let rename = |from: Option<PathBuf>, to: Option<PathBuf>| {
        Some(Call::Rename {
            from: from?,
            to: to?,
        })
    };
    match registers.orig_rax.cast_signed() {
        libc::SYS_open => open(path(0), arguments[1]),
        libc::SYS_openat => open(path_in(0, 1), arguments[2]),
        libc::SYS_write
        | libc::SYS_pwrite64
        | libc::SYS_writev
        | libc::SYS_ftruncate
        | libc::SYS_fallocate => {
            let file = opened(0)?;
            if file.starts_with("/") {
                Some(Call::Write(file))
            } else {
                is_socket(&file).then_some(Call::Other)
            }
        }
        libc::SYS_sendfile | libc::SYS_copy_file_range => {
            let to = usize::from(registers.orig_rax.cast_signed() == libc::SYS_copy_file_range) * 2;
            opened(to).map(Call::Write)
        }
        libc::SYS_fsync | libc::SYS_fdatasync => opened(0).map(Call::Sync),
        libc::SYS_rename => rename(path(0), path(1)),
        libc::SYS_renameat | libc::SYS_renameat2 => rename(path_in(0, 1), path_in(2, 3)),
        libc::SYS_unlink | libc::SYS_rmdir => path(0).map(Call::Remove),
        libc::SYS_unlinkat => path_in(0, 1).map(Call::Remove),
        libc::SYS_mkdir | libc::SYS_mknod => path(0).map(Call::Make),
        libc::SYS_mkdirat | libc::SYS_mknodat => path_in(0, 1).map(Call::Make),
        libc::SYS_symlink | libc::SYS_link => path(1).map(Call::Make),
        libc::SYS_symlinkat => path_in(1, 2).map(Call::Make),
        libc::SYS_linkat => path_in(2, 3).map(Call::Make),
        libc::SYS_chmod
        | libc::SYS_fchmod
        | libc::SYS_fchmodat
        | libc::SYS_chown
        | libc::SYS_fchown
        | libc::SYS_lchown
        | libc::SYS_fchownat
        | libc::SYS_utimensat
        | libc::SYS_flock
        | libc::SYS_connect
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_execve
        | libc::SYS_exit_group => Some(Call::Other),
        _ => None,
    }
}

/// The most memory that a process has had so far, in KiB (`VmHWM`, proc_pid_status(5)).
fn peak(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

/// What a descriptor leads to: a path, or the kernel's name for something else (`socket:[…]`).
fn open_file(pid: Pid, descriptor: u64) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()
}

fn is_socket(file: &Path) -> bool {
    file.as_os_str().as_bytes().starts_with(b"socket:")
}

/// The path that stands at this address, from the folder with this descriptor, or the working directory.
fn path_at(pid: Pid, folder: Option<u64>, address: u64) -> Option<PathBuf> {
    let mut bytes = vec![0; 4096];
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    // To the end of the page at first: the next one may not exist.
    let page = 4096 - usize::try_from(address % 4096).ok()?;
    let mut count = memory.read_at(&mut bytes[..page], address).ok()?;
    if !bytes[..count].contains(&0) {
        let next = address + u64::try_from(count).ok()?;
        count += memory.read_at(&mut bytes[count..], next).ok()?;
    }
    let end = bytes[..count].iter().position(|byte| *byte == 0)?;
    let path = Path::new(OsStr::from_bytes(&bytes[..end]));
    let here = libc::AT_FDCWD.cast_unsigned();
    let folder = match folder {
        // The upper half of the register means nothing.
        Some(folder) if u32::try_from(folder & 0xffff_ffff) != Ok(here) => open_file(pid, folder),
        _ => fs::read_link(format!("/proc/{pid}/cwd")).ok(),
    };
    Some(folder?.join(path))
}

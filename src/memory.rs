//! Memory that is wiped when freed, and hidden from other processes, since it may hold the wallet password.
//!
//! Wiping reaches every copy on the heap, including those that the AWS SDK, HTTP, TLS and JSON make along the way. It
//! does not reach registers, the stack, or the kernel's memory: socket buffers, and the tmpfs where the password belongs.

use std::alloc::System;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use zeroizing_alloc::ZeroAlloc;

/// Overwrites each piece of memory before it is freed.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

/// Keeps a crash of this process, or of the program that it becomes, from writing its memory or environment anywhere,
/// and hides both from all processes but root's (`/proc/PID/mem`, ptrace).
///
/// The hiding ends when another program is executed: from then on the container's own program follows its own rules.
///
/// The limit is 1, not 0: with a piped core_pattern the kernel ignores 0, and systemd-coredump would log the
/// environment; 1 it takes as "no dump at all" (fs/coredump.c), and no core file is that small.
pub fn hide_memory() {
    let none = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    // Refused only if the limit is already lower.
    let _ = setrlimit(Resource::Core, none);
    // Never refused.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

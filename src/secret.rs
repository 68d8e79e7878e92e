//! A secret that cannot be printed by accident and is wiped when dropped; no core dump that could hold one.

use rustix::process::{Resource, Rlimit, setrlimit};
use zeroize::Zeroizing;

/// Bytes that never appear in `Debug` or `Display`.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// Has no crash of this process, or of what it becomes, write its memory or environment anywhere.
///
/// The limit is 1, not 0: with a piped core_pattern the kernel ignores 0, and systemd-coredump would log the
/// environment; 1 it takes as "no dump at all" (fs/coredump.c), and no core file is that small.
pub fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    // Refused only where the limit is lower already.
    let _ = setrlimit(Resource::Core, none);
}

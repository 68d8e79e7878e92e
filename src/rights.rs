//! The capabilities of a command that only reads: `verify` and the metrics tick.

use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// Reading other users' files: the key folder and the password belong to the container's user.
const KEPT: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// Drops all of root's capabilities but [`KEPT`], for this process and for whatever it starts.
///
/// Root's own files stay accessible: log, lock, state, and Docker's socket, which is as good as root. Call it while
/// there is only one thread: later ones inherit from it.
pub fn only_look() {
    // Refused only if there are no capabilities to drop.
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if capability != KEPT {
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    let _ = set_capabilities(
        None,
        CapabilitySets {
            effective: KEPT,
            permitted: KEPT,
            inheritable: CapabilitySet::empty(),
        },
    );
    let _ = set_no_new_privs(true);
}

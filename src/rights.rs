//! The rights of a command that only looks: `verify` and the metrics tick.

use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// Reading what is another's: the key folder and the password are the container's user's.
const KEPT: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// Gives up all of root's capabilities but [`KEPT`], for this process and for whatever it starts.
///
/// What is root's own stays open: log, lock, state, and Docker's socket, which is as good as root. Call it while there is
/// one thread: the others get theirs from it.
pub fn only_look() {
    // Refused only to those who have no rights to give up.
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

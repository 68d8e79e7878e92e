//! What the tests hand to each other, since a boot takes its time: the node that runs, and its address.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::launch::Instance;

pub struct Shared {
    instance: Option<Instance>,
    pub address: String,
}

static SHARED: Mutex<Shared> = Mutex::new(Shared::NONE);
static BESIDE: Mutex<Shared> = Mutex::new(Shared::NONE);
static QEMU: Mutex<Shared> = Mutex::new(Shared::NONE);

pub fn shared() -> MutexGuard<'static, Shared> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The node that boots beside that one.
pub fn beside_node() -> MutexGuard<'static, Shared> {
    BESIDE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The node that boots in QEMU.
pub fn qemu_node() -> MutexGuard<'static, Shared> {
    QEMU.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    const NONE: Self = Self {
        instance: None,
        address: String::new(),
    };

    /// The node that an earlier test brought up.
    pub fn instance(&self) -> &Instance {
        self.instance.as_ref().expect("a node that runs")
    }

    /// From now on this is the node.
    pub fn goes_on_with(&mut self, instance: Instance) {
        self.instance = Some(instance);
    }

    pub fn stop(&mut self) {
        self.instance.take().expect("a node that runs").stop();
    }
}

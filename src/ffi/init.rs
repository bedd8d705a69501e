// SPDX-License-Identifier: Apache-2.0
//! What Open vSwitch's main loop calls: configuration, and turning the port type on.

use std::sync::atomic::{AtomicBool, Ordering};

use super::guard::guard;
use super::host::attached;
use super::types::Smap;
use crate::{clock, config, port};

static INITIALIZED: AtomicBool = AtomicBool::new(false);
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Reads the configuration and, once netmap-init is true in it, calibrates the clock, registers the
/// port type and logs that netmap ports are enabled. To be called in every pass of the main loop: what
/// may change at run time is followed.
///
/// # Parameters
///
/// * `other_config`: the column of that name in table Open_vSwitch; NULL does nothing.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `other_config` is NULL or a map that the host's `config_get` can read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_init(other_config: *const Smap) {
    guard((), || {
        // SAFETY: passed on with the same promise.
        unsafe { netmap_init_config(other_config) };
        if !config::current().init || INITIALIZED.swap(true, Ordering::Relaxed) {
            return;
        }
        let rate = clock::calibrate();
        netdev_netmap_register();
        let config = config::current();
        log::info!(
            "netmap ports are enabled: engine {}, {} extra buffers a port, rxsync every {} us, {} \
             ticks a second",
            config.engine,
            config.extra_bufs,
            config.rxsync_interval,
            rate
        );
    });
}

/// Reads the configuration. A bad value is logged, once, and the default kept.
///
/// # Parameters
///
/// * `other_config`: the column of that name in table Open_vSwitch; NULL does nothing.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `other_config` is NULL or a map that the host's `config_get` can read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_init_config(other_config: *const Smap) {
    guard((), || {
        let Some(host) = attached().filter(|_| !other_config.is_null()) else {
            return;
        };
        let before = config::generation();
        let problems = config::reload(&|key| {
            // SAFETY: the map is readable by the caller's promise.
            unsafe { host.config_get(other_config, key) }
        });
        for problem in problems {
            log::warn!("{problem}");
        }
        if config::generation() != before {
            port::follow_global_interval();
        }
    });
}

/// Gives the extra buffers of all ports back to netmap's module. To be called when the process is about to
/// end without closing its ports, by a signal: otherwise a memory region that other processes have is
/// without them from then on. Nothing is received any more after that.
///
/// # Threads
///
/// main. The others may go on.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_surrender() {
    guard((), port::surrender);
}

/// Has the host register the port type. Further calls do nothing.
///
/// # Threads
///
/// main.
#[unsafe(no_mangle)]
pub extern "C" fn netdev_netmap_register() {
    guard((), || {
        if let Some(host) = attached()
            && !REGISTERED.swap(true, Ordering::Relaxed)
        {
            host.register_class();
        }
    });
}

/// Tells whether netmap-init was ever true, so that the port type exists.
///
/// # Returns
///
/// Whether it was.
///
/// # Threads
///
/// any.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_initialized() -> bool {
    guard(false, || INITIALIZED.load(Ordering::Relaxed))
}

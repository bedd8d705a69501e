// SPDX-License-Identifier: Apache-2.0
//! What Open vSwitch's main loop calls: configuration, and turning the port type on.

use std::sync::atomic::{AtomicBool, Ordering};

use super::guard::guard;
use super::host::attached;
use super::types::Smap;
use crate::{clock, config, port};

static INITIALIZED: AtomicBool = AtomicBool::new(false);
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Reads 'other_config' and, once netmap-init is true in it, calibrates the clock, registers the
/// port type and says so in the log. Call it in every pass of the main loop: what may change at run
/// time is followed.
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
            config.rxsync_interval_us,
            rate
        );
    });
}

/// Reads the keys of 'other_config'. A bad value is logged, once, and the default kept.
///
/// # Safety
///
/// As for `netmap_init`.
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

/// Has the host register the netdev class; once, further calls do nothing.
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

/// Whether netmap-init was seen true, so that the port type exists.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_initialized() -> bool {
    guard(false, || INITIALIZED.load(Ordering::Relaxed))
}

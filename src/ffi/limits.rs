// SPDX-License-Identifier: Apache-2.0
//! How much a port may receive and send.

use super::guard::with_port;
use crate::policer::Limits;
use crate::port::Port;

/// Limits what a port receives; the rest is dropped. While traffic runs, too.
///
/// # Parameters
///
/// * `port`: the port; NULL does nothing.
/// * `kbits_rate`: kilobits in a second, without Ethernet headers; 0 for no limit.
/// * `kbits_burst`: kilobits at once; 0 for 8000.
/// * `kpkts_rate`: thousands of packets in a second; 0 for no limit.
/// * `kpkts_burst`: thousands of packets at once; 0 for 16.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_set_policing(
    port: *mut Port,
    kbits_rate: u32,
    kbits_burst: u32,
    kpkts_rate: u32,
    kpkts_burst: u32,
) {
    let limits = Limits::ingress(kbits_rate, kbits_burst, kpkts_rate, kpkts_burst);
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, (), |port| port.state().set_ingress_limits(limits)) }
}

/// Limits what a port sends; the rest is dropped. While traffic runs, too.
///
/// # Parameters
///
/// * `port`: the port; NULL does nothing.
/// * `cir`: bytes in a second, without Ethernet headers; 0 for no limit.
/// * `cbs`: bytes at once, likewise.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_set_egress_policer(port: *mut Port, cir: u64, cbs: u64) {
    let limits = Limits::egress(cir, cbs);
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, (), |port| port.state().set_egress_limits(limits)) }
}

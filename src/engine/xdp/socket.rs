// SPDX-License-Identifier: Apache-2.0
//! AF_XDP sockets: making one, binding it to a queue, waking its driver, reading its statistics.

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::queue::{Consumer, Desc, Producer};
use crate::engine::TX_METADATA_LEN;
use crate::engine::user_region::{Mapping, UmemFeatures};
use crate::error::{Error, Result};

/// Send buffer a slot, so that a full ring of frames can be on its way in copy mode: the kernel
/// counts the packet it copies each frame into, its own bookkeeping included.
const SEND_BUFFER_PER_SLOT: u32 = 4096;

/// From linux/if_xdp.h: frames may take several buffers.
const XDP_USE_SG: u16 = 1 << 4;

// From asm-generic/socket.h.
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUSY_POLL_BUDGET: i32 = 70;

/// Microseconds for `SO_BUSY_POLL`. Calls that do not wait poll once, however many there are.
const BUSY_POLL_US: u32 = 1;
/// What drivers handle in one go at most (`NAPI_POLL_WEIGHT`).
const MAX_BUSY_POLL_BUDGET: u32 = 64;

/// The queue that a socket is for, and the rings it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    pub ifindex: u32,
    pub queue: u32,
    /// Slots of its netmap rings, powers of two, and entries of its own.
    pub rx_slots: Option<u32>,
    pub tx_slots: Option<u32>,
    /// Packets that the driver handles at most when a system call polls it; 0 if none is to.
    pub busy_poll_budget: u32,
}

/// How a socket is bound. All sockets on a UMEM are bound alike: the first one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// The device reads and writes the UMEM; else the kernel copies, for any driver.
    pub zero_copy: bool,
    /// Frames may take several buffers (`XDP_USE_SG`, Linux 6.6).
    pub several_bufs: bool,
}

impl Way {
    fn flags(self) -> u16 {
        let copy = match self.zero_copy {
            true => libc::XDP_ZEROCOPY,
            false => libc::XDP_COPY,
        };
        copy | if self.several_bufs { XDP_USE_SG } else { 0 }
    }
}

/// A bound socket.
pub(super) struct Bound {
    pub fd: Arc<OwnedFd>,
    pub rx: Option<(Producer<u64>, Consumer<Desc>)>,
    pub tx: Option<(Producer<Desc>, Consumer<u64>)>,
    pub way: Way,
    /// Whether frames to send may have metadata in front of them, and each must have room for that.
    pub tx_metadata: bool,
}

impl Bound {
    fn features(&self) -> UmemFeatures {
        UmemFeatures {
            several_bufs: self.way.several_bufs,
            tx_metadata: self.tx_metadata,
        }
    }
}

/// Where a new socket gets its UMEM from.
#[derive(Clone, Copy)]
enum Umem<'a> {
    /// It joins that of a bound socket, and its mode, with zero copy or without.
    Shared(&'a OwnedFd, UmemFeatures),
    /// It registers the memory.
    Own(&'a Mapping, u32),
}

/// Binds a socket to `queue`, with `memory`, in buffers of `buf_size` bytes, as its UMEM.
///
/// There may be several UMEMs on the same memory, one for each way. All count the same frames by the same
/// numbers, and which socket a frame is with is this library's business, not the kernel's.
pub(super) fn bind(queue: &Queue, memory: &Mapping, buf_size: u32, way: Way) -> Result<Bound> {
    let mut sockets = memory.sockets().lock();
    let known: Vec<_> = sockets
        .iter()
        .filter_map(|(socket, features)| Some((socket.upgrade()?, *features)))
        .collect();
    let mut usable = Vec::with_capacity(known.len() + 1);
    let mut joined = None;
    for (socket, features) in &known {
        let alike = zero_copy_of(socket) == Some(way.zero_copy)
            && features.several_bufs == way.several_bufs;
        let candidate = joined.is_none() && alike;
        match candidate.then(|| open(queue, Umem::Shared(socket, *features), way)) {
            // Its interface is gone, and it is bound to nothing: no socket can join it any more.
            Some(Err(e)) if e.errno() == libc::EBADF => continue,
            // The device does not go with that UMEM: one of its own.
            Some(Err(e)) if matches!(e.errno(), libc::EINVAL | libc::EOPNOTSUPP) => {
                joined = Some(Err(None));
            }
            Some(Err(e)) => joined = Some(Err(Some(e))),
            Some(Ok(bound)) => joined = Some(Ok(bound)),
            None => {}
        }
        usable.push((Arc::downgrade(socket), *features));
    }
    *sockets = usable;
    match joined {
        Some(Ok(bound)) => {
            sockets.push((Arc::downgrade(&bound.fd), bound.features()));
            return Ok(bound);
        }
        Some(Err(Some(e))) => return Err(e),
        Some(Err(None)) | None => {}
    }
    let bound = open(queue, Umem::Own(memory, buf_size), way)?;
    sockets.push((Arc::downgrade(&bound.fd), bound.features()));
    Ok(bound)
}

fn open(queue: &Queue, umem: Umem<'_>, way: Way) -> Result<Bound> {
    let fd = socket()?;
    let tx_metadata = match umem {
        Umem::Own(memory, buf_size) => register(&fd, memory, buf_size)?,
        Umem::Shared(_, features) => features.tx_metadata,
    };
    for (option, entries) in [
        // These two must be there, even where the queue has no use for them.
        (libc::XDP_UMEM_FILL_RING, queue.rx_slots.or(Some(1))),
        (libc::XDP_UMEM_COMPLETION_RING, queue.tx_slots.or(Some(1))),
        (libc::XDP_RX_RING, queue.rx_slots),
        (libc::XDP_TX_RING, queue.tx_slots),
    ] {
        if let Some(entries) = entries {
            set(&fd, libc::SOL_XDP, option, &entries)
                .map_err(|e| Error::from_io("cannot make the rings of an AF_XDP socket", &e))?;
        }
    }
    // A failure costs throughput in copy mode only.
    let send_buffer = queue.tx_slots.unwrap_or(0) * SEND_BUFFER_PER_SLOT;
    let _ = set(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &send_buffer);
    if queue.busy_poll_budget > 0 {
        set_busy_poll(&fd, queue.busy_poll_budget)?;
    }

    // Mapped before the socket is bound, as the kernel wants it.
    let at = ring_offsets(&fd)?;
    let sock = fd.as_fd();
    let rx = if let Some(n) = queue.rx_slots {
        let fill = Producer::map(sock, libc::XDP_UMEM_PGOFF_FILL_RING, n, (&at.fr).into())?;
        let rx = Consumer::map(sock, libc::XDP_PGOFF_RX_RING as u64, n, (&at.rx).into())?;
        Some((fill, rx))
    } else {
        None
    };
    let tx = if let Some(n) = queue.tx_slots {
        let tx = Producer::map(sock, libc::XDP_PGOFF_TX_RING as u64, n, (&at.tx).into())?;
        let completion = libc::XDP_UMEM_PGOFF_COMPLETION_RING;
        Some((tx, Consumer::map(sock, completion, n, (&at.cr).into())?))
    } else {
        None
    };

    let (flags, shared_fd) = match umem {
        // The kernel takes no other flag here: all is as in the socket that the UMEM is from.
        Umem::Shared(other, _) => (libc::XDP_SHARED_UMEM, other.as_raw_fd() as u32),
        Umem::Own(..) => (way.flags() | libc::XDP_USE_NEED_WAKEUP, 0),
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: queue.ifindex,
        sxdp_queue_id: queue.queue,
        sxdp_shared_umem_fd: shared_fd,
    };
    // SAFETY: the address is a valid struct of the length given.
    let done = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
        )
    };
    if done != 0 {
        return Err(Error::last_os(format!(
            "cannot bind to queue {}",
            queue.queue
        )));
    }
    let zero_copy = zero_copy_of(&fd).unwrap_or(way.zero_copy);
    Ok(Bound {
        fd: Arc::new(fd),
        rx,
        tx,
        way: Way { zero_copy, ..way },
        tx_metadata,
    })
}

/// Has system calls on `fd` poll the driver, which then takes fewer interrupts (NAPI busy polling).
fn set_busy_poll(fd: &OwnedFd, budget: u32) -> Result<()> {
    if budget > MAX_BUSY_POLL_BUDGET {
        return Err(Error::new(
            libc::EINVAL,
            format!("a busy-poll budget of {budget}: expected 0 to {MAX_BUSY_POLL_BUDGET}"),
        ));
    }
    for (option, value) in [
        (SO_PREFER_BUSY_POLL, 1),
        (libc::SO_BUSY_POLL, BUSY_POLL_US),
        (SO_BUSY_POLL_BUDGET, budget),
    ] {
        set(fd, libc::SOL_SOCKET, option, &value).map_err(|e| {
            let error = Error::from_io("cannot have busy polling", &e);
            let hint = match error.errno() {
                libc::ENOPROTOOPT => "the kernel has it from Linux 5.11 on",
                libc::EPERM => "ovs-vswitchd needs the capability CAP_NET_ADMIN",
                _ => return error,
            };
            Error::new(error.errno(), format!("{error}: {hint}"))
        })?;
    }
    Ok(())
}

fn socket() -> Result<OwnedFd> {
    // SAFETY: makes a descriptor, touches no memory.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        let error = Error::last_os("cannot make an AF_XDP socket");
        let hint = match error.errno() {
            libc::EPERM | libc::EACCES => "ovs-vswitchd needs the capability CAP_NET_RAW",
            libc::EAFNOSUPPORT => "the kernel needs CONFIG_XDP_SOCKETS",
            _ => return Err(error),
        };
        return Err(Error::new(error.errno(), format!("{error}: {hint}")));
    }
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers `memory` as the UMEM of `fd`, frames without headroom of our own: the kernel leaves
/// `XDP_PACKET_HEADROOM` bytes in front of each packet anyway. Whether frames to send may have metadata, which
/// the kernel has to know now (Linux 6.11: the flag is younger than what it is for).
fn register(fd: &OwnedFd, memory: &Mapping, buf_size: u32) -> Result<bool> {
    let (base, len): (NonNull<u8>, usize) = memory.area();
    // Pinned pages and fork(2) do not go together: without this, on kernels before 5.12, the first
    // write after a fork would move the page away from the kernel's view of it.
    // SAFETY: changes what a child of this process inherits, nothing in this one.
    unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_DONTFORK) };
    let umem = libc::xdp_umem_reg {
        addr: base.as_ptr() as u64,
        len: len as u64,
        chunk_size: buf_size,
        headroom: 0,
        flags: libc::XDP_UMEM_TX_METADATA_LEN,
        tx_metadata_len: TX_METADATA_LEN,
    };
    match set(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &umem) {
        // A flag that it does not know, or something else, which the next attempt tells.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
        Err(e) => return Err(not_registered(&e, len)),
        Ok(()) => return Ok(true),
    }
    let umem = libc::xdp_umem_reg {
        flags: 0,
        tx_metadata_len: 0,
        ..umem
    };
    set(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &umem)
        .map(|()| false)
        .map_err(|e| not_registered(&e, len))
}

/// Why `len` bytes could not be registered as a UMEM.
fn not_registered(error: &std::io::Error, len: usize) -> Error {
    let error = Error::from_io(
        format!("cannot register {len} bytes of packet buffers"),
        error,
    );
    let hint = match error.errno() {
        libc::ENOBUFS => {
            "they must be locked in memory: raise the limit of locked memory (ulimit -l, \
             LimitMEMLOCK= in the systemd unit), give ovs-vswitchd CAP_IPC_LOCK, or lower \
             other_config:netmap-region-bufs"
        }
        libc::ENOMEM => {
            "the machine or the control group has not that much memory to lock; lower \
             other_config:netmap-region-bufs"
        }
        libc::EINVAL => "AF_XDP takes buffers of 2048 bytes up to the page size",
        _ => return error,
    };
    Error::new(error.errno(), format!("{error}: {hint}"))
}

fn ring_offsets(fd: &OwnedFd) -> Result<libc::xdp_mmap_offsets> {
    get::<libc::xdp_mmap_offsets>(fd, libc::XDP_MMAP_OFFSETS)
        .ok_or_else(|| Error::last_os("cannot get the layout of an AF_XDP socket's rings"))
}

/// Whether a bound socket is one with zero copy; `None` when the kernel does not say.
fn zero_copy_of(fd: &OwnedFd) -> Option<bool> {
    let options = get::<libc::xdp_options>(fd, libc::XDP_OPTIONS)?;
    Some(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// What the kernel counts; `None` before Linux 5.9, which has fewer counters.
pub(super) fn statistics(fd: &OwnedFd) -> Option<libc::xdp_statistics> {
    get::<libc::xdp_statistics>(fd, libc::XDP_STATISTICS)
}

/// Whether the interface that `fd` was bound to has left: it was deleted or moved to another network
/// namespace, since this was asked last or, but for kernels before 5.11, ever.
pub(super) fn has_lost_interface(fd: &OwnedFd) -> bool {
    let mut error: i32 = 0;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which `error` has.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &mut len,
        )
    };
    // What is read from `error` was written by the call.
    (done == 0 && error == libc::ENETDOWN) || wake_rx(fd) == Err(libc::ENXIO)
}

/// Whether no socket has `queue`: a new one can be bound to it.
pub(super) fn is_free(ifindex: u32, queue: u32) -> Result<bool> {
    // A UMEM as small as can be, on machines with pages of any size.
    let (len, chunk) = (64 << 10, 4096);
    let memory = Mapping::map(len)?;
    let only = Queue {
        ifindex,
        queue,
        rx_slots: Some(1),
        tx_slots: None,
        busy_poll_budget: 0,
    };
    let way = Way {
        zero_copy: false,
        several_bufs: false,
    };
    match open(&only, Umem::Own(&memory, chunk), way) {
        Ok(_) => Ok(true),
        Err(e) if e.errno() == libc::EBUSY => Ok(false),
        // The interface or its queue is gone.
        Err(e) if matches!(e.errno(), libc::ENODEV | libc::EINVAL) => Ok(true),
        Err(e) => Err(e),
    }
}

/// Makes the kernel send what is in the transmit ring. The error is the errno.
#[inline]
pub(super) fn wake_tx(fd: &OwnedFd) -> std::result::Result<(), i32> {
    let (flags, no_address) = (libc::MSG_DONTWAIT, ptr::null());
    // SAFETY: no bytes and no address are passed.
    let done = unsafe { libc::sendto(fd.as_raw_fd(), ptr::null(), 0, flags, no_address, 0) };
    check(done as i64)
}

/// Calls `wake` with busy polling off. With it on, such a call polls the NAPI context that the driver
/// receives in, and wakes nobody. That is not enough for a driver that sends in another one, as `virtio_net`
/// does and `igb` with few queues, nor when the driver has made its contexts anew.
#[cold]
pub(super) fn without_busy_polling(
    fd: &OwnedFd,
    wake: fn(&OwnedFd) -> std::result::Result<(), i32>,
) {
    // Should one of them fail, the driver is polled less.
    let _ = set(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &0_u32);
    // What fails here fails, and is counted, in calls that poll, too.
    let _ = wake(fd);
    let _ = set(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &BUSY_POLL_US);
}

/// Makes the driver look at the fill ring. The error is the errno.
#[inline]
pub(super) fn wake_rx(fd: &OwnedFd) -> std::result::Result<(), i32> {
    let (flags, no_address) = (libc::MSG_DONTWAIT, ptr::null_mut());
    // SAFETY: no room for bytes or an address is passed.
    let done = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            ptr::null_mut(),
            0,
            flags,
            no_address,
            ptr::null_mut(),
        )
    };
    match check(done as i64) {
        // Before 5.11 only poll(2) does it.
        Err(libc::EOPNOTSUPP) => poll(fd),
        // Nothing to read: that is not what the call is for.
        Err(libc::EAGAIN) => Ok(()),
        done => done,
    }
}

fn poll(fd: &OwnedFd) -> std::result::Result<(), i32> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid entry.
    check(unsafe { libc::poll(&mut poll, 1, 0) }.into())
}

#[inline]
fn check(done: i64) -> std::result::Result<(), i32> {
    if done >= 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO))
}

/// A struct of plain integers, as socket options are.
///
/// # Safety
///
/// a. Every bit pattern is a value of the type. b. It has no padding.
unsafe trait Plain {}
// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: four `u32` after two `u64`.
unsafe impl Plain for libc::xdp_umem_reg {}
// SAFETY: 16 `u64`.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: one `u32`.
unsafe impl Plain for libc::xdp_options {}
// SAFETY: six `u64`.
unsafe impl Plain for libc::xdp_statistics {}

fn set<T: Plain>(fd: &OwnedFd, level: i32, option: i32, value: &T) -> std::io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` initialised bytes (`Plain` b.).
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            len,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// An option of level `SOL_XDP`; `None` when the kernel has it not, or in another size.
fn get<T: Plain>(fd: &OwnedFd, option: i32) -> Option<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which `value` has.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            option,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    };
    // SAFETY: zeroed, then partly or wholly written by the kernel; any bits are a value (`Plain` a.).
    (done == 0 && len as usize == size_of::<T>()).then(|| unsafe { value.assume_init() })
}

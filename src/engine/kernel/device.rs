// SPDX-License-Identifier: Apache-2.0
//! `/dev/netmap`: a descriptor, and the requests that this engine makes on it.

use std::ffi::{c_char, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::abi::{
    NETMAP_API, NETMAP_REQ_IFNAMSIZ, NETMAP_REQ_OPT_OFFSETS, NETMAP_REQ_POOLS_INFO_GET,
    NETMAP_REQ_PORT_INFO_GET, NETMAP_REQ_REGISTER, NIOCCTRL, nmreq_header, nmreq_opt_offsets,
    nmreq_option, nmreq_pools_info, nmreq_port_info_get, nmreq_register,
};

/// Where the module is.
pub const PATH: &str = "/dev/netmap";

/// A descriptor of `/dev/netmap`, bound to a port once [`Device::register`] succeeded. Closing it
/// releases the port.
#[derive(Debug)]
pub struct Device(OwnedFd);

/// The body of a request.
///
/// # Safety
///
/// `REQTYPE` must be the request whose body the kernel reads and writes as this very struct.
#[allow(unsafe_code)]
pub unsafe trait Body {
    /// `NETMAP_REQ_*`.
    const REQTYPE: u16;
}

// SAFETY: as net/netmap.h pairs them; sizes and offsets are asserted in `abi`.
#[allow(unsafe_code)]
unsafe impl Body for nmreq_register {
    const REQTYPE: u16 = NETMAP_REQ_REGISTER;
}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Body for nmreq_port_info_get {
    const REQTYPE: u16 = NETMAP_REQ_PORT_INFO_GET;
}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Body for nmreq_pools_info {
    const REQTYPE: u16 = NETMAP_REQ_POOLS_INFO_GET;
}

/// Slot offsets to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// Largest offset of a frame in its buffer.
    pub max: u32,
    /// Offset that all slots start with.
    pub initial: u32,
}

impl Device {
    /// Opens `/dev/netmap`.
    #[allow(unsafe_code)]
    pub fn open() -> io::Result<Device> {
        // SAFETY: the path is a NUL-terminated string.
        let fd = unsafe { libc::open(c"/dev/netmap".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows it.
        Ok(Device(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// One whose requests all fail.
    #[cfg(test)]
    pub fn of_dev_null() -> Device {
        Device(std::fs::File::open("/dev/null").unwrap().into())
    }

    /// The descriptor, to map its region.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Binds the descriptor to `name` as `register` says, which is overwritten with the answer.
    pub fn register(&self, name: &str, register: &mut nmreq_register) -> io::Result<()> {
        self.request(NETMAP_API, name, register, None)
    }

    /// [`Device::register`] with slot offsets. The outer result is that of the call; the inner one
    /// tells whether the option was taken, and then the largest offset. With an `Err` inside,
    /// nothing was bound.
    pub fn register_with_offsets(
        &self,
        name: &str,
        register: &mut nmreq_register,
        offsets: Offsets,
    ) -> io::Result<Result<u32, i32>> {
        let mut option = nmreq_opt_offsets {
            nro_opt: nmreq_option {
                nro_reqtype: NETMAP_REQ_OPT_OFFSETS,
                ..nmreq_option::default()
            },
            nro_max_offset: offsets.max.into(),
            nro_initial_offset: offsets.initial.into(),
            ..nmreq_opt_offsets::default()
        };
        let result = self.request(NETMAP_API, name, register, Some(&mut option));
        match (result, option.nro_opt.nro_status) {
            (Ok(()), 0) => {
                // More than was asked for, if somebody opened the ring before with more.
                let max = u32::try_from(option.nro_max_offset).unwrap_or(offsets.max);
                Ok(Ok(max))
            }
            // Bound all the same: a module that knows no such option and does not mind it.
            (Ok(()), _) => Ok(Ok(0)),
            (Err(e), 0) => Err(e),
            (Err(_), status) => Ok(Err(status as i32)),
        }
    }

    /// Any request without options, as `version` of the API.
    pub fn ask<T: Body>(&self, version: u16, name: &str, body: &mut T) -> io::Result<()> {
        self.request(version, name, body, None)
    }

    #[allow(unsafe_code)]
    fn request<T: Body>(
        &self,
        version: u16,
        name: &str,
        body: &mut T,
        option: Option<&mut nmreq_opt_offsets>,
    ) -> io::Result<()> {
        let mut header = nmreq_header {
            nr_version: version,
            nr_reqtype: T::REQTYPE,
            nr_reserved: 0,
            nr_name: name_field(name)?,
            nr_options: option.map_or(0, |o| ptr::from_mut(o) as u64),
            nr_body: ptr::from_mut(body) as u64,
        };
        let argument = ptr::from_mut(&mut header).cast::<c_void>();
        // SAFETY: the header is what this ioctl takes; `body` is what it takes with that request
        // type (`Body`), and the option is one with its own type inside. All three are exclusively
        // borrowed during the call.
        let result = unsafe { libc::ioctl(self.fd(), NIOCCTRL as _, argument) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// [`crate::abi::NIOCTXSYNC`] or [`crate::abi::NIOCRXSYNC`].
    #[inline]
    #[allow(unsafe_code)]
    pub fn sync(&self, request: u32) -> Result<(), i32> {
        // SAFETY: the sync calls take no argument. What they read and write besides are the rings
        // and their buffers, which are only ever accessed as shared memory.
        let result = unsafe { libc::ioctl(self.fd(), request as _, 0) };
        if result < 0 {
            return Err(io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO));
        }
        Ok(())
    }
}

/// `nr_name` with `name` in it.
fn name_field(name: &str) -> io::Result<[c_char; NETMAP_REQ_IFNAMSIZ]> {
    let mut field = [0; NETMAP_REQ_IFNAMSIZ];
    if name.len() >= NETMAP_REQ_IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (to, &from) in field.iter_mut().zip(name.as_bytes()) {
        *to = from as c_char;
    }
    Ok(field)
}

/// What the module that answers has to do with [`NETMAP_API`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// It speaks it.
    Fits,
    /// It speaks another version.
    Speaks(u16),
    /// It has no [`NIOCCTRL`]: its version is older.
    Older,
}

impl Module {
    /// Finds out, after a request failed for no obvious reason.
    pub fn probe(device: &Device) -> Module {
        let ask = |version| device.ask(version, "", &mut nmreq_port_info_get::default());
        match ask(NETMAP_API) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                // The module tells its version to nobody; each call with another one costs it a
                // line in the kernel's log.
                let others = NETMAP_API + 1..NETMAP_API + 8;
                match others.into_iter().find(|&v| ask(v).is_ok()) {
                    Some(version) => Module::Speaks(version),
                    None => Module::Fits,
                }
            }
            Err(e)
                if [libc::ENOTTY, libc::EOPNOTSUPP, libc::ENXIO]
                    .contains(&e.raw_os_error().unwrap_or(0)) =>
            {
                Module::Older
            }
            _ => Module::Fits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_with_its_nul_or_is_refused() {
        let field = name_field("vale0:1").unwrap();
        assert_eq!(
            field[..8].iter().map(|&c| c as u8).collect::<Vec<_>>(),
            b"vale0:1\0"
        );
        assert!(field[8..].iter().all(|&c| c == 0));
        assert!(name_field(&"x".repeat(NETMAP_REQ_IFNAMSIZ - 1)).is_ok());
        assert!(name_field(&"x".repeat(NETMAP_REQ_IFNAMSIZ)).is_err());
        assert!(name_field("a\0b").is_err());
    }
}

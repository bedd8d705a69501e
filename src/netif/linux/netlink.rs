// SPDX-License-Identifier: Apache-2.0
//! Questions to the kernel by netlink, one at a time, and its answers.
//!
//! The crates netlink-sys and netlink-packet-core do sockets, headers and attributes.
#![forbid(unsafe_code)]

use std::io;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NlasIterator,
    parse_string, parse_u32,
};
use netlink_sys::{Socket, SocketAddr};

// From linux/netlink.h.
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;

/// Bytes of a netlink header.
const HEADER: usize = 16;

/// A socket to ask by.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// A socket of `protocol`, `NETLINK_ROUTE` and the like.
    pub(super) fn new(protocol: isize) -> io::Result<Netlink> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Only for better messages.
        let _ = socket.set_ext_ack(true);
        Ok(Netlink {
            socket,
            sequence: 0,
        })
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends a request, of the protocol's header `info` and `attributes`, and takes the reply: the payload of
    /// what is not an acknowledgement.
    pub(super) fn ask(
        &mut self,
        message_type: u16,
        flags: u16,
        info: &[u8],
        attributes: &[DefaultNla],
    ) -> io::Result<Option<Vec<u8>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let len = HEADER + info.len() + attributes.buffer_len();
        let mut request = vec![0; len];
        let mut message = NetlinkBuffer::new(&mut request);
        message.set_length(len as u32);
        message.set_message_type(message_type);
        message.set_flags(NLM_F_REQUEST | flags);
        message.set_sequence_number(self.sequence);
        message.payload_mut()[..info.len()].copy_from_slice(info);
        attributes.emit(&mut message.payload_mut()[info.len()..]);
        self.socket.send(&request, 0)?;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            // What is left of a request that was given up is passed over.
            let Ok(reply) = NetlinkBuffer::new_checked(&datagram[..]) else {
                return Err(io::Error::from_raw_os_error(libc::EPROTO));
            };
            if reply.sequence_number() != self.sequence {
                continue;
            }
            return match reply.message_type() {
                NLMSG_ERROR => verdict(&reply).map(|()| None),
                _ => Ok(Some(reply.payload().to_vec())),
            };
        }
    }
}

/// The error that an acknowledgement carries, with the kernel's own words if it has some.
fn verdict(reply: &NetlinkBuffer<&[u8]>) -> io::Result<()> {
    let payload = reply.payload();
    let code = payload.get(..4).and_then(|code| parse_u32(code).ok());
    let errno = match code.map(|code| (code as i32).wrapping_neg()) {
        Some(0) => return Ok(()),
        Some(errno) => errno,
        None => libc::EPROTO,
    };
    let error = io::Error::from_raw_os_error(errno);
    Err(match explanation(reply.flags(), payload) {
        Some(why) => io::Error::new(error.kind(), Explained { errno, error, why }),
        None => error,
    })
}

/// What the kernel says why, after the code and the request's header (and the request, unless it was
/// left out).
fn explanation(flags: u16, payload: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let request = NetlinkBuffer::new(payload.get(4..4 + HEADER)?);
    let repeated = match flags & NLM_F_CAPPED {
        0 => (request.length() as usize).next_multiple_of(4),
        _ => HEADER,
    };
    attribute(
        payload.get(4 + repeated..)?,
        NLMSGERR_ATTR_MSG,
        parse_string,
    )
}

/// An error of the operating system with the kernel's reason.
#[derive(Debug)]
struct Explained {
    errno: i32,
    error: io::Error,
    why: String,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.error, self.why)
    }
}

impl std::error::Error for Explained {}

/// The number of an error that the kernel gave a reason for, or not.
pub(super) fn errno(error: &io::Error) -> Option<i32> {
    let explained = error.get_ref().and_then(|e| e.downcast_ref::<Explained>());
    explained.map_or(error.raw_os_error(), |e| Some(e.errno))
}

/// The value of the attribute of `kind`.
pub(super) fn attribute<T>(
    attributes: &[u8],
    kind: u16,
    parse: fn(&[u8]) -> Result<T, DecodeError>,
) -> Option<T> {
    let mut attributes = NlasIterator::new(attributes).flatten();
    let nla = attributes.find(|nla| nla.kind() == kind)?;
    parse(nla.value()).ok()
}

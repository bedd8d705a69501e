// SPDX-License-Identifier: Apache-2.0
//! An open port, frames, what the module has left, and `pkt-gen`.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG};
use ovs_netmap::test_utils::engine::{HEADROOM, OpenRequest, Opened, SyncedRing, kernel};
use ovs_netmap::test_utils::index::{BufIdx, OwnedBuf};
use ovs_netmap::test_utils::name::PortName;
use ovs_netmap::test_utils::region::Region;
use ovs_netmap::test_utils::ring::Slot;
use parking_lot::{Mutex, MutexGuard};

/// The module is one for all tests.
static MODULE: Mutex<()> = Mutex::new(());

/// The module, for one test alone; `None`, and the reason on standard output, without it.
pub fn module() -> Option<MutexGuard<'static, ()>> {
    if !kernel::available() {
        let reason = File::open("/dev/netmap").err();
        println!("skipped: no /dev/netmap ({reason:?})");
        return None;
    }
    Some(MODULE.lock())
}

/// Runs a command of the system's; for tests that need interfaces.
pub fn run(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(status.success(), "{command}: {status}");
}

/// An open port.
pub struct Port {
    pub opened: Opened,
    pub spare: Vec<OwnedBuf>,
}

pub fn try_open(
    name: &str,
    rings: u32,
    extra_bufs: u32,
) -> ovs_netmap::test_utils::error::Result<Port> {
    let name = PortName::parse(name).unwrap();
    let mut request = OpenRequest::small(&name);
    request.port.n_rxq = rings;
    request.process.extra_bufs = extra_bufs;
    let mut opened = kernel::open(&request)?;
    let spare = std::mem::take(&mut opened.extra);
    Ok(Port { opened, spare })
}

pub fn open(name: &str) -> Port {
    try_open(name, 1, 64).unwrap_or_else(|e| panic!("{e}"))
}

impl Port {
    pub fn region(&self) -> Arc<Region> {
        Arc::clone(&self.opened.region)
    }

    pub fn mem_id(&self) -> u16 {
        let status = self.opened.port.status();
        let (_, id) = status.iter().find(|(k, _)| *k == "mem_id").unwrap();
        id.parse().unwrap()
    }

    pub fn tx(&mut self, pair: usize) -> &mut SyncedRing {
        self.opened.rings[pair].tx.as_mut().unwrap()
    }

    pub fn rx(&mut self, pair: usize) -> &mut SyncedRing {
        self.opened.rings[pair].rx.as_mut().unwrap()
    }

    /// Sends `frame` from a spare buffer, without a copy, with the frame at `offset`.
    pub fn send_at(&mut self, pair: usize, frame: &[u8], offset: u32) {
        let region = self.region();
        let ours = self.spare.pop().unwrap();
        assert!(region.write(ours.idx(), offset, frame.into()));
        let deadline = Instant::now() + Duration::from_secs(5);
        let tx = self.opened.rings[pair].tx.as_mut().unwrap();
        while tx.ring.head() == tx.ring.tail() {
            tx.sync().unwrap();
            assert!(Instant::now() < deadline, "the transmit ring stays full");
        }
        let mut batch = tx.ring.batch().unwrap();
        let slot = batch.slot(0);
        let theirs = region
            .claim(BufIdx(slot.buf_idx), batch.ring().owner())
            .unwrap();
        let full = Slot {
            buf_idx: region.release(ours, batch.ring().owner()).0,
            len: frame.len() as u16,
            flags: NS_BUF_CHANGED,
            ptr: batch.ring().with_offset(slot.ptr, offset),
        };
        batch.pass(full);
        batch.commit();
        tx.sync().unwrap();
        self.spare.push(theirs);
    }

    pub fn send(&mut self, pair: usize, frame: &[u8]) {
        let offset = HEADROOM.min(self.tx(pair).ring.max_offset());
        self.send_at(pair, frame, offset);
    }

    /// The next frame and its offset, each buffer swapped for a spare one, if one comes in time.
    pub fn recv_for(&mut self, pair: usize, time: Duration) -> Option<(Vec<u8>, u64)> {
        let (mut whole, offset, mut more) = self.recv_slot(pair, time)?;
        // The e1000 driver delivers an empty first slot the first time round its ring.
        while more {
            let (rest, _, still) = self.recv_slot(pair, time)?;
            whole.extend(rest);
            more = still;
        }
        Some((whole, offset))
    }

    pub fn recv_slot(&mut self, pair: usize, time: Duration) -> Option<(Vec<u8>, u64, bool)> {
        let region = self.region();
        let deadline = Instant::now() + time;
        let rx = self.opened.rings[pair].rx.as_mut().unwrap();
        while rx.ring.head() == rx.ring.tail() {
            if Instant::now() > deadline {
                return None;
            }
            rx.sync().unwrap();
        }
        let mut batch = rx.ring.batch().unwrap();
        let slot = batch.slot(0);
        let offset = batch.ring().offset_of(&slot);
        let theirs = region
            .claim(BufIdx(slot.buf_idx), batch.ring().owner())
            .unwrap();
        let bytes = copy_of(&region, theirs.idx(), offset as u32, slot.len.into());
        let ours = self.spare.pop().unwrap();
        let empty = Slot {
            buf_idx: region.release(ours, batch.ring().owner()).0,
            len: 0,
            flags: NS_BUF_CHANGED,
            ptr: slot.ptr,
        };
        batch.pass(empty);
        batch.commit();
        self.spare.push(theirs);
        Some((bytes, offset, slot.flags & NS_MOREFRAG != 0))
    }

    pub fn recv(&mut self, pair: usize) -> (Vec<u8>, u64) {
        let got = self.recv_for(pair, Duration::from_secs(5));
        got.expect("a frame within 5 seconds")
    }

    pub fn close(self) {
        let Port { opened, spare } = self;
        drop(opened.rings);
        opened.port.close(spare);
    }
}

/// `len` bytes at `offset` of a buffer.
pub fn copy_of(region: &Region, idx: BufIdx, offset: u32, len: u32) -> Vec<u8> {
    let source = region.bytes(idx, offset, len).expect("inside the buffer");
    let mut bytes = vec![0; source.len()];
    // SAFETY: `bytes` has as many bytes; the source is mapped while `region` lives.
    unsafe { source.as_ptr().copy_to(bytes.as_mut_ptr(), source.len()) };
    bytes
}

/// A broadcast frame of `len` bytes whose contents depend on `seed`.
pub fn frame(len: usize, seed: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|i| (i as u32 * 7 + seed) as u8).collect();
    bytes[..6].fill(0xff);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

/// How many buffers of a region are free.
pub fn free_bufs(mem_id: u16) -> u32 {
    kernel::free_bufs(mem_id).expect("the module makes a null port")
}

/// How many regions this process has mapped, and netmap descriptors open.
pub fn mapped_and_open() -> (usize, usize) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter(|l| l.contains("/dev/netmap")).count();
    let fds = fs::read_dir("/proc/self/fd").unwrap();
    let links = fds.filter_map(|f| fs::read_link(f.unwrap().path()).ok());
    (mapped, links.filter(|l| l.ends_with("netmap")).count())
}

/// Ports of a VALE switch, as the module lists them.
pub fn vale_ports(switch: &str) -> usize {
    let listed = Command::new("vale-ctl").arg("-l").output();
    let Ok(listed) = listed else { return 0 };
    let text = String::from_utf8_lossy(&listed.stdout).into_owned()
        + &String::from_utf8_lossy(&listed.stderr);
    text.lines()
        .filter(|l| l.contains(&format!("{switch}:")))
        .count()
}

/// A `pkt-gen`, found by `PATH`; stopped with SIGINT, which makes it close its port.
pub struct PktGen(Option<Child>);

impl PktGen {
    pub fn start(args: &str) -> PktGen {
        let child = Command::new("pkt-gen")
            .args(args.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        PktGen(Some(child.unwrap()))
    }

    /// One that receives from that port, which it has open.
    pub fn receive(port: &str) -> PktGen {
        let mut receiver = PktGen::start(&format!("-i {port} -f rx -w 1"));
        let said = receiver.0.as_mut().unwrap().stderr.as_mut().unwrap();
        let (mut text, mut byte) = (Vec::new(), [0]);
        // One after the other, so that finish() gets the rest.
        while !text.ends_with(b"Ready") {
            let n = said.read(&mut byte).unwrap();
            assert_eq!(n, 1, "{}", String::from_utf8_lossy(&text));
            text.push(byte[0]);
        }
        receiver
    }

    /// Its output, after it ended by itself or by SIGINT.
    pub fn finish(mut self, stop: bool) -> String {
        let child = self.0.take().unwrap();
        if stop {
            // SAFETY: our child, not waited for yet.
            unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        }
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

impl Drop for PktGen {
    fn drop(&mut self) {
        // A test that failed.
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
        }
    }
}

/// The number behind `word` in what `pkt-gen` said.
pub fn number_after(text: &str, word: &str) -> Option<u64> {
    let rest = text.split(word).nth(1)?;
    rest.split_whitespace().next()?.parse().ok()
}

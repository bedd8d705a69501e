// SPDX-License-Identifier: Apache-2.0
//! Ticks of the time stamp counter for completing checksums, a frame. Run with
//! `cargo bench --bench csum`.

use std::hint::black_box;

use ovs_netmap::test_utils::bytes::RawBytesMut;
use ovs_netmap::test_utils::clock::rdtsc;
use ovs_netmap::test_utils::csum::complete;

const ROUNDS: usize = 50;
const FRAMES: usize = 4096;

fn main() {
    for len in [60, 1514, 9014] {
        for (what, partial) in [("partial", true), ("complete", false)] {
            let ticks = best(&tcp_frame(len, partial), partial);
            println!("{len:5} bytes, {what:8}: {ticks:6.1} ticks per frame");
        }
    }
}

/// The best of some rounds. A frame that was completed is made partial again in each, and only the
/// other work is measured.
fn best(frame: &[u8], partial: bool) -> f64 {
    let mut frames: Vec<Vec<u8>> = (0..32).map(|_| frame.to_vec()).collect();
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let mut ticks = 0;
        for _ in 0..FRAMES / frames.len() {
            for copy in &mut frames {
                copy[50..52].copy_from_slice(&frame[50..52]);
            }
            black_box(&mut frames);
            let start = rdtsc();
            for copy in &mut frames {
                let done = complete(RawBytesMut::from(&mut copy[..]));
                assert_eq!(done, partial);
            }
            ticks += rdtsc() - start;
            black_box(&mut frames);
        }
        best = best.min(ticks as f64 / FRAMES as f64);
    }
    best
}

/// An IPv4 frame with a TCP segment of zeros, between addresses of zeros but for one.
fn tcp_frame(len: usize, partial: bool) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
    frame[23] = 6;
    frame[26] = 10;
    // The pseudo header's sum, and something else.
    let sum = 0x0a00 + 6 + (len - 34) as u16;
    frame[50..52].copy_from_slice(&(sum + u16::from(!partial)).to_be_bytes());
    frame
}

// SPDX-License-Identifier: Apache-2.0
//! With another process at the other end, or killed.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{
    PktGen, frame, free_bufs, mapped_and_open, module, number_after, open, try_open,
};

#[test]
fn pkt_gen_at_the_other_end() {
    let Some(_module) = module() else { return };
    if Command::new("pkt-gen").arg("-h").output().is_err() {
        println!("skipped: no pkt-gen in PATH");
        return;
    }
    // Fewer than a ring has slots: VALE drops what a receiver, which may wait for a CPU, has no room for.
    const COUNT: usize = 1000;
    for (ours, theirs) in [("vale0:1", "vale0:2"), ("netmap:p{1", "netmap:p}1")] {
        // Its port is there before it sends, so nothing is lost for want of a receiver.
        let mut port = open(ours);
        for _ in 0..3 {
            let sender = PktGen::start(&format!("-i {theirs} -f tx -n {COUNT} -l 100 -w 1"));
            for n in 0..COUNT {
                let frame = port.recv_for(0, Duration::from_secs(60));
                let (bytes, _) = frame.unwrap_or_else(|| panic!("{ours}: {n} of {COUNT}"));
                assert_eq!(bytes.len(), 100);
            }
            // It waits until a pipe is empty.
            port.rx(0).sync().unwrap();
            let said = sender.finish(false);
            assert_eq!(number_after(&said, "Sent "), Some(COUNT as u64), "{said}");
        }
        port.close();

        let receiver = PktGen::receive(theirs);
        let mut port = open(ours);
        for i in 0..COUNT as u32 {
            port.send(0, &frame(60, i));
        }
        let flushed = Instant::now();
        while flushed.elapsed() < Duration::from_secs(2) {
            port.tx(0).sync().unwrap();
        }
        let said = receiver.finish(true);
        assert_eq!(
            number_after(&said, "Received "),
            Some(COUNT as u64),
            "{ours}: {said}"
        );
        port.close();
        assert_eq!(mapped_and_open(), (0, 0));
    }
}

/// A process that is killed with extra buffers: the module frees its rings and its port. The extra
/// buffers come back when nobody uses the region any more.
#[test]
fn killed_with_its_port_open() {
    let Some(_module) = module() else { return };
    let keeper = open("vale4:9@1");
    let before = free_bufs(1);
    for round in 1..=3 {
        // SAFETY: the child opens a port, kills itself, and returns into nothing.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let _port = try_open("vale4:1@1", 1, 64);
            // SAFETY: this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        let mut status = 0;
        // SAFETY: our child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFSIGNALED(status));
        let lost = before - free_bufs(1);
        println!("round {round}: {lost} buffers lost while another process has the region");
        assert_eq!(lost, 64 * round);
        let port = open("vale4:1@1");
        port.close();
    }
    keeper.close();
    let again = open("vale4:9@1");
    assert_eq!(free_bufs(1), before);
    again.close();
}

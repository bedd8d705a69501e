// SPDX-License-Identifier: Apache-2.0
//! Tests of the host interfaces: the loopback interface, and a pair of veths where that is allowed.

use super::*;

#[cfg(target_os = "linux")]
const LOOPBACK: &str = "lo";
#[cfg(not(target_os = "linux"))]
const LOOPBACK: &str = "lo0";

#[test]
fn counters_that_went_back_are_of_another_interface() {
    let of = |ifindex, rx_dropped, collisions| super::Statistics {
        ifindex,
        rx_dropped,
        collisions,
        ..super::Statistics::default()
    };
    let before = of(7, 5, 1);
    assert!(before.follows(&before) && of(7, 6, 1).follows(&before));
    assert!(!of(8, 6, 1).follows(&before));
    assert!(!of(7, 6, 0).follows(&before));
}

#[test]
fn an_unknown_name_is_enodev_and_named() {
    for name in [
        "nosuchif0",
        "",
        "a\0b",
        "a_name_of_more_than_15",
        &"x".repeat(128),
    ] {
        let error = HostInterface::read(name).unwrap_err();
        assert_eq!(error.errno(), libc::ENODEV);
        let start = format!("no interface named {name:?}: ");
        assert!(error.to_string().starts_with(&start), "{error}");
        assert!(!exists(name));
        assert!(set_mtu(name, 1500).is_err());
    }
    // Cut at the NUL or the colon these would be the loopback interface.
    assert!(!exists(&format!("{LOOPBACK}\0x")));
    assert!(!exists(&format!("{LOOPBACK}:x")));
}

#[test]
fn the_loopback_interface() {
    assert!(exists(LOOPBACK));
    let lo = HostInterface::read(LOOPBACK).unwrap();
    println!("{lo:?}");
    assert_eq!(lo.name, LOOPBACK);
    assert!(lo.ifindex > 0);
    assert_eq!(lo.mac, [0; 6]);
    assert!(lo.mtu > 0);
    assert!(lo.full_duplex);
    assert_eq!(lo.numa_node, None);
    assert!(lo.n_rx_queues >= 1 && lo.n_tx_queues >= 1);
}

#[cfg(target_os = "linux")]
#[test]
fn no_driver_completes_checksums_on_loopback() {
    let lo = HostInterface::read(LOOPBACK).unwrap();
    match completes_csum(lo.ifindex) {
        Ok(completes) => assert!(!completes),
        Err(e) => {
            println!("the kernel has no netdev family: {e}");
            assert_eq!(e.raw_os_error(), Some(libc::ENOENT));
            return;
        }
    }
    // Not one that happens to be there.
    let gone = completes_csum(i32::MAX as u32).unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ENODEV), "{gone}");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Read;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::super::*;

    /// A pair of veths, gone when dropped.
    struct VethPair {
        near: String,
        far: String,
    }

    impl VethPair {
        /// None, with the reason printed, where the test may not make interfaces.
        fn new(tag: char) -> Option<VethPair> {
            let pid = std::process::id();
            let (near, far) = (format!("nif{tag}{pid}"), format!("nig{tag}{pid}"));
            let args = ["link", "add", &near, "type", "veth", "peer", "name", &far];
            match Command::new("ip").args(args).output() {
                Ok(output) if output.status.success() => Some(VethPair { near, far }),
                Ok(output) => {
                    let reason = String::from_utf8_lossy(&output.stderr);
                    println!("skipped: cannot make a veth pair: {}", reason.trim());
                    None
                }
                Err(error) => {
                    println!("skipped: cannot run ip: {error}");
                    None
                }
            }
        }
    }

    impl Drop for VethPair {
        fn drop(&mut self) {
            let _ = Command::new("ip")
                .args(["link", "del", &self.near])
                .status();
        }
    }

    /// A process in a network namespace of its own; both end when dropped.
    struct Namespace(Child);

    impl Namespace {
        fn new() -> Namespace {
            // It says so when it is there, and ends when we do.
            let script = ["--net", "sh", "-c", "echo; exec cat"];
            let mut process = Command::new("unshare")
                .args(script)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let said = process.stdout.as_mut().unwrap().read(&mut [0]).unwrap();
            assert_eq!(said, 1);
            Namespace(process)
        }

        fn pid(&self) -> String {
            self.0.id().to_string()
        }

        fn path(&self) -> PathBuf {
            format!("/proc/{}/ns/net", self.pid()).into()
        }
    }

    impl Drop for Namespace {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_other_end_of_a_veth_is_found_in_any_namespace() {
        let Some(veth) = VethPair::new('p') else {
            return;
        };
        let peer = |netns: Option<&Path>, tags_beside: u8| {
            Some(VethPeer {
                ifname: veth.far.clone(),
                netns: netns.map(Path::to_owned),
                tags_beside,
            })
        };
        assert_eq!(veth_peer(&veth.near, None, None), peer(None, 3));
        let there = Namespace::new();
        run("ip", &["link", "set", &veth.far, "netns", &there.pid()]);
        let path = there.path();
        assert_eq!(veth_peer(&veth.near, None, None), peer(Some(&path), 3));
        let change = Some((2, false));
        assert_eq!(veth_peer(&veth.near, None, change), peer(Some(&path), 1));
        // One that it is not in does not mislead.
        let near = Some(Path::new("/proc/self/ns/net"));
        assert_eq!(veth_peer(&veth.near, near, None), peer(Some(&path), 1));
        let all = Some((3, true));
        assert_eq!(veth_peer(&veth.near, None, all), peer(Some(&path), 3));
        assert_eq!(veth_peer("lo", None, None), None);
        assert_eq!(veth_peer("nosuchif0", None, None), None);
    }

    fn run(program: &str, args: &[&str]) {
        let status = Command::new(program).args(args).status().unwrap();
        assert!(status.success(), "{program} {args:?}");
    }

    #[test]
    fn vlan_offloads_are_switched_one_by_one() {
        let Some(veth) = VethPair::new('v') else {
            return;
        };
        let name = &veth.near;
        let both = RxVlan {
            active: 3,
            changeable: 3,
        };
        assert_eq!(rx_vlan(name), Ok(both));
        set_rx_vlan(name, 2, false).unwrap();
        assert_eq!(rx_vlan(name).unwrap().active, 1);
        set_rx_vlan(name, 1, false).unwrap();
        set_rx_vlan(name, 1, false).unwrap();
        assert_eq!(rx_vlan(name).unwrap().active, 0);
        set_rx_vlan(name, 3, true).unwrap();
        assert_eq!(rx_vlan(name), Ok(both));
        // One that does not switch it says so.
        assert_eq!(rx_vlan("lo"), Ok(RxVlan::default()));
        let error = set_rx_vlan("lo", 1, true).unwrap_err();
        assert_eq!(error.errno(), libc::EOPNOTSUPP);
        assert!(error.to_string().contains("rx-vlan-hw-parse on"), "{error}");
        assert_eq!(rx_vlan("nosuchif0").unwrap_err().errno(), libc::ENODEV);
    }

    #[test]
    fn what_is_set_is_read_back() {
        let Some(veth) = VethPair::new('a') else {
            return;
        };
        let before = HostInterface::read(&veth.near).unwrap();
        println!("{before:?}");
        assert!(!before.up && !before.carrier && !before.promisc);
        assert_eq!(before.mtu, 1500);
        assert_eq!(before.driver, "veth");
        assert_eq!(before.numa_node, None);
        assert!(before.n_rx_queues >= 1 && before.n_tx_queues >= 1);

        let mac = [0x02, 0, 0, 0xfe, 0x80, 0xff];
        set_mtu(&veth.near, 1400).unwrap();
        set_mac(&veth.near, mac).unwrap();
        set_up(&veth.near, true).unwrap();
        set_promisc(&veth.near, true).unwrap();
        set_up(&veth.far, true).unwrap();

        let near = HostInterface::read(&veth.near).unwrap();
        println!("{near:?}");
        assert_eq!((near.mtu, near.mac), (1400, mac));
        assert!(near.up && near.promisc && near.carrier && near.full_duplex);
        assert_eq!(near.speed_mbps, 10_000);
        assert_eq!(near.ifindex, before.ifindex);
        let far = HostInterface::read(&veth.far).unwrap();
        assert!(far.up && !far.promisc);

        set_up(&veth.far, false).unwrap();
        // The kernel tells of a lost carrier when it gets round to it, within about a second.
        let deadline = Instant::now() + Duration::from_secs(10);
        let cut = loop {
            let cut = HostInterface::read(&veth.near).unwrap();
            if !cut.carrier || Instant::now() > deadline {
                break cut;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(cut.up && !cut.carrier);
        if let (Some(then), Some(now)) = (near.carrier_changes, cut.carrier_changes) {
            assert!(now > then, "{then} {now}");
        }
        set_promisc(&veth.near, false).unwrap();
        set_promisc(&veth.near, false).unwrap();
        let near = HostInterface::read(&veth.near).unwrap();
        assert!(near.up && !near.promisc);
    }

    #[test]
    fn the_driver_refuses_a_bad_mtu_and_says_why() {
        let Some(veth) = VethPair::new('b') else {
            return;
        };
        for mtu in [1, u32::MAX] {
            let error = set_mtu(&veth.near, mtu).unwrap_err();
            assert_eq!(error.errno(), libc::EINVAL);
            let start = format!("interface {:?}: cannot set its MTU to {mtu}: ", veth.near);
            assert!(error.to_string().starts_with(&start), "{error}");
        }
        assert_eq!(HostInterface::read(&veth.near).unwrap().mtu, 1500);
    }

    /// Runs `ip` with `args`.
    fn ip(args: &str) {
        let done = Command::new("ip").args(args.split_whitespace()).status();
        assert!(done.unwrap().success(), "ip {args}");
    }

    /// Each of two threads sets one flag all the time. None takes back what the other has set.
    #[test]
    fn flags_change_one_by_one() {
        let Some(veth) = VethPair::new('d') else {
            return;
        };
        let near = veth.near.as_str();
        std::thread::scope(|scope| {
            let ups = scope.spawn(|| {
                for _ in 0..200 {
                    for up in [true, false] {
                        set_up(near, up).unwrap();
                        assert_eq!(HostInterface::read(near).unwrap().up, up);
                    }
                }
            });
            while !ups.is_finished() {
                for promisc in [true, false] {
                    set_promisc(near, promisc).unwrap();
                    assert_eq!(HostInterface::read(near).unwrap().promisc, promisc);
                }
            }
            ups.join().unwrap();
        });
    }

    #[test]
    fn an_interface_is_known_by_its_other_names() {
        let Some(veth) = VethPair::new('e') else {
            return;
        };
        let near = &veth.near;
        let long = format!("{near}-of-a-name-of-more-than-15-bytes");
        for other in [format!("v@{near}"), long] {
            ip(&format!("link property add dev {near} altname {other}"));
            let (own, found) = (HostInterface::read(near), HostInterface::read(&other));
            assert_eq!(found.unwrap(), own.unwrap());
            set_mtu(&other, 1300).unwrap();
            assert_eq!(HostInterface::read(near).unwrap().mtu, 1300);
            set_mtu(&other, 1400).unwrap();
        }
    }

    #[test]
    fn only_ethernet_is_ethernet() {
        let Some(veth) = VethPair::new('f') else {
            return;
        };
        let link = HostInterface::read(&veth.near).unwrap();
        assert!(link.ethernet && link.hardware_type == libc::ARPHRD_ETHER);
        let tun = format!("nit{}", std::process::id());
        ip(&format!("tuntap add {tun} mode tun"));
        let link = HostInterface::read(&tun);
        ip(&format!("link delete {tun}"));
        let link = link.unwrap();
        assert!(!link.ethernet && link.hardware_type == libc::ARPHRD_NONE);
    }

    #[test]
    fn a_vanished_interface_is_enodev_and_a_new_one_has_a_new_index() {
        let Some(veth) = VethPair::new('c') else {
            return;
        };
        let first = HostInterface::read(&veth.near).unwrap().ifindex;
        let far = veth.far.clone();
        drop(veth);
        let error = HostInterface::read(&far).unwrap_err();
        assert_eq!(error.errno(), libc::ENODEV);
        let Some(veth) = VethPair::new('c') else {
            return;
        };
        assert_ne!(HostInterface::read(&veth.near).unwrap().ifindex, first);
    }
}

#[test]
fn links_are_looked_at_by_number() {
    let mut links = LinkEvents::new().unwrap();
    let number = os::ifindex("lo").or_else(|_| os::ifindex("lo0")).unwrap();
    let (name, _) = links.look(number).unwrap().unwrap();
    assert!(name.starts_with("lo"), "{name}");
    assert_eq!(links.look(i32::MAX as u32).unwrap(), None);
    links.wait(std::time::Duration::ZERO);
}

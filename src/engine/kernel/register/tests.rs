// SPDX-License-Identifier: Apache-2.0

use super::*;

#[test]
fn headroom_leaves_room_for_the_longest_frame() {
    let rule = |mtu, step| HeadroomRule {
        longest_frame: mtu + FRAME_OVERHEAD,
        step,
    };
    let offsets = |max, initial| Some(Offsets { max, initial });
    assert_eq!(rule(1500, 1).offsets(2048), offsets(512, 256));
    assert_eq!(rule(1700, 1).offsets(2048), offsets(320, 256));
    // Less than wanted, but worth having.
    assert_eq!(rule(1850, 1).offsets(2048), offsets(128, 128));
    assert_eq!(rule(1900, 1).offsets(2048), None);
    assert_eq!(rule(9000, 1).offsets(2048), None);
    assert_eq!(rule(u32::MAX - FRAME_OVERHEAD, 1).offsets(2048), None);
    // In steps of 1 KiB nothing is left of 2 KiB.
    assert_eq!(rule(1500, 1024).offsets(2048), None);
    assert_eq!(rule(1500, 1024).offsets(4096), offsets(2048, 256));
}

#[test]
fn a_port_asks_for_what_its_name_says() {
    let ask = |text: &str| {
        let name = PortName::parse(text).unwrap();
        let mut request = OpenRequest::small(&name);
        request.port.n_rxq = 3;
        PortRequest::of(&request).map(|r| (r.netmap_name, r.mode, r.rings, r.headroom.is_some()))
    };
    let all = (NR_REG_ALL_NIC, 0);
    assert_eq!(ask("vale0:1").unwrap(), ("vale0:1".into(), all, 3, true));
    assert_eq!(ask("netmap:x{1").unwrap(), ("x{1".into(), all, 3, false));
    assert_eq!(ask("netmap:lo").unwrap(), ("lo".into(), all, 0, true));
    assert_eq!(ask("netmap:lo-2").unwrap().1, (NR_REG_ONE_NIC, 2));
    assert_eq!(ask("netmap:lo^").unwrap().1, (NR_REG_SW, 0));
    let missing = ask("netmap:no-such-if").unwrap_err();
    assert_eq!(missing.errno(), libc::ENODEV);
    assert!(
        missing.to_string().contains("netmap:no-such-if"),
        "{missing}"
    );
    assert_eq!(ask("null:0").unwrap_err().errno(), libc::EINVAL);
}

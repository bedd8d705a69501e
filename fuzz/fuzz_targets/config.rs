// SPDX-License-Identifier: Apache-2.0
//! Any keys and values as `other_config`, one `key=value` a line: what comes of it is within bounds,
//! each bad value is complained about once, and reading it again changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_netmap::test_utils::config::{self, BufSize, Config};

const KEYS: [&str; 6] = [
    config::KEY_INIT,
    config::KEY_EXTRA_BUFS,
    config::KEY_RXSYNC_INTERVAL,
    config::KEY_ENGINE,
    config::KEY_REGION_BUFS,
    config::KEY_BUF_SIZE,
];

fuzz_target!(|text: &str| {
    // A key is a name, or just its number among the keys there are.
    let name = |key| match str::parse::<usize>(key) {
        Ok(i) => KEYS[i % KEYS.len()],
        Err(_) => key,
    };
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let pairs: Vec<_> = lines.map(|(key, value)| (name(key), value)).collect();
    let get = |key: &str| {
        let pair = pairs.iter().find(|pair| pair.0 == key)?;
        Some(pair.1.to_owned())
    };

    let (parsed, problems) = Config::parse(&get);
    check(&parsed);
    for problem in &problems {
        let about = |key: &&&str| problem.starts_with(&format!("other_config:{key}="));
        assert_eq!(KEYS.iter().filter(about).count(), 1, "{problem}");
    }
    let present = KEYS.iter().filter(|key| get(key).is_some()).count();
    assert!(problems.len() <= present);
    assert_eq!(Config::parse(&get), (parsed, problems));

    // From whatever the input before left behind, enabled or not.
    config::reload(&get);
    let current = config::current();
    check(&current);
    let generation = config::generation();
    assert!(config::reload(&get).is_empty());
    assert_eq!(
        (config::current(), config::generation()),
        (current, generation)
    );
    if !parsed.init {
        // A switch that starts again.
        config::set(Config::DEFAULT);
    }
});

fn check(read: &Config) {
    assert!((32..=1 << 20).contains(&read.extra_bufs));
    assert!(read.rxsync_interval.us() <= config::MAX_RXSYNC_INTERVAL_US);
    assert!((4096..=1 << 22).contains(&read.region_bufs));
    let sizes = [BufSize::Auto, BufSize::Bytes(2048), BufSize::Bytes(4096)];
    assert!(sizes.contains(&read.buf_size));
}

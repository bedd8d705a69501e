// SPDX-License-Identifier: Apache-2.0
//! Configuration: of the whole process, which is the keys in `other_config` of table `Open_vSwitch`, and
//! of one port.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

mod port;

pub use port::PortConfig;

/// Enables the port type.
pub const KEY_INIT: &str = "netmap-init";
/// Extra buffers asked for when a port is opened.
pub const KEY_EXTRA_BUFS: &str = "netmap-nextrabufs";
/// Shortest time between two receive syncs of an idle queue, in microseconds.
pub const KEY_RXSYNC_INTERVAL: &str = "rxsync-intval";
/// Who moves the packets.
pub const KEY_ENGINE: &str = "netmap-engine";
/// Buffers in the user-space region.
pub const KEY_REGION_BUFS: &str = "netmap-region-bufs";
/// Bytes of a buffer of the user-space region.
pub const KEY_BUF_SIZE: &str = "netmap-buf-size";

const KEYS: [&str; 6] = [
    KEY_INIT,
    KEY_EXTRA_BUFS,
    KEY_RXSYNC_INTERVAL,
    KEY_ENGINE,
    KEY_REGION_BUFS,
    KEY_BUF_SIZE,
];

/// Every packet that OVS holds keeps one extra buffer; with none left nothing is received. What it
/// can hold at a time: 1000 fragments waiting for reassembly (`IPF_MAX_FRAGS_DEFAULT`, all ports
/// together), 32 packets of output batch for each thread and port (512 with four of both), and two
/// magazines of 64 for each thread (512 with four). That is 2024. In 2 KiB buffers it is 4 MiB a
/// port, and an eightieth of the module's default region (163840 buffers).
const EXTRA_BUFS: Bounds<u32> = Bounds {
    min: 32,
    default: 2048,
    max: 1 << 20,
};

/// Most microseconds between two syncs of an idle ring: a second is already useless, more is a typing
/// error.
pub const MAX_RXSYNC_INTERVAL_US: u64 = 1_000_000;

/// [`RxsyncInterval::Auto`] without load. It is the original's default: at 10 Gbit/s some 70 of the smallest
/// frames arrive in 5 µs, which is far from filling a ring.
const AUTO_RXSYNC_INTERVAL_US: u64 = 5;

/// The default holds seven AF_XDP ports with one ring pair (2560 slots) and their extra buffers, in
/// 64 MiB. Less than the minimum does not hold one.
const REGION_BUFS: Bounds<u32> = Bounds {
    min: 4096,
    default: 32_768,
    max: 1 << 22,
};

/// A frame of AF_XDP lies within one page, so there is no larger size than 4096; below 2048 an
/// ordinary Ethernet frame and its headroom would not fit.
const BUF_SIZES: [u32; 2] = [SMALLEST_BUF_SIZE, LARGEST_BUF_SIZE];

/// The smallest value of `netmap-buf-size`, and the largest one.
pub const SMALLEST_BUF_SIZE: u32 = 2048;
pub const LARGEST_BUF_SIZE: u32 = 4096;

struct Bounds<T> {
    min: T,
    default: T,
    max: T,
}

/// Value of `netmap-engine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// The kernel module where it is loaded, else user space.
    #[default]
    Auto,
    /// The kernel module or nothing.
    Kernel,
    /// AF_XDP and ports inside the process, even where the module is loaded.
    Userspace,
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineChoice::Auto => "auto",
            EngineChoice::Kernel => "kernel",
            EngineChoice::Userspace => "userspace",
        })
    }
}

/// Value of `netmap-buf-size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BufSize {
    /// The smallest, but the largest for devices that may have zero copy.
    #[default]
    Auto,
    /// So many bytes.
    Bytes(u32),
}

impl BufSize {
    /// Bytes of new buffers for a port that needs `smallest`.
    pub fn bytes(self, smallest: u32) -> u32 {
        match self {
            BufSize::Auto => smallest,
            BufSize::Bytes(bytes) => bytes,
        }
    }

    /// Whether buffers of `bytes`, which are there, will do for it.
    pub fn will_do(self, bytes: u32, smallest: u32) -> bool {
        match self {
            BufSize::Auto => bytes >= smallest,
            BufSize::Bytes(wanted) => bytes == wanted,
        }
    }
}

impl fmt::Display for BufSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BufSize::Auto => f.write_str("auto"),
            BufSize::Bytes(bytes) => bytes.fmt(f),
        }
    }
}

/// Value of `rxsync-intval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RxsyncInterval {
    /// A short one while little arrives, a longer one while much does
    /// ([`Throttle`](crate::throttle::Throttle)).
    Auto,
    /// So many microseconds, always.
    Us(u64),
}

impl RxsyncInterval {
    /// The shortest it can be, in microseconds.
    pub fn us(self) -> u64 {
        match self {
            RxsyncInterval::Auto => AUTO_RXSYNC_INTERVAL_US,
            RxsyncInterval::Us(us) => us,
        }
    }
}

impl fmt::Display for RxsyncInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RxsyncInterval::Auto => write!(f, "{AUTO_RXSYNC_INTERVAL_US} and longer under load"),
            RxsyncInterval::Us(us) => us.fmt(f),
        }
    }
}

/// The configuration of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// `netmap-init`: whether the port type is enabled.
    pub init: bool,
    /// `netmap-nextrabufs`: extra buffers a port asks for.
    pub extra_bufs: u32,
    /// `rxsync-intval`: for ports without one of their own.
    pub rxsync_interval: RxsyncInterval,
    /// `netmap-engine`.
    pub engine: EngineChoice,
    /// `netmap-region-bufs`: buffers in the user-space region.
    pub region_bufs: u32,
    /// `netmap-buf-size`: bytes of a buffer of the user-space region.
    pub buf_size: BufSize,
}

impl Config {
    /// What holds without any key.
    pub const DEFAULT: Config = Config {
        init: false,
        extra_bufs: EXTRA_BUFS.default,
        rxsync_interval: RxsyncInterval::Auto,
        engine: EngineChoice::Auto,
        region_bufs: REGION_BUFS.default,
        buf_size: BufSize::Auto,
    };

    /// Reads all keys with `get`. A bad value keeps the default; for each there is a sentence for
    /// the log.
    pub fn parse(get: &dyn Fn(&str) -> Option<String>) -> (Config, Vec<String>) {
        let mut reader = Reader {
            get,
            problems: Vec::new(),
        };
        let config = Config {
            init: reader.boolean(KEY_INIT),
            extra_bufs: reader.integer(KEY_EXTRA_BUFS, &EXTRA_BUFS),
            rxsync_interval: reader.rxsync_interval(),
            engine: reader.engine(),
            region_bufs: reader.integer(KEY_REGION_BUFS, &REGION_BUFS),
            buf_size: reader.buf_size(),
        };
        (config, reader.problems)
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::DEFAULT
    }
}

/// Reads keys and collects what is wrong with them.
struct Reader<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// The value of `key` as `parse` understands it, else `default` and a complaint.
    fn read<T: fmt::Display>(
        &mut self,
        key: &str,
        default: T,
        expected: impl fmt::Display,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        let Some(text) = (self.get)(key) else {
            return default;
        };
        parse(&text).unwrap_or_else(|| {
            self.problems.push(format!(
                "other_config:{key}={text:?} is not {expected}; using the default, {default}"
            ));
            default
        })
    }

    /// As `smap_get_bool()` with a false default has it, but not silent about a third word.
    fn boolean(&mut self, key: &str) -> bool {
        self.read(key, false, "\"true\" or \"false\"", |text| {
            if text.eq_ignore_ascii_case("true") {
                Some(true)
            } else if text.eq_ignore_ascii_case("false") {
                Some(false)
            } else {
                None
            }
        })
    }

    fn integer<T>(&mut self, key: &str, bounds: &Bounds<T>) -> T
    where
        T: Copy + PartialOrd + fmt::Display + std::str::FromStr,
    {
        let Bounds { min, default, max } = *bounds;
        let expected = format_args!("an integer from {min} to {max}");
        // strtoll(), which reads integers for the rest of OVS, skips leading white space.
        self.read(key, default, expected, |text| {
            let value: T = text.trim_start().parse().ok()?;
            (value >= min && value <= max).then_some(value)
        })
    }

    fn rxsync_interval(&mut self) -> RxsyncInterval {
        let expected = format_args!("an integer from 0 to {MAX_RXSYNC_INTERVAL_US}");
        self.read(
            KEY_RXSYNC_INTERVAL,
            RxsyncInterval::Auto,
            expected,
            |text| {
                let us = text.trim_start().parse().ok()?;
                (us <= MAX_RXSYNC_INTERVAL_US).then_some(RxsyncInterval::Us(us))
            },
        )
    }

    fn engine(&mut self) -> EngineChoice {
        let expected = "\"auto\", \"kernel\" or \"userspace\"";
        self.read(KEY_ENGINE, EngineChoice::Auto, expected, |text| {
            [
                EngineChoice::Auto,
                EngineChoice::Kernel,
                EngineChoice::Userspace,
            ]
            .into_iter()
            .find(|choice| text == choice.to_string())
        })
    }

    fn buf_size(&mut self) -> BufSize {
        let [small, page] = BUF_SIZES;
        let expected = format_args!("\"auto\", {small} or {page}");
        self.read(KEY_BUF_SIZE, BufSize::Auto, expected, |text| {
            if text == BufSize::Auto.to_string() {
                return Some(BufSize::Auto);
            }
            let value = text.trim_start().parse().ok()?;
            BUF_SIZES.contains(&value).then_some(BufSize::Bytes(value))
        })
    }
}

/// The values of all keys as they were read, to notice that nothing has changed.
type Raw = [Option<String>; KEYS.len()];

/// The current configuration.
struct Store {
    state: RwLock<State>,
    /// Number of changes to what ports may have copied. Written under `state`'s lock.
    generation: AtomicU64,
}

struct State {
    config: Config,
    /// What it is after a restart.
    wanted: Config,
    raw: Option<Raw>,
}

impl Store {
    const fn new() -> Store {
        Store {
            state: RwLock::new(State {
                config: Config::DEFAULT,
                wanted: Config::DEFAULT,
                raw: None,
            }),
            generation: AtomicU64::new(0),
        }
    }

    fn set(&self, config: Config) {
        let mut state = self.state.write();
        state.raw = None;
        state.wanted = config;
        self.publish(&mut state, config);
    }

    fn publish(&self, state: &mut State, config: Config) {
        if state.config != config {
            state.config = config;
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    fn reload(&self, get: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
        let raw: Raw = KEYS.map(get);
        let mut state = self.state.write();
        if state.raw.as_ref() == Some(&raw) {
            return Vec::new();
        }
        let (wanted, mut messages) = Config::parse(get);
        let first = state.raw.replace(raw).is_none();
        let old = state.config;
        state.wanted = wanted;
        if first || !old.init {
            self.publish(&mut state, wanted);
            return messages;
        }
        for (key, changed) in [
            (KEY_INIT, wanted.init != old.init),
            (KEY_ENGINE, wanted.engine != old.engine),
            (KEY_REGION_BUFS, wanted.region_bufs != old.region_bufs),
            (KEY_BUF_SIZE, wanted.buf_size != old.buf_size),
        ] {
            if changed {
                messages.push(format!(
                    "other_config:{key} has changed: it takes effect when ovs-vswitchd is restarted"
                ));
            }
        }
        let config = Config {
            extra_bufs: wanted.extra_bufs,
            rxsync_interval: wanted.rxsync_interval,
            ..old
        };
        self.publish(&mut state, config);
        messages
    }
}

static STORE: Store = Store::new();

/// The current configuration.
pub fn current() -> Config {
    STORE.state.read().config
}

/// The configuration as it would be after a restart.
pub fn wanted() -> Config {
    STORE.state.read().wanted
}

/// Replaces the current configuration. [`reload`] takes its next reading as the first one.
pub fn set(config: Config) {
    STORE.set(config);
}

/// Reads the keys and makes the configuration current; meant for every pass of the main loop, and
/// cheap when nothing has changed. Returns sentences for the log, each only once per change.
///
/// Everything is taken as long as `netmap-init` is false, and when it turns true. Then
/// `rxsync-intval` is taken, and `netmap-nextrabufs` for ports to come; the rest waits for a restart,
/// which is said.
pub fn reload(get: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    STORE.reload(get)
}

/// Grows with each change of the configuration: one load tells a port that follows a global value
/// whether to look again.
pub fn generation() -> u64 {
    STORE.generation.load(Ordering::Acquire)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
        Config::parse(&|key| lookup(pairs, key))
    }

    /// The configuration of a process that has seen `netmap-init=true`.
    fn enabled() -> Store {
        let store = Store::new();
        store.reload(&|key| lookup(&[(KEY_INIT, "true")], key));
        assert!(store.state.read().config.init);
        store
    }

    fn lookup(pairs: &[(&str, &str)], key: &str) -> Option<String> {
        let pair = pairs.iter().find(|pair| pair.0 == key)?;
        Some(pair.1.to_owned())
    }

    /// `key=value` is complained about with its key, value and `expected`; the default stays.
    #[track_caller]
    fn refused(key: &str, value: &str, expected: &str) {
        let (config, problems) = parse(&[(key, value)]);
        assert_eq!(config, Config::DEFAULT, "{key}={value}");
        let [problem] = &problems[..] else {
            panic!("{problems:?}");
        };
        let place = format!("other_config:{key}={value:?} is not ");
        assert!(problem.starts_with(&place), "{problem}");
        assert!(problem.contains(expected), "{problem}");
        assert!(problem.contains("using the default"), "{problem}");
    }

    #[test]
    fn no_keys_mean_the_defaults() {
        assert_eq!(parse(&[]), (Config::DEFAULT, vec![]));
        assert_eq!(Config::default().rxsync_interval.us(), 5);
    }

    #[test]
    fn every_key_is_read() {
        let (config, problems) = parse(&[
            (KEY_INIT, "TRUE"),
            (KEY_EXTRA_BUFS, "32"),
            (KEY_RXSYNC_INTERVAL, "0"),
            (KEY_ENGINE, "userspace"),
            (KEY_REGION_BUFS, " 4096"),
            (KEY_BUF_SIZE, "4096"),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        let expected = Config {
            init: true,
            extra_bufs: 32,
            rxsync_interval: RxsyncInterval::Us(0),
            engine: EngineChoice::Userspace,
            region_bufs: 4096,
            buf_size: BufSize::Bytes(4096),
        };
        assert_eq!(config, expected);
        assert_eq!(parse(&[(KEY_BUF_SIZE, "auto")]), (Config::DEFAULT, vec![]));
    }

    #[test]
    fn bad_values_are_refused() {
        refused(KEY_INIT, "yes", "\"true\" or \"false\"");
        refused(KEY_EXTRA_BUFS, "31", "from 32 to 1048576");
        refused(KEY_EXTRA_BUFS, "1048577", "from 32 to 1048576");
        refused(KEY_EXTRA_BUFS, "64 ", "an integer");
        refused(KEY_RXSYNC_INTERVAL, "-1", "from 0 to 1000000");
        refused(KEY_RXSYNC_INTERVAL, "1000001", "from 0 to 1000000");
        refused(KEY_RXSYNC_INTERVAL, "5us", "an integer");
        refused(KEY_RXSYNC_INTERVAL, "", "an integer");
        refused(KEY_ENGINE, "Kernel", "\"auto\", \"kernel\" or");
        refused(KEY_REGION_BUFS, "4095", "from 4096 to 4194304");
        refused(KEY_BUF_SIZE, "8192", "\"auto\", 2048 or 4096");
    }

    #[test]
    fn one_bad_value_does_not_spoil_the_others() {
        let (config, problems) = parse(&[(KEY_EXTRA_BUFS, "x"), (KEY_RXSYNC_INTERVAL, "7")]);
        assert_eq!(problems.len(), 1);
        assert_eq!(config.rxsync_interval, RxsyncInterval::Us(7));
    }

    #[test]
    fn reload_complains_once_per_change() {
        let store = Store::new();
        let bad: &[(&str, &str)] = &[(KEY_INIT, "true"), (KEY_EXTRA_BUFS, "0")];
        assert_eq!(store.reload(&|key| lookup(bad, key)).len(), 1);
        assert!(store.reload(&|key| lookup(bad, key)).is_empty());
        let worse: &[(&str, &str)] = &[(KEY_INIT, "true"), (KEY_EXTRA_BUFS, "1")];
        assert_eq!(store.reload(&|key| lookup(worse, key)).len(), 1);
    }

    #[test]
    fn the_interval_is_followed_at_run_time() {
        let store = enabled();
        let before = store.generation.load(Ordering::Acquire);
        let changed: &[(&str, &str)] = &[(KEY_INIT, "true"), (KEY_RXSYNC_INTERVAL, "50")];
        assert!(store.reload(&|key| lookup(changed, key)).is_empty());
        assert_eq!(
            store.state.read().config.rxsync_interval,
            RxsyncInterval::Us(50)
        );
        assert_eq!(store.generation.load(Ordering::Acquire), before + 1);
    }

    #[test]
    fn what_needs_a_restart_is_announced() {
        let store = enabled();
        let changed: &[(&str, &str)] = &[(KEY_INIT, "true"), (KEY_ENGINE, "kernel")];
        let messages = store.reload(&|key| lookup(changed, key));
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].contains(KEY_ENGINE) && messages[0].contains("restarted"));
        assert_eq!(store.state.read().config.engine, EngineChoice::Auto);

        let off = store.reload(&|key| lookup(&[(KEY_INIT, "false")], key));
        assert!(off.iter().any(|m| m.contains(KEY_INIT)), "{off:?}");
        assert!(store.state.read().config.init);
    }

    #[test]
    fn a_set_configuration_holds_until_the_keys_are_read() {
        let store = Store::new();
        let config = Config {
            extra_bufs: 77,
            ..Config::DEFAULT
        };
        store.set(config);
        store.set(config);
        assert_eq!(store.state.read().config, config);
        assert_eq!(store.generation.load(Ordering::Acquire), 1);
        assert!(store.reload(&|_| None).is_empty());
        assert_eq!(store.state.read().config, Config::DEFAULT);
    }

    proptest! {
        #[test]
        fn any_text_gives_values_in_bounds(text in any::<String>(), number in any::<i64>()) {
            for value in [text, number.to_string()] {
                let (config, _) = Config::parse(&|_| Some(value.clone()));
                prop_assert!((32..=1 << 20).contains(&config.extra_bufs));
                prop_assert!(config.rxsync_interval.us() <= MAX_RXSYNC_INTERVAL_US);
                prop_assert!((4096..=1 << 22).contains(&config.region_bufs));
                let sizes = [2048, 4096].map(BufSize::Bytes);
                prop_assert!(sizes.contains(&config.buf_size) || config.buf_size == BufSize::Auto);
            }
        }
    }
}

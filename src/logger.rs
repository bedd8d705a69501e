// SPDX-License-Identifier: Apache-2.0
//! From the `log` crate to the log of Open vSwitch, and a limit for messages from the data path.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Severity of a log message, most severe first.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something is wrong.
    Err = 0,
    /// Something is odd.
    Warn = 1,
    /// Something happened.
    Info = 2,
    /// Details.
    Dbg = 3,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> LogLevel {
        match level {
            Level::Error => LogLevel::Err,
            Level::Warn => LogLevel::Warn,
            Level::Info => LogLevel::Info,
            Level::Debug | Level::Trace => LogLevel::Dbg,
        }
    }
}

/// Takes a level and a message; may be called by any thread.
pub type Callback = Box<dyn Fn(LogLevel, &str) + Send + Sync>;

static BRIDGE: Bridge = Bridge {
    callback: OnceLock::new(),
};

thread_local! {
    /// Whether this thread is inside the callback. Has no destructor, so that a thread may log to
    /// its very end.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Sends what the library logs to `callback`, from now on and for good. Before that, messages are
/// dropped. False, and nothing changes, when a callback is installed already or the program has
/// given the `log` crate a logger of its own.
pub fn install(callback: Callback) -> bool {
    if BRIDGE.callback.get().is_some() {
        return false;
    }
    // Fails when this very logger is set, too: by a call that lost the race below.
    if log::set_logger(&BRIDGE).is_err() && !is_ours() {
        return false;
    }
    let installed = BRIDGE.callback.set(callback).is_ok();
    // OVS filters by module at run time; what is more detailed than its levels is not built.
    log::set_max_level(LevelFilter::Debug);
    installed
}

fn is_ours() -> bool {
    std::ptr::addr_eq(log::logger(), &raw const BRIDGE)
}

struct Bridge {
    callback: OnceLock<Callback>,
}

/// Marks the thread as being inside the callback, until dropped: by a panic, too.
struct Inside;

impl Inside {
    /// None when it is already: OVS's logging has logged something through us, and would do so
    /// for ever.
    fn enter() -> Option<Inside> {
        INSIDE
            .with(|inside| !inside.replace(true))
            .then_some(Inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with(|inside| inside.set(false));
    }
}

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Debug && self.callback.get().is_some()
    }

    fn log(&self, record: &Record<'_>) {
        let (Some(callback), true) = (self.callback.get(), self.enabled(record.metadata())) else {
            return;
        };
        let Some(_inside) = Inside::enter() else {
            return;
        };
        let level = record.level().into();
        match record.args().as_str() {
            Some(message) => callback(level, message),
            None => callback(level, &record.args().to_string()),
        }
    }

    fn flush(&self) {}
}

/// Keeps a message that every packet could cause from filling the log. Any thread may use it; it
/// takes no lock.
///
/// It is a token bucket, kept as the one number that describes it: the time at which it will be full
/// again. Each message moves that time one interval ahead; it may not lie more than `burst` intervals
/// in the future.
pub struct RateLimit {
    interval_ms: u64,
    burst: u64,
    full_at_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimit {
    /// At most `burst` messages at once, and `per_minute` of them in a minute. Zeros count as ones.
    pub const fn new(per_minute: u32, burst: u32) -> RateLimit {
        let per_minute = if per_minute == 0 { 1 } else { per_minute };
        RateLimit {
            interval_ms: 60_000_u64.div_ceil(per_minute as u64),
            burst: if burst == 0 { 1 } else { burst as u64 },
            full_at_ms: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Logs `message` at `level`, or counts it as suppressed. A message that gets through says how
    /// many did not since the one before. Formatting happens only then.
    pub fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        if !log::log_enabled!(level) {
            return;
        }
        match self.admit() {
            Some(0) => log::log!(level, "{message}"),
            Some(n) => log::log!(level, "{message} ({n} similar messages were suppressed)"),
            None => {}
        }
    }

    /// Whether one more message may be logged now: if so, how many were suppressed before it.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(now_ms())
    }

    fn admit_at(&self, now: u64) -> Option<u64> {
        let latest = now.saturating_add((self.burst - 1).saturating_mul(self.interval_ms));
        // Relaxed: the number guards no other memory.
        let admitted =
            self.full_at_ms
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                    let full_at = full_at.max(now);
                    (full_at <= latest).then(|| full_at.saturating_add(self.interval_ms))
                });
        match admitted {
            Ok(_) => Some(self.suppressed.swap(0, Ordering::Relaxed)),
            Err(_) => {
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

/// Milliseconds since this was first asked.
fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::Command;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;

    /// There is only one logger in a process, and other tests may want it: this one runs itself
    /// again in a process of its own.
    #[test]
    fn messages_reach_the_callback_once_it_is_installed() {
        const CHILD: &str = "OVS_NETMAP_TEST_LOGGER";
        if std::env::var_os(CHILD).is_none() {
            let (_, module) = module_path!().split_once("::").unwrap();
            let name = format!("{module}::messages_reach_the_callback_once_it_is_installed");
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &name])
                .env(CHILD, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{text}");
            assert!(text.contains("1 passed"), "{text}");
            return;
        }

        log::error!("nobody hears this");

        let seen: Arc<Mutex<Vec<(LogLevel, String)>>> = Arc::default();
        let sink = Arc::clone(&seen);
        assert!(install(Box::new(move |level, message| {
            // A log that logs itself: heard nowhere, and no recursion.
            log::error!("from inside");
            assert_ne!(message, "panic", "wanted by the test");
            sink.lock().push((level, message.to_owned()));
        })));
        assert!(!install(Box::new(|_, _| panic!("not installed"))));

        let panicked = catch_unwind(AssertUnwindSafe(|| log::warn!("panic")));
        assert!(panicked.is_err());

        log::error!("e");
        log::warn!("{}", "w");
        log::info!("i");
        log::debug!("d");
        log::trace!("not heard");
        let limit = RateLimit::new(1, 1);
        for n in 0..3 {
            limit.log(Level::Warn, format_args!("limited {n}"));
        }
        std::thread::spawn(|| log::info!("t")).join().unwrap();

        let seen = seen.lock().clone();
        let expected = [
            (LogLevel::Err, "e"),
            (LogLevel::Warn, "w"),
            (LogLevel::Info, "i"),
            (LogLevel::Dbg, "d"),
            (LogLevel::Warn, "limited 0"),
            (LogLevel::Info, "t"),
        ]
        .map(|(level, message)| (level, message.to_owned()));
        assert_eq!(seen, expected);
    }

    #[test]
    fn five_a_minute() {
        let limit = RateLimit::new(5, 5);
        let admitted = (0..100).filter(|_| limit.admit_at(0).is_some()).count();
        assert_eq!(admitted, 5);
        assert_eq!(limit.admit_at(11_999), None);
        assert_eq!(limit.admit_at(12_000), Some(96));
        assert_eq!(limit.admit_at(12_000), None);
        assert_eq!(limit.admit_at(24_000), Some(1));
    }

    #[test]
    fn a_long_silence_allows_one_burst() {
        let limit = RateLimit::new(60, 3);
        let day = 86_400_000;
        let admitted = (0..10).filter(|_| limit.admit_at(day).is_some()).count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn zeros_count_as_ones() {
        let limit = RateLimit::new(0, 0);
        assert_eq!(limit.admit_at(0), Some(0));
        assert_eq!(limit.admit_at(59_999), None);
        assert_eq!(limit.admit_at(60_000), Some(1));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let limit = RateLimit::new(u32::MAX, u32::MAX);
        assert_eq!(limit.admit_at(u64::MAX), Some(0));
        assert_eq!(limit.admit_at(0), None);
    }

    #[test]
    fn threads_together_get_no_more_than_the_burst() {
        let limit = RateLimit::new(1, 5);
        let admitted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        if limit.admit_at(7).is_some() {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 5);
    }

    proptest! {
        /// Whenever messages come, in any time the bound holds, and none is forgotten.
        #[test]
        fn bounded_and_counted(
            per_minute in 1..200u32,
            burst in 1..20u32,
            gaps in prop::collection::vec(0..2_000u64, 1..300),
        ) {
            let limit = RateLimit::new(per_minute, burst);
            let (mut now, mut admitted, mut suppressed) = (0, 0u64, 0);
            let asked = gaps.len() as u64;
            for gap in gaps {
                now += gap;
                if let Some(before) = limit.admit_at(now) {
                    admitted += 1;
                    suppressed += before;
                }
            }
            suppressed += limit.suppressed.load(Ordering::Relaxed);
            prop_assert_eq!(admitted + suppressed, asked);
            prop_assert!(admitted <= u64::from(burst) + now * u64::from(per_minute) / 60_000);
        }
    }
}

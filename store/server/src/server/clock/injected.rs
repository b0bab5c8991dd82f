//! A clock that somebody else makes run wrong, for testing testers: faster, slower, standing still, or leaping ahead.
//!
//! Orders come in a file, `--clock-file`, which whoever injects faults replaces as a whole (write another one, rename it), and
//! which the node looks at when it reads its clock, at most every [`LOOK_EVERY`]. Each order has a serial number; the node answers
//! a new one by replacing `<file>.reading` with what its clock read at that moment ([`Reading`]): before the order and after it,
//! beside the machine's. So the injector sees, from the very clock that the node's promises hang on, that the clock has gone
//! wrong and that it is right again.
//!
//! Why a file: a call on the node's port could be made by every client, would be in the way of the node's own work, and could not be
//! made while the node is cut off from the injector or before it serves; a signal carries no number. A file is written by who may
//! write the node's folder, who could do worse; it says how the clock is to run to a process that is started later, too; and a
//! node that lost its injector is mended with an editor. Without the file the clock is right. The flag is refused unless the
//! environment allows it, as defects are ([`CLOCK_FAULTS_VARIABLE`](crate::options::CLOCK_FAULTS_VARIABLE)).
//!
//! Invariants: the clock never runs back, whatever the orders say: what it has gained or lost stays, only its rate changes, and
//! it leaps only ahead. A leap happens once in the life of a process: those that its first order has are of its predecessors.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

/// No more often than this is the file looked at. In the machine's time.
pub const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A clock a hundred times too fast is the fastest one.
const MAXIMUM_RATE_PERMILLE: u64 = 100_000;

/// How a clock is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// A new one for each order: it is answered once.
    pub serial: u64,
    /// How many milliseconds the clock gains in a second of the machine's; 0: it stands still.
    pub rate_permille: u64,
    /// Leaps ahead, in milliseconds, by their numbers, each of which is obeyed once.
    pub jumps_ms: BTreeMap<u64, u64>,
}

/// What a clock read when it took an order. Times since the process began to count, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The order's.
    pub serial: u64,
    /// The rate from now on.
    pub rate_permille: u64,
    /// The machine's clock.
    pub machine_ns: u64,
    /// The node's, before the order.
    pub before_ns: u64,
    /// The node's at the same moment, after it: another one only if it leapt.
    pub after_ns: u64,
    /// The process found this order when it began: its leaps are of its predecessors, and were not made.
    #[serde(default)]
    pub is_first: bool,
}

/// How wrong a clock is. Pure.
#[derive(Debug)]
struct Deviation {
    /// What it read when the machine's read `since`.
    base: Duration,
    since: Duration,
    rate_permille: u64,
}

impl Deviation {
    fn reading_at(&self, machine: Duration) -> Duration {
        let passed_ns = machine.saturating_sub(self.since).as_nanos() * u128::from(self.rate_permille) / 1000;
        self.base.saturating_add(Duration::from_nanos(u64::try_from(passed_ns).unwrap_or(u64::MAX)))
    }

    fn change(&mut self, machine: Duration, rate_permille: u64, jump: Duration) {
        self.base = self.reading_at(machine).saturating_add(jump);
        self.since = machine.max(self.since);
        self.rate_permille = rate_permille;
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct InjectedClock {
    file: PathBuf,
    deviation: Deviation,
    /// When the file was looked at last, and what was in it.
    looked_at: Option<Duration>,
    content: Vec<u8>,
    /// The numbers of the leaps that need not be made any more.
    jumped: BTreeSet<u64>,
    has_begun: bool,
}

impl InjectedClock {
    pub fn new(file: &Path) -> InjectedClock {
        let deviation = Deviation { base: Duration::ZERO, since: Duration::ZERO, rate_permille: 1000 };
        InjectedClock {
            file: file.to_owned(),
            deviation,
            looked_at: None,
            content: Vec::new(),
            jumped: BTreeSet::new(),
            has_begun: false,
        }
    }

    /// What it reads when the machine's reads `machine`, after a look at the orders if it is time for one.
    pub fn reading_at(&mut self, machine: Duration) -> Duration {
        if self.looked_at.is_none_or(|looked_at| machine.saturating_sub(looked_at) >= LOOK_EVERY) {
            self.looked_at = Some(machine);
            self.look(machine);
        }
        self.deviation.reading_at(machine)
    }

    fn look(&mut self, machine: Duration) {
        let content = match std::fs::read(&self.file) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            // As it was: a clock that is right now and then is a fault that nobody ordered.
            Err(_) => return,
        };
        if content != self.content {
            self.content = content;
            self.obey(machine);
        }
        self.has_begun = true;
    }

    fn obey(&mut self, machine: Duration) {
        if self.content.is_empty() {
            return self.deviation.change(machine, 1000, Duration::ZERO);
        }
        let order: Order = match serde_json::from_slice(&self.content) {
            Ok(order) => order,
            Err(error) => {
                let file = self.file.display();
                warn!(event = "clock_order", %file, %error, "an order that makes no sense: the clock runs as before");
                return;
            }
        };
        let rate_permille = order.rate_permille.min(MAXIMUM_RATE_PERMILLE);
        let mut jump_ms = 0_u64;
        for (number, ms) in &order.jumps_ms {
            if self.jumped.insert(*number) && self.has_begun {
                jump_ms = jump_ms.saturating_add(*ms);
            }
        }
        let before = self.deviation.reading_at(machine);
        self.deviation.change(machine, rate_permille, Duration::from_millis(jump_ms));
        let after = self.deviation.reading_at(machine);
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let reading = Reading {
            serial: order.serial,
            rate_permille,
            machine_ns: nanoseconds(machine),
            before_ns: nanoseconds(before),
            after_ns: nanoseconds(after),
            is_first: !self.has_begun,
        };
        if let Err(error) = self.answer(&reading) {
            let file = self.file.display();
            warn!(event = "clock_order", %file, %error, "what the clock reads cannot be written");
        }
    }

    fn answer(&self, reading: &Reading) -> std::io::Result<()> {
        let file = reading_file(&self.file);
        let draft = file.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec(reading)?)?;
        std::fs::rename(draft, file)
    }
}

/// Where the node answers the orders in `clock_file`: `<clock_file>.reading`.
#[must_use]
pub fn reading_file(clock_file: &Path) -> PathBuf {
    let mut name = clock_file.as_os_str().to_owned();
    name.push(".reading");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    struct Bench {
        folder: tempfile::TempDir,
        clock: InjectedClock,
        serial: u64,
    }

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let clock = InjectedClock::new(&folder.path().join("clock.json"));
            Bench { folder, clock, serial: 0 }
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("clock.json")
        }

        fn order(&mut self, rate_permille: u64, jumps_ms: &[(u64, u64)]) {
            self.serial += 1;
            let order =
                Order { serial: self.serial, rate_permille, jumps_ms: jumps_ms.iter().copied().collect() };
            std::fs::write(self.file(), serde_json::to_vec(&order).unwrap()).unwrap();
        }

        fn reading(&self) -> Reading {
            serde_json::from_slice(&std::fs::read(reading_file(&self.file())).unwrap()).unwrap()
        }
    }

    #[test]
    fn it_is_right_without_orders_and_goes_as_they_say_from_then_on() {
        let mut bench = Bench::new();
        assert_eq!(bench.clock.reading_at(ms(10)), ms(10));
        bench.order(500, &[]);
        assert_eq!(bench.clock.reading_at(ms(20)), ms(20));
        assert_eq!(bench.clock.reading_at(ms(120)), ms(70));
        bench.order(0, &[]);
        assert_eq!(bench.clock.reading_at(ms(220)), ms(120), "half as fast until the order was seen");
        assert_eq!(bench.clock.reading_at(ms(900)), ms(120), "frozen");
        std::fs::remove_file(bench.file()).unwrap();
        assert_eq!(bench.clock.reading_at(ms(1_000)), ms(120));
        assert_eq!(bench.clock.reading_at(ms(1_100)), ms(220), "right again, and what it lost stays lost");
    }

    #[test]
    fn an_order_is_answered_with_what_the_clock_read_before_and_after_it() {
        let mut bench = Bench::new();
        let _ = bench.clock.reading_at(ms(1));
        bench.order(2_000, &[(7, 30)]);
        let _ = bench.clock.reading_at(ms(10));
        let expected = Reading {
            serial: 1,
            rate_permille: 2_000,
            machine_ns: 10_000_000,
            before_ns: 10_000_000,
            after_ns: 40_000_000,
            is_first: false,
        };
        assert_eq!(bench.reading(), expected);
        bench.order(2_000, &[(7, 30)]);
        let _ = bench.clock.reading_at(ms(20));
        assert_eq!((bench.reading().before_ns, bench.reading().after_ns), (60_000_000, 60_000_000));
    }

    #[test]
    fn a_process_that_is_started_again_runs_as_ordered_but_makes_no_leap_of_its_predecessor() {
        let mut bench = Bench::new();
        bench.order(500, &[(1, 5_000)]);
        assert_eq!(bench.clock.reading_at(ms(0)), ms(0));
        assert!(bench.reading().is_first);
        assert_eq!(bench.clock.reading_at(ms(100)), ms(50));
        bench.order(500, &[(1, 5_000), (2, 1_000)]);
        assert_eq!(bench.clock.reading_at(ms(200)), ms(1_100));
    }

    #[test]
    fn it_looks_no_more_often_than_it_may_and_passes_over_nonsense() {
        let mut bench = Bench::new();
        let _ = bench.clock.reading_at(ms(10));
        bench.order(0, &[]);
        assert_eq!(bench.clock.reading_at(ms(11)), ms(11), "not yet");
        assert_eq!(bench.clock.reading_at(ms(12)), ms(12));
        assert_eq!(bench.clock.reading_at(ms(13)), ms(12));
        for nonsense in ["{", "[]", r#"{"serial":1}"#, "\u{0}"] {
            std::fs::write(bench.file(), nonsense).unwrap();
            assert_eq!(bench.clock.reading_at(ms(1_000)), ms(12), "{nonsense}");
        }
    }

    proptest! {
        // Each order is a file.
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn it_never_runs_back(
            steps in prop::collection::vec((0_u64..50, 0_u64..200_000, 0_u64..4, any::<u64>()), 1..24)
        ) {
            let mut bench = Bench::new();
            let (mut machine_ms, mut last) = (0, Duration::ZERO);
            for (passed_ms, rate_permille, jump, by_ms) in steps {
                machine_ms += passed_ms;
                bench.order(rate_permille, &[(jump, by_ms)]);
                let reading = bench.clock.reading_at(ms(machine_ms));
                prop_assert!(reading >= last);
                last = reading;
            }
        }
    }
}

//! Failpoints: named places in a running node at which an order makes whoever passes pause, fail, or end the process.
//!
//! For testing testers: a signal from outside hits a process anywhere, and hardly ever between two lines that matter. After gofail
//! (etcd: `raftBeforeSave`, `raftAfterSave`, `walBeforeSync`, `raftBeforeFollowerSend`) and fail-rs (TiKV), but with no registry of the
//! process: a node has its own, or none. Without it nothing is passed and nothing is paid; with it, a pass of a point for which there is
//! no order is two atomic operations.
//!
//! They are off unless a node is started with `--failpoints`, which the environment must allow
//! ([`FAILPOINTS_VARIABLE`](crate::options::FAILPOINTS_VARIABLE)). Orders come from `labrys-store ctl failpoint`, are served beside the node's
//! own thread, which may be the one that pauses, and are forgotten when the process ends.
//!
//! Nothing of it is in the Raft core or in the state machine: all points are in the threads that carry out what those decide. A correct
//! node bears every action at every point: a pause is a slow thread, an end a crash, and an error is handled where the real one would be.

mod disk;

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tracing::warn;

use crate::exit::Exit;

pub use disk::PassingDisk;

/// Ten minutes: for a node, that is for ever.
const LONGEST_PAUSE_MS: u64 = 600_000;

/// Declares the points once: variant, name, who passes there and what an error means.
macro_rules! points {
    ($($variant:ident $name:literal $what:literal)*) => {
        /// A place.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $(#[doc = $what] $variant,)*
        }

        impl Point {
            /// All of them, in the order in which a request meets them.
            pub const ALL: &'static [Point] = &[$(Point::$variant,)*];

            /// The name in orders.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Point::$variant => $name,)* }
            }

            /// Who passes there, and what an error means to him.
            #[must_use]
            pub fn describe(self) -> &'static str {
                match self { $(Point::$variant => $what,)* }
            }
        }
    };
}

points! {
    BeforeIntake "before-intake"
        "The node's thread is awake, and has taken nothing yet of what waits for it; an error ends the node."
    BeforeStep "before-step"
        "It has taken what waits and read the clock, and nothing of it is handled; an error ends the node."
    BeforeVoteReply "before-vote-reply"
        "It is about to answer a candidate, with what it promises already durable; on an error the answer is lost."
    BeforeAppendReply "before-append-reply"
        "It is about to acknowledge entries to its leader, which are durable already; on an error the answer is lost."
    BeforeReadAnswer "before-read-answer"
        "It has read the state for a client, under a lease that was valid, and looks at the clock again afterwards; on an error the read is refused."
    BeforeWriteAnswer "before-write-answer"
        "It has applied a client's write and has not said so; on an error the client is not told what came of it."
    BeforeWalSync "before-wal-sync"
        "The disk's thread has written to the log and not synced it; an error is that of a failed sync, and ends the node."
    AfterWalSync "after-wal-sync"
        "It has synced the log, and nobody knows yet; an error ends the node all the same."
    BeforeLogRemove "before-log-remove"
        "It is about to remove a segment of the log that a snapshot stands for; an error ends the node."
    BeforeSnapshotRename "before-snapshot-rename"
        "The snapshots' thread has a complete and synced snapshot under a temporary name; an error ends the node."
}

/// There is no such point.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no failpoint `{name}`; there are: {}", Point::ALL.iter().map(|point| point.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownPoint {
    /// What was asked for.
    pub name: String,
}

impl FromStr for Point {
    type Err = UnknownPoint;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let point = Point::ALL.iter().copied().find(|point| point.name() == name);
        point.ok_or_else(|| UnknownPoint { name: name.to_owned() })
    }
}

/// What happens to whoever passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It waits for so long, or until the order is cleared.
    Pause(Duration),
    /// The process ends at once, with [`Exit::Failpoint`].
    Exit,
    /// It gets an error.
    Error,
}

/// A text that is no action.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is no action of a failpoint; there are: `pause MS` (1 to {LONGEST_PAUSE_MS}), `exit`, `error`"
)]
pub struct UnknownAction {
    /// What was given.
    pub text: String,
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownAction { text: text.to_owned() };
        match text.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            ["exit"] => Ok(Action::Exit),
            ["error"] => Ok(Action::Error),
            ["pause", ms] => {
                let ms: u64 = ms.parse().map_err(|_| unknown())?;
                let is_in_range = (1..=LONGEST_PAUSE_MS).contains(&ms);
                is_in_range.then(|| Action::Pause(Duration::from_millis(ms))).ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Pause(time) => write!(formatter, "pause {}", time.as_millis()),
            Action::Exit => formatter.write_str("exit"),
            Action::Error => formatter.write_str("error"),
        }
    }
}

/// The error that a failpoint gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an order says that the failpoint `{}` fails", point.name())]
pub struct Reached {
    /// Which.
    pub point: Point,
}

/// A look at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointStatus {
    /// Which.
    pub point: Point,
    /// What happens to whoever passes next; `None`: nothing.
    pub action: Option<Action>,
    /// How often that will be; `None`: until it is cleared.
    pub times_left: Option<u64>,
    /// How often the point was passed since the start of the process.
    pub passes: u64,
    /// How often the latest order had an effect.
    pub struck: u64,
}

/// The latest order about a point.
#[derive(Clone, Copy, Debug, Default)]
struct Order {
    action: Option<Action>,
    times_left: Option<u64>,
    struck: u64,
    /// Grows with each order: whoever pauses sees that his is over.
    serial: u64,
}

/// What is looked at without a lock.
#[derive(Debug, Default)]
struct Sign {
    passes: AtomicU64,
    /// There may be an order.
    is_ordered: AtomicBool,
}

const POINTS: usize = Point::ALL.len();

/// The points of a node.
#[derive(Debug, Default)]
pub struct Failpoints {
    signs: [Sign; POINTS],
    orders: Mutex<[Order; POINTS]>,
    changed: Condvar,
}

impl Failpoints {
    fn lock(&self) -> MutexGuard<'_, [Order; POINTS]> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `action` happens to whoever passes `point`, `times` times, or until it is cleared. An earlier order about the point
    /// is forgotten, and whoever pauses by it goes on.
    pub fn set(&self, point: Point, action: Action, times: Option<u64>) {
        self.order(point, Some(action).filter(|_| times != Some(0)), times, |_| 0);
    }

    /// Nothing happens at `point` any more, and whoever pauses there goes on. How often the order had an effect stays known.
    pub fn clear(&self, point: Point) {
        self.order(point, None, None, |struck| struck);
    }

    /// The same for all points.
    pub fn clear_all(&self) {
        Point::ALL.iter().for_each(|point| self.clear(*point));
    }

    fn order(
        &self,
        point: Point,
        action: Option<Action>,
        times_left: Option<u64>,
        struck: impl FnOnce(u64) -> u64,
    ) {
        let order = &mut self.lock()[point as usize];
        *order = Order { action, times_left, struck: struck(order.struck), serial: order.serial + 1 };
        self.signs[point as usize].is_ordered.store(action.is_some(), Ordering::Release);
        self.changed.notify_all();
    }

    /// All points, in the order of [`Point::ALL`].
    #[must_use]
    pub fn list(&self) -> Vec<PointStatus> {
        let orders = self.lock();
        let status = |point: &Point| {
            let Order { action, times_left, struck, .. } = orders[*point as usize];
            let passes = self.signs[*point as usize].passes.load(Ordering::Relaxed);
            PointStatus { point: *point, action, times_left: action.and(times_left), passes, struck }
        };
        Point::ALL.iter().map(status).collect()
    }

    /// Passes a point.
    ///
    /// # Errors
    ///
    /// If an order says so.
    pub fn pass(&self, point: Point) -> Result<(), Reached> {
        let sign = &self.signs[point as usize];
        sign.passes.fetch_add(1, Ordering::Relaxed);
        if !sign.is_ordered.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut orders = self.lock();
        let Order { action: Some(action), times_left, serial, .. } = orders[point as usize] else {
            return Ok(());
        };
        let order = &mut orders[point as usize];
        order.struck += 1;
        order.times_left = times_left.map(|times| times.saturating_sub(1));
        if order.times_left == Some(0) {
            order.action = None;
            sign.is_ordered.store(false, Ordering::Release);
        }
        warn!(event = "failpoint", point = point.name(), action = %action, "an order about this place takes effect");
        match action {
            Action::Error => Err(Reached { point }),
            // Under the lock, so that nobody is told that the order is cleared while it takes effect.
            Action::Exit => std::process::exit(Exit::Failpoint as i32),
            Action::Pause(time) => {
                let is_same = |orders: &mut [Order; POINTS]| orders[point as usize].serial == serial;
                drop(self.changed.wait_timeout_while(orders, time, is_same));
                Ok(())
            }
        }
    }
}

/// Passes a point of a node that may have none.
///
/// # Errors
///
/// If an order says so.
pub fn pass(failpoints: Option<&Failpoints>, point: Point) -> Result<(), Reached> {
    failpoints.map_or(Ok(()), |failpoints| failpoints.pass(point))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const POINT: Point = Point::BeforeIntake;

    fn status(failpoints: &Failpoints) -> PointStatus {
        failpoints.list().into_iter().find(|status| status.point == POINT).unwrap()
    }

    #[test]
    fn every_name_and_action_is_read_back_and_what_is_none_is_refused_with_those_that_are() {
        for point in Point::ALL {
            assert_eq!(point.name().parse(), Ok(*point));
            assert_eq!(Point::ALL[*point as usize], *point);
        }
        for text in ["pause 1", "pause 600000", "exit", "error"] {
            assert_eq!(text.parse::<Action>().unwrap().to_string(), text);
        }
        for text in ["", "pause", "pause 0", "pause 600001", "pause -1", "pause 1 2", "sleep 3", "exit 1"] {
            assert_eq!(text.parse::<Action>(), Err(UnknownAction { text: text.to_owned() }));
        }
        let refusal = "before-lunch".parse::<Point>().unwrap_err().to_string();
        assert!(refusal.contains("before-lunch") && refusal.contains("before-wal-sync"), "{refusal}");
    }

    #[test]
    fn passes_are_counted_and_an_error_comes_as_often_as_it_was_ordered() {
        let failpoints = Failpoints::default();
        assert_eq!(failpoints.pass(POINT), Ok(()));
        failpoints.set(POINT, Action::Error, Some(2));
        assert_eq!(status(&failpoints).times_left, Some(2));
        let passed: Vec<bool> = (0..4).map(|_| failpoints.pass(POINT).is_ok()).collect();
        assert_eq!(passed, [false, false, true, true]);
        let PointStatus { action, times_left, passes, struck, .. } = status(&failpoints);
        assert_eq!((action, times_left, passes, struck), (None, None, 5, 2));
        assert_eq!(failpoints.pass(Point::BeforeStep), Ok(()), "each point is by itself");

        failpoints.set(POINT, Action::Error, None);
        assert!(failpoints.pass(POINT).is_err() && failpoints.pass(POINT).is_err());
        failpoints.clear(POINT);
        assert_eq!(failpoints.pass(POINT), Ok(()));
        assert_eq!((status(&failpoints).action, status(&failpoints).struck), (None, 2));
        failpoints.set(POINT, Action::Error, Some(0));
        assert_eq!(failpoints.pass(POINT), Ok(()), "not at all is not for ever");
    }

    #[test]
    fn a_pause_ends_when_it_is_cleared() {
        let failpoints = Arc::new(Failpoints::default());
        failpoints.set(POINT, Action::Pause(Duration::from_secs(300)), Some(1));
        let passing = std::thread::spawn({
            let failpoints = Arc::clone(&failpoints);
            move || failpoints.pass(POINT)
        });
        while status(&failpoints).struck == 0 {
            std::thread::yield_now();
        }
        assert!(!passing.is_finished());
        failpoints.clear_all();
        assert_eq!(passing.join().unwrap(), Ok(()));
    }

    #[test]
    fn who_has_none_passes() {
        assert_eq!(pass(None, POINT), Ok(()));
    }
}

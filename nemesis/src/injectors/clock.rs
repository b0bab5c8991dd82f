//! Clocks: the reference store's own, which runs as wrong as a file on its host says, if it was started so; those of programs that were started
//! under libfaketime ([`faketime_clock`]); or those of the machines, where these may be moved ([`machine_clock`]).
//!
//! `labrys-store --clock-file` is where the protocol is told (`store/server/src/server/clock/injected.rs`); in short: an *order* in the
//! file has a serial number, a rate and leaps; the node answers each in `FILE.reading` with what its clock, the very one that its leases
//! hang on, and the machine's read at that moment, before the order and after it. An order is replaced as a whole, by a rename.
//!
//! What is verified is what the node's clock did, not what the file says: that a leap took it ahead by just so much at one moment, and
//! that between two moments at least [`WATCHED_NS`] apart it gained what its rate says, to a microsecond. Both are arithmetic on the
//! node's answers; nothing depends on when they were asked for.
//!
//! Where faults overlap on a node, the rate is that which is furthest from right among the rates that they ask for; so the order of a
//! node is a function of the set of its faults, and undoing one leaves what the others ask for. A leap is over when it is made; undoing it
//! takes it off the list. A clock never runs back: what it gained or lost stays, and undoing restores its rate alone.
//!
//! A process that is dead gets no order that it would answer, and one that is stopped by another fault none that it answers now; the file
//! says how their clocks are to run when they live again, and is what is looked at instead. Of these there is no bite.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{InjectError, Injector, Scope, StepReport, faketime_clock, living_daemon, machine_clock};
use crate::evidence::{Effect, NodeFailure, Step};
use crate::faketime::ClockMeans;
use crate::fault::{ClockChange, Resolved};
use crate::host::{Host, HostError, ProcessState};

pub(super) struct Clock;

/// Over so long, in the machine's time, is a rate watched: the slightest drift, of a percent, is a hundred microseconds then.
const WATCHED_NS: u64 = 10_000_000;

/// Rounding: the node counts in nanoseconds and rounds down twice.
const PRECISION_NS: i128 = 1_000;

pub(super) const RIGHT_PERMILLE: u64 = 1000;

/// What a file says: see the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    serial: u64,
    rate_permille: u64,
    jumps_ms: BTreeMap<u64, u64>,
}

/// What a node answers: see the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Reading {
    serial: u64,
    rate_permille: u64,
    machine_ns: u64,
    before_ns: u64,
    after_ns: u64,
    #[serde(default)]
    is_first: bool,
}

impl Injector for Clock {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        if is_of_machines(scope) {
            return machine_clock::objections(scope);
        }
        let nodes = scope.resolved.nodes().into_iter();
        nodes
            .filter_map(|node| means(scope, node).err().map(|error| (node, error)))
            .map(|(node, error)| NodeFailure {
                node: node.to_owned(),
                step: Step::Apply,
                detail: error.to_string(),
            })
            .collect()
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        if is_of_machines(scope) {
            return machine_clock::apply(scope);
        }
        scope.on_each_node(Step::Apply, |node, host| {
            let file = match means(scope, node)? {
                ClockMeans::Orders(file) => file,
                ClockMeans::Libfaketime(means) => return faketime_clock::apply(scope, node, host, &means),
            };
            let clock = Remote { host, file };
            let mut jumps_ms = clock.order()?.jumps_ms;
            jumps_ms.extend(change(scope.resolved).and_then(jump_ms).map(|ms| (scope.fault_id, ms)));
            clock.give(rate_permille(scope, node, change(scope.resolved)), jumps_ms)?;
            Ok(Vec::new())
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        if is_of_machines(scope) {
            return machine_clock::verify(scope);
        }
        scope.on_each_node(Step::Verify, |node, host| {
            let file = match means(scope, node)? {
                ClockMeans::Orders(file) => file,
                ClockMeans::Libfaketime(means) => return faketime_clock::verify(scope, node, host, &means),
            };
            let clock = Remote { host, file };
            let Some(taken) = clock.answer(scope)? else { return Ok(vec![Effect::ClockUnread]) };
            let expected = rate_permille(scope, node, change(scope.resolved));
            let effect = match change(scope.resolved).and_then(jump_ms) {
                // Ordered while the process began, which takes the leaps of its first order for its predecessors'.
                Some(_) if taken.is_first => return Ok(vec![Effect::ClockUnread]),
                Some(ms) => {
                    let leapt_ns = taken.after_ns.saturating_sub(taken.before_ns);
                    if leapt_ns != ms.saturating_mul(1_000_000) {
                        return Err(unexpected(format!(
                            "its clock leapt by {leapt_ns} ns instead of {ms} ms"
                        )));
                    }
                    let before = Reading { after_ns: taken.before_ns, ..taken };
                    Effect::ClockWrong { from_us: offset_us(&before), to_us: offset_us(&taken), within_us: 0 }
                }
                None => {
                    let Some(later) = clock.watch(scope, taken, expected)? else {
                        return Ok(vec![Effect::ClockUnread]);
                    };
                    match change(scope.resolved).map(own_rate_permille) {
                        Some(own) if own != expected => {
                            // Another fault takes the clock further from right: what it does is no bite of this one.
                            Effect::ClockStillWrong { offset_us: offset_us(&later) }
                        }
                        _ => Effect::ClockWrong {
                            from_us: offset_us(&taken),
                            to_us: offset_us(&later),
                            within_us: later.machine_ns.saturating_sub(taken.machine_ns) / 1_000,
                        },
                    }
                }
            };
            Ok(vec![effect])
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        if is_of_machines(scope) {
            return machine_clock::undo(scope);
        }
        scope.on_each_node(Step::Undo, |node, host| {
            let file = match means(scope, node)? {
                ClockMeans::Orders(file) => file,
                ClockMeans::Libfaketime(means) => return faketime_clock::undo(scope, node, host, &means),
            };
            let clock = Remote { host, file };
            let mut jumps_ms = clock.order()?.jumps_ms;
            jumps_ms.remove(&scope.fault_id);
            clock.give(rate_permille(scope, node, None), jumps_ms)?;
            Ok(Vec::new())
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        if is_of_machines(scope) {
            return machine_clock::verify_undone(scope);
        }
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            let file = match means(scope, node)? {
                ClockMeans::Orders(file) => file,
                ClockMeans::Libfaketime(means) => {
                    return faketime_clock::verify_undone(scope, node, host, &means);
                }
            };
            let clock = Remote { host, file };
            let expected = rate_permille(scope, node, None);
            let order = clock.order()?;
            if order.rate_permille != expected || order.jumps_ms.contains_key(&scope.fault_id) {
                return Err(unexpected("the order that its clock has is still that of the fault".to_owned()));
            }
            let Some(taken) = clock.answer(scope)? else { return Ok(Vec::new()) };
            let Some(later) = clock.watch(scope, taken, expected)? else { return Ok(Vec::new()) };
            let offset_us = offset_us(&later);
            Ok(vec![match expected {
                RIGHT_PERMILLE => Effect::ClockRight { offset_us },
                _ => Effect::ClockStillWrong { offset_us },
            }])
        })
    }
}

fn is_of_machines(scope: &Scope<'_>) -> bool {
    !scope.clock_program.is_empty()
}

pub(super) fn change(resolved: &Resolved) -> Option<ClockChange> {
    match resolved {
        Resolved::Clock { change, .. } => Some(*change),
        _ => None,
    }
}

pub(super) fn jump_ms(change: ClockChange) -> Option<u64> {
    match change {
        ClockChange::JumpMs(ms) => Some(ms),
        ClockChange::DriftPercent(_) | ClockChange::Freeze => None,
    }
}

/// How far from right a change makes the rate, in thousandths.
pub(super) fn deviation_permille(change: ClockChange) -> i64 {
    match change {
        // Slower than standing still is standing still.
        ClockChange::DriftPercent(percent) => (i64::from(percent) * 10).max(-1000),
        ClockChange::Freeze => -1000,
        ClockChange::JumpMs(_) => 0,
    }
}

pub(super) fn own_rate_permille(change: ClockChange) -> u64 {
    RIGHT_PERMILLE.saturating_add_signed(deviation_permille(change))
}

/// The rate that the faults on a node ask for: the others, and this one if it is given.
pub(super) fn rate_permille(scope: &Scope<'_>, node: &str, this: Option<ClockChange>) -> u64 {
    let on_node = |resolved: &&Resolved| resolved.nodes().contains(&node);
    let others = scope.others.iter().map(|(resolved, _)| *resolved).filter(on_node).filter_map(change);
    // Of two that are as far from right in either direction, the slower one: any rule will do that does not ask who came first.
    let furthest =
        others.chain(this).map(deviation_permille).max_by_key(|deviation| (deviation.abs(), -deviation));
    RIGHT_PERMILLE.saturating_add_signed(furthest.unwrap_or(0))
}

fn means(scope: &Scope<'_>, node: &str) -> Result<ClockMeans, InjectError> {
    let means = scope.daemons.get(node).and_then(|specification| specification.clock.clone());
    means.ok_or_else(|| {
        unexpected("its daemon was not started with a clock that can be made to run wrong".to_owned())
    })
}

fn offset_us(reading: &Reading) -> i64 {
    let offset_ns = i128::from(reading.after_ns) - i128::from(reading.machine_ns);
    i64::try_from(offset_ns / 1_000).unwrap_or(i64::MAX)
}

pub(super) fn unexpected(detail: String) -> InjectError {
    InjectError::Unexpected(detail)
}

/// The clock of a node, at arm's length.
struct Remote<'a> {
    host: &'a dyn Host,
    file: PathBuf,
}

impl Remote<'_> {
    /// The order that it has; the one for a clock that is right if it has none, or one that makes no sense.
    fn order(&self) -> Result<Order, InjectError> {
        let none = Order { serial: 0, rate_permille: RIGHT_PERMILLE, jumps_ms: BTreeMap::new() };
        Ok(self.read(&self.file)?.unwrap_or(none))
    }

    /// Gives another one, under a new number.
    fn give(&self, rate_permille: u64, jumps_ms: BTreeMap<u64, u64>) -> Result<u64, InjectError> {
        let serial = self.order()?.serial + 1;
        let order = Order { serial, rate_permille, jumps_ms };
        let text = serde_json::to_vec(&order).map_err(|error| unexpected(error.to_string()))?;
        // The node has a draft of its answer beside it, of another name (`clock.json.draft`).
        let draft = beside(&self.file, ".order");
        self.host.write_file(&draft, &text)?;
        self.host.run("mv", &["-f", "--", &draft.to_string_lossy(), &self.file.to_string_lossy()])?;
        Ok(serial)
    }

    /// The answer to the order that it has; `None` if there is nobody who could give one.
    fn answer(&self, scope: &Scope<'_>) -> Result<Option<Reading>, InjectError> {
        let serial = self.order()?.serial;
        let file = beside(&self.file, ".reading");
        // `Some(None)`: nobody will answer.
        let waited = scope.patience.wait_for(|| {
            let reading: Option<Reading> = self.read(&file)?;
            if let Some(reading) = reading.filter(|reading| reading.serial == serial) {
                return Ok(Some(Some(reading)));
            }
            let runs = matches!(living_daemon(self.host)?, Some((_, ProcessState::Running)));
            Ok::<_, InjectError>((!runs).then_some(None))
        })?;
        waited.ok_or_else(|| {
            let waited_ms = scope.patience.settle_ms;
            unexpected(format!("it has not told what its clock reads within {waited_ms} ms"))
        })
    }

    /// Sees for at least [`WATCHED_NS`] after an answer that the clock runs at `expected`, and gives the later answer. `None` if nobody
    /// answers any more.
    fn watch(
        &self,
        scope: &Scope<'_>,
        first: Reading,
        expected: u64,
    ) -> Result<Option<Reading>, InjectError> {
        let mut first = first;
        let watched = scope.patience.wait_for(|| {
            let order = self.order()?;
            self.give(order.rate_permille, order.jumps_ms)?;
            let Some(later) = self.answer(scope)? else { return Ok(Some(None)) };
            if later.machine_ns < first.machine_ns {
                // Another process, which has just begun to count.
                first = later;
            }
            let is_enough = later.machine_ns - first.machine_ns >= WATCHED_NS;
            Ok::<_, InjectError>(is_enough.then_some(Some(later)))
        })?;
        let Some(later) = watched.ok_or_else(|| unexpected("its clock could not be watched".to_owned()))?
        else {
            return Ok(None);
        };
        let passed_ns = i128::from(later.machine_ns - first.machine_ns);
        let gained_ns = i128::from(later.before_ns) - i128::from(first.after_ns);
        let error_ns = gained_ns - passed_ns * i128::from(expected) / 1000;
        if error_ns.abs() > PRECISION_NS {
            let detail = format!(
                "its clock gained {gained_ns} ns in {passed_ns} ns, which is not {expected} thousandths of that"
            );
            return Err(unexpected(detail));
        }
        Ok(Some(later))
    }

    /// The content of a file, if it is there and makes sense.
    fn read<T: for<'de> Deserialize<'de>>(&self, file: &Path) -> Result<Option<T>, InjectError> {
        match self.host.read_file(file) {
            Ok(content) => Ok(serde_json::from_slice(&content).ok()),
            Err(HostError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

//! [`PlannedFaults`]: a schedule as a generator of the nemesis thread.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use labrys_history::{Event, EventKind, Process, Value};
use labrys_nemesis::{Condition, Happening, Schedule, Scheduled, Trigger};
use labrys_workloads::Op;
use labrys_workloads::generator::{
    BoxGenerator, Context, Generator, GeneratorExt, Invocation, Peek, Taken, Thread, nemesis,
};

use crate::db::ClusterSignals;

/// What an operation of the nemesis does to its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Undo it. Before `Apply` at the same time: what ends then makes room for what begins.
    Undo,
    /// Apply it.
    Apply,
}

impl Action {
    /// The word in the history: `apply`, `undo`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Action::Apply => "apply",
            Action::Undo => "undo",
        }
    }

    /// The action called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Action> {
        [Action::Apply, Action::Undo].into_iter().find(|action| action.name() == name)
    }
}

/// What the cluster is doing, for faults that wait for it.
pub type Signals = Arc<dyn Fn() -> ClusterSignals + Send + Sync>;

/// A schedule, as operations of the nemesis thread: each fault is applied at its time and undone at the end of its duration.
/// If the nemesis falls behind, its operations come as soon as it is free, in order.
///
/// A fault that waits for something is applied when that is so, and undone its duration later, or when it is so no more if that is
/// what it waited for. Whether it is so is looked at every 10 ms. It ends with the run at the latest, and does not begin if less than a
/// second of its time is left by then: it would meet nobody.
///
/// A fault that could not be undone is tried again after 2 s, and then after twice as long each time, while the run lasts.
pub struct PlannedFaults {
    steps: VecDeque<(u64, Op)>,
    all: BTreeMap<u64, Scheduled>,
    /// How many steps have been begun.
    begun: u64,
    /// How often the undoing of a fault has been tried again.
    retries: BTreeMap<u64, u32>,
    waiting: Vec<Waiting>,
    /// In force while their condition holds, with the time at which they end in any case.
    held: Vec<(u64, Condition, Scheduled)>,
    signals: Signals,
    tally: Arc<Mutex<Tally>>,
    unmet: Unmet,
    looks_at_ns: u64,
    ends_ns: u64,
}

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// Between two looks at what faults wait for.
const LOOK_EVERY_NS: u64 = 10 * NANOSECONDS_PER_MILLISECOND;

/// A fault that waits and would have less of its time before the end of the run does not begin.
const LEAST_NS: u64 = 1_000 * NANOSECONDS_PER_MILLISECOND;

/// Before a fault that could not be undone is tried for the first time again.
const RETRY_AFTER_NS: u64 = 2_000 * NANOSECONDS_PER_MILLISECOND;

/// A fault that waits.
struct Waiting {
    fault: Scheduled,
    trigger: Trigger,
    /// What was so when it began to wait.
    since: Option<(Tally, ClusterSignals)>,
}

/// What has happened so far, as the generator was told.
#[derive(Clone, Debug, Default)]
struct Tally {
    completed: u64,
    not_ok: u64,
    applied: BTreeSet<u64>,
    undone: BTreeSet<u64>,
    /// Steps of faults that came to their end, well or not.
    ended: u64,
    /// The faults that could not be undone, since that was looked at last.
    not_undone: Vec<u64>,
}

/// The faults that still wait, or waited in vain.
#[derive(Clone, Debug, Default)]
pub struct Unmet(Arc<Mutex<BTreeMap<u64, Scheduled>>>);

impl Unmet {
    /// By number.
    #[must_use]
    pub fn faults(&self) -> Vec<Scheduled> {
        lock(&self.0).values().cloned().collect()
    }

    /// What the history is to say of such a fault: the convention that checkers read.
    #[must_use]
    pub fn describe(fault: &Scheduled) -> Value {
        let waited_for = fault.trigger.map(|trigger| trigger.to_string()).unwrap_or_default();
        let fields = [
            ("fault", Value::Int(i64::try_from(fault.id).unwrap_or(i64::MAX))),
            ("kind", Value::from(fault.fault.family().to_string())),
            ("waited-for", Value::from(waited_for)),
        ];
        Value::Map(fields.into_iter().map(|(name, value)| (Value::from(name), value)).collect())
    }
}

impl PlannedFaults {
    /// The steps of `schedule`, in order of time; what waits for something waits until `ends_ms`. O(n log n).
    #[must_use]
    pub fn new(schedule: &Schedule, ends_ms: u64, signals: Signals) -> PlannedFaults {
        let mut steps: Vec<(u64, Action, &Scheduled)> = Vec::with_capacity(schedule.faults.len() * 2);
        for fault in schedule.faults.iter().filter(|fault| fault.trigger.is_none()) {
            steps.push((fault.at_ms, Action::Apply, fault));
            steps.push((fault.at_ms.saturating_add(fault.duration_ms), Action::Undo, fault));
        }
        steps.sort_by_key(|(at_ms, action, fault)| (*at_ms, *action, fault.id));
        let operation = |(at_ms, action, fault): (u64, Action, &Scheduled)| {
            (at_ms.saturating_mul(NANOSECONDS_PER_MILLISECOND), operation(action, fault))
        };
        let waits = |fault: &Scheduled| {
            let trigger = fault.trigger?;
            Some(Waiting { fault: fault.clone(), trigger, since: None })
        };
        let waiting: Vec<Waiting> = schedule.faults.iter().filter_map(waits).collect();
        let unmet = waiting.iter().map(|waiting| (waiting.fault.id, waiting.fault.clone())).collect();
        PlannedFaults {
            steps: steps.into_iter().map(operation).collect(),
            all: schedule.faults.iter().map(|fault| (fault.id, fault.clone())).collect(),
            begun: 0,
            retries: BTreeMap::new(),
            waiting,
            held: Vec::new(),
            signals,
            tally: Arc::default(),
            unmet: Unmet(Arc::new(Mutex::new(unmet))),
            looks_at_ns: 0,
            ends_ns: ends_ms.saturating_mul(NANOSECONDS_PER_MILLISECOND),
        }
    }

    /// Those that still wait, live.
    #[must_use]
    pub fn unmet(&self) -> Unmet {
        self.unmet.clone()
    }

    /// On the nemesis thread, told of everything that happens in the run.
    #[must_use]
    pub fn boxed(self) -> BoxGenerator {
        let tally = Arc::clone(&self.tally);
        Tallying { inner: nemesis(self), tally }.boxed()
    }

    /// Whether anything is waited for.
    fn is_watching(&self) -> bool {
        !self.waiting.is_empty() || !self.held.is_empty()
    }

    /// What has come is to be done, and what holds no more is to be undone.
    fn look(&mut self, now_ns: u64) {
        if !self.is_watching() || now_ns < self.looks_at_ns {
            return;
        }
        self.looks_at_ns = now_ns.saturating_add(LOOK_EVERY_NS);
        let (tally, signals) = (lock(&self.tally).clone(), (self.signals)());
        let left_ns = self.ends_ns.saturating_sub(now_ns);
        for mut waiting in std::mem::take(&mut self.waiting) {
            let at_ns = waiting.fault.at_ms.saturating_mul(NANOSECONDS_PER_MILLISECOND);
            if left_ns < LEAST_NS.min(duration_ns(&waiting.fault)) {
                // It is too late for it; that it never came is known.
            } else if now_ns >= at_ns && has_come(&mut waiting, &tally, &signals) {
                self.begin(now_ns, waiting);
            } else {
                self.waiting.push(waiting);
            }
        }
        for (ends_ns, condition, fault) in std::mem::take(&mut self.held) {
            if now_ns >= ends_ns || !holds(condition, &signals) {
                self.plan(now_ns, operation(Action::Undo, &fault));
            } else {
                self.held.push((ends_ns, condition, fault));
            }
        }
    }

    fn begin(&mut self, now_ns: u64, Waiting { fault, trigger, .. }: Waiting) {
        lock(&self.unmet.0).remove(&fault.id);
        self.plan(now_ns, operation(Action::Apply, &fault));
        let ends_ns = now_ns.saturating_add(duration_ns(&fault)).min(self.ends_ns);
        match trigger {
            Trigger::After(_) => self.plan(ends_ns, operation(Action::Undo, &fault)),
            Trigger::While(condition) => self.held.push((ends_ns, condition, fault)),
        }
    }

    /// What could not be undone is to be tried again.
    fn try_again(&mut self, now_ns: u64) {
        let not_undone = std::mem::take(&mut lock(&self.tally).not_undone);
        for id in not_undone {
            let Some(fault) = self.all.get(&id) else { continue };
            let op = operation(Action::Undo, fault);
            let tried = self.retries.entry(id).or_default();
            let again_ns = now_ns.saturating_add(RETRY_AFTER_NS << (*tried).min(8));
            *tried += 1;
            // What is there at the end is undone then, whatever it is.
            if again_ns < self.ends_ns {
                self.plan(again_ns, op);
            }
        }
    }

    /// Behind what is planned for the same time.
    fn plan(&mut self, at_ns: u64, op: Op) {
        let position = self.steps.partition_point(|(planned_ns, _)| *planned_ns <= at_ns);
        self.steps.insert(position, (at_ns, op));
    }
}

fn has_come(waiting: &mut Waiting, tally: &Tally, signals: &ClusterSignals) -> bool {
    let (before, then) = waiting.since.get_or_insert_with(|| (tally.clone(), signals.clone()));
    match waiting.trigger {
        Trigger::While(condition) => holds(condition, signals),
        // Not who is seen to lead now and was not then: he may have been out of sight.
        Trigger::After(Happening::NewLeader) => signals.newest_term_led > then.newest_term_led,
        Trigger::After(Happening::OperationsFailed(many)) => tally.not_ok - before.not_ok >= many,
        Trigger::After(Happening::OperationsCompleted(many)) => tally.completed - before.completed >= many,
        Trigger::After(Happening::FaultApplied(fault)) => tally.applied.contains(&fault),
        Trigger::After(Happening::FaultUndone(fault)) => tally.undone.contains(&fault),
    }
}

fn holds(condition: Condition, signals: &ClusterSignals) -> bool {
    match condition {
        Condition::SnapshotInFlight => signals.snapshot_in_flight,
        Condition::NoLeader => signals.leader.is_none(),
    }
}

fn duration_ns(fault: &Scheduled) -> u64 {
    fault.duration_ms.saturating_mul(NANOSECONDS_PER_MILLISECOND)
}

/// The operation of the nemesis thread that does `action` to `fault`.
pub(super) fn operation(action: Action, fault: &Scheduled) -> Op {
    let fields = [
        ("fault", Value::Int(i64::try_from(fault.id).unwrap_or(i64::MAX))),
        ("action", Value::from(action.name())),
        ("phase", Value::from("invoke")),
    ];
    let fields = fields.into_iter().map(|(name, value)| (Value::from(name), value));
    Op { f: fault.fault.family().to_string().into(), key: None, value: Value::Map(fields.collect()) }
}

impl Generator for PlannedFaults {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        self.look(context.time_ns);
        self.try_again(context.time_ns);
        let next_look_ns = self.is_watching().then_some(self.looks_at_ns);
        let next_step_ns = self.steps.front().map(|(at_ns, _)| *at_ns);
        match (next_step_ns, next_look_ns) {
            (None, None) if self.begun == lock(&self.tally).ended => Peek::Exhausted,
            // What is being done may fail, and is tried again then.
            (None, None) => Peek::Pending,
            _ if !context.any_free() => Peek::Pending,
            (step_ns, look_ns) => {
                let at_ns = step_ns.into_iter().chain(look_ns).min().unwrap_or(context.time_ns);
                Peek::At(at_ns.max(context.time_ns))
            }
        }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let (_, op) = self.steps.pop_front().expect("take comes after a peek that said when");
        self.begun += 1;
        Taken::Invoke(Invocation { thread: Thread::Nemesis, process: context.process(Thread::Nemesis), op })
    }
}

/// Counts the completions of all threads on their way to a generator of one.
struct Tallying<G> {
    inner: G,
    tally: Arc<Mutex<Tally>>,
}

impl<G: Generator> Generator for Tallying<G> {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        self.inner.peek(context)
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        self.inner.take(context)
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        lock(&self.tally).count(event);
        self.inner.update(context, event);
    }
}

impl Tally {
    fn count(&mut self, event: &Event) {
        if let Process::Client(_) = event.process {
            self.completed += 1;
            self.not_ok += u64::from(event.kind != EventKind::Ok);
            return;
        }
        let id = event.value.get("fault").and_then(Value::as_int).and_then(|id| u64::try_from(id).ok());
        let action = event.value.get("action").and_then(Value::as_text).and_then(Action::named);
        let (Some(id), Some(action)) = (id, action) else { return };
        self.ended += 1;
        match (action, event.error()) {
            (Action::Apply, None) => drop(self.applied.insert(id)),
            (Action::Undo, None) => drop(self.undone.insert(id)),
            (Action::Undo, Some(_)) => self.not_undone.push(id),
            (Action::Apply, Some(_)) => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

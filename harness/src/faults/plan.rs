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
/// what it waited for. Whether it is so is looked at every 10 ms; at the end of the run nothing is waited for any more.
pub struct PlannedFaults {
    steps: VecDeque<(u64, Op)>,
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
        if now_ns >= self.ends_ns {
            self.waiting.clear();
        }
        for mut waiting in std::mem::take(&mut self.waiting) {
            let at_ns = waiting.fault.at_ms.saturating_mul(NANOSECONDS_PER_MILLISECOND);
            if now_ns >= at_ns && has_come(&mut waiting, &tally, &signals) {
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
        let ends_ns = now_ns.saturating_add(fault.duration_ms.saturating_mul(NANOSECONDS_PER_MILLISECOND));
        match trigger {
            Trigger::After(_) => self.plan(ends_ns, operation(Action::Undo, &fault)),
            Trigger::While(condition) => self.held.push((ends_ns, condition, fault)),
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
        Trigger::After(Happening::NewLeader) => signals.leader.is_some() && signals.leader != then.leader,
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
        let next_look_ns = self.is_watching().then_some(self.looks_at_ns);
        let next_step_ns = self.steps.front().map(|(at_ns, _)| *at_ns);
        match (next_step_ns, next_look_ns) {
            (None, None) => Peek::Exhausted,
            _ if !context.any_free() => Peek::Pending,
            (step_ns, look_ns) => {
                let at_ns = step_ns.into_iter().chain(look_ns).min().unwrap_or(context.time_ns);
                Peek::At(at_ns.max(context.time_ns))
            }
        }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let (_, op) = self.steps.pop_front().expect("take comes after a peek that said when");
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
        match (id, action) {
            (Some(id), Some(Action::Apply)) if event.error().is_none() => self.applied.insert(id),
            (Some(id), Some(Action::Undo)) if event.error().is_none() => self.undone.insert(id),
            _ => false,
        };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use labrys_nemesis::{Fault, Target};
    use labrys_seed::Seed;
    use labrys_workloads::generator::Threads;

    use super::*;

    fn schedule() -> Schedule {
        let fault = |id, at_ms, duration_ms| Scheduled {
            id,
            at_ms,
            duration_ms,
            fault: Fault::Kill { target: Target::One },
            trigger: None,
        };
        Schedule { faults: vec![fault(0, 10, 20), fault(1, 15, 100), fault(2, 30, 5)] }
    }

    #[test]
    fn every_fault_is_applied_and_undone_at_its_time_and_an_undo_comes_before_an_apply_of_the_same_time() {
        let mut generator = PlannedFaults::new(&schedule(), 0, Arc::new(ClusterSignals::default)).boxed();
        let mut threads = Threads::new(1, Seed(1));
        let mut seen = Vec::new();
        let mut now_ns = 0;
        while let Peek::At(at_ns) = generator.peek(&threads.context(now_ns)) {
            now_ns = at_ns;
            generator.peek(&threads.context(now_ns));
            let Taken::Invoke(invocation) = generator.take(&threads.context(now_ns)) else {
                panic!("no log lines here")
            };
            threads.occupy(invocation.thread);
            assert_eq!(
                generator.peek(&threads.context(now_ns)),
                if seen.len() == 5 { Peek::Exhausted } else { Peek::Pending }
            );
            threads.release(invocation.thread, false);
            let value = &invocation.op.value;
            let action = value.get("action").and_then(Value::as_text).expect("an action").to_owned();
            seen.push((
                now_ns / 1_000_000,
                action,
                value.get("fault").and_then(Value::as_int).expect("a number"),
            ));
        }
        let expected = [
            (10, "apply", 0),
            (15, "apply", 1),
            (30, "undo", 0),
            (30, "apply", 2),
            (35, "undo", 2),
            (115, "undo", 1),
        ];
        assert_eq!(seen, expected.map(|(at_ms, action, fault)| (at_ms, action.to_owned(), fault)));
    }

    /// The generator's only thread takes its steps for 300 ms, in which it is told of these completions of clients; what it did, when.
    fn run(
        mut generator: BoxGenerator,
        leader: &Arc<Mutex<Option<u64>>>,
        changes: &[(u64, Told)],
    ) -> Vec<(u64, String, i64)> {
        let mut threads = Threads::new(1, Seed(1));
        let mut changes: VecDeque<(u64, Told)> = changes.iter().copied().collect();
        let mut seen = Vec::new();
        for now_ms in 0..300 {
            let now_ns = now_ms * NANOSECONDS_PER_MILLISECOND;
            while let Some((_, told)) = changes.pop_front_if(|(at_ms, _)| *at_ms <= now_ms) {
                match told {
                    Told::Leader(term) => *lock(leader) = term,
                    Told::Completed(kind) => {
                        let event = Event::new(0, now_ns, Process::Client(0), kind, "write", Value::Nil);
                        generator.update(&threads.context(now_ns), &event);
                    }
                }
            }
            while generator.peek(&threads.context(now_ns)) == Peek::At(now_ns) {
                let Taken::Invoke(invocation) = generator.take(&threads.context(now_ns)) else {
                    panic!("no log lines here")
                };
                let value = invocation.op.value.clone();
                threads.occupy(invocation.thread);
                threads.release(invocation.thread, false);
                let event = Event::new(0, now_ns, Process::nemesis(), EventKind::Info, "kill", value.clone());
                generator.update(&threads.context(now_ns), &event);
                let action = value.get("action").and_then(Value::as_text).expect("an action").to_owned();
                seen.push((now_ms, action, value.get("fault").and_then(Value::as_int).expect("a number")));
            }
        }
        seen
    }

    #[derive(Clone, Copy)]
    enum Told {
        Leader(Option<u64>),
        Completed(EventKind),
    }

    fn waiting(trigger: Trigger) -> (BoxGenerator, Arc<Mutex<Option<u64>>>, Unmet) {
        let fault = |id, at_ms, duration_ms, trigger| Scheduled {
            id,
            at_ms,
            duration_ms,
            fault: Fault::Kill { target: Target::One },
            trigger,
        };
        let schedule = Schedule { faults: vec![fault(1, 50, 20, None), fault(2, 30, 100, Some(trigger))] };
        let leader = Arc::new(Mutex::new(Some(1)));
        let shared = Arc::clone(&leader);
        let signals: Signals = Arc::new(move || ClusterSignals {
            leader: lock(&shared).map(|term| ("n1".to_owned(), term)),
            snapshot_in_flight: false,
        });
        let planned = PlannedFaults::new(&schedule, 250, signals);
        let unmet = planned.unmet();
        (planned.boxed(), leader, unmet)
    }

    /// The steps of the fault that waits, which is the second one.
    fn steps(trigger: Trigger, changes: &[(u64, Told)]) -> (Vec<(u64, String)>, usize) {
        let (generator, leader, unmet) = waiting(trigger);
        let seen = run(generator, &leader, changes);
        let first: Vec<u64> = seen.iter().filter(|step| step.2 == 1).map(|step| step.0).collect();
        assert_eq!(first, [50, 70], "the other fault keeps its times");
        let of_second = seen.into_iter().filter(|step| step.2 == 2);
        (of_second.map(|(at_ms, action, _)| (at_ms, action)).collect(), unmet.faults().len())
    }

    fn applied_and_undone(from_ms: u64, to_ms: u64) -> (Vec<(u64, String)>, usize) {
        (vec![(from_ms, "apply".to_owned()), (to_ms, "undo".to_owned())], 0)
    }

    #[test]
    fn a_fault_that_waits_begins_at_the_next_look_after_its_event_and_lasts_its_time() {
        use Told::{Completed, Leader};
        let after_leader = Trigger::After(Happening::NewLeader);
        // What happens before it waits does not count.
        assert_eq!(
            steps(after_leader, &[(10, Leader(Some(2))), (83, Leader(Some(3)))]),
            applied_and_undone(90, 190)
        );
        let failed = Trigger::After(Happening::OperationsFailed(2));
        let ends = [
            (10, Completed(EventKind::Fail)),
            (41, Completed(EventKind::Fail)),
            (42, Completed(EventKind::Ok)),
            (111, Completed(EventKind::Info)),
        ];
        assert_eq!(steps(failed, &ends), applied_and_undone(120, 220));
        assert_eq!(
            steps(Trigger::After(Happening::OperationsCompleted(2)), &ends),
            applied_and_undone(50, 150)
        );
        assert_eq!(steps(Trigger::After(Happening::FaultUndone(1)), &[]), applied_and_undone(80, 180));
        assert_eq!(steps(Trigger::After(Happening::FaultApplied(1)), &[]), applied_and_undone(60, 160));
    }

    #[test]
    fn a_fault_that_is_there_while_something_is_so_ends_with_it_or_after_its_time() {
        let no_leader = Trigger::While(Condition::NoLeader);
        let short = [(61, Told::Leader(None)), (95, Told::Leader(Some(2)))];
        assert_eq!(steps(no_leader, &short), applied_and_undone(70, 100));
        assert_eq!(steps(no_leader, &short[..1]), applied_and_undone(70, 170));
    }

    #[test]
    fn a_fault_whose_event_never_comes_ends_nothing_and_is_known() {
        let trigger = Trigger::After(Happening::NewLeader);
        let (seen, unmet) = steps(trigger, &[]);
        assert_eq!((seen, unmet), (vec![], 1));
        let (mut generator, _, unmet) = waiting(trigger);
        run_out(&mut generator);
        let text = Unmet::describe(&unmet.faults()[0]).to_string();
        assert!(text.contains("after new leader elected") && text.contains("kill"), "{text}");
    }

    /// Long after the end there is nothing to wait for.
    fn run_out(generator: &mut BoxGenerator) {
        let mut threads = Threads::new(1, Seed(1));
        for now_ns in [1_000_000_000, 1_100_000_000] {
            while let Peek::At(_) = generator.peek(&threads.context(now_ns)) {
                let Taken::Invoke(invocation) = generator.take(&threads.context(now_ns)) else { continue };
                threads.occupy(invocation.thread);
                threads.release(invocation.thread, false);
            }
        }
        assert_eq!(generator.peek(&threads.context(2_000_000_000)), Peek::Exhausted);
    }
}

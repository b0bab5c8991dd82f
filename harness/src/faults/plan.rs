//! [`PlannedFaults`]: a schedule as a generator of the nemesis thread.

use std::collections::VecDeque;

use labrys_history::Value;
use labrys_nemesis::{Schedule, Scheduled};
use labrys_workloads::Op;
use labrys_workloads::generator::{Context, Generator, Invocation, Peek, Taken, Thread};

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

/// A schedule, as operations of the nemesis thread: each fault is applied at its time and undone at the end of its duration.
/// If the nemesis falls behind, its operations come as soon as it is free, in order.
#[derive(Debug)]
pub struct PlannedFaults {
    steps: VecDeque<(u64, Op)>,
}

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

impl PlannedFaults {
    /// The steps of `schedule`, in order of time. O(n log n).
    #[must_use]
    pub fn new(schedule: &Schedule) -> PlannedFaults {
        let mut steps: Vec<(u64, Action, &Scheduled)> = Vec::with_capacity(schedule.faults.len() * 2);
        for fault in &schedule.faults {
            steps.push((fault.at_ms, Action::Apply, fault));
            steps.push((fault.at_ms.saturating_add(fault.duration_ms), Action::Undo, fault));
        }
        steps.sort_by_key(|(at_ms, action, fault)| (*at_ms, *action, fault.id));
        let operation = |(at_ms, action, fault): (u64, Action, &Scheduled)| {
            (at_ms.saturating_mul(NANOSECONDS_PER_MILLISECOND), operation(action, fault))
        };
        PlannedFaults { steps: steps.into_iter().map(operation).collect() }
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
        match self.steps.front() {
            None => Peek::Exhausted,
            Some((at_ns, _)) if context.any_free() => Peek::At((*at_ns).max(context.time_ns)),
            Some(_) => Peek::Pending,
        }
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let (_, op) = self.steps.pop_front().expect("take comes after a peek that said when");
        Taken::Invoke(Invocation { thread: Thread::Nemesis, process: context.process(Thread::Nemesis), op })
    }
}

#[cfg(test)]
mod tests {
    use labrys_nemesis::{Fault, Target};
    use labrys_seed::Seed;
    use labrys_workloads::generator::{Threads, nemesis};

    use super::*;

    fn schedule() -> Schedule {
        let fault = |id, at_ms, duration_ms| Scheduled {
            id,
            at_ms,
            duration_ms,
            fault: Fault::Kill { target: Target::One },
        };
        Schedule { faults: vec![fault(0, 10, 20), fault(1, 15, 100), fault(2, 30, 5)] }
    }

    #[test]
    fn every_fault_is_applied_and_undone_at_its_time_and_an_undo_comes_before_an_apply_of_the_same_time() {
        let mut generator = nemesis(PlannedFaults::new(&schedule()));
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
}

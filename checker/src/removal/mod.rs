//! [`Removal`]: which operations may be left out of a history without making a violation where there was none.
//!
//! A part of a history that cannot be linearized says nothing about the whole: leave out a write, and the reads of its value become
//! a violation. So a minimal counterexample (`minimal.rs`) may leave out only such sets of operations of which the
//! model says: *if the history is linearizable, then so is it without them.* Read backwards: if it is not linearizable without them,
//! then it is not with them.

mod locks;

use rustc_hash::FxHashMap;

use labrys_history::Value;

use crate::class::{Class, Role};
use crate::linearizable::Interval;
use crate::model::Model;
pub(crate) use locks::Hold;

/// Which operations of a history may be left out, and what must go with them. By position.
///
/// The statement: let U be a set of removable operations such that, for every pair (a, b) of `bonds`, U has b if it has a. If the
/// history is linearizable, then so is it without U.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Whether an operation may be left out at all.
    pub removable: Vec<bool>,
    /// Pairs (a, b): where a is left out, b must be.
    pub bonds: Vec<(u32, u32)>,
}

/// With more bonds than this, times the number of operations, the model does not say any.
const BONDS_PER_OPERATION: usize = 64;
/// And with more than this: they are held in memory.
const BONDS_LIMIT: usize = 1 << 21;

impl Removal {
    /// Each pure call by itself, and nothing else. Sound for every model: in a linearization take away a call that leaves
    /// the state as it is in every state; all others find the states that they found before.
    pub fn pure_calls<M: Model>(model: &M, intervals: &[Interval<M::Call>]) -> Removal {
        let removable = intervals.iter().map(|interval| model.is_pure(&interval.call)).collect();
        Removal { removable, bonds: Vec::new() }
    }

    /// What follows from the model's class and the roles of the calls; where it has none: [`Removal::pure_calls`].
    pub fn by_class<M: Model>(model: &M, intervals: &[Interval<M::Call>]) -> Removal {
        let pure_calls = Removal::pure_calls(model, intervals);
        let roles: Option<Vec<Role<'_>>> =
            intervals.iter().map(|interval| model.role(&interval.call)).collect();
        let limit = limit(intervals.len());
        let removal = match (model.class(), roles) {
            (Some(Class::Register { .. }), Some(roles)) => of_register(intervals, &roles, limit),
            (
                Some(Class::Queue | Class::Stack | Class::Bag | Class::PriorityQueue | Class::Set),
                Some(roles),
            ) => of_container(&roles),
            _ => None,
        };
        removal.unwrap_or(pure_calls)
    }

    /// What may be left out of the history of a lock or semaphore whose calls are of these kinds (the argument: `removal/locks.rs`);
    /// where too little is known: [`Removal::pure_calls`]. `held_at_first`: what is held before the first operation.
    pub(crate) fn of_lock<M: Model, K: Ord>(
        model: &M,
        intervals: &[Interval<M::Call>],
        hold: impl Fn(&M::Call) -> Hold<K>,
        held_at_first: Option<K>,
    ) -> Removal {
        locks::of_lock(intervals, hold, held_at_first, limit(intervals.len()))
            .unwrap_or_else(|| Removal::pure_calls(model, intervals))
    }
}

/// The most bonds that a model says of so many operations.
fn limit(operations: usize) -> usize {
    (BONDS_PER_OPERATION * operations.max(64)).min(BONDS_LIMIT)
}

/// Containers: queue, stack, bag, priority queue and set.
///
/// All operations on a value go together: what inserts it, removes it, looks for it, and a listing of members that has it. Take
/// all those of a value v out of a linearization. Every state loses its v's and nothing else. A queue's first, a stack's last
/// and a priority queue's least value that is not v remain so; nothing was in what was empty; whether
/// another value is in a set, and which members it has if v was not among them, remain the same. `Empty`, `Contains` and
/// `Members` change nothing and may go alone. A crashed removal of which nobody knows what came out has to stay; if it took v, it now
/// never happened.
fn of_container(roles: &[Role<'_>]) -> Option<Removal> {
    // The last operation on a value that changes something: those on one value are bound in a circle.
    let mut circles: FxHashMap<&Value, (u32, u32)> = FxHashMap::default();
    let mut bonds = Vec::new();
    for (position, role) in (0..).zip(roles) {
        if let Role::Insert(value) | Role::Remove(value) = *role {
            let (_, last) = circles.entry(value).or_insert((position, position));
            if *last != position {
                bonds.push((*last, position));
                *last = position;
            }
        }
    }
    for (position, role) in (0..).zip(roles) {
        let mut with = |value: &Value| {
            if let Some(&(first, _)) = circles.get(value) {
                bonds.push((first, position));
            }
        };
        match *role {
            Role::Insert(value) | Role::Remove(value) => {
                if let Some(&(first, last)) = circles.get(value)
                    && position == last
                    && first != last
                {
                    bonds.push((last, first));
                }
            }
            Role::Contains(value, _) => with(value),
            Role::Members(values) => values.iter().for_each(with),
            Role::Empty | Role::RemoveAny => {}
            _ => return None,
        }
    }
    let removable = roles.iter().map(|role| *role != Role::RemoveAny).collect();
    Some(Removal { removable, bonds })
}

/// Registers, with values written as often as they may be.
///
/// A read, an observation of inequality and a compare-and-set of a value to itself may go alone. An operation w that writes v
/// (plainly or by compare-and-set) may go with every operation that can be *just behind* it, with no other writing one between,
/// and that observes v (a read of it, a compare-and-set that expects it) or is an observation of inequality.
///
/// So that what is left can be believed, an observation of v also keeps the write of v from which it seems to be: the last one invoked before
/// it completed. (A stale read would else stand there alone, of a value that nobody wrote.)
///
/// What is just behind w, is not completed before w is invoked; and there is no w' that writes and completed, was invoked after w
/// completed, and completed before it was invoked: that one would be between.
///
/// **Why it is sound.** Take a set U that is closed under these bonds out of a linearization. Let o be an operation that stays, and w the last writing one before
/// it in the linearization. If w stays, o finds what it found: what a writing operation leaves does not depend on what was there. If
/// there is none, o finds the initial value as before. If w is in U, then o is just behind it, and so is none of those that observe: it is a plain write, which is
/// legal anywhere.
fn of_register<C>(intervals: &[Interval<C>], roles: &[Role<'_>], limit: usize) -> Option<Removal> {
    let writes = Writes::of(intervals, roles);
    let mut observers: FxHashMap<&Value, Observers> = FxHashMap::default();
    let mut unequal = Observers::default();
    for (position, role) in (0..).zip(roles) {
        let interval = &intervals[position as usize];
        match *role {
            Role::Read(value) | Role::CompareAndSet { expected: value, .. } => {
                observers.entry(value).or_default().add(position, interval);
            }
            Role::CompareUnequal(_) => unequal.add(position, interval),
            Role::Write(_) => {}
            _ => return None,
        }
    }
    #[expect(clippy::iter_over_hash_type, reason = "each is sorted by itself, in whatever order")]
    for of_value in observers.values_mut() {
        of_value.sort();
    }
    unequal.sort();
    let mut bonds = Vec::new();
    for (position, role) in (0..).zip(roles) {
        let Some(value) = written(role) else { continue };
        let interval = &intervals[position as usize];
        let until_ns = writes.overwritten_ns(interval);
        let of_value = observers.get(value).into_iter().chain([&unequal]);
        for observer in of_value.flat_map(|observers| observers.between(interval.invoked_ns, until_ns)) {
            if observer != position {
                bonds.push((position, observer));
            }
        }
        if bonds.len() > limit {
            return None;
        }
    }
    bonds.extend(sources(intervals, roles));
    Some(Removal { removable: vec![true; roles.len()], bonds })
}

/// Each observation of a value with the write from which it seems to be, as bonds.
fn sources<C>(intervals: &[Interval<C>], roles: &[Role<'_>]) -> Vec<(u32, u32)> {
    let mut writes: FxHashMap<&Value, Vec<(u64, u32)>> = FxHashMap::default();
    for (position, role) in (0..).zip(roles) {
        if let Some(value) = written(role) {
            writes.entry(value).or_default().push((intervals[position as usize].invoked_ns, position));
        }
    }
    #[expect(clippy::iter_over_hash_type, reason = "each is sorted by itself, in whatever order")]
    for of_value in writes.values_mut() {
        of_value.sort_unstable();
    }
    let source = |(position, role): (u32, &Role<'_>)| {
        let (Role::Read(value) | Role::CompareAndSet { expected: value, .. }) = *role else { return None };
        let of_value = writes.get(value)?;
        let completed =
            intervals[position as usize].completed.map_or(u64::MAX, |completed| completed.time_ns);
        let behind = of_value.partition_point(|&(invoked_ns, _)| invoked_ns <= completed);
        let (_, writer) = of_value[behind.saturating_sub(1)];
        (writer != position).then_some((writer, position))
    };
    (0..).zip(roles).filter_map(source).collect()
}

/// The value that a call writes, if it does.
fn written<'c>(role: &Role<'c>) -> Option<&'c Value> {
    match *role {
        Role::Write(value) => Some(value),
        Role::CompareAndSet { expected, new } if expected != new => Some(new),
        _ => None,
    }
}

/// The completed operations that write.
struct Writes {
    /// Invocation, and the earliest completion of this one and all later ones; in order of invocation.
    completed_from: Vec<(u64, u64)>,
}

impl Writes {
    fn of<C>(intervals: &[Interval<C>], roles: &[Role<'_>]) -> Writes {
        let completed = intervals.iter().zip(roles).filter(|(_, role)| written(role).is_some());
        let mut completed_from: Vec<(u64, u64)> = completed
            .filter_map(|(interval, _)| Some((interval.invoked_ns, interval.completed?.time_ns)))
            .collect();
        completed_from.sort_unstable();
        let mut earliest = u64::MAX;
        for (_, completed) in completed_from.iter_mut().rev() {
            earliest = earliest.min(*completed);
            *completed = earliest;
        }
        Writes { completed_from }
    }

    /// What is invoked after this moment has another write between it and `interval`.
    fn overwritten_ns<C>(&self, interval: &Interval<C>) -> u64 {
        let Some(completed) = interval.completed else { return u64::MAX };
        let later = self.completed_from.partition_point(|&(invoked, _)| invoked <= completed.time_ns);
        self.completed_from.get(later).map_or(u64::MAX, |&(_, earliest)| earliest)
    }
}

/// Operations that observe something.
#[derive(Default)]
struct Observers {
    /// Invocation, completion (`u64::MAX`: never) and position; in order of invocation.
    intervals: Vec<(u64, u64, u32)>,
    /// The latest completion up to and with each.
    completed_by: Vec<u64>,
}

impl Observers {
    fn add<C>(&mut self, position: u32, interval: &Interval<C>) {
        let completed = interval.completed.map_or(u64::MAX, |completed| completed.time_ns);
        self.intervals.push((interval.invoked_ns, completed, position));
    }

    fn sort(&mut self) {
        self.intervals.sort_unstable();
        let mut latest = 0;
        self.completed_by = self
            .intervals
            .iter()
            .map(|&(_, completed, _)| {
                latest = latest.max(completed);
                latest
            })
            .collect();
    }

    /// Those that completed not before `from_ns` and were invoked not after `until_ns`.
    fn between(&self, from_ns: u64, until_ns: u64) -> impl Iterator<Item = u32> {
        let first = self.completed_by.partition_point(|&latest| latest < from_ns);
        self.intervals[first..]
            .iter()
            .take_while(move |&&(invoked, ..)| invoked <= until_ns)
            .filter(move |&&(_, completed, _)| completed >= from_ns)
            .map(|&(_, _, position)| position)
    }
}

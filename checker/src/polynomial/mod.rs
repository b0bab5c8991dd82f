//! Polynomial algorithms for objects of a known class, where a history is of the kind that they need.
//!
//! Linearizability is NP-complete in general (Gibbons and Korach 1997), but not where every value is written or inserted once
//! and observations name what they saw. A model says which class its object is of and what each call does to it
//! ([`Model::class`], [`Model::role`]); [`decide`] hands a partition to the algorithm of that class. Whether the history is of
//! the right kind is the algorithm's question: `None` is "not mine", and the general search decides.
//!
//! One file per class or two, and a line in [`Partition::of`] or [`by_rank`]. [`explain`] finds the shortest prefix for all
//! classes alike, by asking the algorithm again for prefixes.

mod containers;
mod counter;
mod explain;
mod priority_queue;
mod queue;
mod ranks;
mod register;
mod set;
mod stack;
mod trees;
mod unequal;
mod unknown;
mod values;

use crate::budget::{Account, Exhausted, Meter};
use crate::class::{Class, Role};
use crate::linearizable::{Failure, Interval};
use crate::model::Model;
use ranks::Ranked;
use register::Register;

/// What an algorithm says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Linearizable: positions of operations in an order that is legal and respects real time. All that completed stand in
    /// it, and of those that did not the ones that took effect.
    Linearizable(Vec<u32>),
    /// No such order exists.
    NonLinearizable,
}

/// An operation as an algorithm sees it. One precedes another if it completed *strictly* before the other was invoked:
/// intervals are closed, so operations that touch in one instant are concurrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Classed<'c> {
    /// What it does, with its result.
    pub role: Role<'c>,
    /// When it was invoked.
    pub invoked_ns: u64,
    /// When it completed. `None`: it takes effect at some time after its invocation, *with the result that `role` says*, or
    /// never. (A removal or a read can be such a one: in a prefix of a history an operation in flight is known by what it
    /// returned later.)
    pub completed_ns: Option<u64>,
}

/// The answer on a partition, with its evidence.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The algorithm's name.
    pub algorithm: &'static str,
    /// The order, as positions; or where there is none.
    pub outcome: Result<Vec<u32>, Failure>,
    /// The most bytes held at a time, about.
    pub peak_bytes: usize,
}

/// Decides `intervals` and says where a violation is, if there is an algorithm for the model's class and it can.
///
/// # Errors
/// What ran out before there was an answer.
pub(crate) fn judge<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    meter: &Meter<'_>,
) -> Result<Option<Judged>, Exhausted> {
    let Some(class) = model.class().filter(|class| algorithm(class).is_some()) else { return Ok(None) };
    let mut account = Account::open(meter);
    account.set(intervals.len() * BYTES_PER_OPERATION)?;
    let Some(partition) = Partition::of(model, &class, intervals) else { return Ok(None) };
    let Some(answer) = partition.decide() else { return Ok(None) };
    let outcome = match answer {
        Answer::Linearizable(order) => Ok(order),
        Answer::NonLinearizable => match explain::failure(intervals, &partition, meter) {
            Some(failure) => Err(failure),
            None => return Ok(None),
        },
    };
    let algorithm = partition.algorithm;
    Ok(Some(Judged { algorithm, outcome, peak_bytes: account.peak_bytes() }))
}

/// Decides `intervals`, if there is an algorithm for the model's class and it can. The name is the algorithm's.
///
/// # Errors
/// What ran out before there was an answer.
pub(crate) fn decide<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    meter: &Meter<'_>,
) -> Result<Option<(&'static str, Answer)>, Exhausted> {
    let Some(class) = model.class().filter(|class| algorithm(class).is_some()) else { return Ok(None) };
    let mut account = Account::open(meter);
    account.set(intervals.len() * BYTES_PER_OPERATION)?;
    let partition = Partition::of(model, &class, intervals);
    Ok(partition.and_then(|partition| Some((partition.algorithm, partition.decide()?))))
}

/// A partition, prepared for the algorithm of its class: what is kept from one prefix to the next.
struct Partition<'c> {
    algorithm: &'static str,
    ranked: Ranked,
    by_rank: Box<dyn ByRank + 'c>,
}

/// An algorithm that sees times as ranks, and knows the operations of the whole history.
trait ByRank {
    /// Decides what is there of the operations, and completed, as `ranked` says. Unless the order is wanted, it may be left
    /// empty.
    fn decide(&self, ranked: &Ranked, order: Wanted) -> Option<Answer>;
}

impl<'c> Partition<'c> {
    /// `None` if the history is not of the kind that the algorithm needs.
    fn of<M: Model>(
        model: &M,
        class: &'c Class,
        intervals: &'c [Interval<M::Call>],
    ) -> Option<Partition<'c>> {
        let algorithm = algorithm(class)?;
        let roles = intervals.iter().map(|interval| model.role(&interval.call));
        let times = intervals
            .iter()
            .map(|interval| (interval.invoked_ns, interval.completed.map(|completed| completed.time_ns)));
        let by_rank: Box<dyn ByRank + 'c> = match class {
            Class::Register { initial } => Box::new(Register::new(initial, roles)?),
            _ => {
                let classed = |(role, (invoked_ns, completed_ns))| {
                    Some(Classed { role: role?, invoked_ns, completed_ns })
                };
                let operations: Option<Vec<Classed<'c>>> = roles.zip(times.clone()).map(classed).collect();
                by_rank(class, &operations?)?
            }
        };
        Some(Partition { algorithm, ranked: Ranked::new(times), by_rank })
    }

    fn decide(&self) -> Option<Answer> {
        self.by_rank.decide(&self.ranked, Wanted::Order)
    }

    /// The answer on the prefix that ends with the completion of the operation at the position `ending`, of which some is
    /// required.
    fn decide_prefix(&self, ending: u32, is_required: impl Fn(u32) -> bool, order: Wanted) -> Option<Answer> {
        let end = self.ranked.completed(ending).expect("a prefix ends with a completion").by;
        // At one instant invocations come before completions, in ranks as well.
        let is_there = |position| self.ranked.span(position).is_some_and(|span| span.from < end);
        self.by_rank.decide(&self.ranked.prefix(is_there, is_required), order)
    }
}

/// Whether the order of a linearization is wanted, or only that there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Order,
    Existence,
}

/// About what an algorithm holds for each operation: the operation itself, its place in one or two sorted lists, a hash entry.
const BYTES_PER_OPERATION: usize = size_of::<Classed<'static>>() + 64;

/// The name of the class's algorithm, if it has one.
fn algorithm(class: &Class) -> Option<&'static str> {
    match class {
        Class::Register { .. } => Some("register"),
        Class::Queue => Some("queue"),
        Class::Stack => Some("stack"),
        Class::Bag => Some("bag"),
        Class::PriorityQueue => Some("priority-queue"),
        Class::Set => Some("set"),
        Class::Counter => Some("counter"),
    }
}

/// The table of algorithms that see times as ranks.
fn by_rank<'c>(class: &Class, operations: &[Classed<'c>]) -> Option<Box<dyn ByRank + 'c>> {
    Some(match class {
        Class::Queue => Box::new(queue::Queue::new(operations)?),
        Class::Stack => Box::new(stack::Stack::new(operations)?),
        Class::Bag => Box::new(priority_queue::Bag::new(operations)?),
        Class::PriorityQueue => Box::new(priority_queue::PriorityQueue::new(operations)?),
        Class::Set => Box::new(set::Set::new(operations)?),
        Class::Counter => Box::new(counter::Counter::new(operations)?),
        Class::Register { .. } => return None,
    })
}

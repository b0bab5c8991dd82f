//! Polynomial algorithms for objects of a known class, where a history is of the kind that they need.
//!
//! Linearizability is NP-complete in general (Gibbons and Korach 1997), but not where every value is written or inserted once
//! and observations name what they saw. A model says which class its object is of and what each call does to it
//! ([`Model::class`], [`Model::role`]); [`decide`] hands a partition to the algorithm of that class. Whether the history is of
//! the right kind is the algorithm's question: `None` is "not mine", and the general search decides.
//!
//! One file per class, each with `decide(operations) -> Option<Answer>`, and a line in [`decide_class`]. [`explain`] finds the
//! shortest prefix and its evidence for all classes alike, by asking the algorithm again for prefixes.

mod explain;

use crate::budget::{Account, Exhausted, Meter};
use crate::class::{Class, Role};
use crate::linearizable::Interval;
use crate::model::Model;
use crate::verdict::NonLinearizable;

/// What an algorithm says of a partition.
#[expect(dead_code, reason = "the algorithms land next")]
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
    /// The order, as positions; or why there is none, and a sentence of it.
    pub outcome: Result<Vec<u32>, Box<(NonLinearizable, String)>>,
    /// The most bytes held at a time, about.
    pub peak_bytes: usize,
}

/// Decides `intervals` and explains a violation, if there is an algorithm for the model's class and it can.
///
/// # Errors
/// What ran out before there was an answer.
pub(crate) fn judge<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    meter: &Meter<'_>,
) -> Result<Option<Judged>, Exhausted> {
    let Some(class) = model.class().filter(has_algorithm) else { return Ok(None) };
    let mut account = Account::open(meter);
    account.set(intervals.len() * BYTES_PER_OPERATION)?;
    let Some(operations) = classed(model, intervals) else { return Ok(None) };
    let Some((algorithm, answer)) = decide_class(&class, &operations) else { return Ok(None) };
    let outcome = match answer {
        Answer::Linearizable(order) => Ok(order),
        Answer::NonLinearizable => match explain::explain(model, &class, intervals, &operations) {
            Some(evidence) => Err(Box::new(evidence)),
            None => return Ok(None),
        },
    };
    Ok(Some(Judged { algorithm, outcome, peak_bytes: account.peak_bytes() }))
}

/// Decides `intervals`, if there is an algorithm for the model's class and it can. The name is the algorithm's.
///
/// # Errors
/// What ran out before there was an answer.
#[expect(dead_code, reason = "for minimal counterexamples, which land next")]
pub(crate) fn decide<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    meter: &Meter<'_>,
) -> Result<Option<(&'static str, Answer)>, Exhausted> {
    let Some(class) = model.class().filter(has_algorithm) else { return Ok(None) };
    let mut account = Account::open(meter);
    account.set(intervals.len() * BYTES_PER_OPERATION)?;
    let Some(operations) = classed(model, intervals) else { return Ok(None) };
    Ok(decide_class(&class, &operations))
}

/// The operations with their roles; `None` if a call has none.
fn classed<'c, M: Model>(model: &M, intervals: &'c [Interval<M::Call>]) -> Option<Vec<Classed<'c>>> {
    let of = |interval: &'c Interval<M::Call>| {
        Some(Classed {
            role: model.role(&interval.call)?,
            invoked_ns: interval.invoked_ns,
            completed_ns: interval.completed.map(|completed| completed.time_ns),
        })
    };
    intervals.iter().map(of).collect()
}

/// About what an algorithm holds for each operation: the operation itself, its place in one or two sorted lists, a hash entry.
const BYTES_PER_OPERATION: usize = size_of::<Classed<'static>>() + 64;

/// Whether there is an algorithm for the class.
fn has_algorithm(class: &Class) -> bool {
    match class {
        Class::Register { .. }
        | Class::Queue
        | Class::Stack
        | Class::Bag
        | Class::PriorityQueue
        | Class::Set
        | Class::Counter => false,
    }
}

/// The table of algorithms: a line for each class that has one, here and in [`has_algorithm`].
pub(crate) fn decide_class(class: &Class, operations: &[Classed<'_>]) -> Option<(&'static str, Answer)> {
    let _ = operations;
    match class {
        // Class::Register { initial } => register::decide(initial, operations).map(|answer| ("register", answer)),
        Class::Register { .. }
        | Class::Queue
        | Class::Stack
        | Class::Bag
        | Class::PriorityQueue
        | Class::Set
        | Class::Counter => None,
    }
}

//! [`minimal`]: a small part of a history that cannot be linearized, and whose violation is one of the whole.
//!
//! Everything behind the shortest prefix that cannot be linearized is dropped: linearizability is closed under prefixes. Then
//! operations are left out as far as the model says that it makes no violation where there was none ([`Removal`]), and as long as what is
//! left cannot be linearized, in the manner of delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing
//! input", IEEE Trans. Softw. Eng. 28(2), 2002): first a guess, the operations that completed last before the prefix ends and what they
//! need; then parts of it, halved down to single operations, until none can be left out any more.
//!
//! What is left is decided by the polynomial algorithm of its class, or by the general search for as long as that takes few
//! steps. A part of which nobody can say whether it is linearizable is not taken. Beyond [`OPERATIONS_LIMIT`], or when the budget is used up, there is none.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::budget::{Account, Exhausted, Meter};
use crate::class::Role;
use crate::linearizable::{Ending, Interval, is_non_linearizable};
use crate::model::Model;
use crate::polynomial::{self, Answer};
use crate::removal::Removal;
use crate::verdict::{MinimalHistory, MinimalOperation};

/// Prefixes shorter than this are reduced as they are.
const FEW: usize = 1_000;
/// Prefixes longer than this are not reduced.
const OPERATIONS_LIMIT: usize = 300_000;
/// What is longer than this when the budget is used up, explains nothing.
const MINIMAL_LIMIT: usize = 200;
/// Operations of the first guess, and by how much it grows.
const GUESS: usize = 8;
const GROWTH: usize = 4;
/// Parts that are decided, each operation in one counting: so many operations in all.
const DECIDED_OPERATIONS: usize = 2_000_000;
/// How often all searches together may look whether they are still wanted.
const LOOKS: u32 = 600;

/// A minimal counterexample within the prefix that ends at `ending`.
///
/// # Errors
/// Why there is none.
pub(crate) fn minimal<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    meter: &Meter<'_>,
    ending: &Ending,
) -> Result<MinimalHistory, String> {
    meter.check_time().map_err(|why| why.to_string())?;
    let mut account = Account::open(meter);
    let prefix = prefix(model, intervals, ending, &mut account)?;
    let prefix = with_fewer_pure(model, prefix, ending.operation, meter);
    let blocked = prefix.iter().position(|interval| interval.operation == ending.operation);
    let blocked = blocked.expect("the prefix has the operation that ends it");
    let reduction = Reduction {
        model,
        meter,
        bonds: Bonds::of(&model.removal(&prefix), prefix.len()),
        prefix: &prefix,
        operations_left: Cell::new(DECIDED_OPERATIONS),
        looks_left: AtomicU32::new(LOOKS),
        is_exact: Cell::new(true),
        exhausted: Cell::new(None),
    };
    let kept = reduction.reduce(reduction.guess(blocked as u32));
    let is_found = kept.len() < prefix.len() || reduction.is_violation(&kept);
    if !is_found || kept.len() > MINIMAL_LIMIT {
        let why = reduction.exhausted.get().map(|exhausted| format!(": {exhausted}")).unwrap_or_default();
        return Err(format!("{} of {} operations are left{why}", kept.len(), prefix.len()));
    }
    let operations = kept.iter().map(|&position| operation(model, &prefix[position as usize]));
    Ok(MinimalHistory { operations: operations.collect(), is_minimal: reduction.is_exact.get() })
}

fn operation<M: Model>(model: &M, interval: &Interval<M::Call>) -> MinimalOperation {
    MinimalOperation {
        operation: interval.operation,
        description: model.describe_call(&interval.call),
        invoked_ns: interval.invoked_ns,
        completion: interval.completed.map(|completed| completed.index),
        completed_ns: interval.completed.map(|completed| completed.time_ns),
    }
}

/// The operations of the prefix, in order of invocation. Those in flight at its end may be left out, and are not in it if they
/// change nothing.
fn prefix<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    ending: &Ending,
    account: &mut Account<'_>,
) -> Result<Vec<Interval<M::Call>>, String> {
    let is_required =
        |interval: &Interval<M::Call>| interval.operation == ending.operation || ending.is_behind(interval);
    let is_inside = |interval: &&Interval<M::Call>| {
        ending.has(interval) && (is_required(interval) || !model.is_pure(&interval.call))
    };
    let operations = intervals.iter().filter(is_inside).count();
    if operations > OPERATIONS_LIMIT {
        return Err(format!(
            "the prefix has {operations} operations, and no more than {OPERATIONS_LIMIT} are looked through"
        ));
    }
    // The prefix, and parts of it.
    account.set(2 * operations * size_of::<Interval<M::Call>>()).map_err(|why| why.to_string())?;
    let mut prefix: Vec<Interval<M::Call>> = intervals.iter().filter(is_inside).cloned().collect();
    for interval in &mut prefix {
        if !is_required(interval) {
            interval.completed = None;
        }
    }
    prefix.sort_by_key(|interval| (interval.invoked_ns, interval.operation));
    Ok(prefix)
}

/// The same without the pure calls, if it is a violation without them, or without observations of inequality, of which many
/// writes have something to say; so that there are fewer bonds. A pure call may go alone, whatever the model.
fn with_fewer_pure<M: Model>(
    model: &M,
    prefix: Vec<Interval<M::Call>>,
    blocked: u64,
    meter: &Meter<'_>,
) -> Vec<Interval<M::Call>> {
    if prefix.len() < FEW {
        return prefix;
    }
    for only_unequal in [false, true] {
        let stays = |interval: &&Interval<M::Call>| {
            let is_unequal = matches!(model.role(&interval.call), Some(Role::CompareUnequal(_)));
            interval.operation == blocked || !model.is_pure(&interval.call) || (only_unequal && !is_unequal)
        };
        let rest: Vec<Interval<M::Call>> = prefix.iter().filter(stays).cloned().collect();
        if let Ok(Some((_, Answer::NonLinearizable))) = polynomial::decide(model, &rest, meter) {
            return rest;
        }
    }
    prefix
}

/// What must go with what, as adjacency in both directions.
struct Bonds {
    removable: Vec<bool>,
    /// What must go where this goes.
    dependents: Adjacency,
    /// What must stay where this stays.
    needs: Adjacency,
}

impl Bonds {
    fn of(removal: &Removal, operations: usize) -> Bonds {
        assert_eq!(removal.removable.len(), operations, "a model speaks of every operation");
        Bonds {
            removable: removal.removable.clone(),
            dependents: Adjacency::of(operations, removal.bonds.iter().copied()),
            needs: Adjacency::of(operations, removal.bonds.iter().map(|&(a, b)| (b, a))),
        }
    }
}

/// A graph in compressed rows.
struct Adjacency {
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Adjacency {
    fn of(vertices: usize, edges: impl Iterator<Item = (u32, u32)> + Clone) -> Adjacency {
        let mut starts = vec![0_u32; vertices + 1];
        for (from, _) in edges.clone() {
            starts[from as usize + 1] += 1;
        }
        for vertex in 0..vertices {
            starts[vertex + 1] += starts[vertex];
        }
        let mut next = starts.clone();
        let mut targets = vec![0; starts[vertices] as usize];
        for (from, to) in edges {
            targets[next[from as usize] as usize] = to;
            next[from as usize] += 1;
        }
        Adjacency { starts, targets }
    }

    fn of_vertex(&self, vertex: u32) -> &[u32] {
        &self.targets[self.starts[vertex as usize] as usize..self.starts[vertex as usize + 1] as usize]
    }

    /// All that can be reached from `marked`, marked too.
    fn close(&self, marked: &mut [bool], mut stack: Vec<u32>) {
        while let Some(vertex) = stack.pop() {
            for &target in self.of_vertex(vertex) {
                if !std::mem::replace(&mut marked[target as usize], true) {
                    stack.push(target);
                }
            }
        }
    }
}

/// A reduction in progress.
struct Reduction<'r, M: Model> {
    model: &'r M,
    meter: &'r Meter<'r>,
    prefix: &'r [Interval<M::Call>],
    bonds: Bonds,
    operations_left: Cell<usize>,
    looks_left: AtomicU32,
    /// Whether everything that was asked was answered.
    is_exact: Cell<bool>,
    /// What ran out first.
    exhausted: Cell<Option<Exhausted>>,
}

impl<M: Model> Reduction<'_, M> {
    /// Positions, ascending, that cannot be linearized: `blocked`, what completed last before it, and what they need.
    fn guess(&self, blocked: u32) -> Vec<u32> {
        let mut by_completion: Vec<u32> = (0..self.prefix.len() as u32).collect();
        by_completion.retain(|&position| self.prefix[position as usize].completed.is_some());
        by_completion.sort_by_key(|&position| {
            let completed = self.prefix[position as usize].completed;
            completed.map(|completed| (completed.time_ns, completed.index))
        });
        let mut size = GUESS;
        while size < by_completion.len() {
            let mut kept: Vec<bool> = self.bonds.removable.iter().map(|removable| !removable).collect();
            for &position in by_completion.iter().rev().take(size).chain([&blocked]) {
                kept[position as usize] = true;
            }
            let kept = self.closed(kept, &self.bonds.needs);
            if kept.len() == self.prefix.len() {
                break;
            }
            if self.is_violation(&kept) {
                return kept;
            }
            size *= GROWTH;
        }
        (0..self.prefix.len() as u32).collect()
    }

    /// The positions of what is marked, and of all that follows from it.
    fn closed(&self, mut marked: Vec<bool>, along: &Adjacency) -> Vec<u32> {
        let stack = (0..).zip(&marked).filter(|&(_, &is_marked)| is_marked).map(|(position, _)| position);
        let stack: Vec<u32> = stack.collect();
        along.close(&mut marked, stack);
        (0..).zip(marked).filter(|&(_, is_marked)| is_marked).map(|(position, _)| position).collect()
    }

    /// What is left of `kept` when nothing can be left out any more.
    fn reduce(&self, mut kept: Vec<u32>) -> Vec<u32> {
        let mut size = kept.len().div_ceil(2);
        loop {
            let before = kept.len();
            // From the beginning: what is left is late, and near to what cannot be explained.
            let mut start = 0;
            while start < kept.len() {
                let end = kept.len().min(start + size);
                if let Some(rest) = self.without(&kept, start..end) {
                    let first = kept[start];
                    start = rest.partition_point(|&position| position < first);
                    kept = rest;
                } else {
                    start = end;
                }
            }
            if size > 1 {
                size = size.div_ceil(2);
            } else if kept.len() == before {
                return kept;
            }
        }
    }

    /// What is left of `kept` without those at these places and all that must go with them, if it cannot be linearized.
    fn without(&self, kept: &[u32], places: std::ops::Range<usize>) -> Option<Vec<u32>> {
        let mut removed = vec![false; self.prefix.len()];
        let stack: Vec<u32> = kept[places]
            .iter()
            .copied()
            .filter(|&position| self.bonds.removable[position as usize])
            .collect();
        for &position in &stack {
            removed[position as usize] = true;
        }
        if stack.is_empty() {
            return None;
        }
        self.bonds.dependents.close(&mut removed, stack);
        let is_allowed = (0..)
            .zip(&removed)
            .all(|(position, &is_removed): (usize, _)| !is_removed || self.bonds.removable[position]);
        let rest: Vec<u32> = kept.iter().copied().filter(|&position| !removed[position as usize]).collect();
        (is_allowed && self.is_violation(&rest)).then_some(rest)
    }

    /// Whether it is certain that the operations at these positions cannot be linearized.
    fn is_violation(&self, positions: &[u32]) -> bool {
        if positions.is_empty() {
            return false;
        }
        let Some(left) = self.operations_left.get().checked_sub(positions.len()) else {
            return self.is_unknown(None);
        };
        self.operations_left.set(left);
        if let Err(exhausted) = self.meter.check_time() {
            // Nothing more is tried.
            self.operations_left.set(0);
            return self.is_unknown(Some(exhausted));
        }
        let part: Vec<Interval<M::Call>> =
            positions.iter().map(|&position| self.prefix[position as usize].clone()).collect();
        match polynomial::decide(self.model, &part, self.meter) {
            Ok(Some((_, answer))) => answer == Answer::NonLinearizable,
            Ok(None) => self.is_violation_by_search(&part),
            Err(exhausted) => self.is_unknown(Some(exhausted)),
        }
    }

    /// A part of which nobody can say whether it is linearizable is not taken.
    fn is_unknown(&self, exhausted: Option<Exhausted>) -> bool {
        self.is_exact.set(false);
        self.exhausted.set(self.exhausted.get().or(exhausted));
        false
    }

    fn is_violation_by_search(&self, part: &[Interval<M::Call>]) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        let is_wanted =
            || self.looks_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        let answer = is_non_linearizable(self.model, part, self.meter, &is_wanted);
        if answer.is_none() {
            self.is_exact.set(false);
        }
        answer == Some(true)
    }
}

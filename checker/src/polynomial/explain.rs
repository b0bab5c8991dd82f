//! What a polynomial algorithm's "no" rests on, for all classes alike: the same evidence as that of the general search.
//!
//! **The shortest prefix.** A prefix of a history ends with a completion. What completed by then is required; what was invoked
//! by then may be left out, and is known by what it returned later. If a prefix cannot be linearized, no longer one can: from an
//! order of the longer prefix leave out everything behind the last required operation of the shorter one. What is left
//! is legal, as a prefix of a legal order is, and it has in it only operations invoked before the end of the shorter prefix:
//! one invoked later comes after all that completed by then, hence after the last of them. So the shortest prefix is found by
//! bisection, with O(log n) calls of the algorithm.
//!
//! **The order before it.** The algorithm's own order of the longest prefix that *can* be linearized, lengthened at its end by
//! operations in flight for as long as one is legal. It has all that completed; that no other order has more of those in
//! flight is not claimed.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use super::{Answer, Partition, Wanted};
use crate::linearizable::{CANDIDATES_LIMIT, Interval, STEPS_LIMIT, leads_nowhere};
use crate::model::Model;
use crate::verdict::{Candidate, NonLinearizable, Step};

/// The evidence that `intervals`, prepared as `partition`, cannot be linearized, and a sentence of it. `None` if the
/// algorithm does not know what to say of some prefix.
pub(crate) fn explain<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    partition: &Partition<'_>,
) -> Option<(NonLinearizable, String)> {
    let prefixes = Prefixes::of(intervals, partition);
    let (ending, mut before) = prefixes.shortest()?;
    while before.last().is_some_and(|&position| intervals[position as usize].completed.is_none()) {
        before.pop();
    }
    let mut replay = Replay::of(model, intervals, &before);
    let pending = replay.lengthen(prefixes.pending(ending, &before));
    Some(replay.evidence(prefixes.by_completion[ending], &pending))
}

/// The prefixes of a partition, by the number of completions in them.
struct Prefixes<'p, 'c> {
    partition: &'p Partition<'c>,
    /// Positions of the operations that completed, in order of completion.
    by_completion: Vec<u32>,
    /// For each operation the number of its completion; `u32::MAX` for none.
    rank: Vec<u32>,
}

impl<'p, 'c> Prefixes<'p, 'c> {
    fn of<C>(intervals: &[Interval<C>], partition: &'p Partition<'c>) -> Prefixes<'p, 'c> {
        let mut completions: Vec<(u64, u64, u32)> = (0..)
            .zip(intervals)
            .filter_map(|(position, interval)| {
                interval.completed.map(|completed| (completed.time_ns, completed.index, position))
            })
            .collect();
        completions.sort_unstable();
        let mut rank = vec![u32::MAX; intervals.len()];
        for (number, &(_, _, position)) in (0..).zip(&completions) {
            rank[position as usize] = number;
        }
        let by_completion = completions.into_iter().map(|(_, _, position)| position).collect();
        Prefixes { partition, by_completion, rank }
    }

    /// The number of the completion that ends the shortest prefix which cannot be linearized, and an order (of positions) of
    /// the prefix before it.
    fn shortest(&self) -> Option<(usize, Vec<u32>)> {
        // So many completions can be linearized; with so many it is known that they cannot.
        let (mut possible, mut impossible) = (0, self.by_completion.len());
        while impossible - possible > 1 {
            let middle = possible + (impossible - possible) / 2;
            match self.decide(middle, Wanted::Existence)? {
                Some(_) => possible = middle,
                None => impossible = middle,
            }
        }
        let order = if possible == 0 { Vec::new() } else { self.decide(possible, Wanted::Order)?? };
        (impossible > 0).then_some((possible, order))
    }

    /// An order of the prefix with so many completions, if there is one; nothing at all if the algorithm cannot tell.
    fn decide(&self, completions: usize, order: Wanted) -> Option<Option<Vec<u32>>> {
        let is_required = |position: u32| (self.rank[position as usize] as usize) < completions;
        match self.partition.decide_prefix(self.end_ns(completions - 1), is_required, order)? {
            Answer::Linearizable(order) => Some(Some(order)),
            Answer::NonLinearizable => Some(None),
        }
    }

    /// When the completion with that number is.
    fn end_ns(&self, number: usize) -> u64 {
        let position = self.by_completion[number];
        self.partition.operations[position as usize].completed_ns.expect("it completed")
    }

    /// What was invoked by the completion with the number `ending` and is not in `order`: those that complete first, then
    /// crashed ones in order of invocation.
    fn pending(&self, ending: usize, order: &[u32]) -> Vec<u32> {
        let mut is_done = vec![false; self.rank.len()];
        for &position in order {
            is_done[position as usize] = true;
        }
        let end_ns = self.end_ns(ending);
        let is_pending = |position: u32| {
            self.partition.operations[position as usize].invoked_ns <= end_ns && !is_done[position as usize]
        };
        let completing = self.by_completion[ending..].iter().copied();
        let crashed =
            (0..self.rank.len() as u32).filter(|&position| self.rank[position as usize] == u32::MAX);
        completing.chain(crashed).filter(|&position| is_pending(position)).collect()
    }
}

/// An order, replayed through the model.
struct Replay<'r, M: Model> {
    model: &'r M,
    intervals: &'r [Interval<M::Call>],
    state: M::State,
    /// The last steps, and the number of those before them.
    steps: VecDeque<Step>,
    omitted: u64,
}

impl<'r, M: Model> Replay<'r, M> {
    fn of(model: &'r M, intervals: &'r [Interval<M::Call>], order: &[u32]) -> Self {
        let mut replay = Replay { model, intervals, state: model.init(), steps: VecDeque::new(), omitted: 0 };
        let first_told = order.len().saturating_sub(STEPS_LIMIT);
        for &position in &order[..first_told] {
            replay.state = replay.next(position).unwrap_or_else(|refusal| not_legal(&refusal));
            replay.omitted += 1;
        }
        for &position in &order[first_told..] {
            let next = replay.next(position).unwrap_or_else(|refusal| not_legal(&refusal));
            replay.take(position, next);
        }
        replay
    }

    fn call(&self, position: u32) -> &'r M::Call {
        &self.intervals[position as usize].call
    }

    fn next(&self, position: u32) -> Result<M::State, M::Refusal> {
        self.model.step(&self.state, self.call(position))
    }

    fn take(&mut self, position: u32, next: M::State) {
        self.state = next;
        if self.steps.len() == STEPS_LIMIT {
            self.steps.pop_front();
            self.omitted += 1;
        }
        self.steps.push_back(Step {
            operation: self.intervals[position as usize].operation,
            description: self.model.describe_call(self.call(position)),
            state: self.model.describe_state(&self.state),
        });
    }

    /// Appends what is legal of `pending`, crashed operations aside, first what changes nothing; what is left of it.
    fn lengthen(&mut self, mut pending: Vec<u32>) -> Vec<u32> {
        loop {
            let legal = |pure: bool| {
                pending.iter().position(|&position| {
                    self.intervals[position as usize].completed.is_some()
                        && self.model.is_pure(self.call(position)) == pure
                        && self.next(position).is_ok()
                })
            };
            let Some(found) = legal(true).or_else(|| legal(false)) else { return pending };
            let position = pending.remove(found);
            if let Ok(next) = self.next(position) {
                self.take(position, next);
            }
        }
    }

    /// The evidence, when this is the order before `blocked`, which cannot be next, nor can any of `pending` help.
    fn evidence(self, blocked: u32, pending: &[u32]) -> (NonLinearizable, String) {
        assert!(pending.contains(&blocked), "an order with it would linearize the prefix");
        let interval = &self.intervals[blocked as usize];
        let operation = interval.operation;
        let prefix_end = interval.completed.expect("a prefix ends with a completion").index;
        let wanted = self.model.describe_call(&interval.call);
        let state = self.model.describe_state(&self.state);
        let candidates = self.candidates(pending, &wanted, prefix_end);
        let reason = format!(
            "no order explains {wanted} (events {operation} to {prefix_end}): one that reaches this far ends with {state}"
        );
        let evidence = NonLinearizable {
            prefix_end,
            operation,
            longest_linearization: self.steps.into(),
            omitted_steps: self.omitted,
            state,
            candidates,
            minimal: None,
        };
        (evidence, reason)
    }

    /// All that could come next; of crashed operations one of each kind, and none that would change nothing.
    fn candidates(&self, pending: &[u32], wanted: &str, prefix_end: u64) -> Vec<Candidate> {
        let mut crashed: FxHashSet<&M::Call> = FxHashSet::default();
        let next = pending.iter().copied().filter(|&position| {
            let call = self.call(position);
            self.intervals[position as usize].completed.is_some()
                || (!self.model.is_pure(call) && crashed.insert(call))
        });
        next.take(CANDIDATES_LIMIT)
            .map(|position| {
                let reason = match self.next(position) {
                    Err(refusal) => refusal.to_string(),
                    Ok(next) => leads_nowhere(&self.model.describe_state(&next), wanted, prefix_end),
                };
                Candidate {
                    operation: self.intervals[position as usize].operation,
                    description: self.model.describe_call(self.call(position)),
                    reason,
                }
            })
            .collect()
    }
}

fn not_legal(refusal: &dyn std::fmt::Display) -> ! {
    panic!("the order of a polynomial algorithm is not legal: {refusal}")
}

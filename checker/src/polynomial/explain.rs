//! Where a polynomial algorithm's "no" begins, for all classes alike.
//!
//! **The shortest prefix.** A prefix of a history ends with a completion. What completed by then is required; what was invoked
//! by then may be left out, and is known by what it returned later. If a prefix cannot be linearized, no longer one can: from an
//! order of the longer prefix leave out everything behind the last required operation of the shorter one. What is left
//! is legal, as a prefix of a legal order is, and it has in it only operations invoked before the end of the shorter prefix:
//! one invoked later comes after all that completed by then, hence after the last of them. So the shortest prefix is found by
//! bisection, with O(log n) calls of the algorithm.
//!
//! **The order before it.** The algorithm's own order of the longest prefix that *can* be linearized. It has all that completed;
//! that no other order has more of those in flight is not claimed.

use super::{Answer, Partition, Wanted};
use crate::budget::Meter;
use crate::linearizable::{Failure, Interval, Order, guarded};
use crate::verdict::{CutShort, ExplanationPart};

/// Where `intervals`, prepared as `partition`, cannot be linearized. `None` if the algorithm does not know what to say of some
/// prefix. When the budget runs out, it is the shortest of the prefixes that were tried.
pub(crate) fn failure<C>(
    intervals: &[Interval<C>],
    partition: &Partition<'_>,
    meter: &Meter<'_>,
) -> Option<Failure> {
    let mut cut_short = Vec::new();
    let prefixes = Prefixes::of(intervals, partition);
    let mut bounds = Bounds { possible: 0, impossible: prefixes.by_completion.len() };
    let found =
        guarded(ExplanationPart::ShortestPrefix, &mut cut_short, || prefixes.narrow(&mut bounds, meter));
    let order = match found {
        Some(order) => Some(order?),
        None => None,
    };
    let order = order.map(|mut positions: Vec<u32>| {
        while positions.last().is_some_and(|&position| intervals[position as usize].completed.is_none()) {
            positions.pop();
        }
        Order { positions, is_longest: false }
    });
    if order.is_none() {
        let reason = cut_short.first().map(|why: &CutShort| why.reason.clone()).unwrap_or_default();
        cut_short.push(CutShort { part: ExplanationPart::LongestLinearization, reason });
    }
    let blocked = *prefixes.by_completion.get(bounds.impossible.checked_sub(1)?)?;
    Some(Failure { blocked, order, cut_short })
}

/// So many completions can be linearized; with so many it is known that they cannot.
struct Bounds {
    possible: usize,
    impossible: usize,
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

    /// Brings the bounds together; an order (of positions) of the longest prefix that is possible. `None` if the algorithm
    /// cannot tell.
    ///
    /// # Errors
    /// What ran out.
    fn narrow(&self, bounds: &mut Bounds, meter: &Meter<'_>) -> Result<Option<Vec<u32>>, String> {
        while bounds.impossible - bounds.possible > 1 {
            meter.check_time().map_err(|why| why.to_string())?;
            let middle = bounds.possible + (bounds.impossible - bounds.possible) / 2;
            match self.decide(middle, Wanted::Existence) {
                None => return Ok(None),
                Some(Some(_)) => bounds.possible = middle,
                Some(None) => bounds.impossible = middle,
            }
        }
        if bounds.possible == 0 {
            return Ok(Some(Vec::new()));
        }
        meter.check_time().map_err(|why| why.to_string())?;
        Ok(self.decide(bounds.possible, Wanted::Order).flatten())
    }

    /// An order of the prefix with so many completions, if there is one; nothing at all if the algorithm cannot tell.
    fn decide(&self, completions: usize, order: Wanted) -> Option<Option<Vec<u32>>> {
        let is_required = |position: u32| (self.rank[position as usize] as usize) < completions;
        match self.partition.decide_prefix(self.by_completion[completions - 1], is_required, order)? {
            Answer::Linearizable(order) => Some(Some(order)),
            Answer::NonLinearizable => Some(None),
        }
    }
}

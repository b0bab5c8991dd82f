//! Removals that crashed, so that nobody knows what they took: which values did they take from a queue or a bag?
//!
//! The rules of `containers` hold as before: they make each value leave, one that no operation is known to have removed at the end of
//! time. (If a crashed insertion's value was taken by such a removal, leave out both.) Call the latter values *lost*, and give a
//! lost value one of these removals, invoked at u: then it leaves from u on, instead of at the end of time. So more is possible
//! with an earlier u, and with as many removals as there are. If there is an order without any of them, none is needed.
//!
//! **What a lost value v needs.** Its removal matters in two ways. *In a queue*, v must leave before each value b that certainly entered
//! after it, `v.enters` before `b.enters`, can leave, so by D(v), the first end of a `leaves` of such a b; u ≤ D(v) is also enough for
//! these two (the relation of `queue` has then no cycle of v and b). In a bag D(v) is the end of time. *And* if an `Empty` is placed
//! at a rank t behind the end of `v.enters`, then u ≤ t; then v's core, if there is one, ends by t.
//!
//! So, once the ranks t of all `Empty`s are chosen outside of the cores of values that are not lost, each lost value has a deadline,
//! the least of D(v) and the first t behind the end of `v.enters`; and removals can be given to lost values so that all deadlines
//! are met if and only if, for every rank T, at most as many lost values have a deadline by T as removals were invoked by T; the
//! earliest removal goes to the earliest deadline.
//!
//! **Where `Empty`s can be.** Let m(T) be the greatest of the ranks t up to T. The lost values with a deadline by T are those with
//! D(v) ≤ T or with `v.enters` ending before m(T); for every t up to T asks for no more than m(T) does. So the condition for T is one on
//! m(T) alone; and it holds for m(T) only if it would hold for every other t up to T, which asks for fewer. Hence it holds for all T if
//! and only if, for each `Empty` by itself, its rank t is *possible*: for every T ≥ t, at most as many lost values have D(v) ≤ T or
//! `v.enters` ending before t as removals were invoked by T (and, if there is no `Empty`, for every T with D(v) ≤ T alone). So each
//! `Empty` is placed at the first possible rank of its span that is in no core of a value that is not lost. Ranks of events are
//! enough: let t lie anywhere, then the last beginning of an operation up to t is in the span as well; no core ends between the
//! two, no removal is invoked, and no more values have entered. ∎
//!
//! **Removals in flight** at the end of a prefix, of which it is known what they returned later, make it a question whether the value
//! they are on left by them or was lost. Without `Empty`s a value is lost only if its own removal misses D(v); with `Empty`s it is left
//! to the general search.

use super::Answer;
use super::containers::{Container, Element};
use super::ranks::sorted_by_rank;
use super::trees::Cover;

/// The answer on a container in which removals crashed, where `order` finds an order without any, and `deadlines` are the D(v) of
/// all elements; `None` if it cannot be told.
pub(super) fn decide(
    mut container: Container,
    deadlines: impl FnOnce(&Container) -> Option<Vec<u32>>,
    order: impl Fn(&Container) -> Option<Vec<u32>>,
) -> Option<Answer> {
    if let Some(order) = order(&container) {
        return Some(Answer::Linearizable(order));
    }
    if container.crashed_removals.is_empty() {
        return Some(Answer::NonLinearizable);
    }
    let deadlines = deadlines(&container)?;
    let is_in_flight = |element: &Element| element.leaves.by == container.end && element.remove.is_some();
    if !container.empties.is_empty() && container.elements.iter().any(is_in_flight) {
        return None;
    }
    let lost: Vec<Lost> = lost(&container, &deadlines);
    let order = assign(&mut container, lost).and_then(|()| order(&container));
    Some(order.map_or(Answer::NonLinearizable, Answer::Linearizable))
}

/// A value that was perhaps taken by a removal that crashed.
#[derive(Clone, Copy)]
struct Lost {
    element: u32,
    /// The end of its `enters`.
    entered: u32,
    deadline: u32,
}

fn lost(container: &Container, deadlines: &[u32]) -> Vec<Lost> {
    let elements = (0..).zip(&container.elements).zip(deadlines);
    // One whose own removal meets the deadline is not lost.
    let is_lost = |element: &Element, deadline: u32| {
        element.leaves.by == container.end && (element.remove.is_none() || element.leaves.from > deadline)
    };
    elements
        .filter(|&((_, element), &deadline)| is_lost(element, deadline))
        .map(|((number, element), &deadline)| Lost { element: number, entered: element.enters.by, deadline })
        .collect()
}

/// Gives removals to those of the lost values that need one, if there are enough in time.
fn assign(container: &mut Container, mut lost: Vec<Lost>) -> Option<()> {
    let next_possible = next_possible(container, &lost);
    let mut is_empty_at = vec![false; container.end as usize + 1];
    for empty in &container.empties {
        let rank = next_possible[empty.span.from as usize];
        if rank > empty.span.by {
            return None;
        }
        is_empty_at[rank as usize] = true;
    }
    let next_empty = next_of(&is_empty_at);
    for value in &mut lost {
        value.deadline = value.deadline.min(next_empty[value.entered as usize + 1]);
    }
    lost.retain(|value| value.deadline < container.end);
    lost.sort_unstable_by_key(|value| value.deadline);
    if lost.len() > container.crashed_removals.len() {
        return None;
    }
    for (value, &(invoked, removal)) in lost.iter().zip(&container.crashed_removals) {
        if invoked > value.deadline {
            return None;
        }
        let element = &mut container.elements[value.element as usize];
        element.remove = Some(removal);
        element.leaves.from = invoked.max(element.enters.from);
    }
    Some(())
}

/// For each rank the first from it on at which there may be an `Empty`, or the end.
fn next_possible(container: &Container, lost: &[Lost]) -> Vec<u32> {
    let end = container.end as usize;
    let mut is_lost = vec![false; container.elements.len()];
    for value in lost {
        is_lost[value.element as usize] = true;
    }
    // By how much the number of removals exceeds that of the values that need one, and one more; at the end 0.
    let mut change = vec![0; end + 1];
    change[0] = 1;
    for &(invoked, _) in &container.crashed_removals {
        change[invoked as usize] += 1;
    }
    for value in lost.iter().filter(|value| value.deadline < container.end) {
        change[value.deadline as usize] -= 1;
    }
    change[end] -= change.iter().sum::<i32>();
    let mut excess = Cover::new(&change);
    let gaps = container.gaps_but_for(&is_lost);
    let by_entering = sorted_by_rank(lost.len(), container.end, |number| lost[number].entered);
    let mut entered = by_entering.into_iter().map(|number| &lost[number as usize]).peekable();
    let mut is_possible = vec![false; end + 1];
    for rank in 0..container.end {
        while let Some(value) = entered.next_if(|value| value.entered < rank) {
            excess.uncover(0, value.deadline as usize);
        }
        is_possible[rank as usize] = gaps.is_at(rank) && excess.first_gap(rank) == container.end;
    }
    next_of(&is_possible)
}

/// For each position the first from it on that is true; the last one if none is.
fn next_of(is_it: &[bool]) -> Vec<u32> {
    let mut next = vec![is_it.len() as u32 - 1; is_it.len()];
    for position in (0..is_it.len() - 1).rev() {
        next[position] = if is_it[position] { position as u32 } else { next[position + 1] };
    }
    next
}

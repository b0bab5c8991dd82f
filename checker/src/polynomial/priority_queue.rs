//! Bags and priority queues of distinct values: O(n log n).
//!
//! `containers` says which histories are meant, and why it is enough to look at those in which every operation happens and every
//! value leaves; its terms are used here. A bag is a priority queue whose values are all equal in rank: whatever is smaller than
//! a value, below, is then nothing at all. (Lee and Mathur, OOPSLA 2025, take away the greatest value again and again; looking at
//! the values from the smallest on is the same, and gives the order as it goes.)
//!
//! **Theorem.** There is an order if and only if (a) for each value v some rank of `v.leaves` lies in the core of no smaller value,
//! and (b) for each `Empty` some rank of its span lies in the core of no value.
//!
//! *Necessary*, because a value is certainly there within its core, and at the removal of v no smaller one is there.
//!
//! *Sufficient.* Let yᵥ be the *first* rank as in (a), and xᵥ the lesser of yᵥ and the end of `v.enters`. Insert v at xᵥ and remove it
//! at yᵥ; xᵥ is in its span, because yᵥ is at least the beginning of `v.leaves`, which is tight. Place each `Empty` at a rank as in
//! (b). At equal ranks let come first the removals of values inserted at lower ranks, the smallest first; then the values
//! with xᵥ = yᵥ, one after another, each inserted and removed at once; then `Empty`s; then the other insertions.
//!
//! *Lemma.* A rank t that lies in the core of no value up to v (v and the smaller ones) is not strictly between xᵥ and yᵥ. Else xᵥ is
//! the end of `v.enters`, as it is less than yᵥ; so t, being behind it and not in v's core, is at least the beginning of `v.leaves`,
//! and it is less than yᵥ, which was the first such rank in no smaller value's core.
//!
//! So at yᵤ no smaller value v is strictly within its stay, nor is any at the rank of an `Empty`. What is left are equal ranks. If v
//! was inserted before yᵤ and yᵥ = yᵤ, then either u was, too, and v is removed first; or xᵤ = yᵤ, and all such removals come first.
//! If v is inserted at yᵤ, then it is either gone at once or inserted after the removals at that rank. Likewise for `Empty`s. ∎
//!
//! For a bag (a) is always true, and yᵥ is the beginning of `v.leaves`.
//!
//! Where removals crashed without a result, a bag is decided with them (`unknown`). For a priority queue an order without them is
//! one; if there is none, that is left to the general search.

use super::containers::{Container, Gaps, Gathered, GrowingGaps, Values};
use super::ranks::Ranked;
use super::{Answer, ByRank, Classed, Wanted, unknown};

/// The algorithm for priority queues.
pub(super) struct PriorityQueue<'c>(Values<'c>);

/// The algorithm for bags.
pub(super) struct Bag<'c>(Values<'c>);

impl<'c> PriorityQueue<'c> {
    /// Prepares a history of a priority queue; `None` if it is not of the kind that can be decided.
    pub fn new(operations: &[Classed<'c>]) -> Option<PriorityQueue<'c>> {
        Values::new(operations).map(|values| PriorityQueue(values.ascending()))
    }
}

impl<'c> Bag<'c> {
    /// Prepares a history of a bag; `None` if it is not of the kind that can be decided.
    pub fn new(operations: &[Classed<'c>]) -> Option<Bag<'c>> {
        Values::new(operations).map(Bag)
    }
}

impl ByRank for PriorityQueue<'_> {
    fn decide(&self, ranked: &Ranked, _: Wanted) -> Option<Answer> {
        let container = match self.0.gather(ranked) {
            Gathered::Container(container) => container,
            Gathered::Contradiction => return Some(Answer::NonLinearizable),
        };
        let removals = |container: &Container| {
            let mut gaps = GrowingGaps::new(container.end);
            let removals = container.elements.iter().map(|element| {
                let removed_at = gaps.first_in(element.leaves)?;
                if let Some(core) = element.core() {
                    gaps.cover(core);
                }
                Some(removed_at)
            });
            removals.collect::<Option<Vec<u32>>>()
        };
        let order = |container: &Container| read_off(container, &removals(container)?, &container.gaps());
        unknown::decide(container, |_| None, order)
    }
}

impl ByRank for Bag<'_> {
    fn decide(&self, ranked: &Ranked, _: Wanted) -> Option<Answer> {
        let container = match self.0.gather(ranked) {
            Gathered::Container(container) => container,
            Gathered::Contradiction => return Some(Answer::NonLinearizable),
        };
        let order = |container: &Container| {
            let removals: Vec<u32> = container.elements.iter().map(|element| element.leaves.from).collect();
            Some(postponed(container, read_off(container, &removals, &container.gaps())?))
        };
        unknown::decide(container, |container| Some(vec![container.end; container.elements.len()]), order)
    }
}

/// The same order with removals that crashed without a result directly before the next `Empty`, or left out if there is none.
/// That is as legal: a value that leaves later keeps no other operation on a bag from anything but being empty. And since they
/// take all that is left there, it is legal for models too that do not let them take what they like.
fn postponed(container: &Container, order: Vec<u32>) -> Vec<u32> {
    if container.crashed_removals.is_empty() {
        return order;
    }
    let length = order.iter().max().map_or(0, |&greatest| greatest as usize + 1);
    let (mut is_removal, mut is_empty) = (vec![false; length], vec![false; length]);
    for &(_, removal) in &container.crashed_removals {
        if let Some(is_removal) = is_removal.get_mut(removal as usize) {
            *is_removal = true;
        }
    }
    for empty in &container.empties {
        is_empty[empty.operation as usize] = true;
    }
    let (mut waiting, mut postponed) = (Vec::new(), Vec::with_capacity(order.len()));
    for operation in order {
        if is_removal[operation as usize] {
            waiting.push(operation);
            continue;
        }
        if is_empty[operation as usize] {
            postponed.append(&mut waiting);
        }
        postponed.push(operation);
    }
    postponed
}

/// What stands at one rank, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The element of that number leaves.
    Removal(u32),
    /// It comes and leaves.
    Visit(u32),
    /// The `Empty` of that number.
    Empty(u32),
    /// The element comes.
    Insertion(u32),
}

/// The operations, placed as in the theorem, up to the end of time; nothing if an `Empty` has no place.
fn read_off(container: &Container, removals: &[u32], gaps: &Gaps) -> Option<Vec<u32>> {
    let mut steps = Vec::with_capacity(2 * removals.len() + container.empties.len());
    for ((number, element), &removed_at) in (0..).zip(&container.elements).zip(removals) {
        let inserted_at = element.enters.by.min(removed_at);
        if inserted_at == removed_at {
            steps.push((removed_at, Step::Visit(number)));
        } else {
            steps.push((inserted_at, Step::Insertion(number)));
            steps.push((removed_at, Step::Removal(number)));
        }
    }
    for (number, empty) in (0..).zip(&container.empties) {
        steps.push((gaps.first_in(empty.span)?, Step::Empty(number)));
    }
    steps.sort_unstable();
    let mut operations = Vec::with_capacity(2 * removals.len() + container.empties.len());
    for (_, step) in steps.into_iter().take_while(|&(rank, _)| rank < container.end) {
        match step {
            Step::Removal(number) => operations.extend(container.elements[number as usize].remove),
            Step::Visit(number) => {
                let element = &container.elements[number as usize];
                operations.push(element.insert);
                operations.extend(element.remove);
            }
            Step::Empty(number) => operations.push(container.empties[number as usize].operation),
            Step::Insertion(number) => operations.push(container.elements[number as usize].insert),
        }
    }
    Some(operations)
}

//! Stacks of distinct values: O(n log n).
//!
//! `containers` says which histories are meant, and why it is enough to look at those in which every operation happens and every
//! value leaves; its terms are used here. The scheme, taking away a value that can lie at the bottom, is that of Lee and Mathur
//! (OOPSLA 2025) and, by other names, of Abdulla, Grahn, Jonsson, Krishna and Mishra, "Efficient Linearizability Monitoring" (PLDI
//! 2025).
//!
//! **Stays.** An order is legal for a stack if and only if the stays of any two values, from insertion to removal, are apart or
//! one is within the other, and no `Empty` is within any.
//!
//! **Values without a core** can be inserted and removed at once anywhere between their neighbours in an order, so they are left out
//! of the argument: there is an order with them if and only if there is one without.
//!
//! **Lemma 1.** If there is an order, there is one in which the stack is empty at every rank t that lies in no core. Take the
//! stays that have t strictly within: each within the next. Since t is not in the core of their values, each of these can
//! be removed at t or inserted at t. Let those leave at t that can, the inner ones first, and then the others enter at t, the
//! outer ones first. No other value's stay has t strictly within, so it is within what was cut off of one of these stays, or
//! within what is left, or apart from both. Where the stack was empty at another rank, it still is, as stays only became shorter.
//!
//! Hence an `Empty` has a place if and only if some rank of its span is in no core; and where the cores of all values leave gaps,
//! the history falls into parts that are decided by themselves. A part is a maximal open interval (A, B) covered by cores, with
//! the values whose cores lie in it; their stays can be taken to lie within [A, B].
//!
//! **Lemma 2.** In a part one value lies at the bottom from A to B: were there two at the bottom one after the other, then the rank
//! between them would be in no core. So it enters by A and leaves no earlier than B, as its spans must allow; A is the first end of
//! an `enters` in the part and B the last beginning of a `leaves`. *Any* value r whose spans allow it will do: take an order,
//! take r out of it, and let it enter at A before and leave at B after all others. So a part can be ordered if and only if there
//! is such a value and the part without it can be ordered, which falls into parts again. ∎
//!
//! Where removals crashed without a result, an order without them is one; if there is none, that is left to the general search.
//!
//! **How it is done.** The part furthest to the left is always next; the value for its bottom is found and taken away. So the
//! beginnings A never go back, and a value whose `enters` has begun by A stays one that has. In a tree over the values in order of
//! the beginnings of their cores stand those that have, with the ends of their `leaves`; a part is a range of it, and the greatest
//! end in it belongs to the value to be taken, if any does. Where a part ends is found in a tree of how many cores cover what is
//! between a rank and the next.

use super::containers::{Container, Element, Gathered, Values};
use super::ranks::{Ranked, sorted_by_rank};
use super::trees::{Cover, Maxima};
use super::{Answer, ByRank, Classed, Wanted, unknown};

/// The algorithm for stacks.
pub(super) struct Stack<'c>(Values<'c>);

impl<'c> Stack<'c> {
    /// Prepares a history of a stack; `None` if it is not of the kind that can be decided.
    pub fn new(operations: &[Classed<'c>]) -> Option<Stack<'c>> {
        Values::new(operations).map(Stack)
    }
}

impl ByRank for Stack<'_> {
    fn decide(&self, ranked: &Ranked, _: Wanted) -> Option<Answer> {
        let container = match self.0.gather(ranked) {
            Gathered::Container(container) => container,
            Gathered::Contradiction => return Some(Answer::NonLinearizable),
        };
        unknown::decide(container, |_| None, |container| read_off(container, stays(container)?))
    }
}

/// What stands at one rank, in this order.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Removal(&'a Element),
    Visit(&'a Element),
    Empty(u32),
    Insertion(&'a Element),
}

impl Step<'_> {
    fn turn(&self) -> u8 {
        match self {
            Step::Removal(_) => 0,
            Step::Visit(_) | Step::Empty(_) => 1,
            Step::Insertion(_) => 2,
        }
    }
}

/// Insertions and removals of the values with cores, in a legal order and with their ranks; nothing if there is none.
fn stays(container: &Container) -> Option<Vec<(u32, Step<'_>)>> {
    let mut parts = Parts::of(container);
    let mut steps = Vec::with_capacity(2 * container.elements.len());
    // The stays that have begun, each within the one before, with their ends.
    let mut begun: Vec<(u32, &Element)> = Vec::new();
    while let Some(part) = parts.next() {
        while let Some((end, element)) = begun.pop_if(|&mut (end, _)| end <= part.begins) {
            steps.push((end, Step::Removal(element)));
        }
        let bottom = parts.take_bottom(&part)?;
        steps.push((part.begins, Step::Insertion(bottom)));
        begun.push((part.ends, bottom));
    }
    steps.extend(begun.into_iter().rev().map(|(end, element)| (end, Step::Removal(element))));
    Some(steps)
}

/// The operations, placed as in the lemmas, up to the end of time; nothing if an `Empty` has no place.
fn read_off<'a>(container: &'a Container, mut steps: Vec<(u32, Step<'a>)>) -> Option<Vec<u32>> {
    let visits = container.elements.iter().filter(|element| element.core().is_none());
    steps.extend(visits.map(|element| (element.leaves.from, Step::Visit(element))));
    let gaps = container.gaps();
    for empty in &container.empties {
        steps.push((gaps.first_in(empty.span)?, Step::Empty(empty.operation)));
    }
    // Stable: stays that begin or end at one rank keep their order. Those that end come before those that begin.
    steps.sort_by_key(|(rank, step)| (*rank, step.turn()));
    let mut operations = Vec::with_capacity(2 * container.elements.len() + container.empties.len());
    for (_, step) in steps.into_iter().take_while(|&(rank, _)| rank < container.end) {
        match step {
            Step::Removal(element) => operations.extend(element.remove),
            Step::Visit(element) => {
                operations.push(element.insert);
                operations.extend(element.remove);
            }
            Step::Empty(operation) => operations.push(operation),
            Step::Insertion(element) => operations.push(element.insert),
        }
    }
    Some(operations)
}

/// A maximal open interval covered by cores.
#[derive(Clone, Copy, Debug)]
struct Part {
    begins: u32,
    ends: u32,
}

/// What remains to be ordered.
struct Parts<'a> {
    /// Values with cores, in order of the cores' beginnings.
    by_core: Vec<&'a Element>,
    /// Numbers in `by_core`, in order of the beginnings of `enters`, and how many of them are in `bottoms`, or were.
    by_entering: Vec<u32>,
    entering: usize,
    is_taken: Vec<bool>,
    /// Values before this one are taken.
    first: usize,
    bottoms: Maxima,
    cover: Cover,
}

impl<'a> Parts<'a> {
    fn of(container: &'a Container) -> Parts<'a> {
        let elements = &container.elements;
        let by_core = sorted_by_rank(elements.len(), container.end, |number| elements[number].enters.by);
        let by_core = by_core.into_iter().map(|number| &elements[number as usize]);
        let by_core: Vec<&Element> = by_core.filter(|element| element.core().is_some()).collect();
        let by_entering = sorted_by_rank(by_core.len(), container.end, |number| by_core[number].enters.from);
        let mut change = vec![0; container.end as usize + 1];
        for core in by_core.iter().filter_map(|element| element.core()) {
            change[core.from as usize] += 1;
            change[core.by as usize] -= 1;
        }
        Parts {
            is_taken: vec![false; by_core.len()],
            bottoms: Maxima::new(by_core.len()),
            cover: Cover::new(&change),
            by_core,
            by_entering,
            entering: 0,
            first: 0,
        }
    }

    /// The part furthest to the left.
    fn next(&mut self) -> Option<Part> {
        while *self.is_taken.get(self.first)? {
            self.first += 1;
        }
        let begins = self.by_core[self.first].enters.by;
        Some(Part { begins, ends: self.cover.first_gap(begins) })
    }

    /// Takes a value that can lie at the bottom of the part furthest to the left out of it, if there is one.
    fn take_bottom(&mut self, part: &Part) -> Option<&'a Element> {
        while let Some(&number) = self.by_entering.get(self.entering) {
            let element = self.by_core[number as usize];
            if element.enters.from > part.begins {
                break;
            }
            self.bottoms.set(number as usize, element.leaves.by + 1);
            self.entering += 1;
        }
        let behind = self.by_core.partition_point(|element| element.enters.by < part.ends);
        let number = self.bottoms.greatest(self.first, behind)?;
        let element = self.by_core[number];
        if element.leaves.by < part.ends {
            return None;
        }
        self.bottoms.set(number, 0);
        self.is_taken[number] = true;
        self.cover.uncover(element.enters.by as usize, element.leaves.from as usize);
        Some(element)
    }
}

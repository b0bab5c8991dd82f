//! What queue, stack, bag and priority queue have in common: values that come and go, each at most once.
//!
//! **Kind of history.** Every value is inserted by at most one operation ("differentiated", "unambiguous": Bouajjani, Emmi, Enea
//! and Hamza, "On reducing linearizability to state reachability", ICALP 2015; Lee and Mathur, "Efficient Decrease-and-Conquer
//! Linearizability Monitoring", OOPSLA 2025). Others are left to the general search.
//!
//! **What did not complete.** Three rules make a history in which every operation takes effect, and every value that is inserted
//! is removed. They hold for any container of which these are true: (1) what remains of a legal order when all operations of one
//! value are left out is legal; (2) from every state all values can be removed in some order; (3) beginnings of legal orders are
//! legal. A queue, a stack, a bag and a priority queue are such containers.
//!
//! - *An insertion that did not complete, of a value that no completed operation removed, never happened*: by (1) its value can be
//!   left out of any legal order, and with it a removal that did not complete.
//! - *An insertion that did not complete, of a value that a completed operation removed, happened* before that removal.
//! - *A value that no completed operation removed is removed at the end of time*, by an operation that we add, or, if there is one
//!   that did not complete, by that one, at any time after its invocation. An order for the new history is one for the old: cut
//!   it off at the first operation placed at the end of time; everything that completed stands before. An order for the old one is
//!   one for the new: add removals of all that remained, which exist by (2), at the end of time.
//!
//! A call of `Empty` that did not complete changes nothing, and a removal without result is nothing that has a role.
//!
//! **Tightening.** A value is inserted before it is removed. If its insertion has the span [e, e'] and its removal [d, d'], the
//! insertion happens by min(e', d') and the removal not before max(d, e); if d' < e there is no order. From here on spans are
//! tight.
//!
//! **Core.** If then the insertion's span ends before the removal's begins, the value is certainly in the container between the
//! two: the open interval of ranks between them is its *core*. No `Empty` can be placed within the core of any value. A value
//! without a core can be inserted and removed at one rank, any of the removal's beginning to the insertion's end. An end of a
//! core is never the beginning of another, since the one is an invocation (or the end of time) and the other a completion.

use rustc_hash::FxHashMap;

use labrys_history::Value;

use super::Classed;
use super::ranks::{Ranked, Span};
use crate::class::Role;

/// A value with its insertion and its removal, both of which happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'c> {
    /// What it is.
    pub value: &'c Value,
    /// Position of the operation that inserts it.
    pub insert: u32,
    /// Position of the operation that removes it; none was added to remove it at the end of time.
    pub remove: Option<u32>,
    /// When it is inserted, tightened.
    pub enters: Span,
    /// When it is removed, tightened.
    pub leaves: Span,
}

impl Element<'_> {
    /// The open interval in which it is certainly there.
    pub fn core(&self) -> Option<Span> {
        let core = Span { from: self.enters.by, by: self.leaves.from };
        (core.from < core.by).then_some(core)
    }
}

/// A call that found nothing there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Emptiness {
    /// Position of the operation.
    pub operation: u32,
    /// When it happens.
    pub span: Span,
}

/// A history of a container in which all operations happen and all values leave.
#[derive(Debug)]
pub(super) struct Container<'c> {
    /// In order of the first mention.
    pub elements: Vec<Element<'c>>,
    /// In order of position.
    pub empties: Vec<Emptiness>,
    /// The end of time.
    pub end: u32,
}

/// What [`Container::gather`] makes of a history.
#[derive(Debug)]
pub(super) enum Gathered<'c> {
    /// To be decided.
    Container(Container<'c>),
    /// A value left that was never inserted, or twice, or before it was inserted: there is no order for any container.
    Contradiction,
}

/// What is known of a value.
#[derive(Debug)]
struct Mentions<'c> {
    value: &'c Value,
    insert: Option<u32>,
    /// Completed removals: one, and whether there are more.
    removed: Option<u32>,
    removed_again: bool,
    /// The removal invoked first among those that did not complete.
    may_remove: Option<u32>,
}

impl<'c> Container<'c> {
    /// Gathers what `operations` say of each value; `None` if they are not of the kind above. O(n log n).
    pub fn gather(operations: &[Classed<'c>]) -> Option<Gathered<'c>> {
        let ranked = Ranked::new(operations);
        let (values, empties) = mentions(operations, &ranked)?;
        let mut elements = Vec::with_capacity(values.len());
        for mentions in values {
            match mentions.element(operations, &ranked) {
                Ok(element) => elements.extend(element),
                Err(Contradiction) => return Some(Gathered::Contradiction),
            }
        }
        Some(Gathered::Container(Container { elements, empties, end: ranked.end }))
    }

    /// Where the container may be empty, by the cores of all elements. O(n).
    pub fn gaps(&self) -> Gaps {
        Gaps::between(self.elements.iter().filter_map(Element::core), self.end)
    }
}

/// No order exists.
struct Contradiction;

/// The values of `operations` with their operations, and the calls that found nothing.
fn mentions<'c>(operations: &[Classed<'c>], ranked: &Ranked) -> Option<(Vec<Mentions<'c>>, Vec<Emptiness>)> {
    let mut values: Vec<Mentions<'c>> = Vec::new();
    let mut by_value: FxHashMap<&'c Value, usize> = FxHashMap::default();
    let mut empties = Vec::new();
    for ((position, operation), &span) in (0_u32..).zip(operations).zip(&ranked.spans) {
        let (Role::Insert(value) | Role::Remove(value)) = operation.role else {
            if operation.role != Role::Empty {
                return None;
            }
            if operation.completed_ns.is_some() {
                empties.push(Emptiness { operation: position, span });
            }
            continue;
        };
        let number = *by_value.entry(value).or_insert(values.len());
        if number == values.len() {
            values.push(Mentions {
                value,
                insert: None,
                removed: None,
                removed_again: false,
                may_remove: None,
            });
        }
        let mentions = &mut values[number];
        if let Role::Insert(_) = operation.role {
            if mentions.insert.replace(position).is_some() {
                return None;
            }
        } else if operation.completed_ns.is_some() {
            mentions.removed_again |= mentions.removed.replace(position).is_some();
        } else if mentions.may_remove.is_none_or(|other| span.from < ranked.spans[other as usize].from) {
            mentions.may_remove = Some(position);
        }
    }
    Some((values, empties))
}

impl<'c> Mentions<'c> {
    /// The element that it is, if it was ever there.
    fn element(
        &self,
        operations: &[Classed<'_>],
        ranked: &Ranked,
    ) -> Result<Option<Element<'c>>, Contradiction> {
        let Some(insert) = self.insert else {
            return if self.removed.is_some() { Err(Contradiction) } else { Ok(None) };
        };
        if self.removed.is_none() && operations[insert as usize].completed_ns.is_none() {
            return Ok(None);
        }
        let span_of = |position: u32| ranked.spans[position as usize];
        let remove = self.removed.or(self.may_remove);
        let enters = span_of(insert);
        let leaves = remove.map_or(Span { from: ranked.end, by: ranked.end }, span_of);
        if self.removed_again || leaves.precedes(enters) {
            return Err(Contradiction);
        }
        Ok(Some(Element {
            value: self.value,
            insert,
            remove,
            enters: Span { by: enters.by.min(leaves.by), ..enters },
            leaves: Span { from: leaves.from.max(enters.from), ..leaves },
        }))
    }
}

/// The ranks that lie in none of some open intervals of which no beginning is another's end.
#[derive(Debug)]
pub(super) struct Gaps {
    /// For each rank, the first from it on that lies in none or begins one.
    next: Vec<u32>,
}

impl Gaps {
    fn between(intervals: impl Iterator<Item = Span>, end: u32) -> Gaps {
        let end = end as usize;
        let mut change = vec![0_i32; end + 1];
        for interval in intervals {
            change[interval.from as usize] += 1;
            change[interval.by as usize] -= 1;
        }
        let mut next = vec![end as u32; end + 1];
        let mut covering = 0;
        // Whether an interval covers what lies between a rank and the next.
        let is_covered: Vec<bool> = change
            .iter()
            .map(|by| {
                covering += by;
                covering > 0
            })
            .collect();
        for rank in (0..end).rev() {
            next[rank] = if is_covered[rank] { next[rank + 1] } else { rank as u32 };
        }
        Gaps { next }
    }

    /// The first rank in `span` that lies in none of the intervals.
    ///
    /// A rank lies in an interval if and only if what is on both sides of it is covered: were it not in one, the intervals
    /// on its two sides would end and begin with it.
    pub fn first_in(&self, span: Span) -> Option<u32> {
        let is_free = |rank: u32| self.next[rank as usize] == rank;
        let first = match span.from {
            0 => 0,
            from if is_free(from - 1) => from,
            from => self.next[from as usize],
        };
        (first <= span.by).then_some(first)
    }
}

/// The same when the intervals come one after another. All covers together take O(n α(n)).
#[derive(Debug)]
pub(super) struct GrowingGaps {
    /// For each rank, one that is not behind the first from it on between which and the next there is no interval; itself if
    /// it is that rank (a forest, as for disjoint sets).
    towards: Vec<u32>,
}

impl GrowingGaps {
    /// No intervals.
    pub fn new(end: u32) -> GrowingGaps {
        GrowingGaps { towards: (0..=end).collect() }
    }

    /// Covers an open interval.
    pub fn cover(&mut self, interval: Span) {
        let mut rank = self.first_free(interval.from);
        while rank < interval.by {
            self.towards[rank as usize] = rank + 1;
            rank = self.first_free(rank);
        }
    }

    /// The first rank in `span` that lies in none of the intervals: see [`Gaps::first_in`].
    pub fn first_in(&mut self, span: Span) -> Option<u32> {
        let is_behind_a_gap = span.from > 0 && self.first_free(span.from - 1) < span.from;
        let first = if is_behind_a_gap { span.from } else { self.first_free(span.from) };
        (first <= span.by).then_some(first)
    }

    fn first_free(&mut self, mut rank: u32) -> u32 {
        while self.towards[rank as usize] != rank {
            let next = self.towards[rank as usize];
            self.towards[rank as usize] = self.towards[next as usize];
            rank = next;
        }
        rank
    }
}

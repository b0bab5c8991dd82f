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
//! A call of `Empty` that did not complete changes nothing. A removal that crashed without a result may have taken anything; what of
//! that is in `unknown`.
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

/// A value's insertion and removal, both of which happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// Position of the operation that inserts it.
    pub insert: u32,
    /// Position of the operation that removes it; none was added to remove it at the end of time.
    pub remove: Option<u32>,
    /// When it is inserted, tightened.
    pub enters: Span,
    /// When it is removed, tightened.
    pub leaves: Span,
}

impl Element {
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
pub(super) struct Container {
    /// In the order in which the values are prepared.
    pub elements: Vec<Element>,
    /// In order of position.
    pub empties: Vec<Emptiness>,
    /// Removals that crashed without a result: when they were invoked, ascending, and their positions.
    pub crashed_removals: Vec<(u32, u32)>,
    /// The end of time.
    pub end: u32,
}

/// What [`Values::gather`] makes of a history.
#[derive(Debug)]
pub(super) enum Gathered {
    /// To be decided.
    Container(Container),
    /// A value left that was never inserted, or left twice, or before it was inserted: there is no order for any container.
    Contradiction,
}

/// The operations of a history by the value that they are on.
#[derive(Debug)]
pub(super) struct Values<'c> {
    /// In order of the first mention.
    mentions: Vec<Mentions<'c>>,
    /// The calls that found nothing.
    empties: Vec<u32>,
    /// The removals that crashed without a result.
    crashed_removals: Vec<u32>,
}

/// The operations on a value, by position.
#[derive(Debug)]
struct Mentions<'c> {
    value: &'c Value,
    insert: Option<u32>,
    remove: Option<u32>,
    /// Further removals.
    remove_again: Vec<u32>,
}

impl<'c> Values<'c> {
    /// Sorts `operations` by value; `None` if they are not of the kind above. O(n).
    pub fn new(operations: &[Classed<'c>]) -> Option<Values<'c>> {
        let mut mentions: Vec<Mentions<'c>> = Vec::new();
        let mut by_value: FxHashMap<&'c Value, usize> = FxHashMap::default();
        let (mut empties, mut crashed_removals) = (Vec::new(), Vec::new());
        for (position, operation) in (0_u32..).zip(operations) {
            let (Role::Insert(value) | Role::Remove(value)) = operation.role else {
                match operation.role {
                    Role::Empty => empties.push(position),
                    Role::RemoveAny if operation.completed_ns.is_none() => crashed_removals.push(position),
                    _ => return None,
                }
                continue;
            };
            let number = *by_value.entry(value).or_insert(mentions.len());
            if number == mentions.len() {
                mentions.push(Mentions { value, insert: None, remove: None, remove_again: Vec::new() });
            }
            let of_value = &mut mentions[number];
            let is_insert = matches!(operation.role, Role::Insert(_));
            match if is_insert { &mut of_value.insert } else { &mut of_value.remove } {
                first @ None => *first = Some(position),
                Some(_) if is_insert => return None,
                Some(_) => of_value.remove_again.push(position),
            }
        }
        Some(Values { mentions, empties, crashed_removals })
    }

    /// The same in order of value, as are then the elements gathered.
    pub fn ascending(mut self) -> Values<'c> {
        self.mentions.sort_unstable_by_key(|mentions| mentions.value);
        self
    }

    /// The container that they make, as far as they are there and completed. O(n).
    pub fn gather(&self, ranked: &Ranked) -> Gathered {
        let mut elements = Vec::with_capacity(self.mentions.len());
        for mentions in &self.mentions {
            match mentions.element(ranked) {
                Ok(element) => elements.extend(element),
                Err(Contradiction) => return Gathered::Contradiction,
            }
        }
        let empty = |&operation: &u32| Some(Emptiness { operation, span: ranked.completed(operation)? });
        let empties = self.empties.iter().filter_map(empty).collect();
        let crashed = |&operation: &u32| Some((ranked.span(operation)?.from, operation));
        let mut crashed_removals: Vec<(u32, u32)> =
            self.crashed_removals.iter().filter_map(crashed).collect();
        crashed_removals.sort_unstable();
        Gathered::Container(Container { elements, empties, crashed_removals, end: ranked.end })
    }
}

/// No order exists.
struct Contradiction;

impl<'c> Mentions<'c> {
    /// The element that it is, if it was ever there.
    fn element(&self, ranked: &Ranked) -> Result<Option<Element>, Contradiction> {
        let enters = self.insert.and_then(|insert| ranked.span(insert));
        let removal = self.removal(ranked)?;
        let was_removed = removal.is_some_and(|(_, leaves)| leaves.by < ranked.end);
        let (Some(enters), Some(insert)) = (enters, self.insert) else {
            return if was_removed { Err(Contradiction) } else { Ok(None) };
        };
        if !was_removed && enters.by == ranked.end {
            return Ok(None);
        }
        let leaves = removal.map_or(Span { from: ranked.end, by: ranked.end }, |(_, leaves)| leaves);
        if leaves.precedes(enters) {
            return Err(Contradiction);
        }
        Ok(Some(Element {
            insert,
            remove: removal.map(|(remove, _)| remove),
            enters: Span { by: enters.by.min(leaves.by), ..enters },
            leaves: Span { from: leaves.from.max(enters.from), ..leaves },
        }))
    }

    /// The removal that happened, or of those that did not complete the one invoked first, which can do what any other can.
    fn removal(&self, ranked: &Ranked) -> Result<Option<(u32, Span)>, Contradiction> {
        let mut best: Option<(u32, Span)> = None;
        for &remove in self.remove.iter().chain(&self.remove_again) {
            let Some(span) = ranked.span(remove) else { continue };
            best = match best {
                Some((_, other)) if other.by < ranked.end && span.by < ranked.end => {
                    return Err(Contradiction);
                }
                Some((_, other)) if (other.by, other.from) < (span.by, span.from) => best,
                _ => Some((remove, span)),
            };
        }
        Ok(best)
    }
}

impl Container {
    /// Where the container may be empty, by the cores of all elements. O(n).
    pub fn gaps(&self) -> Gaps {
        Gaps::between(self.elements.iter().filter_map(Element::core), self.end)
    }

    /// The same by the cores of those elements only of which `is_left_out` is false.
    pub fn gaps_but_for(&self, is_left_out: &[bool]) -> Gaps {
        let elements = self.elements.iter().zip(is_left_out).filter(|&(_, &is_left_out)| !is_left_out);
        Gaps::between(elements.filter_map(|(element, _)| element.core()), self.end)
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

    /// Whether a rank lies in none of the intervals.
    pub fn is_at(&self, rank: u32) -> bool {
        self.first_in(Span { from: rank, by: rank }).is_some()
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

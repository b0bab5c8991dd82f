//! FIFO queues of distinct values: O(n log n).
//!
//! `containers` says which histories are meant, and why it is enough to look at those in which every operation happens and every
//! value leaves; its terms are used here. That without empty dequeues the violations are pairs of values is known from Gibbons,
//! Bruno and Phillips, "Black-box correctness tests for basic parallel data structures" (SPAA 2002), and Henzinger, Sezgin and
//! Vafeiadis, "Aspect-oriented linearizability proofs" (CONCUR 2013); the order is built by taking away, again and again, a value
//! that can come first, which is the scheme of Lee and Mathur (OOPSLA 2025). The argument, in full:
//!
//! **Items.** Each value is an item with the spans `enters` and `leaves`. Each `Empty` is one too: both its spans are [t, t], where
//! t is the first rank of the operation's span that lies in no core. If there is none, there is no order (`containers`).
//!
//! **Relation.** Let a ▷ b if a.enters precedes b.enters or a.leaves precedes b.leaves. In a legal order values are inserted in
//! the order in which they are removed, so an order of the *values* by that extends ▷.
//!
//! **Lemma 1.** If ▷ has a cycle, it has one of two values. Each half of ▷ is an interval order, hence transitive, and of
//! a → b and c → d (in the same half) one has a → d or c → b. Take a shortest cycle; its steps alternate between the halves. If it
//! had four items a → b ⇒ c → d ⇒ …, then a → d, which makes the cycle shorter, or c → b, which together with b ⇒ c is a
//! cycle of two. And a cycle of two has no `Empty` o in it: v.enters precedes t and t precedes v.leaves would put t in v's core;
//! t precedes v.enters and v.leaves precedes t would let v leave before it enters; two `Empty`s have one order in both halves.
//!
//! So, if ▷ on the items has a cycle, ▷ on the values has one, and there is no order.
//!
//! **Lemma 2.** If ▷ has no cycle, there is an order. Take any enumeration 1, 2, … of the items that extends ▷. Place the insertion
//! of i at pᵢ, the greatest beginning of `enters` among 1…i, and its removal at qᵢ, the greatest beginning of `leaves` among
//! them; for an `Empty` both are its only operation. pᵢ is in the span: if it is the beginning of another's, j before i, and were
//! after the end of i's, then i ▷ j. So is qᵢ. pᵢ ≤ qᵢ, because a tight removal begins no earlier than the insertion. So read
//! off by rank, at equal ranks removals first unless their own insertion is still to come, values are inserted and removed in the
//! order of the enumeration, which is legal for a queue. An `Empty` i at t = qᵢ comes after all removals of the values before it,
//! whose ranks are at most qᵢ, and before all insertions of those behind it: their ranks are at least pᵢ = t, and removals go
//! first. So the queue is empty there. ∎
//!
//! **Enumeration.** An item can come next if no remaining one is ▷-before it: its `enters` begins no later than the first end of an
//! `enters` that remains, and likewise its `leaves`. Both bounds only grow, so each of four sorted lists is walked once. If
//! none can come next although some remain, ▷ has a cycle.

use super::containers::{Container, Gathered, Values};
use super::ranks::{Ranked, Span, sorted_by_rank};
use super::{Answer, ByRank, Classed, Wanted, unknown};

/// The algorithm for queues.
pub(super) struct Queue<'c>(Values<'c>);

impl<'c> Queue<'c> {
    /// Prepares a history of a queue; `None` if it is not of the kind that can be decided.
    pub fn new(operations: &[Classed<'c>]) -> Option<Queue<'c>> {
        Values::new(operations).map(Queue)
    }
}

impl ByRank for Queue<'_> {
    fn decide(&self, ranked: &Ranked, _: Wanted) -> Option<Answer> {
        let container = match self.0.gather(ranked) {
            Gathered::Container(container) => container,
            Gathered::Contradiction => return Some(Answer::NonLinearizable),
        };
        unknown::decide(
            container,
            |container| Some(deadlines(container)),
            |container| {
                let items = items(container)?;
                Some(read_off(&items, &enumeration(&items, container.end)?, container.end))
            },
        )
    }
}

/// For each value the first end of a `leaves` of those that certainly enter after it.
fn deadlines(container: &Container) -> Vec<u32> {
    let mut first_end = vec![container.end; container.end as usize + 2];
    for element in &container.elements {
        let place = &mut first_end[element.enters.from as usize];
        *place = element.leaves.by.min(*place);
    }
    for rank in (0..=container.end as usize).rev() {
        first_end[rank] = first_end[rank].min(first_end[rank + 1]);
    }
    container.elements.iter().map(|element| first_end[element.enters.by as usize + 1]).collect()
}

/// A value, or an `Empty`.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// Who inserts it; an `Empty` has nobody.
    insert: Option<u32>,
    /// Who removes it, if somebody does; or the `Empty` itself.
    remove: Option<u32>,
    enters: Span,
    leaves: Span,
}

/// The items, unless an `Empty` has no place.
fn items(container: &Container) -> Option<Vec<Item>> {
    let values = container.elements.iter().map(|element| Item {
        insert: Some(element.insert),
        remove: element.remove,
        enters: element.enters,
        leaves: element.leaves,
    });
    let mut items: Vec<Item> = values.collect();
    let gaps = container.gaps();
    for empty in &container.empties {
        let rank = gaps.first_in(empty.span)?;
        let place = Span { from: rank, by: rank };
        items.push(Item { insert: None, remove: Some(empty.operation), enters: place, leaves: place });
    }
    Some(items)
}

/// One half of the relation, walked in order of time.
struct Half {
    /// Spans by item.
    spans: Vec<Span>,
    /// Items by the beginning of their spans, and how many of them may come next as far as this half says.
    by_beginning: Vec<u32>,
    open: usize,
    /// Items by the end of their spans, and how many of the first ones are gone.
    by_end: Vec<u32>,
    gone: usize,
}

impl Half {
    fn new(spans: Vec<Span>, end: u32) -> Half {
        let by_beginning = sorted_by_rank(spans.len(), end, |item| spans[item].from);
        let by_end = sorted_by_rank(spans.len(), end, |item| spans[item].by);
        Half { spans, by_beginning, open: 0, by_end, gone: 0 }
    }

    /// The next item that none of those that remain precedes, each once.
    fn next_open(&mut self, is_gone: &[bool]) -> Option<u32> {
        while self.by_end.get(self.gone).is_some_and(|&item| is_gone[item as usize]) {
            self.gone += 1;
        }
        let first_end = self.spans[*self.by_end.get(self.gone)? as usize].by;
        let item = *self.by_beginning.get(self.open)?;
        (self.spans[item as usize].from <= first_end).then(|| {
            self.open += 1;
            item
        })
    }
}

/// The items in an order that extends the relation, if it has no cycle.
fn enumeration(items: &[Item], end: u32) -> Option<Vec<u32>> {
    let mut halves = [
        Half::new(items.iter().map(|item| item.enters).collect(), end),
        Half::new(items.iter().map(|item| item.leaves).collect(), end),
    ];
    let mut is_gone = vec![false; items.len()];
    let mut is_open_in_one = vec![false; items.len()];
    let mut ready = Vec::new();
    let mut order = Vec::with_capacity(items.len());
    while order.len() < items.len() {
        for half in &mut halves {
            while let Some(item) = half.next_open(&is_gone) {
                if std::mem::replace(&mut is_open_in_one[item as usize], true) {
                    ready.push(item);
                }
            }
        }
        let next = ready.pop()?;
        is_gone[next as usize] = true;
        order.push(next);
    }
    Some(order)
}

/// The operations, placed as in lemma 2, up to the end of time.
fn read_off(items: &[Item], order: &[u32], end: u32) -> Vec<u32> {
    let mut operations = Vec::with_capacity(2 * order.len());
    let (mut inserted, mut inserted_at) = (0, 0);
    let mut removed_at = 0;
    for (number, &item) in order.iter().enumerate() {
        let item = &items[item as usize];
        removed_at = removed_at.max(item.leaves.from);
        // Insertions that come first: all up to this item's own, and those of lower rank than its removal.
        while let Some(&other) = order.get(inserted) {
            let other = &items[other as usize];
            inserted_at = inserted_at.max(other.enters.from);
            if inserted > number && inserted_at >= removed_at {
                break;
            }
            operations.extend(other.insert);
            inserted += 1;
        }
        if removed_at < end {
            operations.extend(item.remove);
        }
    }
    operations
}

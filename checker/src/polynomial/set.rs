//! Sets: O(n log n), and linear in the number of values that all the readers of the whole set saw.
//!
//! Decided are histories in which nothing is removed, however often a value is inserted, with readers of the whole set
//! ([`Role::Members`]) and of one value ([`Role::Contains`]); and histories without readers of the whole set in which each value is
//! inserted at most once and removed at most once, if it is removed. Others are left to the general search. What did not complete
//! may be left out, and observations that did not complete are, as they change nothing.
//!
//! **Nothing is removed.** Then an order is legal if and only if each observation that a value is there comes after one of its
//! insertions, and each that it is not comes before all of them. The sets that the readers saw grow along any such order. So they
//! must be a chain; let G₁ ⊂ G₂ ⊂ … be the different ones. A value belongs to the first of them that has it, or behind the last. So
//! an order is legal if and only if
//!
//! 1. all readers of Gₖ come after some insertion of each value that belongs to Gₖ, and before all insertions of values that
//!    belong behind Gₖ;
//! 2. `Contains(v, false)` comes before all insertions of v, and `Contains(v, true)` after some.
//!
//! (The rest follows along the chain.) A placement (see `ranks`) is found by giving each operation the least rank that
//! real time and these rules allow, in the order of the chain: first each `Contains(v, false)`, which waits for nothing; then
//! the insertions of the values of Gₖ, which wait for those and for the readers of Gₖ₋₁; then `Contains(v, true)`, which wait
//! for the insertion of v that is first, and the readers of Gₖ, which wait for those of all its values. Of several insertions of a
//! value that one is first which was invoked first: all wait for the same, so its rank is the least; if it did not complete, it
//! happened if anybody saw the value and not otherwise. By induction no legal order has an operation at a lower rank. So if
//! one of these ranks is behind the end of its operation's span there is no order; and if none is, reading the operations off by
//! rank, at equal ranks in the order in which they were placed, is one. ∎
//!
//! **A value that is removed.** Without readers of the whole set each value is a history of its own. If its insertion I happens at
//! x and its removal R at y:
//!
//! - *I did not complete and did not happen*: no `Contains(v, true)` may be there.
//! - *I happens, and R before it or never*: x is at least the beginning of I, of each `Contains(v, false)`, and of R, if R completed
//!   (if it did not, it can be left out). The greatest of these is the best x.
//! - *I and then R*: x ≤ X, the first end of I, R and each `Contains(v, true)`; y ≥ Y, the last beginning of R, I and each `Contains(v,
//!   true)`. Each `Contains(v, false)` must not have its span strictly between x and y, so the shorter that is the better: x = X and
//!   y = Y; or, if Y < X, both x and y at Y, which is in the span of I, R and each `Contains(v, true)`.
//!
//! There is an order if and only if one of the three allows it. ∎

use rustc_hash::FxHashMap;

use labrys_history::Value;

use super::ranks::{Ranked, Span};
use super::{Answer, ByRank, Classed, Wanted};
use crate::class::Role;

/// The algorithm for sets.
pub(super) struct Set {
    values: Vec<OnValue>,
    /// The readers of the whole set, with the numbers of the values that they saw, each once; those that saw fewer come first.
    readers: Vec<(u32, Vec<u32>)>,
}

/// The operations on a value, by position.
#[derive(Default)]
struct OnValue {
    inserts: Vec<u32>,
    remove: Option<u32>,
    present: Vec<u32>,
    absent: Vec<u32>,
}

impl Set {
    /// Prepares a history of a set; `None` if it is not of the kind that can be decided.
    pub fn new<'c>(operations: &[Classed<'c>]) -> Option<Set> {
        let mut set = Set { values: Vec::new(), readers: Vec::new() };
        let mut numbers: FxHashMap<&'c Value, u32> = FxHashMap::default();
        for (position, operation) in (0_u32..).zip(operations) {
            let mut number_of = |value: &'c Value| {
                let number = *numbers.entry(value).or_insert(set.values.len() as u32);
                if number as usize == set.values.len() {
                    set.values.push(OnValue::default());
                }
                number
            };
            let (Role::Insert(value) | Role::Remove(value) | Role::Contains(value, _)) = operation.role
            else {
                let Role::Members(members) = operation.role else { return None };
                let mut seen: Vec<u32> = members.iter().map(number_of).collect();
                seen.sort_unstable();
                seen.dedup();
                set.readers.push((position, seen));
                continue;
            };
            let number = number_of(value);
            let of_value = &mut set.values[number as usize];
            match operation.role {
                Role::Insert(_) => of_value.inserts.push(position),
                Role::Contains(_, true) => of_value.present.push(position),
                Role::Contains(_, false) => of_value.absent.push(position),
                _ if of_value.remove.replace(position).is_some() => return None,
                _ => {}
            }
        }
        set.readers.sort_by_key(|(_, seen)| seen.len());
        let is_decided =
            |value: &OnValue| value.remove.is_none() || (value.inserts.len() <= 1 && set.readers.is_empty());
        set.values.iter().all(is_decided).then_some(set)
    }

    /// For each value the position in `readers` of the first one that saw it, the number of readers if none did; nothing if
    /// what they saw is no chain.
    fn first_seen(&self, readers: &[&(u32, Vec<u32>)]) -> Option<Vec<u32>> {
        let mut first = vec![readers.len() as u32; self.values.len()];
        let mut times = vec![0; self.values.len()];
        for (position, (_, seen)) in (0..).zip(readers) {
            for &value in seen {
                first[value as usize] = position.min(first[value as usize]);
                times[value as usize] += 1;
            }
        }
        // From the first that saw it on, all did.
        let is_chain = first.iter().zip(times).all(|(&first, times)| first + times == readers.len() as u32);
        is_chain.then_some(first)
    }

    fn order(&self, ranked: &Ranked) -> Option<Vec<u32>> {
        let completed = |reader: &&(u32, Vec<u32>)| ranked.completed(reader.0).is_some();
        let readers: Vec<&(u32, Vec<u32>)> = self.readers.iter().filter(completed).collect();
        let first_seen = self.first_seen(&readers)?;
        let mut by_reader: Vec<u32> = (0..self.values.len() as u32).collect();
        by_reader.sort_by_key(|&value| first_seen[value as usize]);
        let mut schedule = Schedule { ranked, steps: Vec::new() };
        let mut by_reader = by_reader.into_iter().peekable();
        // The greatest rank of a reader so far.
        let mut floor = 0;
        for (position, group) in groups(&readers) {
            let mut ready = floor;
            while let Some(value) = by_reader.next_if(|&value| first_seen[value as usize] <= position) {
                ready = ready.max(schedule.grow(&self.values[value as usize], floor, true)?);
            }
            for (reader, _) in group {
                floor = floor.max(schedule.place_completed(*reader, ready)?);
            }
        }
        for value in by_reader.map(|value| &self.values[value as usize]) {
            match value.remove.filter(|&remove| ranked.span(remove).is_some()) {
                None => schedule.grow(value, floor, false).map(|_| ())?,
                Some(remove) => schedule.come_and_go(value, remove)?,
            }
        }
        Some(schedule.read_off())
    }
}

impl ByRank for Set {
    fn decide(&self, ranked: &Ranked, _: Wanted) -> Option<Answer> {
        Some(self.order(ranked).map_or(Answer::NonLinearizable, Answer::Linearizable))
    }
}

/// Runs of readers that saw the same, each with the position of its first; they must be a chain.
fn groups<'r>(readers: &'r [&'r (u32, Vec<u32>)]) -> impl Iterator<Item = (u32, &'r [&'r (u32, Vec<u32>)])> {
    let mut position = 0;
    readers.chunk_by(|(_, one), (_, other)| one.len() == other.len()).map(move |group| {
        let first = position;
        position += group.len() as u32;
        (first, group)
    })
}

/// A placement in the making.
struct Schedule<'r> {
    ranked: &'r Ranked,
    /// Ranks and operations, in the order in which they were placed.
    steps: Vec<(u32, u32)>,
}

impl Schedule<'_> {
    /// Places an operation at the first rank from `floor` on that its span allows, if there is one.
    fn place(&mut self, operation: u32, span: Span, floor: u32) -> Option<u32> {
        let rank = span.from.max(floor);
        self.steps.push((rank, operation));
        (rank <= span.by).then_some(rank)
    }

    /// The same; one that did not complete is left out, and does not make anything wait.
    fn place_completed(&mut self, operation: u32, floor: u32) -> Option<u32> {
        match self.ranked.completed(operation) {
            Some(span) => self.place(operation, span, floor),
            None => Some(floor),
        }
    }

    /// Places the operations on a value that is never removed, its insertions not before `floor`; the rank of the first.
    fn grow(&mut self, value: &OnValue, mut floor: u32, is_seen: bool) -> Option<u32> {
        for &observation in &value.absent {
            floor = floor.max(self.place_completed(observation, 0)?);
        }
        let is_seen = is_seen || value.present.iter().any(|&seen| self.ranked.completed(seen).is_some());
        let span_of = |&insert: &u32| Some((self.ranked.span(insert)?, insert));
        let happens = |&(span, _): &(Span, u32)| is_seen || span.by < self.ranked.end;
        let first =
            value.inserts.iter().filter_map(span_of).filter(happens).min_by_key(|(span, _)| span.from);
        let Some((span, first)) = first else { return if is_seen { None } else { Some(floor) } };
        let inserted_at = self.place(first, span, floor)?;
        for &insert in value.inserts.iter().filter(|&&insert| insert != first) {
            self.place_completed(insert, floor)?;
        }
        for &observation in &value.present {
            self.place_completed(observation, inserted_at)?;
        }
        Some(inserted_at)
    }

    /// Places the operations on a value that is perhaps inserted and perhaps removed.
    fn come_and_go(&mut self, value: &OnValue, remove: u32) -> Option<()> {
        let before = self.steps.len();
        let insert = value.inserts.first().and_then(|&insert| Some((insert, self.ranked.span(insert)?)));
        let ways = [Self::never_there, Self::removed_before, Self::removed_after];
        ways.iter().find_map(|way| {
            self.steps.truncate(before);
            way(self, value, insert, remove)
        })
    }

    fn never_there(&mut self, value: &OnValue, insert: Option<(u32, Span)>, remove: u32) -> Option<()> {
        let is_seen = value.present.iter().any(|&seen| self.ranked.completed(seen).is_some());
        if is_seen || insert.is_some_and(|(_, span)| span.by < self.ranked.end) {
            return None;
        }
        for &operation in value.absent.iter().chain([&remove]) {
            self.place_completed(operation, 0)?;
        }
        Some(())
    }

    fn removed_before(&mut self, value: &OnValue, insert: Option<(u32, Span)>, remove: u32) -> Option<()> {
        let (insert, span) = insert?;
        let mut floor = 0;
        for &operation in value.absent.iter().chain([&remove]) {
            floor = floor.max(self.place_completed(operation, 0)?);
        }
        let inserted_at = self.place(insert, span, floor)?;
        for &observation in &value.present {
            self.place_completed(observation, inserted_at)?;
        }
        Some(())
    }

    fn removed_after(&mut self, value: &OnValue, insert: Option<(u32, Span)>, remove: u32) -> Option<()> {
        let ((insert, enters), leaves) = (insert?, self.ranked.span(remove)?);
        let present = || value.present.iter().filter_map(|&seen| Some((seen, self.ranked.completed(seen)?)));
        let seen_by = present().map(|(_, span)| span.by).min().unwrap_or(u32::MAX);
        let seen_from = present().map(|(_, span)| span.from).max().unwrap_or(0);
        let removed_at = leaves.from.max(enters.from).max(seen_from);
        let inserted_at = leaves.by.min(enters.by).min(seen_by).min(removed_at);
        if inserted_at < enters.from {
            return None;
        }
        let absent = |&seen: &u32| Some((seen, self.ranked.completed(seen)?));
        let (before, after): (Vec<_>, Vec<_>) =
            value.absent.iter().filter_map(absent).partition(|(_, span)| span.from <= inserted_at);
        let present: Vec<_> = present().collect();
        for (observation, span) in before {
            self.place(observation, span, 0)?;
        }
        self.place(insert, enters, inserted_at)?;
        for (observation, span) in present {
            self.place(observation, span, inserted_at)?;
        }
        self.place(remove, leaves, removed_at)?;
        for (observation, span) in after {
            self.place(observation, span, removed_at)?;
        }
        Some(())
    }

    fn read_off(mut self) -> Vec<u32> {
        self.steps.sort_by_key(|&(rank, _)| rank);
        self.steps.into_iter().map(|(_, operation)| operation).collect()
    }
}

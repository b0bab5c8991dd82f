//! Counters to which the same positive number is added again and again: O(n log n).
//!
//! With different numbers the question which of them make up a total is already hard (subset sum), so those histories are left to
//! the general search. With one number, d, the counter shows 0, d, 2d, … one after the other, and additions differ only in when they
//! happen. A total that is no multiple of d, or negative, has no order. From here on d is 1.
//!
//! **Ranks of the steps.** Let V be the greatest total that a completed operation saw. The counter reaches j at rank cⱼ, c₁ ≤ c₂ ≤ … .
//! A reader of v has a place if and only if its span meets [c_v, c_{v+1}]. So there is an order if and only if additions can be
//! given ranks in their spans such that
//!
//! - the j-th of them, in order of rank, is in the window [lⱼ, hⱼ] for j ≤ V: lⱼ is the last beginning of a reader of less than j,
//!   hⱼ the first end of a reader of j or more;
//! - all others are at least at l_{V+1}, the last beginning of any reader.
//!
//! An addition that returns v is in addition the v-th. For that its span is added to the windows: its beginning to lⱼ for j ≥ v, its
//! end to hⱼ for j ≤ v. Both bounds grow with j.
//!
//! **Windows for additions.** It is enough to give to each j ≤ V another addition whose span meets its window (an addition that
//! returned v to v), and to have all others that completed end no earlier than l_{V+1}. For put each at some common rank of span
//! and window, those behind V at the first rank that span and l_{V+1} allow, and sort the ranks: since the bounds of the windows
//! grow with j, the j-th rank is again in the j-th window. (Ranks of the additions that returned a total are chosen last, each as
//! low as its window and the rank before it allow; this is at most the rank behind it, because l grows.)
//!
//! **Who goes where.** Go through j = 1, 2, … V and give to each that is not taken by an addition that returned j, of the
//! additions not yet used whose span meets the window, the one that ends first. If a solution exists that agrees with the choices before
//! j, one exists that agrees with this one as well. Say that it gives y to j, and the choice was x, which ends no later. If x has a
//! later place j′, the two can change places: x meets the window of j by choice, and y that of j′, since it begins by hⱼ ≤ h_{j′} and
//! ends no earlier than x. If x has no place before V, it completed, in which case y, which ends no earlier than x, can be behind V
//! in its stead; or it did not complete, in which case y did not either, and can be left out. ∎
//!
//! **What did not complete.** Additions may happen; their spans never end, so they are the last to be chosen, and those left over
//! never happened. Of an addition that did not complete *and whose total is known* (in flight at the end of a prefix) it is not
//! clear whether it should happen, as long as there are others that could take its place; where all additions returned a total
//! there are none: it happened if its total is at most V and nobody else's, the one invoked first if there are several. With others
//! there this is left to the general search.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::ranks::{Ranked, Span};
use super::{Answer, ByRank, Classed, Wanted};
use crate::class::Role;

/// The algorithm for counters.
pub(super) struct Counter {
    /// Additions that returned nothing, by position.
    adds: Vec<u32>,
    /// Additions with the totals that they returned, as multiples of what is added.
    totals_of_adds: Vec<(u32, u32)>,
    /// Readers with what they read, as multiples of what is added.
    totals: Vec<(u32, u32)>,
    /// Operations with a total that a counter never has.
    impossible: Vec<u32>,
}

impl Counter {
    /// Prepares a history of a counter; `None` if it is not of the kind that can be decided.
    pub fn new(operations: &[Classed<'_>]) -> Option<Counter> {
        let addend = operations.iter().find_map(|operation| match operation.role {
            Role::Add(addend) | Role::AddAndTotal(addend, _) => Some(addend),
            _ => None,
        });
        let addend = addend.unwrap_or(1);
        if addend <= 0 {
            return None;
        }
        let mut counter = Counter {
            adds: Vec::new(),
            totals_of_adds: Vec::new(),
            totals: Vec::new(),
            impossible: Vec::new(),
        };
        for (position, operation) in (0_u32..).zip(operations) {
            let (total, list) = match operation.role {
                Role::Add(number) if number == addend => {
                    counter.adds.push(position);
                    continue;
                }
                Role::AddAndTotal(number, total) if number == addend => (total, &mut counter.totals_of_adds),
                Role::Total(total) => (total, &mut counter.totals),
                _ => return None,
            };
            let least = if matches!(operation.role, Role::Total(_)) { 0 } else { addend };
            // More than there are operations is as impossible as a fraction.
            match u32::try_from(total / addend) {
                Ok(times) if total % addend == 0 && total >= least && times as usize <= operations.len() => {
                    list.push((position, times));
                }
                _ => counter.impossible.push(position),
            }
        }
        Some(counter)
    }
}

impl ByRank for Counter {
    fn decide(&self, ranked: &Ranked, _: Wanted) -> Option<Answer> {
        let is_in_flight =
            |&(add, _): &(u32, u32)| ranked.span(add).is_some() && ranked.completed(add).is_none();
        if !self.adds.is_empty() && self.totals_of_adds.iter().any(is_in_flight) {
            return None;
        }
        let is_impossible = self.impossible.iter().any(|&operation| ranked.completed(operation).is_some());
        let order = if is_impossible { None } else { self.order(ranked) };
        Some(order.map_or(Answer::NonLinearizable, Answer::Linearizable))
    }
}

/// Where the counter grows by one.
#[derive(Clone, Copy)]
struct Window {
    /// l and h.
    span: Span,
    /// The addition that returned this total.
    returned: Option<u32>,
}

impl Counter {
    fn order(&self, ranked: &Ranked) -> Option<Vec<u32>> {
        let windows = self.windows(ranked)?;
        let placed = self.place(ranked, &windows)?;
        Some(self.read_off(ranked, &windows, placed))
    }

    /// Those for 1…V, and the one behind with h at the end; nothing if two additions returned the same.
    fn windows(&self, ranked: &Ranked) -> Option<Vec<Window>> {
        let completed = |&(operation, total): &(u32, u32)| Some((total, ranked.completed(operation)?));
        let readers = || self.totals.iter().filter_map(completed);
        let returned = || self.totals_of_adds.iter().filter_map(completed);
        let greatest = readers().chain(returned()).map(|(total, _)| total).max().unwrap_or(0) as usize;
        let open = Window { span: Span { from: 0, by: ranked.end }, returned: None };
        // By total, from 0 to V + 1.
        let mut windows = vec![open; greatest + 2];
        for (total, span) in readers() {
            let (at, behind) = (total as usize, total as usize + 1);
            windows[at].span.by = windows[at].span.by.min(span.by);
            windows[behind].span.from = windows[behind].span.from.max(span.from);
        }
        for &(add, total) in &self.totals_of_adds {
            let Some(span) = ranked.span(add) else { continue };
            let Some(window) = windows[..=greatest].get_mut(total as usize) else { continue };
            if let Some(other) = window.returned.and_then(|other| ranked.span(other)) {
                if span.by.max(other.by) < ranked.end {
                    return None;
                }
                if (other.by, other.from) < (span.by, span.from) {
                    continue;
                }
            }
            window.returned = Some(add);
        }
        for window in &mut windows {
            if let Some(span) = window.returned.and_then(|add| ranked.span(add)) {
                window.span.from = window.span.from.max(span.from);
                window.span.by = window.span.by.min(span.by);
            }
        }
        for total in 1..windows.len() {
            windows[total].span.from = windows[total].span.from.max(windows[total - 1].span.from);
        }
        for total in (1..windows.len()).rev() {
            windows[total - 1].span.by = windows[total - 1].span.by.min(windows[total].span.by);
        }
        windows.remove(0);
        Some(windows)
    }

    /// The additions that returned nothing and happen, with their ranks, in order of rank.
    fn place(&self, ranked: &Ranked, windows: &[Window]) -> Option<Vec<(u32, u32)>> {
        let mut adds: Vec<(Span, u32)> =
            self.adds.iter().filter_map(|&add| Some((ranked.span(add)?, add))).collect();
        adds.sort_unstable_by_key(|(span, _)| span.from);
        let mut adds = adds.into_iter().peekable();
        let mut begun = BinaryHeap::new();
        let mut placed = Vec::new();
        let (behind, windows) = windows.split_last()?;
        for window in windows {
            if window.span.by < window.span.from {
                return None;
            }
            while let Some((span, add)) = adds.next_if(|(span, _)| span.from <= window.span.by) {
                begun.push(Reverse((span.by, span.from, add)));
            }
            if window.returned.is_none() {
                // If even the first to end ends too early, it has no place at all.
                let Reverse((by, from, add)) = begun.pop()?;
                placed.push((from.max(window.span.from), add));
                if by < window.span.from {
                    return None;
                }
            }
        }
        let begun = begun.into_iter().map(|Reverse((by, from, add))| (Span { from, by }, add));
        for (span, add) in begun.chain(adds).filter(|(span, _)| span.by < ranked.end) {
            if span.by < behind.span.from {
                return None;
            }
            placed.push((span.from.max(behind.span.from), add));
        }
        placed.sort_unstable();
        Some(placed)
    }

    /// All that happens, in order.
    fn read_off(&self, ranked: &Ranked, windows: &[Window], placed: Vec<(u32, u32)>) -> Vec<u32> {
        let mut placed = placed.into_iter();
        let mut readers: Vec<(u32, u32, u32)> = self
            .totals
            .iter()
            .filter_map(|&(reader, total)| Some((total, ranked.completed(reader)?.from, reader)))
            .collect();
        readers.sort_unstable();
        let mut readers = readers.into_iter().peekable();
        let mut order = Vec::new();
        for (total, window) in (0..).zip(windows) {
            while let Some((.., reader)) = readers.next_if(|&(read, ..)| read == total) {
                order.push(reader);
            }
            order.extend(window.returned.or_else(|| Some(placed.next()?.1)));
        }
        order.extend(placed.map(|(_, add)| add));
        order
    }
}

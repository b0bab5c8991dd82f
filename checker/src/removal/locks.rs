//! What may be left out of the history of a lock or semaphore: acquisitions with their releases.
//!
//! # The argument
//!
//! Let every release have an acquisition *of its own* that took as much as it gives back (of a lock that knows its holder: by the same
//! client) and that completed *before the release was invoked*. Nothing else is asked of this assignment; histories in which
//! clients release what they acquired have one. What a linearization has acquired and not released at some place is then
//! the sum of the acquisitions whose releases it does not have yet: each release finds its own acquisition before it, for that one completed
//! before it was invoked. Call those acquisitions *outstanding* there.
//!
//! **A pair may go.** Take an acquisition a and its release r out of a linearization. Before a and behind r nothing changes; between them
//! is taken what was, less what a took, in words: the outstanding ones but a.
//! - Another release between them finds its own acquisition outstanding, which is not a: it has what it gives back. (Of a lock that knows its
//!   holder: that one is the same client's, who therefore still holds it.)
//! - Another acquisition between them finds at least as much free as it found. (Of a lock that knows its holder: the holder between a and r was
//!   the client of a, since a is outstanding; so only that client can have acquired there, and it still can.)
//! - Whoever was *denied* something may have been denied for a alone: such observations that can stand between a and r must go as well.
//!   Those that can are not completed before a is invoked, and not invoked after r is completed.
//! - That something was free, or not held by the caller, stays true when less is held.
//!
//! A release that crashed, or is in flight at the end of a prefix, may be missing in the linearization; then a is outstanding
//! to the end, and the same holds from a on. Fences: without a, later tokens are compared with no greater ones.
//!
//! **An acquisition without release** is outstanding from its place to the end: the same argument, with all that are denied something
//! and do not complete before it is invoked.
//!
//! **Several of them** may go, one after the other: what is left still has the assignment.
//!
//! Where some release has no such acquisition, nothing of this is said: it may release what another was assigned.

use std::collections::BTreeMap;

use super::{Observers, Removal};
use crate::linearizable::Interval;

/// What a call does to a lock or semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold<K> {
    /// It takes; a release with the same number of permits, or by the same client, gives it back.
    Acquire(K),
    /// It gives back.
    Release(K),
    /// It was told that too much is held.
    Denied,
    /// It was told that something is free, or not held by it.
    Unheld,
}

/// What has no acquisition in the history: that of the first moment.
const AT_FIRST: u32 = u32::MAX;

/// What may be left out, by [`Hold`]; `None` if some release has no acquisition of its own, or there are more than `limit` bonds.
/// `held_at_first`: what is held before the first operation. O(n log n + bonds).
pub(crate) fn of_lock<C, K: Ord>(
    intervals: &[Interval<C>],
    hold: impl Fn(&C) -> Hold<K>,
    held_at_first: Option<K>,
    limit: usize,
) -> Option<Removal> {
    let holds: Vec<Hold<K>> = intervals.iter().map(|interval| hold(&interval.call)).collect();
    let acquisition_of = acquisitions(intervals, &holds, held_at_first)?;
    let mut release_of: BTreeMap<u32, u32> = BTreeMap::new();
    let mut removable = vec![true; intervals.len()];
    let mut bonds = Vec::new();
    for &(release, acquisition) in &acquisition_of {
        if acquisition == AT_FIRST {
            removable[release as usize] = false;
        } else {
            release_of.insert(acquisition, release);
            bonds.extend([(acquisition, release), (release, acquisition)]);
        }
    }
    let mut denied = Observers::default();
    for (position, (interval, hold)) in (0..).zip(intervals.iter().zip(&holds)) {
        if matches!(hold, Hold::Denied) {
            denied.add(position, interval);
        }
    }
    denied.sort();
    for (position, hold) in (0..).zip(&holds) {
        if matches!(hold, Hold::Acquire(_)) {
            let released =
                release_of.get(&position).and_then(|&release| intervals[release as usize].completed);
            let until_ns = released.map_or(u64::MAX, |completed| completed.time_ns);
            let between = denied.between(intervals[position as usize].invoked_ns, until_ns);
            bonds.extend(between.map(|observer| (position, observer)));
            if bonds.len() > limit {
                return None;
            }
        }
    }
    Some(Removal { removable, bonds })
}

/// Each release with an acquisition of its own: of those that completed before it was invoked, the one that completed last
/// and is no other's. Releases are taken in order of invocation, so that what one may have, each later one may have as well, and whichever
/// is chosen, all get one if they can.
fn acquisitions<C, K: Ord>(
    intervals: &[Interval<C>],
    holds: &[Hold<K>],
    held_at_first: Option<K>,
) -> Option<Vec<(u32, u32)>> {
    // (time, is a completed acquisition, position): at one instant the release comes first, for it must not have that acquisition.
    let mut ends: Vec<(u64, bool, u32)> = Vec::new();
    for (position, (interval, hold)) in (0..).zip(intervals.iter().zip(holds)) {
        match (hold, interval.completed) {
            (Hold::Release(_), _) => ends.push((interval.invoked_ns, false, position)),
            (Hold::Acquire(_), Some(completed)) => ends.push((completed.time_ns, true, position)),
            _ => {}
        }
    }
    ends.sort_unstable();
    let mut free: BTreeMap<&K, Vec<u32>> = BTreeMap::new();
    if let Some(key) = &held_at_first {
        free.insert(key, vec![AT_FIRST]);
    }
    let mut found = Vec::new();
    for (_, _, position) in ends {
        match &holds[position as usize] {
            Hold::Acquire(key) => free.entry(key).or_default().push(position),
            Hold::Release(key) => found.push((position, free.get_mut(key)?.pop()?)),
            Hold::Denied | Hold::Unheld => {}
        }
    }
    Some(found)
}

//! The log in memory: entries after a base, and how much of it was already handed out to be written.
//!
//! Not the log on disk, and not what is durable (`durability` knows that). The base is the position before the first entry
//! kept: 0, or one that a durable snapshot contains.
//!
//! Complexity: everything O(1) amortised except `slice` (O(entries returned)), `compact` (O(entries dropped)) and `last_at_or_below` (O(log length), a
//! binary search: terms never fall along a log).
//!
//! Invariants: indexes are consecutive; terms never fall; `handed_out <= last`.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::types::{Entry, LogIndex, Payload, PersistBatch, Snapshot, Term};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    base_index: LogIndex,
    base_term: Term,
    entries: VecDeque<Entry>,
    /// Behind each entry, how many bytes of payload there were up to it, from any beginning on.
    ends: VecDeque<u64>,
    /// Up to here the entries were put into a [`PersistBatch`].
    handed_out: LogIndex,
    /// Entries from here on that were handed out have been dropped since the last batch.
    dropped_from: Option<LogIndex>,
    /// All that was handed out has been dropped since the last batch: a snapshot up to here has taken its place.
    reset_after: Option<LogIndex>,
}

impl Log {
    /// A log with everything in it already on disk: consecutive entries, the first at most one after the snapshot's last.
    ///
    /// If the entries do not agree with the snapshot (they conflict with it, or end before it: the node died while it was
    /// installing one), the snapshot is right, because what is in it was committed, and they are dropped.
    pub(crate) fn recovered(snapshot: Option<&Snapshot>, entries: Vec<Entry>) -> Log {
        let mut log = Log {
            base_index: LogIndex(0),
            base_term: Term(0),
            entries: VecDeque::new(),
            ends: VecDeque::new(),
            handed_out: LogIndex(0),
            dropped_from: None,
            reset_after: None,
        };
        let first = entries.first().map_or(LogIndex(1), |entry| entry.index);
        entries.into_iter().for_each(|entry| log.push(entry));
        if let Some(snapshot) = snapshot {
            if first == snapshot.index().next() {
                (log.base_index, log.base_term) = (snapshot.index(), snapshot.term());
            } else if first > LogIndex(1) {
                // What precedes the first entry is not known, so that one becomes the base.
                let base = log.entries.pop_front();
                log.ends.pop_front();
                (log.base_index, log.base_term) = base.map_or_else(Default::default, |e| (e.index, e.term));
            }
            if log.term_at(snapshot.index()) != Some(snapshot.term()) || log.entries.is_empty() {
                log.reset(snapshot.index(), snapshot.term());
            }
        }
        log.handed_out = log.last_index();
        log
    }

    /// Drops everything: a snapshot stands in the place of the log up to and including this position.
    pub(crate) fn reset(&mut self, index: LogIndex, term: Term) {
        self.entries.clear();
        self.ends.clear();
        (self.base_index, self.base_term) = (index, term);
        self.handed_out = index;
        self.dropped_from = None;
        self.reset_after = Some(index);
    }

    /// Drops the entries up to and including `up_to`, which the log has and which were handed out.
    pub(crate) fn compact(&mut self, up_to: LogIndex) {
        let Some(term) = self.term_at(up_to) else { return };
        assert!(up_to <= self.handed_out, "what is compacted must be on its way to the disk");
        let dropped = (up_to.0 - self.base_index.0) as usize;
        self.entries.drain(..dropped);
        self.ends.drain(..dropped);
        (self.base_index, self.base_term) = (up_to, term);
    }

    /// The position before the first entry kept: everything up to it was committed.
    pub(crate) fn base_index(&self) -> LogIndex {
        self.base_index
    }

    /// The last index; the base if there is no entry.
    pub(crate) fn last_index(&self) -> LogIndex {
        LogIndex(self.base_index.0 + self.entries.len() as u64)
    }

    /// The term of the last entry.
    pub(crate) fn last_term(&self) -> Term {
        self.entries.back().map_or(self.base_term, |entry| entry.term)
    }

    /// The entry at `index`, if the log has it.
    pub(crate) fn get(&self, index: LogIndex) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base_index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The term at `index`, if the log knows it.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base_index { Some(self.base_term) } else { self.get(index).map(|entry| entry.term) }
    }

    /// The largest index not above `index` whose term is not above `term`; the base if there is none.
    pub(crate) fn last_at_or_below(&self, index: LogIndex, term: Term) -> LogIndex {
        let with_lower_term = self.entries.partition_point(|entry| entry.term <= term) as u64;
        LogIndex(self.base_index.0 + with_lower_term).min(index).max(self.base_index)
    }

    /// Entries from `from` on: at most `max_entries`, and at most `max_bytes` of payload unless the first alone is larger.
    pub(crate) fn slice(&self, from: LogIndex, max_entries: usize, max_bytes: usize) -> Vec<Entry> {
        let start = from.0.saturating_sub(self.base_index.0 + 1) as usize;
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let first = bytes == 0;
            bytes += payload_bytes(entry).max(1);
            first || bytes <= max_bytes
        };
        self.entries
            .range(start.min(self.entries.len())..)
            .take(max_entries)
            .take_while(fits)
            .cloned()
            .collect()
    }

    /// The lowest index whose following entries up to `end` have at most `max_bytes` of payload; the base if all have. O(log
    /// length).
    pub(crate) fn start_of_tail(&self, end: LogIndex, max_bytes: u64) -> LogIndex {
        let count = (end.0.saturating_sub(self.base_index.0) as usize).min(self.ends.len());
        let Some(total) = count.checked_sub(1).map(|last| self.ends[last]) else { return self.base_index };
        let first = self.entries.front().map_or(0, |entry| payload_bytes(entry) as u64);
        if total - (self.ends[0] - first) <= max_bytes {
            return self.base_index;
        }
        let dropped = self.ends.partition_point(|up_to| total.saturating_sub(*up_to) > max_bytes) as u64;
        LogIndex(self.base_index.0 + dropped + 1)
    }

    /// See [`crate::fingerprint`]. What the sums of bytes began with is of no consequence.
    pub(crate) fn fingerprint(&self, hasher: &mut impl Hasher) {
        let Log { base_index, base_term, entries, ends: _, handed_out, dropped_from, reset_after } = self;
        (base_index, base_term, entries, handed_out, dropped_from, reset_after).hash(hasher);
    }

    /// The entries after `index`, which is not below the base.
    pub(crate) fn after(&self, index: LogIndex) -> impl Iterator<Item = &Entry> {
        self.entries.iter().skip_while(move |entry| entry.index <= index)
    }

    /// Adds an entry of `term` at the end and returns its index.
    pub(crate) fn append(&mut self, term: Term, payload: Payload) -> LogIndex {
        let index = self.last_index().next();
        self.push(Entry { term, index, payload });
        index
    }

    /// Adds entries; the first must follow the last one of the log.
    pub(crate) fn extend(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            assert_eq!(entry.index, self.last_index().next(), "an entry must follow the one before it");
            self.push(entry);
        }
    }

    fn push(&mut self, entry: Entry) {
        let before = self.ends.back().copied().unwrap_or_default();
        self.ends.push_back(before + payload_bytes(&entry) as u64);
        self.entries.push_back(entry);
    }

    /// Drops the entry at `from` and all after it.
    pub(crate) fn truncate_from(&mut self, from: LogIndex) {
        assert!(from > self.base_index, "the compacted part of a log cannot be truncated");
        let left = (from.0 - self.base_index.0 - 1) as usize;
        self.entries.truncate(left);
        self.ends.truncate(left);
        if from <= self.handed_out {
            self.handed_out = LogIndex(from.0 - 1);
            self.dropped_from = Some(self.dropped_from.map_or(from, |earlier| earlier.min(from)));
        }
    }

    /// Moves what must be written since the last call into `batch`. O(entries moved).
    pub(crate) fn hand_out(&mut self, batch: &mut PersistBatch) {
        batch.reset_after = self.reset_after.take();
        batch.truncate_from = self.dropped_from.take();
        if self.handed_out < self.last_index() {
            batch.entries = self.slice(self.handed_out.next(), usize::MAX, usize::MAX);
            self.handed_out = self.last_index();
        }
    }
}

/// The size of an entry's payload.
fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Noop => 0,
        Payload::Command(command) => command.len(),
        // An id and its place in a list or two, and an address.
        Payload::Membership(membership) => 64 * membership.members().len(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn log_of(terms: &[u64]) -> Log {
        let mut log = Log::recovered(None, Vec::new());
        for term in terms {
            log.append(Term(*term), Payload::Command(Bytes::from_static(b"four")));
        }
        log
    }

    fn handed_out(log: &mut Log) -> (Option<u64>, Vec<u64>) {
        let mut batch = PersistBatch {
            sequence: crate::types::Sequence(1),
            reset_after: None,
            truncate_from: None,
            entries: Vec::new(),
            hard_state: None,
        };
        log.hand_out(&mut batch);
        (batch.truncate_from.map(|index| index.0), batch.entries.iter().map(|entry| entry.index.0).collect())
    }

    #[test]
    fn the_position_before_the_log_has_term_zero_and_positions_after_it_have_none() {
        let log = log_of(&[1, 3]);
        assert_eq!(log.term_at(LogIndex(0)), Some(Term(0)));
        assert_eq!(log.term_at(LogIndex(2)), Some(Term(3)));
        assert_eq!(log.term_at(LogIndex(3)), None);
        assert_eq!(log.term_at(LogIndex(u64::MAX)), None);
    }

    #[test]
    fn the_last_entry_at_or_below_a_term_is_found_by_binary_search() {
        let log = log_of(&[1, 1, 3, 3, 6]);
        for (index, term, expected) in
            [(5, 6, 5), (5, 5, 4), (4, 3, 4), (5, 2, 2), (1, 9, 1), (5, 0, 0), (9, 9, 5)]
        {
            assert_eq!(
                log.last_at_or_below(LogIndex(index), Term(term)),
                LogIndex(expected),
                "{index} {term}"
            );
        }
    }

    #[test]
    fn a_slice_keeps_both_limits_but_always_has_one_entry() {
        let log = log_of(&[1; 10]);
        assert_eq!(log.slice(LogIndex(3), 2, 1000).len(), 2);
        assert_eq!(log.slice(LogIndex(3), 100, 12).len(), 3);
        assert_eq!(log.slice(LogIndex(3), 100, 1).len(), 1);
        assert_eq!(log.slice(LogIndex(11), 100, 1).len(), 0);
        assert_eq!(log.slice(LogIndex(3), 1, 1)[0].index, LogIndex(3));
    }

    #[test]
    fn the_tail_of_so_many_bytes_begins_at_the_same_place_however_the_log_came_about() {
        // Payloads of 0, 1, 2, … bytes, at indexes 1, 2, 3, …
        let payload = |bytes: u64| Payload::Command(Bytes::from(vec![0; bytes as usize]));
        let mut log = log_of(&[]);
        (0..9).for_each(|bytes| _ = log.append(Term(1), payload(bytes)));
        handed_out(&mut log);
        log.truncate_from(LogIndex(8));
        (7..9).for_each(|bytes| _ = log.append(Term(1), payload(bytes)));
        handed_out(&mut log);
        for base in 0..9 {
            log.compact(LogIndex(base));
            for end in base..=9 {
                for max_bytes in 0..40 {
                    let bytes_after = |index| (index..end).sum::<u64>();
                    let expected = (base..=end).find(|index| bytes_after(*index) <= max_bytes);
                    let found = log.start_of_tail(LogIndex(end), max_bytes);
                    assert_eq!(Some(found.0), expected, "after {base} up to {end}, {max_bytes} bytes");
                }
            }
        }
    }

    #[test]
    fn what_is_dropped_before_it_was_handed_out_is_never_mentioned() {
        let mut log = log_of(&[1, 1]);
        assert_eq!(handed_out(&mut log), (None, vec![1, 2]));
        log.append(Term(1), Payload::Noop);
        log.truncate_from(LogIndex(3));
        assert_eq!(handed_out(&mut log), (None, vec![]));
    }

    #[test]
    fn what_was_handed_out_and_dropped_is_truncated_from_the_lowest_place() {
        let mut log = log_of(&[1, 1, 1]);
        handed_out(&mut log);
        log.truncate_from(LogIndex(3));
        log.append(Term(2), Payload::Noop);
        log.truncate_from(LogIndex(2));
        log.append(Term(3), Payload::Noop);
        assert_eq!(handed_out(&mut log), (Some(2), vec![2]));
        assert_eq!(handed_out(&mut log), (None, vec![]));
    }
}

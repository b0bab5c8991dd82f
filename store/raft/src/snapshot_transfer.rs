//! What a leader knows of a snapshot on its way to one follower.
//!
//! One chunk at a time: ask how far the follower is, have the next chunk read, send it, wait until the follower has written
//! it. A follower that has a part already, from this leader or an earlier one with the very same snapshot, says so when it is
//! asked, and the rest is sent.
//!
//! As with appends, no timer resends anything: every heartbeat to the follower is a question. If the answer to one that was
//! asked in a later round than the chunk was sent in wants the same bytes still, the chunk or its answer was lost.
//!
//! Complexity: O(1) per message.

use crate::types::{Snapshot, Wanted};

/// See the module.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Transfer {
    /// What is sent: it is kept, and so is the log behind it, as long as the transfer lasts.
    pub(crate) snapshot: Snapshot,
    /// The follower has everything before this byte.
    offset: u64,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Where the follower is, is not known; `ask` is false once a question is on its way.
    Asking { ask: bool },
    /// The next chunk can be read.
    Ready,
    /// It is being read.
    Reading,
    /// It was sent in this round, up to this byte.
    Sent { end: u64, round: u64 },
    /// It cannot be read: nothing of it is sent any more.
    GivenUp,
}

impl Transfer {
    /// Nothing is known but what is to be sent.
    pub(crate) fn new(snapshot: Snapshot) -> Transfer {
        Transfer { snapshot, offset: 0, phase: Phase::Asking { ask: true } }
    }

    /// The follower has everything before this byte, as far as known.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether a question should go out without waiting for a heartbeat; asking it marks it as sent.
    pub(crate) fn take_question(&mut self) -> bool {
        match &mut self.phase {
            Phase::Asking { ask } => std::mem::take(ask),
            _ => false,
        }
    }

    /// The length of the chunk at the offset, if it should be read now; asking it marks it as being read.
    pub(crate) fn take_read(&mut self, max_bytes: u64) -> Option<u64> {
        if self.phase != Phase::Ready {
            return None;
        }
        self.phase = Phase::Reading;
        Some(max_bytes.min(self.snapshot.length_bytes - self.offset))
    }

    /// The driver has read `length` bytes at `offset`. Whether they are to be sent, in `round`.
    pub(crate) fn has_read(&mut self, offset: u64, length: u64, round: u64) -> bool {
        let end = offset.saturating_add(length);
        let is_wanted = self.phase == Phase::Reading && offset == self.offset;
        if !is_wanted || length == 0 || end > self.snapshot.length_bytes {
            return false;
        }
        self.phase = Phase::Sent { end, round };
        true
    }

    /// It cannot be read.
    pub(crate) fn give_up(&mut self) {
        self.phase = Phase::GivenUp;
    }

    /// Whether `newer` is to be sent instead.
    pub(crate) fn is_replaced_by(&self, newer: &Snapshot) -> bool {
        self.phase == Phase::GivenUp && newer.index() > self.snapshot.index()
    }

    /// The follower answered a question or a chunk of `round`.
    pub(crate) fn answered(&mut self, wanted: Wanted, round: u64) {
        let Wanted::From(offset) = wanted else { return };
        if offset >= self.snapshot.length_bytes {
            return; // It has all of it and would not ask.
        }
        let is_news = match self.phase {
            Phase::Asking { .. } => true,
            Phase::Ready | Phase::Reading | Phase::GivenUp => false,
            Phase::Sent { end, round: sent } => offset >= end || round > sent,
        };
        if is_news {
            self.offset = offset;
            self.phase = Phase::Ready;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Membership;
    use crate::types::{LogIndex, SnapshotPoint, Term};

    fn of_100_bytes() -> Transfer {
        let point = SnapshotPoint { index: LogIndex(7), term: Term(1), membership: Membership::default() };
        Transfer::new(Snapshot { point, length_bytes: 100, checksum: 0 })
    }

    #[test]
    fn it_begins_with_a_question_and_goes_on_from_where_the_follower_is() {
        let mut transfer = of_100_bytes();
        assert_eq!((transfer.take_question(), transfer.take_question()), (true, false));
        assert_eq!(transfer.take_read(40), None, "nothing is read for a follower that does not answer");
        transfer.answered(Wanted::From(80), 1);
        assert_eq!((transfer.offset(), transfer.take_read(40)), (80, Some(20)));
        assert_eq!(transfer.take_read(40), None, "it is being read");
        assert!(!transfer.has_read(60, 20, 1), "nobody asked for that");
        assert!(!transfer.has_read(80, 21, 1), "it does not have that many");
        assert!(transfer.has_read(80, 20, 1));
    }

    #[test]
    fn one_that_cannot_be_read_waits_for_a_newer_one() {
        let mut transfer = of_100_bytes();
        let newer = |index| {
            let mut snapshot = of_100_bytes().snapshot;
            snapshot.point.index = LogIndex(index);
            snapshot
        };
        transfer.answered(Wanted::From(0), 1);
        assert_eq!(transfer.take_read(40), Some(40));
        assert!(!transfer.is_replaced_by(&newer(9)), "it may still be read");
        transfer.give_up();
        transfer.answered(Wanted::From(0), 5);
        assert_eq!(transfer.take_read(40), None);
        assert!(transfer.is_replaced_by(&newer(8)) && !transfer.is_replaced_by(&newer(7)));
    }

    #[test]
    fn a_chunk_is_sent_again_only_if_a_question_asked_after_it_finds_it_missing() {
        let mut transfer = of_100_bytes();
        transfer.answered(Wanted::From(0), 1);
        assert_eq!(transfer.take_read(40), Some(40));
        assert!(transfer.has_read(0, 40, 3));
        for late in 1..=3 {
            transfer.answered(Wanted::From(0), late);
            assert_eq!(transfer.take_read(40), None, "a question of round {late} may have overtaken it");
        }
        transfer.answered(Wanted::Nothing, 4);
        assert_eq!(transfer.take_read(40), None, "it is being written");
        transfer.answered(Wanted::From(0), 4);
        assert_eq!(transfer.take_read(40), Some(40));
        assert!(transfer.has_read(0, 40, 4));
        transfer.answered(Wanted::From(40), 3);
        assert_eq!((transfer.offset(), transfer.take_read(90)), (40, Some(60)));
    }
}

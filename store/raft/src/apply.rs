//! Handing committed entries to the state machine, in order, exactly once in the life of a node.
//!
//! The state machine may lag: at most [`MAX_UNAPPLIED_ENTRIES`] are handed out ahead of [`crate::Input::Applied`], so that a
//! driver's queue is bounded even when a node recovers a long log.
//!
//! Complexity: O(1) per entry.

use crate::node::{Halted, Node};
use crate::queue::pop_front_if;
use crate::types::{Effect, Entry, LogIndex, RefusalReason, Token};

/// Most entries handed out and not yet reported as applied.
pub(crate) const MAX_UNAPPLIED_ENTRIES: u64 = 16 * 1024;

impl Node {
    /// Hands out what was committed since the last time.
    pub(crate) fn apply_committed(&mut self) {
        let limit = LogIndex(self.applied.0 + MAX_UNAPPLIED_ENTRIES);
        let up_to = self.commit.min(self.log.last_index()).min(limit);
        if up_to <= self.handed_to_apply {
            return;
        }
        let count = (up_to.0 - self.handed_to_apply.0) as usize;
        let entries = self.log.slice(self.handed_to_apply.next(), count, usize::MAX);
        let entries = entries
            .into_iter()
            .map(|entry| (self.token_of(&entry), entry))
            .map(|(token, entry)| (entry, token));
        let entries = entries.collect();
        self.handed_to_apply = up_to;
        self.effects.push(Effect::Apply { entries });
    }

    /// The token of the proposal that `entry` came from, if it was made here. A proposal at the same place that became
    /// another entry ends here.
    fn token_of(&mut self, entry: &Entry) -> Option<Token> {
        let proposal = pop_front_if(&mut self.pending, |proposal| proposal.index <= entry.index)?;
        if (proposal.index, proposal.term) == (entry.index, entry.term) {
            return Some(proposal.token);
        }
        self.effects.push(Effect::Refused { token: proposal.token, reason: RefusalReason::Superseded });
        None
    }

    /// The state machine has applied everything up to `index`.
    pub(crate) fn on_applied(&mut self, index: LogIndex) -> Result<(), Halted> {
        if index > self.handed_to_apply {
            return self.broken(format!(
                "the driver says that entry {index} is applied, but the last one handed out was {}",
                self.handed_to_apply
            ));
        }
        self.applied = self.applied.max(index);
        self.configurations.forget_before(self.applied);
        Ok(())
    }
}

//! Snapshots in the place of the log's beginning: which one is durable, what that makes superfluous, and how a received one
//! takes the place of log and state machine (paper, section 7; thesis, chapter 5).
//!
//! The driver takes snapshots, when it likes, of what it has applied, and keeps their bytes; see [`Node::snapshot_point`] and
//! [`Input::SnapshotStored`](crate::Input::SnapshotStored). What counts here is only what is durable.
//!
//! # Why installing is safe wherever it is interrupted
//!
//! What a snapshot contains was committed, so every leader's log agrees with it (leader completeness), and so does every
//! log that will ever be committed. A node therefore may take it over at any time, from whatever leader and in whatever
//! term it began, if it is ahead of what the node knows to be committed; and it has nothing to lose by it but entries that
//! conflict with it, which were never committed. The order is: snapshot durable, then the log (in one batch), then the state
//! machine. A node that dies in between finds a durable snapshot and a log that ends before it or conflicts with it, and
//! does the rest when it starts (`Log::recovered`). It has acknowledged nothing that is not in the one or the other.
//!
//! # What stays in the log
//!
//! A tail of entries that the snapshot contains, for followers that are a little behind; all entries behind a snapshot that
//! is on its way to a follower, which will need them next, until that has caught up (within [`MAX_HELD_BYTES`]); and everything that was not yet handed to the state machine.
//!
//! Complexity: O(1) per step, plus O(entries dropped).

use crate::defects::Defect;
use crate::node::{Halted, INDEX_LIMIT, Node, RoleState};
use crate::queue::pop_front_if;
use crate::types::{Effect, LogIndex, RefusalReason, Snapshot, SnapshotPoint};

/// Most payload bytes of the entries that stay in the log although a snapshot contains them: a follower that is further behind is
/// sent the snapshot sooner than so much of the log.
const MAX_KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// Most payload bytes of the entries that stay in the log for followers that are sent a snapshot and have not caught up. One that is
/// slower than that is sent a newer snapshot.
const MAX_HELD_BYTES: u64 = 256 * 1024 * 1024;
/// The same in entries, many of which may be empty.
const MAX_HELD_ENTRIES: u64 = 1024 * 1024;

impl Node {
    /// Where a snapshot of the state machine as it is now would stand: what was applied last, as the driver has said. `None`
    /// if nothing was, or nothing since the newest snapshot; or if this node does not know the configuration in force there.
    ///
    /// That is so at a node which was added later and has not applied the entry that adds it: what precedes the first
    /// configuration in the log is known to those only with whom the cluster began ([`crate::Config::initial`]). A
    /// snapshot without a configuration would be worth nothing: whoever begins with it would not know its cluster.
    #[must_use]
    pub fn snapshot_point(&self) -> Option<SnapshotPoint> {
        let index = if self.config.defects.has(Defect::SnapshotIndexOffByOne) {
            LogIndex(self.applied.0.saturating_sub(1))
        } else {
            self.applied
        };
        let term = self.log.term_at(index).filter(|_| index > self.snapshot_index())?;
        let membership = Some(self.membership_at(index)).filter(|membership| !membership.is_empty())?;
        Some(SnapshotPoint { index, term, membership: membership.clone() })
    }

    /// Index of the newest durable snapshot, or 0.
    pub(crate) fn snapshot_index(&self) -> LogIndex {
        self.snapshot.as_ref().map_or(LogIndex(0), Snapshot::index)
    }

    /// The present log is durable up to here, as entries or in a snapshot.
    pub(crate) fn durable_end(&self) -> LogIndex {
        self.durability.log_end().max(self.snapshot_index())
    }

    /// A snapshot is durable.
    pub(crate) fn on_snapshot_stored(&mut self, snapshot: Snapshot) -> Result<(), Halted> {
        let (index, term) = (snapshot.index(), snapshot.term());
        if index >= INDEX_LIMIT || index.0 == 0 || snapshot.length_bytes == 0 {
            return self.broken(format!(
                "the driver says that a snapshot of {} bytes of entry {index} is durable, which nobody took or sent",
                snapshot.length_bytes
            ));
        }
        if snapshot.point.membership.is_empty() {
            return self
                .broken(format!("the snapshot of {index} that the driver has stored has no configuration"));
        }
        let differs = |known| known != term && index <= self.commit;
        if self.log.term_at(index).is_some_and(differs) {
            self.broken(format!(
                "the snapshot of {index} is of term {term}, but another entry was committed there"
            ))?;
        }
        let was_received = self.incoming.take_if(|incoming| *incoming.snapshot() == snapshot).is_some();
        if index > self.snapshot_index() {
            self.snapshot = Some(snapshot.clone());
        }
        if index > self.commit {
            self.install(snapshot)?;
        }
        if was_received {
            self.acknowledge_what_is_committed();
        }
        Ok(())
    }

    /// Log and state machine begin anew with a durable snapshot that is ahead of everything known to be committed.
    pub(crate) fn install(&mut self, snapshot: Snapshot) -> Result<(), Halted> {
        let (index, term) = (snapshot.index(), snapshot.term());
        let agrees = if self.config.defects.has(Defect::SnapshotInstallKeepsLog) {
            self.log.last_index() >= index
        } else {
            self.log.term_at(index) == Some(term)
        };
        if !agrees {
            if matches!(self.role_state, RoleState::Leader(_)) {
                self.broken(format!("the leader's log lacks entry {index}, which a snapshot contains"))?;
            }
            self.log.reset(index, term);
            self.durability.reset(index);
            self.configurations.reset(index, snapshot.point.membership.clone());
        }
        self.commit = index;
        self.settle_membership();
        self.handed_to_apply = index;
        // Committed or not, this node will not see what became of them.
        while let Some(proposal) = pop_front_if(&mut self.pending, |proposal| proposal.index <= index) {
            let reason = RefusalReason::LeadershipLost;
            self.effects.push(Effect::Refused { token: proposal.token, reason });
        }
        self.effects.push(Effect::RestoreSnapshot { snapshot });
        Ok(())
    }

    /// Before this the log is not kept for anybody who is being sent a snapshot.
    fn start_of_what_may_be_held(&self) -> LogIndex {
        let last = self.log.last_index();
        let by_count = LogIndex(last.0.saturating_sub(MAX_HELD_ENTRIES));
        by_count.max(self.log.start_of_tail(last, MAX_HELD_BYTES))
    }

    /// Drops what is not needed any more from the front of the log, and lets the driver drop it and older snapshots.
    pub(crate) fn compact(&mut self) {
        let Some(snapshot) = &self.snapshot else { return };
        let contained = if self.config.defects.has(Defect::CompactionDropsLiveEntries) {
            self.applied
        } else {
            snapshot.index()
        };
        let newest = snapshot.index();
        let (on_its_way, held_from) = match &self.role_state {
            RoleState::Leader(leadership) => (leadership.lowest_transfer(), leadership.held_from()),
            _ => (None, None),
        };
        let before_tail = LogIndex(contained.0.saturating_sub(self.config.kept_entries));
        let before_tail = before_tail.max(self.log.start_of_tail(contained, MAX_KEPT_BYTES));
        let held = held_from.map_or(before_tail, |from| from.max(self.start_of_what_may_be_held()));
        let up_to = before_tail.min(self.handed_to_apply).min(held);
        if up_to > self.log.base_index() {
            self.log.compact(up_to);
            self.effects.push(Effect::CompactLog { up_to });
        }
        // One that is to be restored is needed until it is applied.
        let below = newest.min(self.applied).min(on_its_way.unwrap_or(newest));
        if below > self.snapshots_needed_from {
            self.snapshots_needed_from = below;
            self.effects.push(Effect::DropSnapshots { below });
        }
    }
}

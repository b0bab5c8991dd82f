//! Terms, votes and acknowledged entries are durable before anybody hears of them, and a leader commits only what is durable on a
//! majority (Raft paper, figure 2: "updated on stable storage before responding"; 5.3, 5.4). And what was durable is there when a
//! process starts again: durable state never lies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use labrys_store::raft::{HardState, LogIndex, Message, MessageBody, NodeId, PersistBatch, Sequence, Status};
use labrys_store::server::Replica;

/// What is on the disks, and what is on its way there.
#[derive(Debug, Default)]
pub struct Durability {
    disks: BTreeMap<usize, Disk>,
    /// Nodes whose disks have lost something by themselves, for which no store can answer.
    rotten: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct Disk {
    hard_state: HardState,
    last_index: u64,
    /// The log begins after this one: what is before it must be in a snapshot.
    begins_after: u64,
    /// The newest snapshot.
    snapshot: u64,
    waiting: VecDeque<Written>,
}

#[derive(Debug)]
struct Written {
    sequence: Sequence,
    hard_state: Option<HardState>,
    last_index: Option<u64>,
    begins_after: Option<u64>,
}

impl Disk {
    /// What is missing from a process that was started with this disk.
    fn missing_from(&self, name: usize, hard_state: HardState, status: &Status) -> Option<String> {
        let HardState { term, voted_for } = self.hard_state;
        if hard_state.term < term {
            let found = hard_state.term;
            return Some(format!("n{name} starts again in term {found}, and had term {term} on disk"));
        }
        if hard_state.term == term
            && let Some(vote) = voted_for.filter(|vote| hard_state.voted_for != Some(*vote))
        {
            return Some(format!(
                "n{name} starts again without its vote for n{vote} in term {term}, which it had on disk"
            ));
        }
        // A cut that was on its way may have been made.
        let cuts = self.waiting.iter().filter_map(|written| written.last_index);
        let least = cuts.fold(self.last_index, u64::min);
        (status.last_index.0 < least).then(|| {
            format!(
                "n{name} starts again with entries up to {}, and had those up to {least} on disk",
                status.last_index
            )
        })
    }
}

impl Durability {
    pub(super) fn started(&mut self, node: usize, replica: &Replica) -> Option<String> {
        let status = replica.raft_status();
        let disk = Disk {
            hard_state: replica.hard_state(),
            last_index: status.last_index.0,
            begins_after: status.snapshot.0,
            snapshot: status.snapshot.0,
            waiting: VecDeque::new(),
        };
        let before = self.disks.insert(node, disk).filter(|_| !self.rotten.contains(&node))?;
        before.missing_from(node + 1, replica.hard_state(), &status)
    }

    pub(super) fn rots(&mut self, node: usize) {
        self.rotten.insert(node);
    }

    pub(super) fn snapshot_durable(&mut self, node: usize, index: LogIndex) {
        let disk = self.disks.entry(node).or_default();
        disk.snapshot = disk.snapshot.max(index.0);
    }

    /// A leader has committed up to here, further than any other before: whether a majority has that on disk.
    pub(super) fn committing(&self, node: usize, replica: &Replica, commit: LogIndex) -> Option<String> {
        let membership = replica.membership();
        let has = |id: &&NodeId| {
            let disk = self.disks.get(&crate::world::position(**id));
            disk.is_some_and(|disk| disk.last_index >= commit.0)
        };
        let halves = [&membership.voters, &membership.outgoing];
        let mut short = halves.into_iter().filter(|half| half.iter().filter(has).count() * 2 <= half.len());
        let half = short.find(|half| !half.is_empty())?;
        let count = half.iter().filter(has).count();
        Some(format!(
            "n{} commits entry {commit}, which {count} of {} voters have on disk",
            node + 1,
            half.len()
        ))
    }

    pub(super) fn persisting(&mut self, node: usize, batch: &PersistBatch) {
        let cut = batch
            .truncate_from
            .map(|from| from.0.saturating_sub(1))
            .or(batch.reset_after.map(|index| index.0));
        let last_index = batch.entries.last().map(|entry| entry.index.0).or(cut);
        let written = Written {
            sequence: batch.sequence,
            hard_state: batch.hard_state,
            last_index,
            begins_after: batch.reset_after.map(|index| index.0),
        };
        self.disks.entry(node).or_default().waiting.push_back(written);
    }

    pub(super) fn durable(&mut self, node: usize, sequence: Sequence) {
        let disk = self.disks.entry(node).or_default();
        while disk.waiting.front().is_some_and(|written| written.sequence <= sequence) {
            let Some(written) = disk.waiting.pop_front() else { break };
            disk.hard_state = written.hard_state.unwrap_or(disk.hard_state);
            disk.last_index = written.last_index.unwrap_or(disk.last_index);
            disk.begins_after = written.begins_after.unwrap_or(disk.begins_after);
        }
    }

    pub(super) fn sending(&mut self, node: usize, message: &Message) -> Option<String> {
        let disk = self.disks.entry(node).or_default();
        let name = node + 1;
        let is_trial = matches!(message.body, MessageBody::PreVote { .. } | MessageBody::PreVoteReply { .. });
        if !is_trial && message.term > disk.hard_state.term {
            return Some(format!(
                "n{name} speaks in term {}, and has term {} on disk",
                message.term, disk.hard_state.term
            ));
        }
        match &message.body {
            MessageBody::VoteReply { granted: true }
                if disk.hard_state.term == message.term && disk.hard_state.voted_for != Some(message.to) =>
            {
                Some(format!(
                    "n{name} votes for n{} in term {}, which is not on its disk",
                    message.to, message.term
                ))
            }
            MessageBody::AppendReply { outcome: Ok(matched), .. } => {
                // A log that begins behind what no snapshot on this disk has is none.
                let log = if disk.begins_after > disk.snapshot { 0 } else { disk.last_index };
                let durable = LogIndex(log.max(disk.snapshot));
                (*matched > durable).then(|| {
                    format!(
                        "n{name} acknowledges entry {matched} to n{}, and has {durable} on disk",
                        message.to
                    )
                })
            }
            _ => None,
        }
    }
}

//! Terms, votes and acknowledged entries are durable before anybody hears of them (Raft paper, figure 2: "updated on stable storage
//! before responding").

use std::collections::{BTreeMap, VecDeque};

use labrys_store::raft::{HardState, LogIndex, Message, MessageBody, PersistBatch, Sequence};
use labrys_store::server::Replica;

/// What is on the disks, and what is on its way there.
#[derive(Debug, Default)]
pub struct Durability {
    disks: BTreeMap<usize, Disk>,
}

#[derive(Debug, Default)]
struct Disk {
    hard_state: HardState,
    last_index: u64,
    waiting: VecDeque<Written>,
}

#[derive(Debug)]
struct Written {
    sequence: Sequence,
    hard_state: Option<HardState>,
    last_index: Option<u64>,
}

impl Durability {
    pub(super) fn started(&mut self, node: usize, replica: &Replica) {
        let status = replica.raft_status();
        let disk = Disk {
            hard_state: replica.hard_state(),
            last_index: status.last_index.0,
            waiting: VecDeque::new(),
        };
        self.disks.insert(node, disk);
    }

    pub(super) fn persisting(&mut self, node: usize, batch: &PersistBatch) {
        let cut = batch
            .truncate_from
            .map(|from| from.0.saturating_sub(1))
            .or(batch.reset_after.map(|index| index.0));
        let last_index = batch.entries.last().map(|entry| entry.index.0).or(cut);
        let written = Written { sequence: batch.sequence, hard_state: batch.hard_state, last_index };
        self.disks.entry(node).or_default().waiting.push_back(written);
    }

    pub(super) fn durable(&mut self, node: usize, sequence: Sequence) {
        let disk = self.disks.entry(node).or_default();
        while disk.waiting.front().is_some_and(|written| written.sequence <= sequence) {
            let Some(written) = disk.waiting.pop_front() else { break };
            disk.hard_state = written.hard_state.unwrap_or(disk.hard_state);
            disk.last_index = written.last_index.unwrap_or(disk.last_index);
        }
    }

    pub(super) fn sending(&mut self, node: usize, replica: &Replica, message: &Message) -> Option<String> {
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
                let durable = LogIndex(disk.last_index).max(replica.raft_status().snapshot);
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

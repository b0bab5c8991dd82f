//! What must hold after every step of every node, whatever the network and the disks did.
//!
//! | property | where it is from | how it is seen |
//! | --- | --- | --- |
//! | election safety | paper, Figure 3, 5.2 | one leader per term, by role and by the appends it sends |
//! | leader append-only | Figure 3, 5.3 | a leader writes no truncation |
//! | log matching | Figure 3, 5.3 | an (index, term) has one command and one term before it, in all logs ever written |
//! | leader completeness | Figure 3, 5.4 | a new leader has every entry committed in an earlier term |
//! | state machine safety | Figure 3, 5.4.3 | one entry per committed index |
//! | applied once, in order | Figure 2 | the entries handed over are consecutive |
//! | commit never regresses | Figure 2 | per life of a node |
//! | committed by a quorum | 4.1, 4.3 of the thesis | what a leader commits is on the disks of a majority of the voters of the configuration by which it is counted, in a joint one of both halves |
//! | durable before promised | Figure 2, 5.2 | votes, acknowledgements and terms sent are on the sender's disk |
//! | restarts from its disk | thesis 5 | log and snapshots join, whatever was compacted |
//! | snapshots are kept | this crate | what is to be sent or restored was not dropped; nothing is compacted that no snapshot has |
//! | reads are current | thesis 6.4 | a read sees everything acknowledged or read before it began |
//! | tokens end once, definite means never | this crate | a definitely refused proposal is never committed |
//! | nothing acknowledged is lost | — | checked against all state machines after healing |
//!
//! An outcome that nobody told the client (a crash, a lost leadership) is never taken for "did not happen".

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use labrys_raft::{
    Effect, Entry, LogIndex, Message, MessageBody, Node, NodeId, Payload, PersistBatch, ReadMode, Role,
    Status, Term, Token,
};

use crate::disk::Disk;

/// The property that was violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    ElectionSafety,
    LeaderAppendOnly,
    LogMatching,
    LeaderCompleteness,
    StateMachineSafety,
    AppliedOnceInOrder,
    CommitNeverRegresses,
    CommittedByQuorum,
    DurableBeforePromised,
    StartsFromItsDisk,
    SnapshotsAreKept,
    ReadsAreCurrent,
    TokensEndOnce,
    DefiniteMeansNever,
    NothingAcknowledgedIsLost,
    OwnAssertions,
    Liveness,
}

/// What happened instead.
#[derive(Clone, Debug)]
pub struct Violation {
    pub property: Property,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.property, self.detail)
    }
}

/// Shorthand for a violation.
pub fn violated<T>(property: Property, detail: String) -> Result<T, Violation> {
    Err(Violation { property, detail })
}

/// A client's operation that has not ended.
#[derive(Clone, Debug)]
enum Open {
    Proposal,
    /// With the position that it must see; if it is local, it may see anything.
    Read {
        mode: ReadMode,
        must_see: LogIndex,
    },
    Change,
    Transfer,
}

/// Everything that was seen so far.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Whether to compare what is sent with what is on disk. Off to see whether the other properties notice by themselves.
    pub watches_disk: bool,
    /// Whether the node's own assertions count. Off for defects, with which a node reports and carries on.
    pub trusts_assertions: bool,
    /// Whether a disk was emptied behind Raft's back.
    pub has_lost_logs: bool,
    leaders: BTreeMap<Term, (NodeId, u64)>,
    by_position: BTreeMap<(LogIndex, Term), (Term, Payload)>,
    /// The committed log, with the term in which each entry was first seen committed.
    pub committed: Vec<(Entry, Term)>,
    open: BTreeMap<Token, Open>,
    /// Which proposal a command came from; every command is proposed once.
    proposals: BTreeMap<Bytes, Token>,
    definitely_refused: BTreeMap<Token, ()>,
    /// What clients were told to be done.
    pub acknowledged: BTreeMap<Token, LogIndex>,
    /// The newest position that a client has seen: acknowledged, or read.
    seen: LogIndex,
    pub assertions_broken: usize,
    pub succeeded: Succeeded,
}

/// What operators and readers got, not only asked for.
#[derive(Clone, Debug, Default)]
pub struct Succeeded {
    /// Changes of the membership that were acknowledged.
    pub changes: usize,
    /// Joint configurations that were committed.
    pub joint_configurations: usize,
    /// Transfers to another node.
    pub transfers: usize,
    /// Reads that were answered, by what was asked for.
    pub reads: BTreeMap<ReadMode, usize>,
    /// Of those, the ones that no other node was asked for.
    pub reads_under_lease: usize,
}

impl Succeeded {
    /// Sums up.
    pub fn add(&mut self, other: Succeeded) {
        self.changes += other.changes;
        self.joint_configurations += other.joint_configurations;
        self.transfers += other.transfers;
        self.reads_under_lease += other.reads_under_lease;
        for (mode, count) in other.reads {
            *self.reads.entry(mode).or_default() += count;
        }
    }
}

impl Oracle {
    /// A client hands in a proposal of a command that was never proposed before.
    pub fn proposed(&mut self, token: Token, command: Bytes) {
        self.open.insert(token, Open::Proposal);
        let earlier = self.proposals.insert(command, token);
        assert_eq!(earlier, None, "the test must not propose a command twice");
    }

    /// A client hands in a read: it must see what any client has seen by now, unless it is local.
    pub fn read_began(&mut self, token: Token, mode: ReadMode) {
        let must_see = if mode == ReadMode::Local { LogIndex(0) } else { self.seen };
        self.open.insert(token, Open::Read { mode, must_see });
    }

    /// An operator asks for another leader.
    pub fn transfer_began(&mut self, token: Token) {
        self.open.insert(token, Open::Transfer);
    }

    /// The driver does not give the answer to a read, because the lease was over when it had it.
    pub fn gave_up(&mut self, token: Token) -> Result<(), Violation> {
        self.ended(token).map(drop)
    }

    /// An operator asks for a change of the membership.
    pub fn change_began(&mut self, token: Token) {
        self.open.insert(token, Open::Change);
    }

    /// A node crashed: its clients never hear of their operations, which may or may not happen.
    pub fn forgot(&mut self, tokens: impl IntoIterator<Item = Token>) {
        for token in tokens {
            self.open.remove(&token);
        }
    }

    /// Operations whose clients still wait.
    pub fn open_operations(&self) -> impl Iterator<Item = Token> + '_ {
        self.open.keys().copied()
    }

    /// A message is about to be sent.
    pub fn on_send(
        &mut self,
        message: &Message,
        life: u64,
        disk: &Disk,
        node: &Node,
    ) -> Result<(), Violation> {
        if let MessageBody::Append { .. } = message.body {
            self.leads(message.term, message.from, life)?;
        }
        if !self.watches_disk {
            return Ok(());
        }
        let Message { from, to, term, body } = message;
        let is_trial = matches!(body, MessageBody::PreVote { .. } | MessageBody::PreVoteReply { .. });
        let durable = disk.hard_state;
        let fail = |what: String| violated(Property::DurableBeforePromised, what);
        if !is_trial && durable.term < *term {
            return fail(format!("node {from} speaks in term {term} with term {} on disk", durable.term));
        }
        let vote_is_for = |candidate: NodeId| durable.term > *term || durable.voted_for == Some(candidate);
        match body {
            MessageBody::VoteReply { granted: true } if !vote_is_for(*to) => {
                fail(format!("node {from} votes for {to} in term {term} with {durable:?} on disk"))
            }
            MessageBody::Vote { .. } if !vote_is_for(*from) => {
                fail(format!("node {from} campaigns in term {term} with {durable:?} on disk"))
            }
            MessageBody::AppendReply { outcome: Ok(matched), .. } => {
                // Within a snapshot there is nothing to compare; what it holds is checked when it is restored.
                let Ok(on_disk) = disk.term_at(*matched) else { return Ok(()) };
                let in_memory = node.entry(*matched).map(|entry| entry.term);
                let is_base = *matched < node.status().first_index;
                if on_disk.is_none() || (!is_base && on_disk != in_memory) {
                    return fail(format!(
                        "node {from} acknowledges entry {matched}, which is not on its disk"
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A batch is about to be written by a node that was and is in these states.
    pub fn on_write(&mut self, node: &Node, was: &Status, batch: &PersistBatch) -> Result<(), Violation> {
        let is = node.status();
        if let Some(index) = batch.reset_after {
            self.on_reset(&is, index)?;
        }
        let still_leads = (was.role, is.role) == (Role::Leader, Role::Leader) && was.term == is.term;
        if still_leads && let Some(from) = batch.truncate_from {
            return violated(
                Property::LeaderAppendOnly,
                format!("leader {} drops its log from {from}", is.id),
            );
        }
        for entry in &batch.entries {
            let before = LogIndex(entry.index.0 - 1);
            if before < is.first_index {
                continue; // It follows a snapshot.
            }
            let term_before = node.entry(before).map_or(Term(0), |entry| entry.term);
            let this = (term_before, entry.payload.clone());
            let known = self.by_position.entry((entry.index, entry.term)).or_insert_with(|| this.clone());
            if *known != this {
                let what =
                    format!("entry {}/{} has two meanings: {known:?} and {this:?}", entry.index, entry.term);
                return violated(Property::LogMatching, what);
            }
        }
        Ok(())
    }

    /// A node finished a step.
    pub fn after_step(&mut self, node: &Node, was: &Status, life: u64) -> Result<(), Violation> {
        let is = node.status();
        if is.commit < was.commit {
            let what = format!("node {} goes back from commit {} to {}", is.id, was.commit, is.commit);
            return violated(Property::CommitNeverRegresses, what);
        }
        // What a snapshot has brought is checked when it is restored.
        for index in (was.commit.0 + 1).max(is.first_index.0)..=is.commit.0 {
            self.on_commit(node, LogIndex(index))?;
        }
        if is.role == Role::Leader {
            self.leads(is.term, is.id, life)?;
            if was.role != Role::Leader || was.term != is.term {
                self.new_leader_is_complete(node, is.term)?;
            }
        }
        Ok(())
    }

    fn leads(&mut self, term: Term, id: NodeId, life: u64) -> Result<(), Violation> {
        let known = *self.leaders.entry(term).or_insert((id, life));
        if known == (id, life) {
            return Ok(());
        }
        let what = format!(
            "term {term} is led by node {} (life {}) and by node {id} (life {life})",
            known.0, known.1
        );
        violated(Property::ElectionSafety, what)
    }

    fn on_commit(&mut self, node: &Node, index: LogIndex) -> Result<(), Violation> {
        let id = node.status().id;
        let Some(entry) = node.entry(index) else {
            let what = format!("node {id} commits entry {index}, which it does not have");
            return violated(Property::StateMachineSafety, what);
        };
        match self.committed.get(index.0 as usize - 1) {
            None if self.committed.len() as u64 + 1 != index.0 => {
                let what = format!("node {id} commits entry {index} before what precedes it");
                violated(Property::StateMachineSafety, what)?;
            }
            None => {
                let is_joint =
                    matches!(&entry.payload, Payload::Membership(membership) if membership.is_joint());
                self.succeeded.joint_configurations += usize::from(is_joint);
                self.committed.push((entry.clone(), node.status().term));
            }
            Some((known, _)) if known == entry => {}
            Some((known, _)) => {
                let what = format!("entry {index} is {known:?} for one node and {entry:?} for node {id}");
                return violated(Property::StateMachineSafety, what);
            }
        }
        match self.token_in(entry) {
            Some(token) if self.definitely_refused.contains_key(&token) => violated(
                Property::DefiniteMeansNever,
                format!("proposal {token} was refused and is committed"),
            ),
            _ => Ok(()),
        }
    }

    fn new_leader_is_complete(&self, node: &Node, term: Term) -> Result<(), Violation> {
        for (entry, in_term) in &self.committed {
            let is_compacted = entry.index < node.status().first_index;
            if *in_term < term && !is_compacted && node.entry(entry.index) != Some(entry) {
                let what = format!(
                    "node {} leads term {term} without entry {}/{}, committed in term {in_term}",
                    node.status().id,
                    entry.index,
                    entry.term
                );
                return violated(Property::LeaderCompleteness, what);
            }
        }
        Ok(())
    }

    /// A node begins its log anew after a snapshot up to `index`.
    fn on_reset(&mut self, is: &Status, index: LogIndex) -> Result<(), Violation> {
        if index > is.snapshot || index > is.commit {
            let what = format!("node {} drops its log for snapshot {index}, which it does not have", is.id);
            return violated(Property::SnapshotsAreKept, what);
        }
        Ok(())
    }

    /// A node has replaced its state machine by what a snapshot holds.
    pub fn on_restore(&mut self, id: NodeId, machine: &[Entry]) -> Result<(), Violation> {
        let committed = self.committed.iter().map(|(entry, _)| entry);
        if machine.len() > self.committed.len() || !machine.iter().eq(committed.take(machine.len())) {
            let what = format!("node {id} restores a snapshot that holds what was not committed");
            return violated(Property::StateMachineSafety, what);
        }
        Ok(())
    }

    /// A node needs no log up to `up_to` any more.
    pub fn on_compaction(&mut self, id: NodeId, up_to: LogIndex, disk: &Disk) -> Result<(), Violation> {
        let contained = disk.snapshots.last().map_or(LogIndex(0), |(snapshot, _)| snapshot.index());
        if self.watches_disk && up_to > contained {
            let what = format!("node {id} compacts up to {up_to}, but its snapshot ends at {contained}");
            return violated(Property::SnapshotsAreKept, what);
        }
        Ok(())
    }

    /// A node hands `entries` to a state machine that was handed everything up to `handed_over` before.
    pub fn on_apply(
        &mut self,
        id: NodeId,
        handed_over: LogIndex,
        entries: &[(Entry, Option<Token>)],
    ) -> Result<(), Violation> {
        for (offset, (entry, token)) in entries.iter().enumerate() {
            let expected = LogIndex(handed_over.0 + 1 + offset as u64);
            if entry.index != expected {
                let what = format!("node {id} hands over entry {} in place of {expected}", entry.index);
                return violated(Property::AppliedOnceInOrder, what);
            }
            let open = token.and_then(|token| self.open.get(&token));
            let fits = match (&entry.payload, *token) {
                (_, None) => true,
                (Payload::Membership(_), _) => matches!(open, Some(Open::Change)),
                (Payload::Noop, _) => matches!(open, Some(Open::Read { mode: ReadMode::Log, .. })),
                (_, token) => token == self.token_in(entry),
            };
            if !fits {
                let what =
                    format!("node {id} ends proposal {token:?} with the entry of {:?}", self.token_in(entry));
                return violated(Property::TokensEndOnce, what);
            }
        }
        Ok(())
    }

    /// A state machine has applied `entry`, and the client is told so.
    pub fn acknowledge(&mut self, token: Token, entry: &Entry) -> Result<(), Violation> {
        match self.ended(token)? {
            Open::Proposal => {
                self.acknowledged.insert(token, entry.index);
            }
            Open::Read { must_see, .. } if entry.index < must_see => {
                let what =
                    format!("read {token} through the log is at {}, but {must_see} was seen", entry.index);
                return violated(Property::ReadsAreCurrent, what);
            }
            Open::Read { mode, .. } => *self.succeeded.reads.entry(mode).or_default() += 1,
            Open::Change => self.succeeded.changes += 1,
            Open::Transfer => {
                return violated(Property::TokensEndOnce, format!("transfer {token} ends as a proposal"));
            }
        }
        self.seen = self.seen.max(entry.index);
        Ok(())
    }

    /// A read is answered by a node whose state machine has applied `applied`.
    pub fn on_read_ready(
        &mut self,
        token: Token,
        index: LogIndex,
        applied: LogIndex,
        under_lease: bool,
    ) -> Result<(), Violation> {
        let Open::Read { mode, must_see } = self.ended(token)? else {
            return violated(Property::TokensEndOnce, format!("proposal {token} ends as a read"));
        };
        *self.succeeded.reads.entry(mode).or_default() += 1;
        self.succeeded.reads_under_lease += usize::from(under_lease);
        if mode == ReadMode::Local {
            return Ok(());
        }
        if applied < must_see || applied < index {
            let what = format!(
                "read {token} sees {applied}; it waited for {index} and clients have seen {must_see}"
            );
            return violated(Property::ReadsAreCurrent, what);
        }
        self.seen = self.seen.max(applied);
        Ok(())
    }

    /// Anything else that a node did.
    pub fn on_other(&mut self, id: NodeId, effect: &Effect) -> Result<(), Violation> {
        match effect {
            Effect::Refused { token, reason } => {
                let ended = self.ended(*token)?;
                if reason.is_definite() && matches!(ended, Open::Proposal) {
                    self.definitely_refused.insert(*token, ());
                }
                Ok(())
            }
            Effect::TransferDone { token, leader } => {
                self.succeeded.transfers += usize::from(*leader != id);
                self.ended(*token).map(drop)
            }
            Effect::RemovedFromCluster => {
                let configuration = self.committed.iter().rev().find_map(|(entry, _)| match &entry.payload {
                    Payload::Membership(membership) => Some(membership),
                    _ => None,
                });
                if self.trusts_assertions && configuration.is_none_or(|membership| membership.contains(id)) {
                    let what =
                        format!("node {id} is told that it was removed, but it is in {configuration:?}");
                    return violated(Property::OwnAssertions, what);
                }
                Ok(())
            }
            // Its own proof must be one: nothing else may look like it.
            Effect::FollowerLostLog { follower, .. } if self.trusts_assertions && !self.has_lost_logs => {
                violated(
                    Property::OwnAssertions,
                    format!("node {id} says that node {follower} has lost its log"),
                )
            }
            Effect::InvariantBroken { what } => {
                self.assertions_broken += 1;
                if self.trusts_assertions {
                    return violated(Property::OwnAssertions, format!("node {id}: {what}"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn ended(&mut self, token: Token) -> Result<Open, Violation> {
        match self.open.remove(&token) {
            Some(open) => Ok(open),
            None => violated(Property::TokensEndOnce, format!("{token} ends, but is not open")),
        }
    }

    /// After healing: what clients were told to be done is in every member's state machine, and all are equal as far as they
    /// are.
    pub fn check_machines<'a>(
        &self,
        machines: impl Iterator<Item = (&'a [Entry], bool)>,
    ) -> Result<(), Violation> {
        for (machine, is_member) in machines {
            for (token, index) in self.acknowledged.iter().filter(|_| is_member) {
                let found = machine.get(index.0 as usize - 1).and_then(|entry| self.token_in(entry));
                if found != Some(*token) {
                    let what =
                        format!("proposal {token} was acknowledged at {index}, where {found:?} is now");
                    return violated(Property::NothingAcknowledgedIsLost, what);
                }
            }
            let differs = machine.iter().zip(&self.committed).find(|(applied, (known, _))| *applied != known);
            if let Some((applied, (known, _))) = differs {
                let what = format!("a state machine applied {applied:?} in place of {known:?}");
                return violated(Property::StateMachineSafety, what);
            }
        }
        Ok(())
    }

    /// The proposal that an entry came from.
    fn token_in(&self, entry: &Entry) -> Option<Token> {
        match &entry.payload {
            Payload::Command(command) => self.proposals.get(command).copied(),
            Payload::Noop | Payload::Membership(_) => None,
        }
    }
}

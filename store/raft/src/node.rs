//! The node: its state, its entry points, and the order in which a step is finished.
//!
//! A step handles one input (or several, [`Node::step_all`]) and then, once, does what follows from the new state: appends to
//! followers, one batch for the disk, entries for the state machine, answers to reads. What is sent before the batch is
//! handed out never promises anything that the batch contains (see `durability`).

use std::collections::VecDeque;
use std::mem;

use crate::configurations::Configurations;
use crate::defects::Defect;
use crate::durability::Durability;
use crate::error::{StartError, check_applied, check_config, check_recovered};
use crate::follower::Acceptance;
use crate::follower_read::FollowerReads;
use crate::install::Incoming;
use crate::log::Log;
use crate::membership::Membership;
use crate::quorum::Quorum;
use crate::read_index::ReadQueue;
use crate::replication::Leadership;
use crate::transfer::Transfer;
use crate::types::{
    Config, Effect, Entry, HardState, Input, LogIndex, NodeId, Recovered, RefusalReason, Role, Snapshot,
    Status, Term, Token,
};

/// Positions from here on are taken for nonsense: no cluster gets there, and adding to them must never overflow.
pub(crate) const INDEX_LIMIT: LogIndex = LogIndex(1 << 62);

/// One server's part in Raft. See the crate's documentation.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) config: Config,
    pub(crate) configurations: Configurations,
    pub(crate) now_ms: u64,
    pub(crate) hard_state: HardState,
    pub(crate) role_state: RoleState,
    pub(crate) leader: Option<NodeId>,
    pub(crate) leader_heard_ms: Option<u64>,
    pub(crate) election_deadline_ms: u64,
    /// What the randomised waiting times are computed from, in millionths; see `Node::draw_luck`.
    pub(crate) luck_ppm: u32,
    pub(crate) log: Log,
    pub(crate) durability: Durability,
    pub(crate) acceptance: Acceptance,
    /// The newest durable one.
    pub(crate) snapshot: Option<Snapshot>,
    /// The one that is being received.
    pub(crate) incoming: Option<Incoming>,
    /// The driver was told that it may drop those below.
    pub(crate) snapshots_needed_from: LogIndex,
    pub(crate) commit: LogIndex,
    pub(crate) handed_to_apply: LogIndex,
    pub(crate) applied: LogIndex,
    pub(crate) pending: VecDeque<PendingProposal>,
    pub(crate) reads: ReadQueue,
    pub(crate) follower_reads: FollowerReads,
    pub(crate) transfer: Option<Transfer>,
    /// Elections in a row that this node could not win.
    pub(crate) fruitless_campaigns: u32,
    /// It was told so, and has heard from no leader since: it does not campaign.
    pub(crate) was_removed: bool,
    pub(crate) effects: Vec<Effect>,
    pub(crate) announced: (Term, Role, Option<NodeId>),
    pub(crate) announced_membership: u64,
    pub(crate) halted: bool,
}

/// The role, with what only that role has.
#[derive(Clone, Debug)]
pub(crate) enum RoleState {
    Follower,
    PreCandidate { granted_by: Vec<NodeId> },
    Candidate { granted_by: Vec<NodeId> },
    Leader(Leadership),
}

/// A proposal made here whose entry is not yet handed to the state machine.
#[derive(Clone, Debug, Hash)]
pub(crate) struct PendingProposal {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) token: Token,
}

/// An invariant is broken and no defect excuses it: the node does nothing any more.
#[derive(Debug)]
pub(crate) struct Halted;

impl Node {
    /// A node that starts, or restarts from what was durable, at `now_ms` of the driver's clock.
    ///
    /// # Errors
    ///
    /// If the configuration or what was recovered makes no sense; see [`StartError`].
    pub fn new(config: Config, recovered: Recovered, now_ms: u64) -> Result<Node, StartError> {
        check_config(&config)?;
        check_recovered(&recovered)?;
        let Recovered { mut hard_state, snapshot, entries, applied } = recovered;
        let log = Log::recovered(snapshot.as_ref(), entries);
        check_applied(applied, snapshot.as_ref(), log.last_index())?;
        let (base, first) = match &snapshot {
            Some(snapshot) => (snapshot.index(), snapshot.point.membership.clone()),
            None => (LogIndex(0), config.initial.clone()),
        };
        let configurations = Configurations::recovered(base, first, log.after(base));
        let term_was_lost = log.last_term() > hard_state.term;
        if config.defects.has(Defect::VoteNotPersisted) {
            hard_state = HardState::default();
        } else if term_was_lost {
            // A batch of which only entries reached the disk. Nothing was promised in that term, so no vote was given.
            hard_state = HardState { term: log.last_term(), voted_for: None };
        }
        let mut node = Node {
            announced_membership: configurations.version(),
            configurations,
            now_ms,
            hard_state,
            role_state: RoleState::Follower,
            leader: None,
            leader_heard_ms: None,
            election_deadline_ms: now_ms,
            luck_ppm: 0,
            durability: Durability::recovered(log.last_index()),
            log,
            acceptance: Acceptance::default(),
            snapshots_needed_from: snapshot.as_ref().map_or(LogIndex(0), Snapshot::index),
            snapshot,
            incoming: None,
            commit: applied,
            handed_to_apply: applied,
            applied,
            pending: VecDeque::new(),
            reads: ReadQueue::default(),
            follower_reads: FollowerReads::default(),
            transfer: None,
            fruitless_campaigns: 0,
            was_removed: false,
            effects: Vec::new(),
            announced: (hard_state.term, Role::Follower, None),
            halted: false,
            config,
        };
        node.settle_membership();
        if node.has_leases() && node.hard_state.term > Term(0) {
            node.leader_heard_ms = Some(now_ms); // It may have heard from a leader just before it went down.
        }
        node.draw_luck();
        node.reset_election_deadline();
        if term_was_lost {
            node.hard_state_changed();
        }
        Ok(node)
    }

    /// Handles one input and appends what follows from it to `effects`. O(1) amortised; see the crate's documentation.
    ///
    /// After [`Effect::InvariantBroken`] without defects the node refuses proposals and reads and ignores everything else.
    pub fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        self.step_all([input], effects);
    }

    /// Handles several inputs as one step: what follows from all of them is one batch for the disk and as few messages as
    /// the limits allow. Equal to stepping through them in every promise made, cheaper under load.
    pub fn step_all(&mut self, inputs: impl IntoIterator<Item = Input>, effects: &mut Vec<Effect>) {
        mem::swap(&mut self.effects, effects);
        let mut inputs = inputs.into_iter();
        if !self.halted {
            let handled = inputs.by_ref().try_for_each(|input| self.handle(input));
            match handled {
                Ok(()) => self.finish_step(),
                Err(Halted) => self.halted = true,
            }
        }
        inputs.for_each(|input| self.refuse_when_halted(input));
        mem::swap(&mut self.effects, effects);
    }

    /// A look at the node.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            id: self.config.id,
            role: self.role(),
            term: self.hard_state.term,
            leader: self.leader,
            first_index: self.log.base_index().next(),
            last_index: self.log.last_index(),
            commit: self.commit,
            applied: self.applied,
            snapshot: self.snapshot_index(),
        }
    }

    /// The term of an entry of the log, or of the last one that its snapshot contains; `None` if it has neither.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.log.term_at(index)
    }

    /// The entry at `index`, if the log in memory has it. For tools and tests: what is durable or committed is another
    /// matter.
    #[must_use]
    pub fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.log.get(index)
    }

    /// The hard state in memory, for tools and tests.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    fn role(&self) -> Role {
        match self.role_state {
            RoleState::Follower => Role::Follower,
            RoleState::PreCandidate { .. } => Role::PreCandidate,
            RoleState::Candidate { .. } => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    fn handle(&mut self, input: Input) -> Result<(), Halted> {
        match input {
            Input::Tick { now_ms } => self.on_tick(now_ms),
            Input::Receive(message) => return self.on_message(message),
            Input::Propose { token, command } => self.on_propose(token, command),
            Input::ChangeMembership { token, change } => self.on_change(token, &change),
            Input::Read { token, mode } => self.on_read(token, mode),
            Input::TransferLeadership { token, target } => self.on_transfer(token, target),
            Input::Persisted { sequence } => return self.on_persisted(sequence),
            Input::Applied { index } => return self.on_applied(index),
            Input::SnapshotStored { snapshot } => return self.on_snapshot_stored(snapshot),
            Input::SnapshotDamaged { index } => self.on_snapshot_damaged(index),
            Input::SnapshotUnreadable { index } => self.on_snapshot_unreadable(index),
            Input::SnapshotChunkRead { to, index, offset, data } => {
                self.on_snapshot_chunk_read(to, index, offset, data);
            }
            Input::SnapshotChunkWritten { index, end } => self.on_snapshot_chunk_written(index, end),
        }
        Ok(())
    }

    /// What follows from the new state.
    fn finish_step(&mut self) {
        self.continue_change();
        self.continue_transfer();
        self.announce();
        self.replicate();
        self.ask_leader();
        self.hand_out_batch();
        self.apply_committed();
        self.answer_reads();
        self.answer_follower_reads();
        self.compact();
    }

    fn announce(&mut self) {
        let (term, role, leader) = (self.hard_state.term, self.role(), self.leader);
        if self.announced != (term, role, leader) {
            self.announced = (term, role, leader);
            self.effects.push(Effect::RoleChanged { term, role, leader });
        }
        if self.announced_membership != self.configurations.version() {
            self.announced_membership = self.configurations.version();
            let index = self.configurations.current_index();
            let membership = Box::new(self.membership().clone());
            self.effects.push(Effect::MembershipChanged { index, membership });
        }
    }

    /// An invariant does not hold. With a defect switched on, goes on as a system without the assertion would.
    pub(crate) fn broken(&mut self, what: String) -> Result<(), Halted> {
        self.effects.push(Effect::InvariantBroken { what });
        if self.config.defects.is_empty() { Err(Halted) } else { Ok(()) }
    }

    fn refuse_when_halted(&mut self, input: Input) {
        if let Input::Propose { token, .. }
        | Input::ChangeMembership { token, .. }
        | Input::TransferLeadership { token, .. }
        | Input::Read { token, .. } = input
        {
            let reason = RefusalReason::NotLeader { leader: None };
            self.effects.push(Effect::Refused { token, reason });
        }
    }

    /// The configuration in force: the newest in the log, committed or not.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.configurations.current()
    }

    /// The index of its entry; 0 (or the end of a snapshot): it is from before the entries that are kept.
    #[must_use]
    pub fn membership_index(&self) -> LogIndex {
        self.configurations.current_index()
    }

    /// The configuration that was in force when the entry at `index` was applied; not to be asked for what is older than the
    /// last index applied.
    #[must_use]
    pub fn membership_at(&self, index: LogIndex) -> &Membership {
        self.configurations.at(index)
    }

    /// The quorums of the configuration in force.
    pub(crate) fn quorum(&self) -> Quorum<'_> {
        let half_is_enough = self.config.defects.has(Defect::QuorumOffByOne);
        Quorum { membership: self.membership(), half_is_enough }
    }

    /// The other voters, for sending to each.
    pub(crate) fn other_voters(&self) -> Vec<NodeId> {
        let voters = self.membership().all_voters().into_iter();
        voters.filter(|id| *id != self.config.id).collect()
    }
}

//! Oracles: properties that hold at every moment of every run, looked at after each step of each node.
//!
//! | property | file | what breaks it, for instance |
//! | --- | --- | --- |
//! | election safety | [`elections`] | `unclean-election` |
//! | log matching | [`logs`] | `unclean-election` |
//! | leader completeness | [`leaders`] | `election-no-log-check` |
//! | state-machine safety | [`states`] | `nondeterministic-apply` |
//! | the commit index never falls | [`commits`] | none of the store's: shown by hand |
//! | a leader counts for entries of its own term only | [`commits`] | `commit-prior-term-by-count` |
//! | nobody promises what is not durable | [`durability`] | `follower-acks-before-fsync` |
//! | what is durable is there after a restart | [`durability`] | `hard-state-and-entries-not-atomic` |
//! | nothing acknowledged is lost | [`acknowledgements`] | `async-replication-ack` |
//!
//! They see the inside of the nodes, which a harness on real machines does not; so a run is invalid as soon as one of them is
//! violated, also if no client has noticed anything yet. Each is O(1) per entry, message or step.

pub mod acknowledgements;
pub mod commits;
pub mod durability;
pub mod elections;
pub mod leaders;
pub mod logs;
pub mod states;

use std::fmt;

use labrys_store::raft::{LogIndex, Message, PersistBatch, Role, Sequence};
use labrys_store::server::Replica;

/// A property that an oracle looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// At most one leader per term (Raft paper, section 5.2).
    ElectionSafety,
    /// Entries of the same index and term are the same, and so are those before them (5.3).
    LogMatching,
    /// A leader has every entry that was committed before (5.4).
    LeaderCompleteness,
    /// No two nodes apply different things at the same index, or come to different states by it (5.4.3).
    StateMachineSafety,
    /// What is committed stays so.
    CommitNeverFalls,
    /// What a leader commits because a majority has it ends with an entry of its own term (5.4.2).
    CommitOfOwnTerm,
    /// Votes, acknowledgements and terms are durable before anybody hears of them, and entries on a majority before they are
    /// committed (5.1, 5.2, 5.3).
    DurableBeforePromised,
    /// What was durable is there when a process starts again.
    DurableIsKept,
    /// A write is committed when its client hears that it is done, and stays so.
    NothingAcknowledgedIsLost,
}

impl Property {
    /// All of them, in the order of the table.
    pub const ALL: &'static [Property] = &[
        Property::ElectionSafety,
        Property::LogMatching,
        Property::LeaderCompleteness,
        Property::StateMachineSafety,
        Property::CommitNeverFalls,
        Property::CommitOfOwnTerm,
        Property::DurableBeforePromised,
        Property::DurableIsKept,
        Property::NothingAcknowledgedIsLost,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Property::ElectionSafety => "election-safety",
            Property::LogMatching => "log-matching",
            Property::LeaderCompleteness => "leader-completeness",
            Property::StateMachineSafety => "state-machine-safety",
            Property::CommitNeverFalls => "commit-never-falls",
            Property::CommitOfOwnTerm => "commit-of-own-term",
            Property::DurableBeforePromised => "durable-before-promised",
            Property::DurableIsKept => "durable-is-kept",
            Property::NothingAcknowledgedIsLost => "nothing-acknowledged-is-lost",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A property is violated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// When, in the world's nanoseconds.
    pub at_ns: u64,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at {:.3} s: {}", self.property, self.at_ns as f64 / 1e9, self.what)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Oracles {
    elections: elections::Elections,
    logs: logs::Logs,
    leaders: leaders::Leaders,
    states: states::States,
    commits: commits::Commits,
    durability: durability::Durability,
    acknowledgements: acknowledgements::Acknowledgements,
    /// What was violated, in the order in which it was seen.
    pub violations: Vec<Violation>,
}

impl Oracles {
    fn note(&mut self, at_ns: u64, property: Property, what: Option<String>) {
        if let Some(what) = what {
            self.violations.push(Violation { property, at_ns, what });
        }
    }

    /// A node has taken a step, or begun.
    pub fn stepped(&mut self, at_ns: u64, node: usize, replica: &Replica) {
        let status = replica.raft_status();
        let what = self.elections.stepped(node, &status);
        self.note(at_ns, Property::ElectionSafety, what);
        // Before the commits of this step: a new leader must have what was committed before it.
        let what = self.leaders.stepped(node, replica, &status, self.commits.last());
        self.note(at_ns, Property::LeaderCompleteness, what);
        let committed_before = self.commits.count();
        let (falls, differs) = self.commits.stepped(node, status.commit, |index| replica.term_at(index));
        self.note(at_ns, Property::CommitNeverFalls, falls);
        self.note(at_ns, Property::StateMachineSafety, differs);
        // Further than any other before: it was this leader who counted.
        if status.role == Role::Leader && status.commit.0 > committed_before {
            let what = commits::of_another_term(node, replica, &status);
            self.note(at_ns, Property::CommitOfOwnTerm, what);
            let what = self.durability.committing(node, replica, status.commit);
            self.note(at_ns, Property::DurableBeforePromised, what);
        }
        let what = self.states.stepped(node, replica, &status);
        self.note(at_ns, Property::StateMachineSafety, what);
    }

    /// A node's process has begun; what it has is durable.
    pub fn started(&mut self, at_ns: u64, node: usize, replica: &Replica) {
        self.leaders.restarted(node);
        self.commits.restarted(node);
        self.states.restarted(node, replica);
        let what = self.durability.started(node, replica);
        self.note(at_ns, Property::DurableIsKept, what);
    }

    /// A node's disk has lost something by itself.
    pub fn rots(&mut self, node: usize) {
        self.durability.rots(node);
    }

    /// A snapshot of this index is durable on a node.
    pub fn snapshot_durable(&mut self, node: usize, index: LogIndex) {
        self.durability.snapshot_durable(node, index);
    }

    /// A batch is on its way to a node's disk.
    pub fn persisting(&mut self, at_ns: u64, node: usize, replica: &Replica, batch: &PersistBatch) {
        let what = self.logs.persisting(node, replica, batch);
        self.note(at_ns, Property::LogMatching, what);
        self.durability.persisting(node, batch);
    }

    /// Batches up to this one are durable.
    pub fn durable(&mut self, node: usize, sequence: Sequence) {
        self.durability.durable(node, sequence);
    }

    /// A node sends a message.
    pub fn sending(&mut self, at_ns: u64, node: usize, message: &Message) {
        let what = self.durability.sending(node, message);
        self.note(at_ns, Property::DurableBeforePromised, what);
    }

    /// A client is told that its write stands at this place in the log.
    pub fn acknowledged(&mut self, at_ns: u64, node: usize, index: LogIndex) {
        let what = self.acknowledgements.acknowledged(node, index, &self.commits);
        self.note(at_ns, Property::NothingAcknowledgedIsLost, what);
    }

    /// The run is over and all nodes are whole: this is one of them.
    pub fn ended(&mut self, at_ns: u64, node: usize, replica: &Replica) {
        let what = self.acknowledgements.ended(node, replica, &self.commits);
        self.note(at_ns, Property::NothingAcknowledgedIsLost, what);
    }
}

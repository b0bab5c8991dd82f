//! How a node behaves.

use super::numbers::NodeId;
use crate::defects::Defects;
use crate::membership::Membership;

/// How a node behaves. Times are in milliseconds of the driver's clock.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// The configuration before the first entry of the log, the same for all nodes with which a cluster begins, and the same in
    /// all lives of a node: the driver keeps it on disk from the first start on, like the hard state. Empty for a
    /// node that is added later: it starts with nothing, learns everything from the log, and waits until then. What the log
    /// says later wins; so does the newest snapshot, which carries the configuration in force where it stands.
    pub initial: Membership,
    /// A follower that hears nothing for a random time of one to five quarters of this campaigns; of one to two times this after
    /// campaigns that did not find a leader.
    pub election_timeout_ms: u64,
    /// A leader sends something to every follower at least this often.
    pub heartbeat_interval_ms: u64,
    /// Most entries in one append message.
    pub max_batch_entries: usize,
    /// Most payload bytes in one append message (one entry always fits).
    pub max_batch_bytes: usize,
    /// Most append messages on their way to one follower without an answer.
    pub max_inflight_batches: usize,
    /// How many entries that a snapshot contains stay in the log all the same, for followers that are a little behind; fewer, if
    /// these have more than 64 MiB.
    pub kept_entries: u64,
    /// Most bytes of a snapshot in one message.
    pub snapshot_chunk_bytes: u64,
    /// Most proposals and reads waiting at once; more are refused with [`crate::RefusalReason::Overloaded`].
    pub max_pending: usize,
    /// Ask for votes only after a trial round that changes no term (thesis 9.6).
    pub pre_vote: bool,
    /// A leader that has not heard from a majority for an election timeout steps down (thesis 6.2).
    pub check_quorum: bool,
    /// How many further election timeouts this node waits before it campaigns, so that others are elected first where they
    /// can be: a priority, of which 0 is the highest. Nothing but the time to an election hangs on it.
    pub election_handicap: u64,
    /// Whether reads under a lease are answered so (they are confirmed by a round otherwise). To be the same on all nodes, with
    /// `check_quorum` on: a node that restarts keeps what it may have promised a leader before, and votes for nobody for an
    /// election timeout.
    pub lease_reads: bool,
    /// No node's clock runs faster than another's by more than this, in percent.
    pub max_clock_drift_percent: u64,
    /// Another number in each life of this node, so that no answer to an earlier one is taken for an answer to this one.
    pub incarnation: u64,
    /// Seed of the randomised timeouts.
    pub seed: u64,
    /// Bugs switched on, for testing testers.
    pub defects: Defects,
}

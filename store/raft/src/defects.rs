//! Named bugs that can be switched on, so that a tester can be tested.
//!
//! Each is one `if defects.has(…)` at the very place where the correct line stands. The list, with mechanism, origin and
//! what exposes it, is in `docs/defects.md`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Declares the defects once: variant, name on the command line, one sentence.
macro_rules! defects {
    ($($variant:ident $name:literal $what:literal)*) => {
        /// A bug that can be switched on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Defect {
            $(#[doc = $what] $variant,)*
        }

        impl Defect {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Defect] = &[$(Defect::$variant,)*];

            /// The name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Defect::$variant => $name,)* }
            }

            /// What it does wrong, in one sentence.
            #[must_use]
            pub fn describe(self) -> &'static str {
                match self { $(Defect::$variant => $what,)* }
            }
        }
    };
}

defects! {
    VoteNotPersisted "vote-not-persisted"
        "The vote and the term do not survive a restart, so that a node votes a second time in a term."
    ElectionNoLogCheck "election-no-log-check"
        "A vote is granted without asking whether the candidate's log is up to date."
    AsyncReplicationAck "async-replication-ack"
        "The leader answers a write after its own append, before a majority has it."
    CommitIndexNotMin "commit-index-not-min"
        "A follower takes over the leader's commit index without limiting it to the last entry that the message vouches for."
    LocalLeaderRead "local-leader-read"
        "The leader answers a read from its own state without confirming that it still leads."
    FollowerRead "follower-read"
        "Any node answers a read from its own state."
    ElectionCompareLengthOnly "election-compare-length-only"
        "A candidate's log counts as up to date if it is as long, whatever the terms in it."
    StaleVoteCounted "stale-vote-counted"
        "A vote given in an earlier term is counted in the present one."
    NoCheckQuorum "no-check-quorum"
        "A leader that hears from nobody goes on leading for ever."
    NoPrevoteLivelock "no-prevote-livelock"
        "A node asks for votes in a new term without asking first whether it would get them."
    PartialPartitionStuckLeader "partial-partition-stuck-leader"
        "A leader takes a message that it has sent for one that was answered, and goes on leading when no answer comes."
    LeadershipTransferKeepsServing "leadership-transfer-keeps-serving"
        "A leader goes on taking writes and trusting its lease while it hands leadership over."
    UncleanElection "unclean-election"
        "A node that cannot find a majority for a while leads without one, a cluster of its own."
    HeartbeatTermRace "heartbeat-term-race"
        "A leader that learns of a later term goes on appending for a moment, with that term."
    CommitPriorTermByCount "commit-prior-term-by-count"
        "An entry of an earlier term is committed as soon as a majority has it."
    TruncateCommitted "truncate-committed"
        "A follower drops everything after the beginning of an append, whether it conflicts or not."
    StaleAppendReplyCounted "stale-append-reply-counted"
        "An acknowledgement counts for everything that was sent so far, not for what it acknowledges."
    HeartbeatSkipsPrevCheck "heartbeat-skips-prev-check"
        "A heartbeat is accepted without looking whether the logs agree, and moves the commit index."
    ReadIndexNoCurrentTermCommit "read-index-no-current-term-commit"
        "A new leader answers reads before it has committed an entry of its term."
    ReadIndexReuseOnRetry "read-index-reuse-on-retry"
        "A read is confirmed by a round that began before it arrived."
    ReadIndexNotWaitingApply "read-index-not-waiting-apply"
        "A read is answered before the state machine has applied what was committed when it arrived."
    LeaseReadClockSkew "lease-read-clock-skew"
        "The lease is four times as long as the followers promise."
    LeaseReadAfterPause "lease-read-after-pause"
        "The lease is looked at before the read only, by a clock that was read before the request was taken, so that a leader which stood still in between answers from the past."
    RemovedNodeDisrupts "removed-node-disrupts"
        "A removed node goes on asking for votes, and is heard."
    QuorumOffByOne "quorum-off-by-one"
        "Half of the voters count as a majority."
    MembershipNoNoop "membership-no-noop"
        "The membership may be changed before the leader has committed an entry of its term."
    MembershipTwoAtOnce "membership-two-at-once"
        "The membership may be changed while another change is not committed."
    MembershipAppliedAtCommit "membership-applied-at-commit"
        "A configuration is in force when it is committed, and not from the moment in which it is in the log."
    JointExitLost "joint-exit-lost"
        "A leader leaves only those joint configurations that it has entered itself."
    ReaddedNodeSameId "readded-node-same-id-empty-disk"
        "A node may be added under an id that was in use before."
    NoRequestDeduplication "no-request-deduplication"
        "A request that was retried within its session is applied again."
    FollowerAcksBeforeFsync "follower-acks-before-fsync"
        "A follower acknowledges entries before they are durable."
    LeaderAcksBeforeFsync "leader-acks-before-fsync"
        "A leader counts itself among those that have an entry before its own disk has it."
    NoDirFsync "no-dir-fsync"
        "The directory is not synced after a segment of the log was begun or a snapshot was given its name."
    TornTailIgnored "torn-tail-ignored"
        "The checksum of what stands at the end of the log is not looked at."
    MidLogCorruptionTruncates "mid-log-corruption-truncates"
        "Damage in the middle of the log is taken for a torn end, and everything behind it is cut off."
    HardStateAndEntriesNotAtomic "hard-state-and-entries-not-atomic"
        "Term and vote are written with the group of entries after the one that they belong to."
    AppliedIndexNonatomic "applied-index-nonatomic"
        "A snapshot has the state from before the last entries were applied and the index from after."
    SnapshotNotAtomicFile "snapshot-not-atomic-file"
        "A snapshot is written over the one before it, and not into a file of its own that gets its name when it is complete."
    DiskFullSwallowed "disk-full-swallowed"
        "A write to the log that fails because the disk is full counts as done."
    FsyncFailureRetry "fsync-failure-retry"
        "A sync of the log that failed is tried again, and believed if it then succeeds."
    CompactionDropsLiveEntries "compaction-drops-live-entries"
        "Compaction drops everything that was applied from the log, also what is in no snapshot yet."
    SnapshotInstallKeepsLog "snapshot-install-keeps-log"
        "A node that installs a snapshot keeps its log even if that conflicts with the snapshot."
    SnapshotInstallBoundaryBeforeData "snapshot-install-boundary-before-data"
        "A node that installs a snapshot counts on it, and acknowledges it, before its data is durable."
    SnapshotIndexOffByOne "snapshot-index-off-by-one"
        "A snapshot is labelled with the index before the last entry that it contains, which is then applied twice."
    CasEvaluatedAtPropose "cas-evaluated-at-propose"
        "The comparison of a compare-and-set is made when it is proposed, not when it is applied."
    DedupNotReplicated "dedup-not-replicated"
        "Only the node that proposed a write remembers it for its session, so that a retry at the next leader is applied again."
    DedupLostInSnapshot "dedup-lost-in-snapshot"
        "A state machine that is restored from a snapshot has forgotten the sessions."
    DedupExpiryClock "dedup-expiry-clock"
        "Sessions expire by each node's own clock, not by log time."
    NondeterministicApply "nondeterministic-apply"
        "A change is dated with the clock of the node that applies it, not with log time."
    TxnNotAtomic "txn-not-atomic"
        "Of the changes of a transaction the first takes effect at once, each other one with a later entry."
    TxnReadUncommitted "txn-read-uncommitted"
        "The leader answers reads from a state in which its proposals have taken effect already."
    CommitSkipsWriteCheck "txn-commit-skips-write-check"
        "The commit of an interactive transaction does not ask whether what it writes was changed since its snapshot."
    CommitSkipsReadCheck "txn-commit-skips-read-check"
        "The commit of a serializable transaction does not ask whether what it has read was changed since its snapshot."
    TxnReadsLatest "txn-reads-latest"
        "A read at a revision is answered from the latest state."
    UnackedBatchReorder "unacked-batch-reorder"
        "The answers to the writes that are applied together are given out in the reverse order."
    WatchGapOnReconnect "watch-gap-on-reconnect"
        "A watch that resumes from a revision begins with the next change instead."
    LockWithoutFencing "lock-without-fencing"
        "The condition that a lock is still held is taken to be true."
    LeaseRevokedByOldLeader "lease-revoked-by-old-leader"
        "A leader revokes the leases that it once saw expired, though they may have been renewed under another."
    TtlWallClock "ttl-wall-clock"
        "Leases expire by each node's own clock, not by log time."
    StepdownKeepsPending "stepdown-keeps-pending"
        "A leader that steps down says of the writes that wait that they will never take effect."
}

/// A set of defects; empty in every correct store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defects(u128);

impl Defects {
    /// No defect.
    pub const NONE: Defects = Defects(0);

    /// Whether `defect` is switched on.
    #[must_use]
    pub fn has(self, defect: Defect) -> bool {
        self.0 & (1 << defect as u8) != 0
    }

    /// This set and `defect`.
    #[must_use]
    pub fn with(self, defect: Defect) -> Defects {
        Defects(self.0 | (1 << defect as u8))
    }

    /// Whether none is switched on.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those switched on, in the order of the documentation.
    pub fn iter(self) -> impl Iterator<Item = Defect> {
        Defect::ALL.iter().copied().filter(move |defect| self.has(*defect))
    }
}

impl FromIterator<Defect> for Defects {
    fn from_iter<I: IntoIterator<Item = Defect>>(defects: I) -> Self {
        defects.into_iter().fold(Defects::NONE, Defects::with)
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// There is no defect of that name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("there is no defect called `{name}`; the names are: {}", names())]
pub struct UnknownDefect {
    /// What was asked for.
    pub name: String,
}

fn names() -> String {
    Defect::ALL.iter().map(|defect| defect.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Defect {
    type Err = UnknownDefect;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Defect::ALL.iter().copied().find(|defect| defect.name() == name);
        found.ok_or_else(|| UnknownDefect { name: name.to_owned() })
    }
}

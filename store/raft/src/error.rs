//! Why a node cannot start.

use thiserror::Error;

use crate::membership::Membership;
use crate::types::{Config, LogIndex, NodeId, Payload, Recovered, Snapshot, Term};

/// The configuration or what was recovered from disk makes no sense.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StartError {
    /// Node ids begin at 1.
    #[error("node id 0 is not allowed")]
    ZeroId,
    /// A configuration makes no sense.
    #[error("the configuration at entry {index} makes no sense: {detail}")]
    BadMembership {
        /// Where; 0: the one from before the log.
        index: LogIndex,
        /// What is wrong.
        detail: &'static str,
    },
    /// A snapshot without a configuration: whoever begins with it does not know its cluster.
    #[error("the snapshot of entry {index} has no configuration of the cluster")]
    NoConfiguration {
        /// The last entry that it contains.
        index: LogIndex,
    },
    /// The initial configuration does not contain the node itself. (A node that is added later has an empty one.)
    #[error("node {id} is not among the voters with which the cluster begins")]
    NotAVoter {
        /// The node.
        id: NodeId,
    },
    /// The intervals do not fit together.
    #[error(
        "the heartbeat interval ({heartbeat_interval_ms} ms) must be above 0 and below the election timeout \
         ({election_timeout_ms} ms), which is at most a day"
    )]
    Timing {
        /// As configured.
        heartbeat_interval_ms: u64,
        /// As configured.
        election_timeout_ms: u64,
    },
    /// A limit of zero would stop everything.
    #[error("`{name}` must be at least 1")]
    ZeroLimit {
        /// The field of [`Config`].
        name: &'static str,
    },
    /// The recovered log has a gap, or begins neither at 1 nor within or right after the snapshot.
    #[error("the recovered log has entry {found} where entry {expected} belongs")]
    LogGap {
        /// The index that belongs there.
        expected: LogIndex,
        /// The index found.
        found: LogIndex,
    },
    /// Terms never fall along a log.
    #[error("the recovered log falls from term {before} to term {term} at entry {index}")]
    TermsFall {
        /// The entry.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// The term of the entry before it.
        before: Term,
    },
    /// The state machine is older than the snapshot, from which it should have been restored.
    #[error("the state machine has applied entry {applied}, but the snapshot contains {snapshot}")]
    AppliedBeforeSnapshot {
        /// Last index applied.
        applied: LogIndex,
        /// Last index in the snapshot.
        snapshot: LogIndex,
    },
    /// The state machine is ahead of the log. A committed entry may be handed over before this node's own disk has it (others
    /// are a majority without it), so a driver with a durable state machine must not make that durable ahead of the log.
    #[error("the state machine has applied entry {applied}, but the recovered log ends at {last}")]
    AppliedBeyondLog {
        /// Last index applied.
        applied: LogIndex,
        /// Last index in the log.
        last: LogIndex,
    },
}

/// Far above every sensible election timeout, far below where adding to it could overflow.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Checks a configuration. O(number of voters).
pub(crate) fn check_config(config: &Config) -> Result<(), StartError> {
    if config.id.0 == 0 {
        return Err(StartError::ZeroId);
    }
    check_membership(LogIndex(0), &config.initial)?;
    if !config.initial.is_empty() && !config.initial.is_voter(config.id) {
        return Err(StartError::NotAVoter { id: config.id });
    }
    let heartbeat_fits = (1..config.election_timeout_ms).contains(&config.heartbeat_interval_ms);
    if !heartbeat_fits || config.election_timeout_ms > DAY_MS {
        return Err(StartError::Timing {
            heartbeat_interval_ms: config.heartbeat_interval_ms,
            election_timeout_ms: config.election_timeout_ms,
        });
    }
    let limits = [
        ("max_batch_entries", config.max_batch_entries),
        ("max_batch_bytes", config.max_batch_bytes),
        ("max_inflight_batches", config.max_inflight_batches),
        ("max_pending", config.max_pending),
        ("snapshot_chunk_bytes", usize::try_from(config.snapshot_chunk_bytes).unwrap_or(usize::MAX)),
    ];
    match limits.into_iter().find(|(_, limit)| *limit == 0) {
        Some((name, _)) => Err(StartError::ZeroLimit { name }),
        None => Ok(()),
    }
}

/// Checks a configuration found at `index`.
fn check_membership(index: LogIndex, membership: &Membership) -> Result<(), StartError> {
    membership.check().map_err(|detail| StartError::BadMembership { index, detail })
}

/// Checks what was recovered. O(length of the log).
pub(crate) fn check_recovered(recovered: &Recovered) -> Result<(), StartError> {
    let position = |snapshot: &Snapshot| (snapshot.index(), snapshot.term());
    let (mut last, mut before) = recovered.snapshot.as_ref().map_or_else(Default::default, position);
    // Earlier entries may be there as well.
    if let Some(first) = recovered.entries.first().filter(|first| (LogIndex(1)..=last).contains(&first.index))
    {
        (last, before) = (LogIndex(first.index.0 - 1), Term(0));
    }
    if let Some(snapshot) = &recovered.snapshot {
        check_membership(snapshot.index(), &snapshot.point.membership)?;
        if snapshot.point.membership.is_empty() {
            return Err(StartError::NoConfiguration { index: snapshot.index() });
        }
    }
    for entry in &recovered.entries {
        if entry.index != last.next() {
            return Err(StartError::LogGap { expected: last.next(), found: entry.index });
        }
        if entry.term < before {
            return Err(StartError::TermsFall { index: entry.index, term: entry.term, before });
        }
        if let Payload::Membership(membership) = &entry.payload {
            check_membership(entry.index, membership)?;
        }
        (last, before) = (entry.index, entry.term);
    }
    Ok(())
}

/// Checks what was applied against the log as it is to be used, which ends at `last`. O(1).
pub(crate) fn check_applied(
    applied: LogIndex,
    snapshot: Option<&Snapshot>,
    last: LogIndex,
) -> Result<(), StartError> {
    let snapshot = snapshot.map_or(LogIndex(0), Snapshot::index);
    if applied < snapshot {
        return Err(StartError::AppliedBeforeSnapshot { applied, snapshot });
    }
    if applied > last {
        return Err(StartError::AppliedBeyondLog { applied, last });
    }
    Ok(())
}

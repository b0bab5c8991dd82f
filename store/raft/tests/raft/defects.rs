//! Each defect of elections, replication, membership and reads must break a property in some random schedule, and the
//! same schedules must keep it without the defect (`properties`). Defects that only cost progress, and those that need more
//! luck than random schedules have, are shown going wrong, and right without them, in `tests/scenarios`.

use labrys_raft::Defect;

use crate::oracle::Property::{
    self, ElectionSafety, LeaderCompleteness, Liveness, LogMatching, NothingAcknowledgedIsLost,
    ReadsAreCurrent, StateMachineSafety,
};
use crate::properties::is_noticed;

/// Whether the oracle may compare promises with disks. Without that, only consequences count.
const BLIND: bool = true;

/// What each defect breaks.
const BREAKS: &[(Defect, &[Property])] = &[
    (Defect::ElectionCompareLengthOnly, &[LeaderCompleteness]),
    (Defect::StaleVoteCounted, &[ElectionSafety, LogMatching]),
    (Defect::QuorumOffByOne, &[ElectionSafety, LeaderCompleteness]),
    (Defect::UncleanElection, &[StateMachineSafety, LeaderCompleteness]),
    (Defect::HeartbeatTermRace, &[ElectionSafety, LogMatching]),
    (Defect::TruncateCommitted, &[LeaderCompleteness, StateMachineSafety, NothingAcknowledgedIsLost]),
    (Defect::StaleAppendReplyCounted, &[LeaderCompleteness, StateMachineSafety]),
    (Defect::HeartbeatSkipsPrevCheck, &[StateMachineSafety]),
    (Defect::ReadIndexNoCurrentTermCommit, &[ReadsAreCurrent]),
    (Defect::ReadIndexReuseOnRetry, &[ReadsAreCurrent]),
    (Defect::ReadIndexNotWaitingApply, &[ReadsAreCurrent]),
    (Defect::MembershipAppliedAtCommit, &[LeaderCompleteness, StateMachineSafety, ElectionSafety, Liveness]),
];

#[test]
fn every_defect_breaks_a_property_in_some_schedule() {
    for (defect, expected) in BREAKS {
        is_noticed(*defect, BLIND, expected);
    }
}

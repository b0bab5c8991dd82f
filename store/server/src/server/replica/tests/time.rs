//! Log time and leases over leaders that come and go, and the defects of a leader that has lost its place.

use proptest::prelude::*;

use super::*;
use crate::machine::{Found, Query};

const TTL_MS: u64 = 1000;

impl Cluster {
    /// Carries out a write wherever the leader is, as often as it takes; every try is a session of its own.
    fn write(&mut self, operation: Operation) -> Done {
        for _ in 0..50 {
            let leader = self.leader();
            let session = 1_000_000 + u128::from(self.next_token);
            let token = self.request(leader, write(session, operation.clone()));
            self.pass(20);
            if let Some(Answer::Outcome(Outcome::Done { done, .. })) = self.answers.get(&token) {
                return done.clone();
            }
        }
        panic!("no leader carries out {operation:?}");
    }

    fn grant(&mut self, ttl_ms: u64) -> LeaseId {
        match self.write(Operation::GrantLease { ttl_ms }) {
            Done::LeaseGranted { lease } => lease,
            other => panic!("{other:?}"),
        }
    }

    fn cut_off(&mut self, position: usize) {
        self.cut = vec![NodeId(position as u64 + 1)];
    }

    /// On how many replicas a lease exists.
    fn holders(&self, lease: LeaseId) -> usize {
        let has = |replica: &&Replica| {
            matches!(replica.machine.read(&Query::Lease { lease }).found, Found::Lease(Some(_)))
        };
        self.replicas.iter().filter(has).count()
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Pass(u64),
    CutLeader,
    Heal,
    Write,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (1..30u64).prop_map(|steps| Happening::Pass(steps * 5)),
        1 => Just(Happening::CutLeader),
        1 => Just(Happening::Heal),
        1 => Just(Happening::Write),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::machine::tests::properties::cases() / 10))]

    /// Whatever leads, and however far the nodes' clocks are apart: a lease lasts at least its time in real time, since the
    /// moment when it was asked for; and it ends on all nodes when the cluster is whole, though nobody writes.
    #[test]
    fn no_lease_ends_early_and_each_ends(
        ahead_ms in prop::array::uniform3(0..1_000_000u64),
        happenings in prop::collection::vec(happening(), 0..12),
    ) {
        let mut cluster = Cluster::new(Defects::NONE);
        cluster.ahead_ms = ahead_ms;
        cluster.leader();
        let asked_ms = cluster.now_ms;
        let lease = cluster.grant(TTL_MS);
        cluster.pass(50);
        for happening in happenings {
            match happening {
                Happening::Pass(duration_ms) => cluster.pass(duration_ms),
                Happening::CutLeader => {
                    let leader = cluster.leader();
                    cluster.cut_off(leader);
                }
                Happening::Heal => cluster.cut.clear(),
                Happening::Write => drop(cluster.write(Operation::put("x", "1"))),
            }
            if cluster.now_ms < asked_ms + TTL_MS {
                prop_assert_eq!(cluster.holders(lease), 3, "at {} ms of {}", cluster.now_ms - asked_ms, TTL_MS);
            }
        }
        cluster.cut.clear();
        cluster.leader();
        for _ in 0..100 {
            if cluster.holders(lease) == 0 {
                break;
            }
            cluster.pass(100);
        }
        prop_assert_eq!(cluster.holders(lease), 0, "it ends by the leader's tick");
        cluster.pass(200);
        let digests: Vec<u64> = cluster.replicas.iter().map(|replica| replica.status(None).digest).collect();
        prop_assert!(digests.iter().all(|digest| *digest == digests[0]));
    }
}

/// A leader sleeps for longer than a lease lasts, which is renewed under the next one all the while; then it leads again.
/// Whether the lease is still there.
fn outlives_the_old_leader_s_return(defects: Defects) -> bool {
    let mut cluster = Cluster::new(defects);
    let old = cluster.leader();
    let lease = cluster.grant(5000);
    cluster.paused = Some(old);
    cluster.cut_off(old);
    for _ in 0..8 {
        cluster.write(Operation::RenewLease { lease });
        cluster.pass(1000);
    }
    cluster.paused = None;
    cluster.pass(5);
    cluster.cut.clear();
    // Whoever leads is cut off until the old one does; this takes no longer than the lease lasts.
    cluster.write(Operation::RenewLease { lease });
    let renewed_ms = cluster.now_ms;
    while cluster.leader() != old {
        let other = cluster.leader();
        cluster.cut_off(other);
        cluster.leader();
        cluster.cut.clear();
        cluster.pass(100);
        assert!(cluster.now_ms < renewed_ms + 4000, "the old leader does not come back");
    }
    cluster.write(Operation::put("x", "1"));
    cluster.pass(200);
    cluster.holders(lease) > 0
}

#[test]
fn with_lease_revoked_by_old_leader_a_lease_ends_that_was_renewed() {
    assert!(outlives_the_old_leader_s_return(Defects::NONE));
    assert!(!outlives_the_old_leader_s_return(Defects::NONE.with(Defect::LeaseRevokedByOldLeader)));
}

/// What a leader says of a write that waited when it stepped down, and what the others then have.
fn stepdown(defects: Defects) -> bool {
    let mut cluster = Cluster::new(defects);
    let leader = cluster.leader();
    cluster.cut_off(leader);
    let token = cluster.request(leader, put(1, "1"));
    cluster.pass(500);
    match cluster.answers[&token] {
        Answer::Refused { definite, code: RefusalCode::LeadershipLost, .. } => definite,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn with_stepdown_keeps_pending_a_deposed_leader_claims_to_know_the_end_of_what_it_proposed() {
    assert!(!stepdown(Defects::NONE));
    assert!(stepdown(Defects::NONE.with(Defect::StepdownKeepsPending)));
}

/// What a leader that is cut off shows of its own proposal, and what its successor has in its place.
fn uncommitted(defects: Defects) -> (Option<Option<Bytes>>, Option<Bytes>) {
    let mut cluster = Cluster::new(defects);
    let leader = cluster.leader();
    cluster.cut_off(leader);
    cluster.request(leader, put(1, "never committed"));
    let read = cluster.request(leader, get());
    let shown = cluster.answers.get(&read).cloned().map(value_of);
    cluster.pass(500);
    let next = cluster.leader();
    (shown, value_of(cluster.ask(next, get())))
}

#[test]
fn with_txn_read_uncommitted_a_leader_shows_a_write_that_never_happens() {
    assert_eq!(uncommitted(Defects::NONE), (None, None));
    let (shown, committed) = uncommitted(Defects::NONE.with(Defect::TxnReadUncommitted));
    assert_eq!((shown, committed), (Some(Some(Bytes::from_static(b"never committed"))), None));
}

#[test]
fn the_leader_proposes_one_tick_at_a_time_and_none_without_a_lease_that_is_due() {
    let mut cluster = Cluster::new(Defects::NONE);
    let leader = cluster.leader();
    cluster.grant(TTL_MS);
    let before = cluster.replicas[leader].status(None).raft.last_index;
    cluster.pass(500);
    assert_eq!(cluster.replicas[leader].status(None).raft.last_index, before, "nothing is due");
    let followers: Vec<NodeId> =
        (0..3).filter(|node| *node != leader).map(|node| NodeId(node as u64 + 1)).collect();
    // Its tick cannot be committed for a while.
    cluster.pass(TTL_MS - 580);
    cluster.cut = followers;
    cluster.now_ms += 60; // It was answered less than a heartbeat ago, and is silent for less than an election timeout.
    cluster.pass(15);
    assert_eq!(cluster.replicas[leader].status(None).raft.last_index, LogIndex(before.0 + 1));
}

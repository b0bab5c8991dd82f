//! Three replicas in one thread, with a network that delivers at once and a disk that is always quick.

use bytes::Bytes;
use labrys_raft::{Entry, NodeId, Payload, ReadMode, Snapshot, SnapshotPoint, Term};

use super::*;
use crate::machine::{Done, Found, Outcome, Placement, Reading, SessionId, StepResult};

mod time;

struct Cluster {
    replicas: Vec<Replica>,
    now_ms: u64,
    /// What each node's own clock is ahead.
    ahead_ms: [u64; 3],
    /// A node that sees no time pass.
    paused: Option<usize>,
    cut: Vec<NodeId>,
    answers: BTreeMap<Token, Answer>,
    next_token: u64,
}

fn config(id: u64, defects: Defects) -> Config {
    Config {
        id: NodeId(id),
        initial: Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]),
        election_timeout_ms: 100,
        heartbeat_interval_ms: 20,
        max_batch_entries: 64,
        max_batch_bytes: 1 << 20,
        max_inflight_batches: 8,
        kept_entries: 0,
        snapshot_chunk_bytes: 1024,
        max_pending: 64,
        pre_vote: true,
        check_quorum: true,
        election_handicap: 0,
        lease_reads: false,
        max_clock_drift_percent: 10,
        incarnation: 0,
        seed: 5,
        defects,
    }
}

impl Cluster {
    fn new(defects: Defects) -> Cluster {
        let replica = |id| {
            Replica::new(config(id, defects), Recovered::default(), MachineOptions::default(), 0).unwrap()
        };
        let replicas = (1..=3).map(replica).collect();
        Cluster {
            replicas,
            now_ms: 0,
            ahead_ms: [0; 3],
            paused: None,
            cut: Vec::new(),
            answers: BTreeMap::new(),
            next_token: 1,
        }
    }

    fn input(&mut self, position: usize, inputs: Vec<ReplicaInput>) {
        let mut waiting = vec![(position, inputs)];
        while let Some((position, inputs)) = waiting.pop() {
            let mut outputs = Vec::new();
            self.replicas[position].handle(inputs, &mut outputs);
            for output in outputs {
                match output {
                    ReplicaOutput::Persist(batch) => {
                        waiting.insert(
                            0,
                            (position, vec![ReplicaInput::Persisted { sequence: batch.sequence }]),
                        );
                    }
                    ReplicaOutput::Send(message) => {
                        if !self.cut.contains(&message.from) && !self.cut.contains(&message.to) {
                            let to = usize::try_from(message.to.0).unwrap() - 1;
                            waiting.insert(0, (to, vec![ReplicaInput::Receive(message)]));
                        }
                    }
                    ReplicaOutput::Answer { token, answer } => {
                        self.answers.entry(token).or_insert(answer);
                    }
                    ReplicaOutput::AnswerUnderLease { token, answer, valid_until_ms } => {
                        assert!(self.now_ms < valid_until_ms);
                        self.answers.entry(token).or_insert(answer);
                    }
                    ReplicaOutput::RoleChanged { .. } | ReplicaOutput::MembershipChanged { .. } => {}
                    ReplicaOutput::InvariantBroken { what } => panic!("{what}"),
                    ReplicaOutput::FollowerLostLog { follower, .. } => panic!("node {follower} lost its log"),
                    other => panic!("nobody takes a snapshot: {other:?}"),
                }
            }
        }
    }

    fn pass(&mut self, duration_ms: u64) {
        for _ in 0..duration_ms / 5 {
            self.now_ms += 5;
            let paused = self.paused;
            for position in (0..3).filter(|position| paused != Some(*position)) {
                let now_ms = self.now_ms + self.ahead_ms[position];
                self.input(position, vec![ReplicaInput::Tick { now_ms }]);
            }
        }
    }

    /// The leader of the highest term among those not cut off.
    fn leader(&mut self) -> usize {
        for _ in 0..100 {
            let leads = |position: &usize| {
                let status = self.replicas[*position].status(None).raft;
                status.role == Role::Leader && !self.cut.contains(&status.id)
            };
            if let Some(leader) = (0..3).find(leads) {
                return leader;
            }
            self.pass(20);
        }
        panic!("no leader");
    }

    fn request(&mut self, position: usize, request: ClientRequest) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.input(position, vec![ReplicaInput::Request { token, request }]);
        token
    }

    fn ask(&mut self, position: usize, request: ClientRequest) -> Answer {
        let token = self.request(position, request);
        self.pass(100);
        self.answers.get(&token).cloned().expect("an answer within 100 ms")
    }
}

fn write(session: u128, operation: Operation) -> ClientRequest {
    let placement = Placement { session: SessionId(session), sequence: 1, established: false };
    ClientRequest::Write(Command { placement, operation })
}

fn put(session: u128, value: &'static str) -> ClientRequest {
    write(session, Operation::put("x", value))
}

fn cas(session: u128, expected: &'static str, value: &'static str) -> ClientRequest {
    write(session, Operation::compare_and_set("x", Some(Bytes::from_static(expected.as_bytes())), value))
}

fn get() -> ClientRequest {
    ClientRequest::Read(Query::Get { key: Bytes::from_static(b"x"), revision: None }, ReadMode::ReadIndex)
}

/// Whether an answer is the outcome of a step, and that one.
fn is(answer: &Answer, expected: &StepResult) -> bool {
    matches!(answer, Answer::Outcome(Outcome::Done { done: Done::Step(result), .. }) if result == expected)
}

fn value_of(answer: Answer) -> Option<Bytes> {
    match answer {
        Answer::Reading(Reading { found: Found::Value(record), .. }) => {
            record.map(|record| record.value.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_is_applied_everywhere_with_one_digest_and_read_back() {
    let mut cluster = Cluster::new(Defects::NONE);
    let leader = cluster.leader();
    assert!(is(&cluster.ask(leader, put(1, "1")), &StepResult::Put));
    assert_eq!(value_of(cluster.ask(leader, get())), Some(Bytes::from_static(b"1")));
    let statuses: Vec<ReplicaStatus> = cluster.replicas.iter().map(|replica| replica.status(None)).collect();
    assert!(statuses.iter().all(|status| status.raft.applied == statuses[0].raft.applied));
    assert!(statuses.iter().all(|status| status.digest == statuses[0].digest && status.digest != 0));
}

#[test]
fn a_follower_names_the_leader() {
    let mut cluster = Cluster::new(Defects::NONE);
    let leader = cluster.leader();
    cluster.pass(50);
    let named = Some(NodeId(leader as u64 + 1));
    for request in [put(1, "1"), get()] {
        assert_eq!(cluster.ask((leader + 1) % 3, request), Answer::NotLeader { leader: named });
    }
}

#[test]
fn a_leader_that_is_cut_off_answers_neither_writes_nor_reads() {
    let mut cluster = Cluster::new(Defects::NONE);
    let leader = cluster.leader();
    cluster.cut = vec![NodeId(leader as u64 + 1)];
    let write = cluster.request(leader, put(1, "1"));
    let read = cluster.request(leader, get());
    assert!(cluster.answers.is_empty());
    cluster.pass(500);
    let lost = |definite| Answer::Refused {
        definite,
        code: RefusalCode::LeadershipLost,
        message: "leadership was lost while it waited",
    };
    assert_eq!(cluster.answers[&write], lost(false));
    assert_eq!(cluster.answers[&read], lost(true));
}

#[test]
fn with_async_replication_ack_a_cut_off_leader_acknowledges_a_write_that_is_then_lost() {
    let mut cluster = Cluster::new(Defects::NONE.with(Defect::AsyncReplicationAck));
    let leader = cluster.leader();
    cluster.cut = vec![NodeId(leader as u64 + 1)];
    let token = cluster.request(leader, put(1, "lost"));
    assert!(is(&cluster.answers[&token], &StepResult::Put));
    cluster.pass(500);
    let next = cluster.leader();
    assert_eq!(value_of(cluster.ask(next, get())), None);
}

#[test]
fn with_async_replication_ack_a_follower_still_refuses() {
    let mut cluster = Cluster::new(Defects::NONE.with(Defect::AsyncReplicationAck));
    let leader = cluster.leader();
    let answer = cluster.ask((leader + 1) % 3, put(1, "1"));
    assert!(matches!(answer, Answer::NotLeader { .. }), "{answer:?}");
}

/// Two clients swap the same value; both requests reach the leader before either is committed.
fn swap_twice(defects: Defects) -> [Answer; 2] {
    let mut cluster = Cluster::new(defects);
    let leader = cluster.leader();
    cluster.ask(leader, put(9, "0"));
    let followers = [1, 2, 3].map(NodeId).into_iter().filter(|id| id.0 != leader as u64 + 1);
    cluster.cut = followers.collect();
    let first = cluster.request(leader, cas(1, "0", "1"));
    let second = cluster.request(leader, cas(2, "0", "2"));
    cluster.cut.clear();
    cluster.pass(200);
    [first, second].map(|token| cluster.answers[&token].clone())
}

#[test]
fn of_two_swaps_of_the_same_value_one_succeeds() {
    let [first, second] = swap_twice(Defects::NONE);
    assert!(is(&first, &StepResult::Swapped), "{first:?}");
    assert!(is(&second, &StepResult::NotSwapped { actual: Some(Bytes::from_static(b"1")) }), "{second:?}");
}

#[test]
fn with_unacked_batch_reorder_each_is_told_the_other_s_outcome() {
    let [first, second] = swap_twice(Defects::NONE.with(Defect::UnackedBatchReorder));
    assert!(is(&first, &StepResult::NotSwapped { actual: Some(Bytes::from_static(b"1")) }), "{first:?}");
    assert!(is(&second, &StepResult::Swapped), "{second:?}");
}

#[test]
fn with_cas_evaluated_at_propose_both_succeed() {
    for answer in swap_twice(Defects::NONE.with(Defect::CasEvaluatedAtPropose)) {
        assert!(is(&answer, &StepResult::Put), "{answer:?}");
    }
}

#[test]
fn with_local_leader_read_a_cut_off_leader_answers_reads() {
    let mut cluster = Cluster::new(Defects::NONE.with(Defect::LocalLeaderRead));
    let leader = cluster.leader();
    cluster.cut = vec![NodeId(leader as u64 + 1)];
    let token = cluster.request(leader, get());
    assert!(matches!(cluster.answers[&token], Answer::Reading(_)));
}

#[test]
fn with_follower_read_a_follower_that_is_behind_answers_with_an_old_value() {
    let mut cluster = Cluster::new(Defects::NONE.with(Defect::FollowerRead));
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    cluster.ask(leader, put(1, "old"));
    cluster.cut = vec![NodeId(follower as u64 + 1)];
    cluster.ask(leader, put(2, "new"));
    let token = cluster.request(follower, get());
    assert_eq!(value_of(cluster.answers[&token].clone()), Some(Bytes::from_static(b"old")));
}

/// A state machine that has applied this many entries, as a snapshot that was received would bring it.
fn received(entries: u64) -> SnapshotEvent {
    let mut machine = Machine::new(MachineOptions::default(), Defects::NONE);
    for index in 1..=entries {
        machine.apply(&Entry { term: Term(1), index: LogIndex(index), payload: Payload::Noop });
    }
    let membership = Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]);
    let point = SnapshotPoint { index: LogIndex(entries), term: Term(1), membership };
    SnapshotEvent::Received(Snapshot { point, length_bytes: 10, checksum: 0 }, Box::new(machine))
}

/// Two leaders in succession have each sent one, and both become durable before the replica looks.
#[test]
fn two_snapshots_that_arrive_together_are_both_taken_over() {
    let mut replica =
        Replica::new(config(1, Defects::NONE), Recovered::default(), MachineOptions::default(), 0).unwrap();
    let mut outputs = Vec::new();
    let tick = ReplicaInput::Tick { now_ms: 1 };
    replica.handle(
        [tick, ReplicaInput::Snapshot(received(5)), ReplicaInput::Snapshot(received(8))],
        &mut outputs,
    );
    let installed = outputs.iter().filter_map(|output| match output {
        ReplicaOutput::SnapshotInstalled { index, .. } => Some(index.0),
        _ => None,
    });
    assert_eq!(installed.collect::<Vec<_>>(), [5, 8]);
    assert_eq!((replica.raft_status().applied, replica.frozen().applied()), (LogIndex(8), LogIndex(8)));
}

#[test]
fn a_snapshot_of_ones_own_that_is_damaged_is_replaced_as_soon_as_there_is_a_newer_state() {
    let mut cluster = Cluster::new(Defects::NONE);
    let leader = cluster.leader();
    let taken = |outputs: &[ReplicaOutput]| {
        outputs.iter().any(|output| matches!(output, ReplicaOutput::Snapshot(SnapshotJob::Take { .. })))
    };
    let mut outputs = Vec::new();
    cluster.replicas[leader].handle([ReplicaInput::Tick { now_ms: cluster.now_ms }], &mut outputs);
    assert!(!taken(&outputs), "none is due");
    cluster.replicas[leader]
        .handle([ReplicaInput::Snapshot(SnapshotEvent::OwnDamaged { index: LogIndex(1) })], &mut outputs);
    assert!(taken(&outputs), "{outputs:?}");
}

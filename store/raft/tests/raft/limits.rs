//! What comes from outside may be nonsense, and every buffer has an end.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::Bytes;
use labrys_raft::{
    AppendRejection, Change, Config, Defect, Defects, Effect, Entry, HardState, Input, LogIndex, Membership,
    Message, MessageBody, Node, NodeId, Payload, ReadMode, Recovered, RefusalReason, Sequence, Snapshot,
    SnapshotPoint, StartError, Term, Token, Wanted,
};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::cluster::config;

fn entry(index: u64, term: u64) -> Entry {
    Entry { term: Term(term), index: LogIndex(index), payload: Payload::Noop }
}

fn log(length: u64) -> Vec<Entry> {
    (1..=length).map(|index| entry(index, 1)).collect()
}

fn start(config: Config, entries: Vec<Entry>, applied: u64) -> Result<Node, StartError> {
    let hard_state = HardState { term: Term(1), voted_for: None };
    Node::new(config, Recovered { hard_state, snapshot: None, entries, applied: LogIndex(applied) }, 0)
}

fn step(node: &mut Node, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    node.step(input, &mut effects);
    effects
}

fn message(from: u64, term: u64, body: MessageBody) -> Input {
    Input::Receive(Message { from: NodeId(from), to: NodeId(1), term: Term(term), body })
}

fn append(term: u64, prev_index: u64, entries: Vec<Entry>, commit: u64) -> Input {
    let prev_term = Term(if prev_index == 0 { 0 } else { 1 });
    let body = MessageBody::Append {
        prev_index: LogIndex(prev_index),
        prev_term,
        entries,
        commit: LogIndex(commit),
        round: 1,
    };
    message(2, term, body)
}

/// A leader of three, of term 2, whose disk has answered everything so far.
fn leader(config: Config) -> Node {
    let mut node = start(config, Vec::new(), 0).expect("a good configuration");
    step(&mut node, Input::Tick { now_ms: 200 });
    step(&mut node, message(2, 2, MessageBody::PreVoteReply { granted: true }));
    step(&mut node, Input::Persisted { sequence: Sequence(1) });
    step(&mut node, message(2, 2, MessageBody::VoteReply { granted: true }));
    step(&mut node, Input::Persisted { sequence: Sequence(2) });
    assert_eq!(node.status().role, labrys_raft::Role::Leader);
    node
}

#[test]
fn a_bad_configuration_is_refused_with_what_is_wrong_with_it() {
    let good = config(1, 3);
    let voters = |ids: &[u64]| {
        let voters = ids.iter().copied().map(NodeId).collect();
        Membership { voters, last_id: NodeId(9), ..Membership::default() }
    };
    let cases = [
        (Config { id: NodeId(0), ..good.clone() }, "node id 0 is not allowed"),
        (Config { initial: voters(&[0, 1]), ..good.clone() }, "node id 0 is not allowed"),
        (Config { initial: voters(&[1, 1, 2]), ..good.clone() }, "ascending order"),
        (Config { initial: voters(&[2, 1]), ..good.clone() }, "ascending order"),
        (Config { initial: voters(&[2, 3]), ..good.clone() }, "node 1 is not among the voters"),
        (Config { heartbeat_interval_ms: 0, ..good.clone() }, "heartbeat interval"),
        (Config { heartbeat_interval_ms: 100, ..good.clone() }, "heartbeat interval"),
        (Config { election_timeout_ms: u64::MAX, ..good.clone() }, "at most a day"),
        (Config { max_batch_entries: 0, ..good.clone() }, "max_batch_entries"),
        (Config { max_batch_bytes: 0, ..good.clone() }, "max_batch_bytes"),
        (Config { max_inflight_batches: 0, ..good.clone() }, "max_inflight_batches"),
        (Config { max_pending: 0, ..good.clone() }, "max_pending"),
        (Config { snapshot_chunk_bytes: 0, ..good.clone() }, "snapshot_chunk_bytes"),
    ];
    for (config, expected) in cases {
        let error = start(config, Vec::new(), 0).map(|_| ()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(start(good, Vec::new(), 0).is_ok());
}

#[test]
fn a_recovered_log_that_makes_no_sense_is_refused() {
    let cases = [
        (vec![entry(2, 1)], 0, "has entry 2 where entry 1 belongs"),
        (vec![entry(1, 1), entry(3, 1)], 0, "has entry 3 where entry 2 belongs"),
        (vec![entry(1, 2), entry(2, 1)], 0, "falls from term 2 to term 1 at entry 2"),
        (vec![entry(1, 1)], 2, "has applied entry 2, but the recovered log ends at 1"),
    ];
    for (entries, applied, expected) in cases {
        let error = start(config(1, 3), entries, applied).map(|_| ()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

fn snapshot(index: u64, term: u64) -> Snapshot {
    let point = SnapshotPoint {
        index: LogIndex(index),
        term: Term(term),
        membership: Membership::of_voters([NodeId(1)]),
    };
    Snapshot { point, length_bytes: 4, checksum: 0 }
}

/// A node that finds this; the first and the last index of its log.
fn start_with_snapshot(
    found: (u64, u64),
    entries: Vec<Entry>,
    applied: u64,
) -> Result<(LogIndex, LogIndex), StartError> {
    let recovered = Recovered {
        hard_state: HardState { term: Term(9), voted_for: None },
        snapshot: Some(snapshot(found.0, found.1)),
        entries,
        applied: LogIndex(applied),
    };
    let status = Node::new(config(1, 3), recovered, 0)?.status();
    Ok((status.first_index, status.last_index))
}

#[test]
fn a_log_is_joined_with_a_snapshot_or_gives_way_to_it() {
    let entries = |from: u64, to: u64, term| (from..=to).map(|index| entry(index, term)).collect::<Vec<_>>();
    let cases = [
        ("from the beginning", entries(1, 5, 1), (1, 5)),
        ("from within, whose first entry becomes what precedes the log", entries(2, 5, 1), (3, 5)),
        ("from right behind it", entries(4, 5, 2), (4, 5)),
        ("up to it", entries(2, 3, 1), (3, 3)),
        ("none", Vec::new(), (4, 3)),
        ("ends before it", entries(1, 2, 1), (4, 3)),
        ("conflicts with it", entries(1, 5, 2), (4, 3)),
    ];
    for (what, entries, (first, last)) in cases {
        let found = start_with_snapshot((3, 1), entries, 3).expect(what);
        assert_eq!(found, (LogIndex(first), LogIndex(last)), "{what}");
    }
}

#[test]
fn a_snapshot_always_has_the_configuration_in_force_where_it_stands() {
    let point_of = |config: Config, entries: Vec<Entry>, applied: u64| {
        let mut node = start(config, entries.clone(), 0).expect("a good log");
        let last = entries.len() as u64;
        step(&mut node, append(1, last, Vec::new(), applied));
        step(&mut node, Input::Applied { index: LogIndex(applied) });
        node.snapshot_point().map(|point| point.membership)
    };
    let with_fourth = Membership { learners: vec![NodeId(4)], last_id: NodeId(4), ..config(1, 3).initial };
    let mut entries = log(3);
    entries[1].payload = Payload::Membership(Box::new(with_fourth.clone()));
    assert_eq!(
        point_of(config(1, 3), entries.clone(), 1),
        Some(config(1, 3).initial),
        "the first one of all"
    );
    assert_eq!(point_of(config(1, 3), entries.clone(), 3), Some(with_fourth.clone()));
    // A node that was added does not know the first one. It waits for one that it knows.
    let added = Config { initial: Membership::default(), ..config(1, 3) };
    assert_eq!(point_of(added.clone(), entries.clone(), 1), None);
    assert_eq!(point_of(added, entries, 2), Some(with_fourth));
}

#[test]
fn a_snapshot_without_a_configuration_is_neither_recovered_nor_taken_from_the_driver() {
    let mut empty = snapshot(3, 1);
    empty.point.membership = Membership::default();
    let hard_state = HardState { term: Term(1), voted_for: None };
    let recovered =
        Recovered { hard_state, snapshot: Some(empty.clone()), entries: log(4), applied: LogIndex(3) };
    let error = Node::new(config(1, 3), recovered, 0).expect_err("worth nothing");
    assert_eq!(error, StartError::NoConfiguration { index: LogIndex(3) });
    let mut node = start(config(1, 3), log(4), 4).expect("a good log");
    let effects = step(&mut node, Input::SnapshotStored { snapshot: empty });
    assert!(matches!(effects[..], [Effect::InvariantBroken { .. }]), "{effects:?}");
}

#[test]
fn a_log_that_does_not_join_its_snapshot_is_refused() {
    let from = |index, term| vec![entry(index, term)];
    let cases = [
        (start_with_snapshot((3, 1), from(5, 1), 3), "has entry 5 where entry 4 belongs"),
        (start_with_snapshot((3, 2), from(4, 1), 3), "falls from term 2 to term 1 at entry 4"),
        (start_with_snapshot((3, 1), from(4, 1), 2), "applied entry 2, but the snapshot contains 3"),
        (start_with_snapshot((3, 1), from(4, 1), 5), "applied entry 5, but the recovered log ends at 4"),
    ];
    for (outcome, expected) in cases {
        let error = outcome.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn entries_found_without_the_term_they_were_written_with_raise_the_term() {
    // A torn batch: its entries reached the disk, its hard state did not.
    let node = start(config(1, 3), vec![entry(1, 1), entry(2, 7)], 0).expect("a torn batch is recoverable");
    assert_eq!(node.hard_state(), HardState { term: Term(7), voted_for: None });
}

#[test]
fn a_follower_with_a_stuck_disk_takes_only_so_much_and_then_loses_messages() {
    let config = config(1, 3);
    let limit = 4 * config.max_inflight_batches as u64;
    let mut node = start(config, Vec::new(), 0).expect("a good configuration");
    for index in 1..=10 * limit {
        step(&mut node, append(1, index - 1, vec![entry(index, 1)], 0));
    }
    assert_eq!(node.status().last_index, LogIndex(limit));
    let effects = step(&mut node, Input::Persisted { sequence: Sequence(limit) });
    assert_eq!(effects.len(), 1, "one acknowledgement for all: {effects:?}");
    step(&mut node, append(1, limit, vec![entry(limit + 1, 1)], 0));
    assert_eq!(node.status().last_index, LogIndex(limit + 1), "and goes on when the disk does");
}

#[test]
fn a_node_with_a_stuck_disk_campaigns_once_and_then_waits_for_it() {
    for pre_vote in [false, true] {
        let mut node =
            start(Config { pre_vote, ..config(1, 3) }, Vec::new(), 0).expect("a good configuration");
        for round in 1..100 {
            step(&mut node, Input::Tick { now_ms: 200 * round });
            step(&mut node, message(2, 2, MessageBody::PreVoteReply { granted: true }));
        }
        assert_eq!(node.status().term, Term(2));
        step(&mut node, Input::Persisted { sequence: Sequence(1) });
        step(&mut node, Input::Tick { now_ms: 200_000 });
        step(&mut node, message(2, 3, MessageBody::PreVoteReply { granted: true }));
        assert_eq!(node.status().term, Term(3));
    }
}

#[test]
fn messages_that_wait_for_the_disk_are_one_of_a_kind_for_each_node() {
    let mut node = start(config(1, 5), Vec::new(), 0).expect("a good configuration");
    for _ in 0..1000 {
        for from in 2..=5 {
            step(
                &mut node,
                message(
                    from,
                    9,
                    MessageBody::Vote { last_index: LogIndex(0), last_term: Term(0), is_transfer: false },
                ),
            );
        }
    }
    let effects = step(&mut node, Input::Persisted { sequence: Sequence(1) });
    assert_eq!(effects.len(), 4, "{effects:?}");
}

#[test]
fn a_silent_follower_is_sent_no_more_than_a_window_and_heartbeats() {
    let config = Config { max_pending: 10_000, max_batch_entries: 1, ..config(1, 3) };
    let window = config.max_inflight_batches;
    let mut node = leader(config);
    step(&mut node, message(3, 2, MessageBody::AppendReply { round: 1, outcome: Ok(LogIndex(0)) }));
    let mut sent = 0;
    for token in 0..5000 {
        let effects = step(&mut node, Input::Propose { token: Token(token), command: Bytes::new() });
        sent += effects.iter().filter(|effect| matches!(effect, Effect::Send(_))).count();
    }
    assert_eq!(sent, window - 1, "the first of the window is the entry that opened the term");
}

#[test]
fn a_long_log_is_handed_over_in_portions_as_the_state_machine_follows() {
    let length = 40_000;
    let mut node = start(config(1, 3), log(length), 0).expect("a good log");
    let mut effects = step(&mut node, append(1, length, Vec::new(), length));
    let mut applied = 0;
    let mut portions = 0;
    while let Some(Effect::Apply { entries }) =
        effects.iter().find(|effect| matches!(effect, Effect::Apply { .. }))
    {
        assert_eq!(entries[0].0.index, LogIndex(applied + 1));
        assert!(entries.len() <= 16 * 1024);
        applied += entries.len() as u64;
        portions += 1;
        effects = step(&mut node, Input::Applied { index: LogIndex(applied) });
    }
    assert_eq!((applied, portions), (length, 3));
}

#[test]
fn a_driver_that_claims_what_was_never_handed_out_is_stopped() {
    for input in [Input::Persisted { sequence: Sequence(5) }, Input::Applied { index: LogIndex(5) }] {
        let mut node = start(config(1, 3), log(9), 0).expect("a good log");
        let effects = step(&mut node, input);
        assert!(matches!(effects[..], [Effect::InvariantBroken { .. }]), "{effects:?}");
        assert_eq!(step(&mut node, Input::Tick { now_ms: 10_000 }), []);
    }
}

/// Small numbers, that nearly fit, and huge ones.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..6_u64, 1 => Just(u64::MAX), 1 => Just(1 << 62), 1 => any::<u64>()]
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let noop = (number(), number()).prop_map(|(index, term)| entry(index, term));
    let ids = || prop::collection::vec((0..5_u64).prop_map(NodeId), 0..4);
    let lists = (ids(), ids(), ids(), ids());
    let membership = (number(), number(), lists).prop_map(|(index, term, lists)| {
        let (voters, outgoing, learners, learners_next) = lists;
        let membership = Membership { voters, outgoing, learners, learners_next, ..Membership::default() };
        let payload = Payload::Membership(Box::new(Membership { last_id: NodeId(9), ..membership }));
        Entry { payload, ..entry(index, term) }
    });
    prop_oneof![4 => noop, 1 => membership]
}

fn read_mode() -> impl Strategy<Value = ReadMode> {
    prop::sample::select(vec![
        ReadMode::Log,
        ReadMode::ReadIndex,
        ReadMode::Follower,
        ReadMode::Lease,
        ReadMode::Local,
    ])
}

fn change() -> impl Strategy<Value = Change> {
    let id = || (0..6_u64).prop_map(NodeId);
    let ids = move || prop::collection::vec(id(), 0..3);
    prop_oneof![
        id().prop_map(|id| Change::AddLearner { id, address: String::new() }),
        id().prop_map(|id| Change::Promote { id }),
        id().prop_map(|id| Change::Remove { id }),
        (ids(), ids(), ids()).prop_map(|(promote, remove, demote)| Change::Joint { promote, remove, demote }),
    ]
}

/// Entries that follow `prev`, or any.
fn any_body() -> impl Strategy<Value = MessageBody> {
    let consecutive = (number(), number(), 0..4_u64).prop_map(|(prev, term, count)| {
        let entries = (1..=count).map(|offset| entry(prev.wrapping_add(offset), term)).collect();
        (prev, term, entries)
    });
    let arbitrary = (number(), number(), prop::collection::vec(any_entry(), 0..4));
    let append = (prop_oneof![consecutive, arbitrary], number(), number());
    prop_oneof![
        (number(), number()).prop_map(|(index, term)| MessageBody::PreVote {
            last_index: LogIndex(index),
            last_term: Term(term)
        }),
        any::<bool>().prop_map(|granted| MessageBody::PreVoteReply { granted }),
        (number(), number()).prop_map(|(index, term)| MessageBody::Vote {
            last_index: LogIndex(index),
            last_term: Term(term),
            is_transfer: index % 2 == 0,
        }),
        Just(MessageBody::TimeoutNow),
        Just(MessageBody::Removed),
        number().prop_map(|request| MessageBody::ReadIndex { incarnation: 0, request }),
        (number(), number()).prop_map(|(request, index)| MessageBody::ReadIndexReply {
            incarnation: 0,
            request,
            index: LogIndex(index)
        }),
        any::<bool>().prop_map(|granted| MessageBody::VoteReply { granted }),
        append.prop_map(|((prev, term, entries), commit, round)| MessageBody::Append {
            prev_index: LogIndex(prev),
            prev_term: Term(term),
            entries,
            commit: LogIndex(commit),
            round,
        }),
        (number(), number())
            .prop_map(|(round, matched)| MessageBody::AppendReply { round, outcome: Ok(LogIndex(matched)) }),
        (number(), number(), number(), number()).prop_map(|(round, rejected, index, term)| {
            let rejection = AppendRejection {
                rejected: LogIndex(rejected),
                hint_index: LogIndex(index),
                hint_term: Term(term),
            };
            MessageBody::AppendReply { round, outcome: Err(rejection) }
        }),
        (any_snapshot(), number(), 0..6_usize, number()).prop_map(|(snapshot, offset, bytes, round)| {
            MessageBody::InstallSnapshot { snapshot, offset, data: vec![0; bytes].into(), round }
        }),
        (number(), number(), prop::option::of(number())).prop_map(|(round, index, from)| {
            let wanted = from.map_or(Wanted::Nothing, Wanted::From);
            MessageBody::SnapshotReply { round, index: LogIndex(index), wanted }
        }),
    ]
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let voters = prop::sample::select(vec![vec![1], vec![1, 2, 3], vec![2, 3, 4], Vec::new()]);
    (number(), number(), number(), voters).prop_map(|(index, term, length_bytes, voters)| {
        let mut snapshot = Snapshot { length_bytes, ..snapshot(index, term) };
        snapshot.point.membership = Membership::of_voters(voters.into_iter().map(NodeId));
        snapshot
    })
}

fn any_input() -> impl Strategy<Value = Input> {
    let term = prop_oneof![2 => 1..4_u64, 1 => number()];
    let receive = (0..5_u64, prop_oneof![9 => Just(1), 1 => 0..3_u64], term, any_body()).prop_map(
        |(from, to, term, body)| {
            Input::Receive(Message { from: NodeId(from), to: NodeId(to), term: Term(term), body })
        },
    );
    prop_oneof![
        1 => prop_oneof![6 => 300..500_u64, 3 => 0..1000_u64, 1 => number()].prop_map(|now_ms| Input::Tick { now_ms }),
        6 => receive,
        1 => any::<u64>().prop_map(|token| Input::Propose { token: Token(token), command: Bytes::new() }),
        1 => (any::<u64>(), read_mode()).prop_map(|(token, mode)| Input::Read { token: Token(token), mode }),
        1 => (any::<u64>(), change()).prop_map(|(token, change)| Input::ChangeMembership { token: Token(token), change }),
        1 => (any::<u64>(), proptest::option::of(0..5_u64)).prop_map(|(token, target)| {
            Input::TransferLeadership { token: Token(token), target: target.map(NodeId) }
        }),
        2 => number().prop_map(|sequence| Input::Persisted { sequence: Sequence(sequence) }),
        1 => number().prop_map(|index| Input::Applied { index: LogIndex(index) }),
        1 => any_snapshot().prop_map(|snapshot| Input::SnapshotStored { snapshot }),
        1 => number().prop_map(|index| Input::SnapshotDamaged { index: LogIndex(index) }),
        1 => number().prop_map(|index| Input::SnapshotUnreadable { index: LogIndex(index) }),
        1 => (number(), number())
            .prop_map(|(index, end)| Input::SnapshotChunkWritten { index: LogIndex(index), end }),
        1 => (1..4_u64, 0..4_u64, 1..4_u64).prop_map(|(index, offset, round)| {
            let wanted = Wanted::From(offset);
            message(3, 2, MessageBody::SnapshotReply { round, index: LogIndex(index), wanted })
        }),
        2 => (3..4_u64, 1..4_u64, 0..2_u64, 1..3_usize).prop_map(|(to, index, offset, bytes)| {
            let data = vec![0; bytes].into();
            Input::SnapshotChunkRead { to: NodeId(to), index: LogIndex(index), offset, data }
        }),
        1 => (0..5_u64, number(), number(), 0..6_usize).prop_map(|(to, index, offset, bytes)| {
            let data = vec![0; bytes].into();
            Input::SnapshotChunkRead { to: NodeId(to), index: LogIndex(index), offset, data }
        }),
    ]
}

/// What a node under random inputs is, and how it begins.
#[derive(Clone, Debug)]
struct Beginning {
    config: Config,
    recovered: Recovered,
    leads: bool,
    /// As a leader: node 2 follows, and node 3 needs what is no longer in the log.
    is_followed: bool,
}

fn beginning() -> impl Strategy<Value = Beginning> {
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0..3_u64, any::<bool>());
    let found = (0..4_u64, any::<bool>(), any::<bool>(), any::<bool>());
    (switches, found).prop_map(|(switches, (snapshot_at, is_learner, leads, is_followed))| {
        let (all_defects, pre_vote, check_quorum, lease_reads, kept_entries, election_handicap) = switches;
        // With defects the node goes on after a broken invariant, and gets into states that it never sees without.
        let defects = if all_defects { Defect::ALL.iter().copied().collect() } else { Defects::NONE };
        let of_three = Membership { last_id: NodeId(4), ..config(1, 3).initial };
        let initial = if is_learner { Membership::default() } else { of_three.clone() };
        let config = Config {
            defects,
            initial,
            pre_vote,
            check_quorum,
            lease_reads,
            kept_entries,
            snapshot_chunk_bytes: 2,
            election_handicap: u64::from(election_handicap),
            ..config(1, 3)
        };
        let point = SnapshotPoint { index: LogIndex(snapshot_at), term: Term(1), membership: of_three };
        let snapshot = Snapshot { point, length_bytes: 4, checksum: 0 };
        let recovered = Recovered {
            hard_state: HardState { term: Term(1), voted_for: None },
            snapshot: (snapshot_at > 0).then_some(snapshot),
            entries: log(3).split_off(snapshot_at as usize),
            applied: LogIndex(snapshot_at),
        };
        Beginning { config, recovered, leads: leads && !is_learner, is_followed }
    })
}

impl Beginning {
    fn node(self) -> Node {
        let mut node = Node::new(self.config, self.recovered, 0).expect("a good configuration");
        let inputs = [
            Input::Tick { now_ms: 300 },
            message(2, 2, MessageBody::PreVoteReply { granted: true }),
            Input::Persisted { sequence: Sequence(1) },
            message(2, 2, MessageBody::VoteReply { granted: true }),
            Input::Persisted { sequence: Sequence(2) },
        ];
        let hint = AppendRejection { rejected: LogIndex(3), hint_index: LogIndex(0), hint_term: Term(0) };
        let answers = [
            message(2, 2, MessageBody::AppendReply { round: 1, outcome: Ok(LogIndex(4)) }),
            Input::Applied { index: LogIndex(4) },
            message(3, 2, MessageBody::AppendReply { round: 1, outcome: Err(hint) }),
        ];
        if self.leads {
            inputs.into_iter().for_each(|input| drop(step(&mut node, input)));
        }
        if self.leads && self.is_followed {
            answers.into_iter().for_each(|input| drop(step(&mut node, input)));
        }
        node
    }
}

/// What a sequence of inputs came to, so that the test can insist that random ones get everywhere.
fn reached(effect: &Effect) -> Option<&'static str> {
    Some(match effect {
        Effect::MembershipChanged { membership, .. } if membership.is_joint() => "a joint configuration",
        Effect::MembershipChanged { .. } => "another configuration",
        Effect::ReadReady { valid_until_ms: Some(_), .. } => "a read under a lease",
        Effect::ReadReady { .. } => "another read",
        Effect::TransferDone { .. } => "a transfer",
        Effect::RestoreSnapshot { .. } => "a restored snapshot",
        Effect::CompactLog { .. } => "a compacted log",
        Effect::ReadSnapshotChunk { .. } => "a part of a snapshot to be sent",
        Effect::WriteSnapshotChunk { .. } => "a part of a snapshot that arrived",
        Effect::RemovedFromCluster => "a removal",
        Effect::Refused { reason: RefusalReason::TransferGivenUp, .. } => "a transfer given up",
        Effect::Send(Message { body, .. }) => match body {
            MessageBody::TimeoutNow => "a transfer under way",
            MessageBody::InstallSnapshot { data, .. } if !data.is_empty() => "a part of a snapshot sent",
            MessageBody::ReadIndexReply { .. } => "a follower's read",
            MessageBody::Removed => "a node told that it was removed",
            _ => return None,
        },
        _ => return None,
    })
}

/// All that random inputs must get to.
const REACHED: [&str; 15] = [
    "a joint configuration",
    "another configuration",
    "a read under a lease",
    "another read",
    "a transfer",
    "a transfer given up",
    "a transfer under way",
    "a restored snapshot",
    "a compacted log",
    "a part of a snapshot to be sent",
    "a part of a snapshot sent",
    "a part of a snapshot that arrived",
    "a follower's read",
    "a removal",
    "a node told that it was removed",
];

/// Leaders, followers and nodes to be added, with and without snapshots, leases and all defects at once.
#[test]
fn no_sequence_of_inputs_makes_a_node_panic() {
    let settings = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let counts = RefCell::new(BTreeMap::new());
    let inputs = prop::collection::vec(any_input(), 1..80);
    let outcome =
        TestRunner::new_with_rng(settings, rng).run(&(beginning(), inputs), |(beginning, inputs)| {
            let mut node = beginning.node();
            for input in inputs {
                for name in step(&mut node, input).iter().filter_map(reached) {
                    *counts.borrow_mut().entry(name).or_insert(0_usize) += 1;
                }
            }
            Ok(())
        });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let counts = counts.into_inner();
    println!("{counts:?}");
    for name in REACHED {
        assert!(counts.contains_key(name), "the inputs never come to {name}: {counts:?}");
    }
}

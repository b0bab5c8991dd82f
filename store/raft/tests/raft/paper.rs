//! A test per rule of the paper's Figure 2 (and of the thesis where it goes further), on one node whose peers are the test.
//!
//! Node 1 is the one under test; every test says at its end which section it is about.

use bytes::Bytes;
use labrys_raft::{
    AppendRejection, Config, Effect, Entry, HardState, Input, LogIndex, Message, MessageBody, Node, NodeId,
    Payload, PersistBatch, Recovered, RefusalReason, Role, Sequence, Term, Token,
};

use crate::cluster::config;

/// A node, and a disk that answers at once unless it is `slow`.
struct Solo {
    node: Node,
    slow: bool,
    /// The last batch handed out.
    written: Sequence,
    batches: Vec<PersistBatch>,
    now_ms: u64,
}

/// The terms of consecutive entries.
type Terms = &'static [u64];

/// Entries with these terms, from index `first` on.
fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    let entry = |(offset, term): (usize, &u64)| Entry {
        term: Term(*term),
        index: LogIndex(first + offset as u64),
        payload: Payload::Command(Bytes::copy_from_slice(&term.to_be_bytes())),
    };
    terms.iter().enumerate().map(entry).collect()
}

impl Solo {
    /// One of `voters` nodes, in `term`, with a log of these terms.
    fn new(voters: u64, term: u64, log: &[u64]) -> Solo {
        Solo::with(config(1, voters), term, log)
    }

    fn with(config: Config, term: u64, log: &[u64]) -> Solo {
        let hard_state = HardState { term: Term(term), voted_for: None };
        let recovered = Recovered { hard_state, entries: entries(1, log), applied: LogIndex(0) };
        let node = Node::new(config, recovered, 0).expect("a good configuration");
        Solo { node, slow: false, written: Sequence(0), batches: Vec::new(), now_ms: 0 }
    }

    /// One of three, leader of the term after `term`, elected by node 2.
    fn leader(term: u64, log: &[u64]) -> Solo {
        let mut solo = Solo::new(3, term, log);
        solo.elect();
        solo
    }

    fn elect(&mut self) -> Vec<Effect> {
        let term = self.node.status().term.0 + 1;
        self.pass(200);
        self.receive(2, term, MessageBody::PreVoteReply { granted: true });
        let effects = self.receive(2, term, MessageBody::VoteReply { granted: true });
        assert_eq!(self.node.status().role, Role::Leader);
        effects
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.node.step(input, &mut effects);
        let batch = effects.iter().find_map(|effect| match effect {
            Effect::Persist(batch) => Some(batch.clone()),
            _ => None,
        });
        if let Some(batch) = batch {
            self.written = batch.sequence;
            self.batches.push(batch);
            if !self.slow {
                effects.extend(self.persisted());
            }
        }
        effects
    }

    fn persisted(&mut self) -> Vec<Effect> {
        self.step(Input::Persisted { sequence: self.written })
    }

    fn pass(&mut self, ms: u64) -> Vec<Effect> {
        self.now_ms += ms;
        self.step(Input::Tick { now_ms: self.now_ms })
    }

    fn receive(&mut self, from: u64, term: u64, body: MessageBody) -> Vec<Effect> {
        self.step(Input::Receive(Message { from: NodeId(from), to: NodeId(1), term: Term(term), body }))
    }

    /// An append from the leader `from` of `term`.
    fn append(&mut self, from: u64, term: u64, prev: (u64, u64), terms: &[u64], commit: u64) -> Vec<Effect> {
        let body = MessageBody::Append {
            prev_index: LogIndex(prev.0),
            prev_term: Term(prev.1),
            entries: entries(prev.0 + 1, terms),
            commit: LogIndex(commit),
            round: 1,
        };
        self.receive(from, term, body)
    }

    fn acknowledge(&mut self, from: u64, matched: u64) -> Vec<Effect> {
        let term = self.node.status().term.0;
        self.receive(from, term, MessageBody::AppendReply { round: 0, outcome: Ok(LogIndex(matched)) })
    }

    fn propose(&mut self, token: u64) -> Vec<Effect> {
        self.step(Input::Propose {
            token: Token(token),
            command: Bytes::copy_from_slice(&token.to_be_bytes()),
        })
    }

    fn terms(&self) -> Vec<u64> {
        (1..).map_while(|index| self.node.entry(LogIndex(index))).map(|entry| entry.term.0).collect()
    }

    fn commit(&self) -> u64 {
        self.node.status().commit.0
    }
}

/// What is sent, by kind of body.
fn sent(effects: &[Effect]) -> Vec<&MessageBody> {
    messages(effects).into_iter().map(|message| &message.body).collect()
}

fn messages(effects: &[Effect]) -> Vec<&Message> {
    let mut found = Vec::new();
    for effect in effects {
        if let Effect::Send(message) = effect {
            found.push(message);
        }
    }
    found
}

fn granted(effects: &[Effect]) -> Option<bool> {
    sent(effects).into_iter().find_map(|body| match body {
        MessageBody::VoteReply { granted } | MessageBody::PreVoteReply { granted } => Some(*granted),
        _ => None,
    })
}

fn outcome(effects: &[Effect]) -> Option<Result<LogIndex, AppendRejection>> {
    sent(effects).into_iter().find_map(|body| match body {
        MessageBody::AppendReply { outcome, .. } => Some(*outcome),
        _ => None,
    })
}

fn vote(last_index: u64, last_term: u64) -> MessageBody {
    MessageBody::Vote { last_index: LogIndex(last_index), last_term: Term(last_term) }
}

/// Every role, in term 2.
fn in_every_role() -> Vec<(Role, Solo)> {
    let follower = Solo::new(3, 2, &[1]);
    let mut pre_candidate = Solo::new(3, 2, &[1]);
    pre_candidate.pass(200);
    let mut candidate = Solo::with(Config { pre_vote: false, ..config(1, 3) }, 1, &[1]);
    candidate.pass(200);
    let leader = Solo::leader(1, &[1]);
    let all = [follower, pre_candidate, candidate, leader];
    let roles = [Role::Follower, Role::PreCandidate, Role::Candidate, Role::Leader];
    for (role, solo) in roles.iter().zip(&all) {
        assert_eq!((solo.node.status().role, solo.node.status().term), (*role, Term(2)));
    }
    roles.into_iter().zip(all).collect()
}

// ---- Rules for all servers ----

#[test]
fn a_server_that_sees_a_higher_term_takes_it_and_follows() {
    for (role, mut solo) in in_every_role() {
        solo.append(2, 3, (1, 1), &[], 0);
        let status = solo.node.status();
        assert_eq!(
            (status.role, status.term, status.leader),
            (Role::Follower, Term(3), Some(NodeId(2))),
            "{role:?}"
        );
        assert_eq!(solo.node.hard_state().voted_for, None, "{role:?}");
    }
    // Reference: section 5.1
}

#[test]
fn a_request_of_an_old_term_is_refused_with_the_present_term() {
    for (role, mut solo) in in_every_role() {
        for (body, kind) in [(vote(9, 1), "vote"), (append_body(), "append")] {
            let effects = solo.receive(2, 1, body);
            let replies = messages(&effects);
            assert_eq!(replies.len(), 1, "{role:?} {kind}");
            assert_eq!(replies[0].term, Term(2), "{role:?} {kind}");
            assert!(
                granted(&effects) == Some(false) || matches!(outcome(&effects), Some(Err(_))),
                "{role:?} {kind}"
            );
            assert_eq!(solo.node.status().role, role);
        }
    }
    // Reference: section 5.1
}

fn append_body() -> MessageBody {
    MessageBody::Append {
        prev_index: LogIndex(0),
        prev_term: Term(0),
        entries: Vec::new(),
        commit: LogIndex(0),
        round: 1,
    }
}

#[test]
fn committed_entries_are_applied_in_order_once_and_only_up_to_the_commit_index() {
    let mut solo = Solo::new(3, 1, &[]);
    let mut applied = Vec::new();
    for (prev, terms, commit) in
        [((0, 0), [1, 1], 1), ((2, 1), [1, 1], 3), ((2, 1), [1, 1], 3), ((4, 1), [1, 1], 6)]
    {
        for effect in solo.append(2, 1, prev, &terms, commit) {
            if let Effect::Apply { entries } = effect {
                applied.extend(entries.into_iter().map(|(entry, _)| entry.index.0));
            }
        }
        assert_eq!(applied.last().copied(), Some(commit));
    }
    assert_eq!(applied, [1, 2, 3, 4, 5, 6]);
    // Reference: section 5.3
}

// ---- Followers ----

#[test]
fn a_server_starts_as_a_follower() {
    let status = Solo::new(3, 4, &[1, 2]).node.status();
    assert_eq!(
        (status.role, status.term, status.leader, status.commit),
        (Role::Follower, Term(4), None, LogIndex(0))
    );
    // Reference: section 5.2
}

#[test]
fn a_follower_that_hears_nothing_for_an_election_timeout_campaigns() {
    let mut solo = Solo::new(3, 1, &[]);
    assert!(sent(&solo.pass(99)).is_empty(), "no timeout is shorter than the configured one");
    let effects = solo.pass(101);
    assert!(matches!(sent(&effects)[..], [MessageBody::PreVote { .. }, MessageBody::PreVote { .. }]));
    // Reference: section 5.2
}

#[test]
fn a_heartbeat_keeps_a_follower_from_campaigning() {
    let mut solo = Solo::new(3, 1, &[]);
    for _ in 0..20 {
        solo.append(2, 1, (0, 0), &[], 0);
        assert!(sent(&solo.pass(99)).is_empty());
        assert_eq!(solo.node.status().role, Role::Follower);
    }
    // Reference: section 5.2
}

#[test]
fn a_request_that_is_refused_does_not_keep_a_follower_from_campaigning() {
    let mut solo = Solo::with(Config { pre_vote: false, ..config(1, 3) }, 1, &[1]);
    for _ in 0..4 {
        solo.pass(50);
        solo.receive(2, 1, vote(0, 0));
    }
    assert_eq!(solo.node.status().role, Role::Candidate);
    // Reference: section 5.2 (Figure 2: "without receiving AppendEntries from current leader or granting vote")
}

#[test]
fn election_timeouts_are_random_and_within_their_bounds() {
    let mut timeouts = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let mut solo = Solo::with(Config { seed, ..config(1, 3) }, 1, &[]);
        let fired = (1..=200).find(|_| !sent(&solo.pass(1)).is_empty()).expect("a timeout within 200 ms");
        assert!((100..200).contains(&fired), "{fired}");
        timeouts.insert(fired);
    }
    assert!(timeouts.len() > 30, "too few different timeouts: {timeouts:?}");
    // Reference: section 5.2
}

// ---- RequestVote ----

#[test]
fn at_most_one_vote_is_given_in_a_term_and_the_same_one_again_if_asked_again() {
    let mut solo = Solo::new(5, 1, &[]);
    assert_eq!(granted(&solo.receive(2, 2, vote(0, 0))), Some(true));
    assert_eq!(granted(&solo.receive(3, 2, vote(0, 0))), Some(false));
    assert_eq!(granted(&solo.receive(2, 2, vote(0, 0))), Some(true));
    assert_eq!(granted(&solo.receive(3, 3, vote(0, 0))), Some(true), "a new term is a new vote");
    // Reference: section 5.2
}

#[test]
fn a_vote_is_for_logs_at_least_as_up_to_date_only() {
    let cases: [(&[u64], (u64, u64), bool); 9] = [
        (&[1], (1, 1), true),
        (&[1], (1, 2), true),
        (&[1], (2, 1), true),
        (&[1, 1], (1, 1), false),
        (&[1, 1], (1, 2), true),
        (&[1, 1], (3, 1), true),
        (&[2], (1, 1), false),
        (&[2], (5, 1), false),
        (&[], (0, 0), true),
    ];
    for (log, (last_index, last_term), expected) in cases {
        let real = Solo::new(3, 2, log).receive(2, 3, vote(last_index, last_term));
        let trial = MessageBody::PreVote { last_index: LogIndex(last_index), last_term: Term(last_term) };
        let trial = Solo::new(3, 2, log).receive(2, 3, trial);
        assert_eq!(granted(&real), Some(expected), "{log:?} {last_index}/{last_term}");
        assert_eq!(granted(&trial), Some(expected), "{log:?} {last_index}/{last_term}, trial");
    }
    // Reference: section 5.4.1
}

#[test]
fn a_vote_leaves_only_when_it_is_durable() {
    let mut solo = Solo::new(3, 1, &[]);
    solo.slow = true;
    assert_eq!(granted(&solo.receive(2, 2, vote(0, 0))), None);
    assert_eq!(granted(&solo.receive(2, 2, vote(0, 0))), None, "nor when asked again");
    let written = solo.batches.last().and_then(|batch| batch.hard_state);
    assert_eq!(written, Some(HardState { term: Term(2), voted_for: Some(NodeId(2)) }));
    let effects = solo.persisted();
    assert_eq!(sent(&effects), [&MessageBody::VoteReply { granted: true }], "and only once");
    // Reference: section 5.1 (Figure 2: "updated on stable storage before responding to RPCs")
}

#[test]
fn a_vote_given_before_a_restart_counts_after_it() {
    let hard_state = HardState { term: Term(2), voted_for: Some(NodeId(3)) };
    let recovered = Recovered { hard_state, ..Recovered::default() };
    let mut solo = Solo::new(3, 1, &[]);
    solo.node = Node::new(config(1, 3), recovered, 0).expect("a good configuration");
    assert_eq!(granted(&solo.receive(2, 2, vote(0, 0))), Some(false));
    assert_eq!(granted(&solo.receive(3, 2, vote(0, 0))), Some(true));
    // Reference: section 5.2
}

// ---- Candidates ----

#[test]
fn a_candidate_raises_its_term_votes_for_itself_and_asks_everybody_once_that_is_durable() {
    let mut solo = Solo::with(Config { pre_vote: false, ..config(1, 3) }, 4, &[1, 3]);
    solo.slow = true;
    assert!(sent(&solo.pass(200)).is_empty());
    let own_vote = HardState { term: Term(5), voted_for: Some(NodeId(1)) };
    assert_eq!(solo.batches.last().and_then(|batch| batch.hard_state), Some(own_vote));
    let effects = solo.persisted();
    assert_eq!(sent(&effects), [&vote(2, 3), &vote(2, 3)]);
    // Reference: section 5.2
}

#[test]
fn a_candidate_becomes_leader_with_a_majority_of_votes_of_its_term_each_voter_counted_once() {
    let mut solo = Solo::with(Config { pre_vote: false, ..config(1, 5) }, 1, &[]);
    solo.pass(200);
    let yes = MessageBody::VoteReply { granted: true };
    for (from, term, body) in [
        (2, 2, yes.clone()),
        (2, 2, yes.clone()),
        (3, 1, yes.clone()),
        (4, 2, MessageBody::VoteReply { granted: false }),
        (9, 2, yes.clone()),
    ] {
        solo.receive(from, term, body);
        assert_eq!(solo.node.status().role, Role::Candidate, "after the answer of {from} in term {term}");
    }
    solo.receive(5, 2, yes);
    assert_eq!(solo.node.status().role, Role::Leader);
    // Reference: section 5.2
}

#[test]
fn a_candidate_follows_a_leader_of_its_own_term() {
    let mut solo = Solo::with(Config { pre_vote: false, ..config(1, 3) }, 1, &[]);
    solo.pass(200);
    solo.append(2, 2, (0, 0), &[], 0);
    let status = solo.node.status();
    assert_eq!((status.role, status.term, status.leader), (Role::Follower, Term(2), Some(NodeId(2))));
    // Reference: section 5.2
}

#[test]
fn a_candidate_without_a_majority_tries_again_in_a_new_term() {
    let mut solo = Solo::with(Config { pre_vote: false, ..config(1, 3) }, 1, &[]);
    solo.pass(200);
    solo.pass(200);
    let status = solo.node.status();
    assert_eq!((status.role, status.term), (Role::Candidate, Term(3)));
    // Reference: section 5.2
}

#[test]
fn a_trial_round_changes_neither_term_nor_vote_of_anybody() {
    let mut asking = Solo::new(3, 1, &[]);
    asking.pass(200);
    assert_eq!((asking.node.hard_state().term, asking.batches.len()), (Term(1), 0));
    let mut asked = Solo::new(3, 1, &[]);
    let trial = MessageBody::PreVote { last_index: LogIndex(0), last_term: Term(0) };
    assert_eq!(granted(&asked.receive(2, 2, trial.clone())), Some(true));
    assert_eq!(granted(&asked.receive(3, 2, trial)), Some(true), "two may be told yes");
    assert_eq!(asked.node.hard_state(), HardState { term: Term(1), voted_for: None });
    // Reference: thesis, section 9.6
}

#[test]
fn whoever_hears_from_a_leader_disregards_requests_for_an_election_timeout() {
    let trial = MessageBody::PreVote { last_index: LogIndex(9), last_term: Term(9) };
    let mut solo = Solo::new(3, 1, &[]);
    solo.append(2, 1, (0, 0), &[], 0);
    solo.pass(99);
    assert_eq!(granted(&solo.receive(3, 2, trial.clone())), Some(false));
    assert_eq!(granted(&solo.receive(3, 2, vote(9, 9))), None);
    assert_eq!(solo.node.status().term, Term(1));
    let mut leader = Solo::leader(1, &[]);
    assert_eq!(granted(&leader.receive(3, 3, trial.clone())), Some(false));
    leader.receive(3, 3, vote(9, 9));
    assert_eq!((leader.node.status().role, leader.node.status().term), (Role::Leader, Term(2)));
    solo.pass(1);
    assert_eq!(granted(&solo.receive(3, 2, trial)), Some(true));
    assert_eq!(granted(&solo.receive(3, 2, vote(9, 9))), Some(true));
    // Reference: thesis, sections 4.2.3 and 9.6
}

// ---- AppendEntries ----

#[test]
fn an_append_is_refused_if_the_log_has_no_matching_entry_before_it_even_a_heartbeat() {
    for (log, prev) in [(&[1][..], (2, 1)), (&[1, 1], (2, 2)), (&[], (1, 1))] {
        for terms in [&[][..], &[2]] {
            let mut solo = Solo::new(3, 2, log);
            let before = solo.terms();
            let effects = solo.append(2, 2, prev, terms, 9);
            assert!(matches!(outcome(&effects), Some(Err(_))), "{log:?} {prev:?} {terms:?}");
            assert_eq!((solo.terms(), solo.commit()), (before, 0), "{log:?} {prev:?} {terms:?}");
        }
    }
    // Reference: section 5.3
}

#[test]
fn a_conflicting_entry_and_all_after_it_are_dropped_and_what_is_missing_is_appended() {
    let cases: [(Terms, (u64, u64), Terms, Terms); 6] = [
        (&[1, 2], (2, 2), &[3], &[1, 2, 3]),
        (&[1, 2], (1, 1), &[3, 4], &[1, 3, 4]),
        (&[1, 2], (0, 0), &[3, 4], &[3, 4]),
        (&[1, 2], (0, 0), &[1], &[1, 2]),
        (&[1, 2, 3], (1, 1), &[2], &[1, 2, 3]),
        (&[1, 2, 2, 2], (1, 1), &[2, 4], &[1, 2, 4]),
    ];
    for (log, prev, terms, expected) in cases {
        let mut solo = Solo::new(3, 4, log);
        solo.append(2, 4, prev, terms, 0);
        assert_eq!(solo.terms(), expected, "{log:?} {prev:?} {terms:?}");
    }
    // Reference: section 5.3
}

#[test]
fn a_late_append_that_is_shorter_than_the_log_drops_nothing() {
    let mut solo = Solo::new(3, 1, &[]);
    solo.append(2, 1, (0, 0), &[1, 1, 1], 3);
    let effects = solo.append(2, 1, (0, 0), &[1], 1);
    assert_eq!((solo.terms(), solo.commit()), (vec![1, 1, 1], 3));
    assert_eq!(outcome(&effects), Some(Ok(LogIndex(3))));
    // Reference: section 5.3 (Figure 2, step 3: "if an existing entry conflicts")
}

#[test]
fn an_acknowledgement_leaves_only_when_the_entries_are_durable() {
    let mut solo = Solo::new(3, 1, &[]);
    solo.slow = true;
    assert_eq!(outcome(&solo.append(2, 1, (0, 0), &[1, 1], 0)), None);
    assert_eq!(outcome(&solo.append(2, 1, (0, 0), &[1, 1], 0)), None, "nor for the same message again");
    let heartbeat = solo.append(2, 1, (2, 1), &[], 0);
    assert_eq!(outcome(&heartbeat), Some(Ok(LogIndex(0))), "a heartbeat is answered with what is durable");
    assert_eq!(outcome(&solo.persisted()), Some(Ok(LogIndex(2))));
    // Reference: section 5.3; thesis, section 3.8
}

#[test]
fn what_replaced_entries_that_were_still_being_written_is_not_durable_because_they_are() {
    let mut solo = Solo::new(3, 1, &[]);
    solo.slow = true;
    solo.append(2, 1, (0, 0), &[1, 1], 0);
    let first = solo.written;
    solo.append(3, 2, (1, 1), &[2], 0);
    let effects = solo.step(Input::Persisted { sequence: first });
    assert_eq!(outcome(&effects), None, "the term of the new leader is not on disk");
    let effects = solo.persisted();
    let last = sent(&effects).pop();
    assert_eq!(last, Some(&MessageBody::AppendReply { round: 1, outcome: Ok(LogIndex(2)) }));
    // Reference: section 5.3
}

#[test]
fn the_commit_index_follows_the_leaders_but_not_beyond_the_last_entry_that_the_message_vouches_for() {
    let cases = [
        ((3, 1), &[2][..], 3, 3),
        ((3, 1), &[2], 4, 4),
        ((3, 1), &[2], 9, 4),
        ((1, 1), &[], 3, 1),
        ((3, 1), &[], 2, 2),
    ];
    for (prev, terms, leader_commit, expected) in cases {
        let mut solo = Solo::new(3, 2, &[1, 1, 1]);
        solo.append(2, 2, prev, terms, leader_commit);
        assert_eq!(solo.commit(), expected, "{prev:?} {terms:?} {leader_commit}");
    }
    // Reference: section 5.3 (Figure 2, step 5)
}

#[test]
fn a_commit_index_never_falls() {
    let mut solo = Solo::new(3, 1, &[]);
    solo.append(2, 1, (0, 0), &[1, 1], 2);
    solo.append(2, 1, (2, 1), &[], 1);
    solo.append(3, 2, (2, 1), &[], 0);
    assert_eq!(solo.commit(), 2);
    // Reference: section 5.3
}

#[test]
fn a_refusal_says_where_the_logs_may_agree_by_term() {
    let cases: [(Terms, (u64, u64), (u64, u64)); 4] = [
        (&[1, 1], (9, 5), (2, 1)),
        (&[1, 1, 4, 4, 4, 4], (5, 3), (2, 1)),
        (&[1, 1, 2, 2, 2, 2], (5, 3), (5, 2)),
        (&[4, 4], (2, 3), (0, 0)),
    ];
    for (log, prev, (hint_index, hint_term)) in cases {
        let mut solo = Solo::new(3, 5, log);
        let rejection = AppendRejection {
            rejected: LogIndex(prev.0),
            hint_index: LogIndex(hint_index),
            hint_term: Term(hint_term),
        };
        assert_eq!(outcome(&solo.append(2, 5, prev, &[], 0)), Some(Err(rejection)), "{log:?} {prev:?}");
    }
    // Reference: section 5.3, its end
}

// ---- Leaders ----

#[test]
fn a_new_leader_speaks_up_at_once_and_then_at_every_heartbeat_interval() {
    let mut solo = Solo::new(3, 1, &[]);
    assert_eq!(sent(&solo.elect()).len(), 2);
    assert_eq!(sent(&solo.pass(19)).len(), 0);
    assert_eq!(sent(&solo.pass(1)).len(), 2);
    // Reference: section 5.2
}

#[test]
fn a_leader_opens_its_term_with_an_entry_of_its_own() {
    let solo = Solo::leader(1, &[1]);
    assert_eq!(solo.terms(), [1, 2]);
    assert_eq!(solo.node.entry(LogIndex(2)).map(|entry| entry.payload.clone()), Some(Payload::Noop));
    // Reference: thesis, section 3.6.2 and 6.4
}

#[test]
fn a_leader_appends_proposals_and_answers_when_they_are_applied() {
    let mut solo = Solo::leader(1, &[]);
    solo.acknowledge(2, 0);
    let effects = solo.propose(7);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Apply { .. })));
    let effects = solo.acknowledge(2, 2);
    let tokens = effects.iter().find_map(|effect| match effect {
        Effect::Apply { entries } => Some(entries.iter().map(|(_, token)| *token).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(tokens, Some(vec![None, Some(Token(7))]));
    // Reference: section 5.3
}

#[test]
fn only_a_leader_takes_proposals_and_reads_and_the_others_say_who_is() {
    let mut solo = Solo::new(3, 1, &[]);
    let no_leader = RefusalReason::NotLeader { leader: None };
    assert_eq!(solo.propose(1), [Effect::Refused { token: Token(1), reason: no_leader }]);
    solo.append(2, 1, (0, 0), &[], 0);
    let reason = RefusalReason::NotLeader { leader: Some(NodeId(2)) };
    assert_eq!(solo.propose(2), [Effect::Refused { token: Token(2), reason }]);
    assert_eq!(solo.step(Input::Read { token: Token(3) }), [Effect::Refused { token: Token(3), reason }]);
    // Reference: section 5.1 and 8
}

#[test]
fn a_leader_sends_what_a_follower_misses_and_goes_back_when_it_is_refused() {
    let mut solo = Solo::leader(1, &[1, 1]);
    let rejection = AppendRejection { rejected: LogIndex(2), hint_index: LogIndex(1), hint_term: Term(1) };
    let effects = solo.receive(2, 2, MessageBody::AppendReply { round: 1, outcome: Err(rejection) });
    assert!(
        matches!(sent(&effects)[..], [MessageBody::Append { prev_index: LogIndex(1), entries, .. }] if entries.is_empty())
    );
    let effects = solo.acknowledge(2, 1);
    assert!(
        matches!(sent(&effects)[..], [MessageBody::Append { prev_index: LogIndex(1), entries, .. }] if entries.len() == 2)
    );
    // Reference: section 5.3
}

#[test]
fn an_entry_of_the_leaders_term_is_committed_when_a_majority_has_it_on_disk() {
    let mut solo = Solo::leader(1, &[]);
    solo.slow = true;
    solo.propose(1);
    solo.acknowledge(2, 2);
    assert_eq!(solo.commit(), 1, "the leader's own disk does not have entry 2");
    solo.persisted();
    assert_eq!(solo.commit(), 2);
    solo.propose(2);
    solo.acknowledge(2, 3);
    solo.acknowledge(3, 3);
    assert_eq!(solo.commit(), 3, "the others are a majority without it");
    // Reference: section 5.3; thesis, section 10.2.1
}

#[test]
fn an_entry_of_an_earlier_term_is_committed_only_with_one_of_the_present() {
    let mut solo = Solo::leader(2, &[1, 2]);
    solo.acknowledge(2, 2);
    solo.acknowledge(3, 2);
    assert_eq!(solo.commit(), 0);
    solo.acknowledge(2, 3);
    assert_eq!(solo.commit(), 3);
    // Reference: section 5.4.2
}

#[test]
fn an_acknowledgement_of_an_earlier_term_counts_for_nothing() {
    let mut solo = Solo::leader(1, &[1]);
    solo.receive(2, 1, MessageBody::AppendReply { round: 9, outcome: Ok(LogIndex(2)) });
    assert_eq!(solo.commit(), 0);
    // Reference: section 5.1
}

#[test]
fn a_leader_never_drops_an_entry_of_its_own() {
    let mut solo = Solo::leader(1, &[1, 1]);
    let effects = solo.append(2, 2, (0, 0), &[2], 1);
    assert!(matches!(effects[..], [Effect::InvariantBroken { .. }]), "{effects:?}");
    assert_eq!(solo.terms(), [1, 1, 2]);
    let reason = RefusalReason::NotLeader { leader: None };
    assert_eq!(solo.propose(1), [Effect::Refused { token: Token(1), reason }], "a halted node takes nothing");
    assert_eq!(solo.pass(1000), []);
    // Reference: section 5.3 (Leader Append-Only)
}

#[test]
fn what_a_deposed_leader_leaves_undone_ends_as_unknown() {
    let mut solo = Solo::leader(1, &[]);
    solo.propose(1);
    solo.step(Input::Read { token: Token(2) });
    let effects = solo.append(2, 3, (0, 0), &[], 0);
    let ended =
        [Token(1), Token(2)].map(|token| Effect::Refused { token, reason: RefusalReason::LeadershipLost });
    assert!(ended.iter().all(|effect| effects.contains(effect)), "{effects:?}");
    assert!(!RefusalReason::LeadershipLost.is_definite());
    // Reference: section 8
}

// ---- Reads ----

#[test]
fn a_read_waits_for_a_round_of_confirmation_that_began_after_it() {
    let mut solo = Solo::leader(1, &[]);
    solo.acknowledge(2, 1);
    solo.step(Input::Applied { index: LogIndex(1) });
    let effects = solo.step(Input::Read { token: Token(1) });
    let round = sent(&effects).into_iter().find_map(|body| match body {
        MessageBody::Append { round, .. } => Some(*round),
        _ => None,
    });
    let round = round.expect("a round begins");
    let answer = |round| MessageBody::AppendReply { round, outcome: Ok(LogIndex(1)) };
    assert_eq!(solo.receive(2, 2, answer(round - 1)), []);
    let ready = Effect::ReadReady { token: Token(1), index: LogIndex(1) };
    assert_eq!(solo.receive(2, 2, answer(round)), [ready]);
    // Reference: section 8; thesis, section 6.4
}

#[test]
fn a_read_waits_until_the_leader_has_committed_in_its_term_and_applied() {
    let mut solo = Solo::leader(1, &[1]);
    solo.step(Input::Read { token: Token(1) });
    let answer = |matched| MessageBody::AppendReply { round: 99, outcome: Ok(LogIndex(matched)) };
    assert!(!solo.receive(2, 2, answer(1)).iter().any(|effect| matches!(effect, Effect::ReadReady { .. })));
    assert!(!solo.receive(2, 2, answer(2)).iter().any(|effect| matches!(effect, Effect::ReadReady { .. })));
    assert_eq!(solo.commit(), 2);
    assert_eq!(solo.step(Input::Applied { index: LogIndex(1) }), []);
    let ready = Effect::ReadReady { token: Token(1), index: LogIndex(2) };
    assert_eq!(solo.step(Input::Applied { index: LogIndex(2) }), [ready]);
    // Reference: section 8; thesis, section 6.4
}

// ---- Beyond the paper ----

#[test]
fn a_leader_that_a_majority_does_not_answer_for_an_election_timeout_steps_down() {
    let mut solo = Solo::leader(1, &[]);
    for _ in 0..10 {
        solo.pass(99);
        assert_eq!(solo.node.status().role, Role::Leader);
        solo.acknowledge(3, 0);
    }
    solo.pass(100);
    assert_eq!(solo.node.status().role, Role::Follower);
    // Reference: thesis, section 6.2
}

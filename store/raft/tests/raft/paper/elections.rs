//! Terms, followers, candidates, RequestVote (paper 5.1, 5.2, 5.4.1; thesis 4.2.3, 9.6).

use super::*;

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
        assert!((100..125).contains(&fired), "{fired}");
        timeouts.insert(fired);
    }
    assert!(timeouts.len() > 15, "too few different timeouts: {timeouts:?}");
    // Reference: section 5.2
}

/// When a node campaigns again, if nobody answers: after each campaign, how much time passed since the one before.
fn waits(config: Config, campaigns: usize) -> Vec<u64> {
    let mut solo = Solo::with(config, 1, &[]);
    let mut wait_ms = || (1..=1000).find(|_| !sent(&solo.pass(1)).is_empty()).expect("a campaign");
    (0..campaigns).map(|_| wait_ms()).collect()
}

#[test]
fn a_fruitless_campaign_is_repeated_soon_and_then_after_longer_and_longer_ranges_of_timeouts() {
    let longest = |place: usize, pre_vote: bool| {
        let of_seed = |seed| waits(Config { seed, pre_vote, ..config(1, 3) }, 6)[place];
        let all: Vec<u64> = (0..100).map(of_seed).collect();
        (all.iter().min().copied().unwrap_or(0), all.iter().max().copied().unwrap_or(0))
    };
    for retry in 1..=3 {
        let (least, most) = longest(retry, true);
        assert!(least >= 10 && most <= 20, "retry {retry} after {least} to {most} ms, the interval is 20 ms");
    }
    let (least, most) = longest(4, true);
    assert!(least >= 100 && (180..200).contains(&most), "then as in the paper: {least} to {most} ms");
    // Without trial rounds each retry is a new term, which takes others' votes away: none of them comes soon.
    for (place, limit) in [(0, 125), (1, 150), (2, 200), (5, 200)] {
        let (least, most) = longest(place, false);
        assert!(least >= 100 && most <= limit && most > limit - 20, "{place}: {least} to {most} ms");
    }
    // Reference: section 5.2 (each candidate restarts its randomised timeout); thesis 9.3
}

#[test]
fn a_handicap_lets_everybody_else_campaign_first_and_is_off_by_default() {
    assert_eq!(config(1, 3).election_handicap, 0);
    let first_wait =
        |seed, election_handicap| waits(Config { seed, election_handicap, ..config(1, 3) }, 1)[0];
    for seed in 0..100 {
        let (without, with_two) = (first_wait(seed, 0), first_wait(seed, 2));
        assert_eq!(with_two, without + 200, "two more election timeouts");
    }
    // Nothing but time hangs on it: it votes, and it leads if it is elected.
    let mut solo = Solo::with(Config { election_handicap: 2, ..config(1, 3) }, 1, &[]);
    assert_eq!(granted(&solo.receive(2, 2, vote(0, 0))), Some(true));
    solo.pass(400);
    assert_eq!(solo.node.status().role, Role::PreCandidate);
    // Reference: none; see the deviations in PAPER.md
}

#[test]
fn of_two_that_try_at_the_same_time_one_withdraws_and_is_not_in_the_way() {
    for (log, rival_last, withdraws) in
        [(&[1][..], (1, 1), true), (&[1, 1], (1, 1), false), (&[1], (2, 1), true)]
    {
        let mut solo = Solo::new(3, 1, log);
        solo.pass(200);
        assert_eq!(solo.node.status().role, Role::PreCandidate);
        let trial =
            MessageBody::PreVote { last_index: LogIndex(rival_last.0), last_term: Term(rival_last.1) };
        let answer = granted(&solo.receive(2, 2, trial));
        let role = solo.node.status().role;
        assert_eq!((answer, role == Role::Follower), (Some(withdraws), withdraws), "{log:?} {rival_last:?}");
        // What it was granted before counts no more; and if nobody is elected, it soon tries again.
        solo.receive(2, 2, MessageBody::PreVoteReply { granted: true });
        let expected = if withdraws { Role::Follower } else { Role::Candidate };
        assert_eq!(solo.node.status().role, expected);
        if withdraws {
            solo.pass(20);
            assert_eq!(solo.node.status().role, Role::PreCandidate);
        }
    }
    // Of equal logs the one with the higher id goes on, and grants the other what it asks for.
    let mut solo = Solo::with(Config { id: NodeId(1), ..config(1, 3) }, 1, &[1]);
    solo.pass(200);
    let trial = MessageBody::PreVote { last_index: LogIndex(1), last_term: Term(1) };
    let message = Message { from: NodeId(3), to: NodeId(1), term: Term(2), body: trial };
    solo.step(Input::Receive(message));
    assert_eq!(solo.node.status().role, Role::Follower);
    // Reference: thesis 9.6; the paper's section 5.2, last paragraph, on ranks
}

#[test]
fn a_grant_of_whoever_has_no_vote_is_not_even_kept() {
    for pre_vote in [false, true] {
        let mut solo = Solo::with(Config { pre_vote, ..config(1, 3) }, 1, &[]);
        solo.pass(200);
        let term = solo.node.status().term.0 + u64::from(pre_vote);
        let before = crate::states::fingerprint(&solo.node);
        for stranger in 4..9 {
            let body = if pre_vote {
                MessageBody::PreVoteReply { granted: true }
            } else {
                MessageBody::VoteReply { granted: true }
            };
            assert_eq!(solo.receive(stranger, term, body), []);
        }
        assert_eq!(crate::states::fingerprint(&solo.node), before, "pre-vote {pre_vote}");
    }
    // Reference: thesis 4.2.2 (votes are counted by the configuration in force)
}

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
fn a_vote_that_waits_for_the_disk_is_not_sent_when_its_term_is_over() {
    let mut solo = Solo::new(5, 1, &[]);
    solo.slow = true;
    solo.receive(2, 2, vote(0, 0));
    solo.receive(3, 3, vote(0, 0));
    let effects = solo.persisted();
    let receivers: Vec<NodeId> = messages(&effects).into_iter().map(|message| message.to).collect();
    assert_eq!(receivers, [NodeId(3)]);
    // Reference: section 5.1
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

//! The leader: its log, commitment, clients, reads (paper 5.3, 5.4.2, 8; thesis 3.6.2, 6.2, 6.4, 10.2.1).

use labrys_raft::RefusalReason;

use super::*;

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
    assert_eq!(solo.step(read(3)), [Effect::Refused { token: Token(3), reason }]);
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
fn a_late_refusal_of_what_is_acknowledged_since_changes_nothing() {
    let mut solo = Solo::leader(1, &[1, 1]);
    solo.acknowledge(2, 3);
    let rejection = AppendRejection { rejected: LogIndex(2), hint_index: LogIndex(1), hint_term: Term(1) };
    let effects = solo.receive(2, 2, MessageBody::AppendReply { round: 1, outcome: Err(rejection) });
    assert_eq!(effects, []);
    let effects = solo.propose(1);
    let streams =
        |body: &&MessageBody| matches!(body, MessageBody::Append { entries, .. } if entries.len() == 1);
    assert_eq!(sent(&effects).into_iter().filter(streams).count(), 1, "follower 2 is still streamed to");
    // Reference: section 5.3
}

#[test]
fn a_follower_silent_for_an_election_timeout_is_asked_again_from_where_it_agreed() {
    let mut solo = Solo::leader(1, &[]);
    solo.acknowledge(2, 0);
    solo.acknowledge(3, 1);
    solo.propose(1);
    let prevs = |effects: &[Effect], to: u64| {
        let to_it = messages(effects).into_iter().filter(|message| message.to == NodeId(to));
        let prev = |message: &Message| match message.body {
            MessageBody::Append { prev_index, .. } => Some(prev_index.0),
            _ => None,
        };
        to_it.filter_map(prev).collect::<Vec<_>>()
    };
    assert_eq!(prevs(&solo.pass(50), 2), [2], "what was sent is believed to arrive");
    solo.acknowledge(3, 2);
    assert_eq!(prevs(&solo.pass(50), 2), [0], "after a silence it is not");
    // Reference: section 5.3 (retrying indefinitely)
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
    solo.step(read(2));
    let effects = solo.append(2, 3, (0, 0), &[], 0);
    let ended =
        [Token(1), Token(2)].map(|token| Effect::Refused { token, reason: RefusalReason::LeadershipLost });
    assert!(ended.iter().all(|effect| effects.contains(effect)), "{effects:?}");
    assert!(!RefusalReason::LeadershipLost.is_definite());
    // Reference: section 8
}

#[test]
fn a_read_waits_for_a_round_of_confirmation_that_began_after_it() {
    let mut solo = Solo::leader(1, &[]);
    solo.acknowledge(2, 1);
    solo.step(Input::Applied { index: LogIndex(1) });
    let effects = solo.step(read(1));
    let round = sent(&effects).into_iter().find_map(|body| match body {
        MessageBody::Append { round, .. } => Some(*round),
        _ => None,
    });
    let round = round.expect("a round begins");
    let answer = |round| MessageBody::AppendReply { round, outcome: Ok(LogIndex(1)) };
    assert_eq!(solo.receive(2, 2, answer(round - 1)), []);
    let ready = Effect::ReadReady { token: Token(1), index: LogIndex(1), valid_until_ms: None };
    assert_eq!(solo.receive(2, 2, answer(round)), [ready]);
    // Reference: section 8; thesis, section 6.4
}

#[test]
fn a_read_waits_until_the_leader_has_committed_in_its_term_and_applied() {
    let mut solo = Solo::leader(1, &[1]);
    solo.step(read(1));
    let answer = |matched| MessageBody::AppendReply { round: 99, outcome: Ok(LogIndex(matched)) };
    assert!(!solo.receive(2, 2, answer(1)).iter().any(|effect| matches!(effect, Effect::ReadReady { .. })));
    assert!(!solo.receive(2, 2, answer(2)).iter().any(|effect| matches!(effect, Effect::ReadReady { .. })));
    assert_eq!(solo.commit(), 2);
    assert_eq!(solo.step(Input::Applied { index: LogIndex(1) }), []);
    let ready = Effect::ReadReady { token: Token(1), index: LogIndex(2), valid_until_ms: None };
    assert_eq!(solo.step(Input::Applied { index: LogIndex(2) }), [ready]);
    // Reference: section 8; thesis, section 6.4
}

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

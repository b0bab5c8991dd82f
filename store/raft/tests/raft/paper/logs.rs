//! AppendEntries at the follower, and applying (paper 5.3).

use super::*;

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
    let cases: [(Terms, Position, Terms, Terms); 6] = [
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
fn an_old_batch_that_reaches_the_disk_late_does_not_vouch_for_what_has_replaced_its_entries() {
    let mut solo = Solo::new(3, 1, &[]);
    solo.slow = true;
    solo.append(2, 1, (0, 0), &[1, 1], 0);
    // The new term goes to the disk before the entries of its leader do.
    solo.append(3, 2, (9, 2), &[], 0);
    let with_term = solo.written;
    solo.append(3, 2, (1, 1), &[2], 0);
    let effects = solo.step(Input::Persisted { sequence: with_term });
    let acknowledged = |body: &&MessageBody| matches!(body, MessageBody::AppendReply { outcome: Ok(_), .. });
    let last = sent(&effects).into_iter().rfind(acknowledged);
    assert_eq!(last, Some(&MessageBody::AppendReply { round: 1, outcome: Ok(LogIndex(1)) }));
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
    let cases: [(Terms, Position, Position); 4] = [
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

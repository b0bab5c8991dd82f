//! Sessions: what is remembered, what is forgotten, and that no write is carried out twice.

use super::properties::cases;
use super::*;

fn with_sessions(change: impl FnOnce(&mut SessionLimits)) -> Driver {
    let mut options = options();
    change(&mut options.sessions);
    Driver::with(options, Defects::NONE)
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. })
}

#[test]
fn a_new_session_takes_the_place_of_the_established_one_used_least_recently() {
    let mut driver = Driver::new(3, Defects::NONE);
    for session in 1..=3 {
        driver.run(session, 1, false, put("x", "1"));
    }
    for session in [2, 3] {
        driver.run(session, 2, true, put("x", "2"));
    }
    driver.run(2, 2, true, put("x", "2")); // A retry counts as a use.
    assert!(is_done(&driver.run(4, 1, false, put("x", "3"))), "session 3 goes");
    assert_eq!(driver.machine.session_count(), 3);
    assert_eq!(driver.run(3, 3, true, put("x", "again")), Outcome::SessionExpired);
    assert!(is_done(&driver.run(2, 3, true, put("x", "4"))));
    assert!(is_done(&driver.run(1, 2, true, put("x", "5"))), "the oldest was not established");
}

#[test]
fn a_new_session_is_refused_while_none_can_be_forgotten_and_its_write_is_not_carried_out() {
    let mut driver = with_sessions(|limits| (limits.count, limits.first_write_ms) = (2, 100));
    driver.run(1, 1, false, put("x", "1"));
    driver.time_ms = 50;
    driver.run(2, 1, false, put("x", "2"));
    driver.time_ms = 99;
    assert_eq!(driver.run(3, 1, false, put("x", "3")), Outcome::TooManySessions);
    assert_eq!(driver.value("x"), Some(&b"2"[..]));
    driver.time_ms = 100;
    assert!(is_done(&driver.run(3, 1, false, put("x", "3"))), "session 1 has waited long enough");
    assert_eq!(driver.run(4, 1, false, put("x", "4")), Outcome::TooManySessions);
    assert_eq!(driver.run(1, 2, true, put("x", "1")), Outcome::SessionExpired);
}

#[test]
fn a_session_is_forgotten_when_log_time_says_so_and_not_before() {
    let mut driver = with_sessions(|limits| limits.ttl_ms = 100);
    driver.run(1, 1, false, put("x", "1"));
    driver.time_ms = 99;
    driver.run(1, 1, false, put("x", "1")); // A retry counts as a use.
    driver.time_ms = 198;
    assert_eq!(driver.run(1, 2, true, put("x", "2")), done_at(3, 2, step(StepResult::Put)));
    driver.time_ms = 298;
    assert_eq!(driver.run(1, 3, true, put("x", "3")), Outcome::SessionExpired);
    assert_eq!(driver.machine.session_count(), 0);
}

#[test]
fn large_kept_outcomes_are_forgotten_and_their_sessions_are_not() {
    let mut driver = with_sessions(|limits| limits.bytes = 2000);
    driver.run(9, 1, false, put("x", &"v".repeat(1500)));
    let mut outcomes = Vec::new();
    for session in 1..=4 {
        outcomes.push(driver.run(session, 1, false, cas("x", Some("other"), "new")));
    }
    assert_eq!(driver.machine.session_count(), 5);
    for session in 1..=3 {
        assert_eq!(
            driver.run(session, 1, false, cas("x", Some("other"), "new")),
            Outcome::AnswerForgotten,
            "{session}"
        );
    }
    assert_eq!(driver.run(4, 1, false, cas("x", Some("other"), "new")), outcomes[3], "the last one is kept");
    assert!(is_done(&driver.run(1, 2, false, Operation::delete("x"))), "the session goes on");
}

/// A client that does as it should: it numbers its writes, may repeat the one that it is at, and says that its session is known
/// once it has been told so.
#[derive(Clone, Debug)]
enum Move {
    /// Begins its next write.
    Next,
    /// Sends the same one again.
    Retry,
    /// Begins a new session.
    Renew,
}

fn moves() -> impl Strategy<Value = Vec<(usize, Move, bool, u64)>> {
    let one = prop_oneof![3 => Just(Move::Next), 3 => Just(Move::Retry), 1 => Just(Move::Renew)];
    prop::collection::vec((0..5usize, one, any::<bool>(), 0..8u64), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// However few sessions and bytes are remembered, no write is carried out twice, none that was answered `done` is missing, and
    /// none that was refused is there: as long as the attempts of a first write are nearer to each other than the bound says.
    #[test]
    fn no_write_is_carried_out_twice_and_none_that_was_refused_at_all(
        moves in moves(),
        count in 1..4usize,
        max_bytes in 0..600usize,
    ) {
        let mut driver = with_sessions(|limits| {
            *limits = SessionLimits { count, bytes: max_bytes, ttl_ms: 60, first_write_ms: 40 };
        });
        // Session, sequence, established, when the write was sent first, whether it was seen to be done.
        let mut clients: Vec<(u128, u64, bool, u64, bool)> = (0..5).map(|id| (id, 0, false, 0, false)).collect();
        let (mut next_session, mut expected) = (5, 0_i64);
        for (client, action, hears, passed_ms) in moves {
            driver.time_ms += passed_ms;
            let (session, sequence, established, sent_ms, is_counted) = &mut clients[client];
            match action {
                Move::Renew => {
                    (*session, *sequence, *established, *is_counted) = (next_session, 0, false, true);
                    next_session += 1;
                    continue;
                }
                Move::Next => (*sequence, *sent_ms, *is_counted) = (*sequence + 1, driver.time_ms, false),
                Move::Retry if *sequence == 0 || driver.time_ms - *sent_ms >= 40 => continue,
                Move::Retry => {}
            }
            let increment = Operation::Step(Step::Increment { key: bytes("n"), by: 1 });
            let (session, sequence, established_then) = (*session, *sequence, *established);
            match driver.run(session, sequence, established_then, increment) {
                Outcome::Done { .. } => {
                    let (_, _, established, _, is_counted) = &mut clients[client];
                    expected += i64::from(!*is_counted);
                    *is_counted = true;
                    *established |= hears;
                }
                Outcome::AnswerForgotten => prop_assert!(clients[client].4, "it was carried out before"),
                Outcome::TooManySessions => prop_assert!(!clients[client].4 && !established_then),
                Outcome::SessionExpired => prop_assert!(established_then),
                other => prop_assert!(false, "{:?}", other),
            }
            let value = driver.value("n").map_or(0, |value| std::str::from_utf8(value).unwrap().parse().unwrap());
            prop_assert_eq!(value, expected);
            prop_assert!(driver.machine.session_count() <= count);
        }
    }
}

//! Tests of the client's decisions, with a clock that is a number.

use proptest::prelude::*;

use super::*;
use crate::machine::{Done, Found, Operation, Query, Reading, Revision, StepResult};

const NODES: [&str; 3] = ["a:1", "b:1", "c:1"];

struct Driver {
    logic: ClientLogic,
    now_ms: u64,
    actions: Vec<Action>,
}

fn put() -> Request {
    Request::Write(Operation::put("k", "v"))
}

fn get() -> Request {
    Request::Read(Query::Get { key: "k".into(), revision: None })
}

fn put_at(index: u64) -> Success {
    Success::Written(Written { index, revision: Revision(index), done: Done::Step(StepResult::Put) })
}

fn nothing_at(applied: u64) -> Success {
    Success::Read(Reading {
        applied: labrys_raft::LogIndex(applied),
        revision: Revision(applied),
        compacted: Revision(0),
        found: Found::Value(None),
    })
}

impl Driver {
    fn new() -> Driver {
        let nodes = NODES.iter().map(|node| (*node).to_owned()).collect();
        let logic = ClientLogic::new(nodes, 1, SessionId(7), ClientOptions::default());
        Driver { logic, now_ms: 0, actions: Vec::new() }
    }

    fn begin(&mut self, request: Request) -> Attempt {
        self.logic.begin(self.now_ms, request, self.now_ms + 5000, &mut self.actions);
        self.next_attempt()
    }

    /// The next attempt, after however many pauses.
    fn next_attempt(&mut self) -> Attempt {
        loop {
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Send(attempt) => return attempt,
                    Action::Abandon { .. } => {}
                    Action::Complete(result) => panic!("ended with {result:?}"),
                }
            }
            self.pass();
        }
    }

    fn pass(&mut self) {
        self.now_ms = self.now_ms.max(self.logic.wake_at_ms().unwrap());
        self.logic.handle(self.now_ms, Event::Tick, &mut self.actions);
    }

    fn answer(&mut self, attempt: &Attempt, reply: Reply) {
        self.logic.handle(self.now_ms, Event::Answer { request: attempt.request, reply }, &mut self.actions);
    }

    fn fail(&mut self, attempt: &Attempt, error: AttemptError) {
        self.answer(attempt, Reply::Failed { error, detail: String::new() });
    }

    fn completion(&mut self) -> Option<Result<Success, ClientError>> {
        self.actions.iter().find_map(|action| match action {
            Action::Complete(result) => Some(result.clone()),
            Action::Send(_) | Action::Abandon { .. } => None,
        })
    }

    /// Answers every attempt with `error` until the operation ends.
    fn fail_until_the_end(&mut self, mut attempt: Attempt, error: AttemptError) -> ClientError {
        loop {
            self.fail(&attempt, error);
            while !self.actions.iter().any(|action| matches!(action, Action::Send(_) | Action::Complete(_))) {
                self.pass();
            }
            match self.completion() {
                Some(result) => return result.unwrap_err(),
                None => attempt = self.next_attempt(),
            }
        }
    }
}

fn placement(attempt: &Attempt) -> Placement {
    match &attempt.body {
        AttemptBody::Write { placement, .. } => *placement,
        AttemptBody::Read { .. } => panic!("not a write"),
    }
}

#[test]
fn an_operation_starts_with_the_preferred_node_and_ends_with_its_answer() {
    let mut driver = Driver::new();
    let attempt = driver.begin(put());
    assert_eq!(attempt.node, 1);
    driver.answer(&attempt, Reply::Ok(put_at(3)));
    assert_eq!(driver.completion(), Some(Ok(put_at(3))));
}

#[test]
fn a_hint_is_followed_at_once_and_remembered_for_that_kind_of_operation_only() {
    let mut driver = Driver::new();
    let attempt = driver.begin(put());
    driver.answer(&attempt, Reply::NotLeader { leader_address: Some("c:1".to_owned()) });
    let second = driver.next_attempt();
    assert_eq!((second.node, driver.now_ms), (2, 0));
    driver.answer(&second, Reply::Ok(put_at(1)));
    driver.actions.clear();
    assert_eq!(driver.begin(put()).node, 2);
    assert_eq!(driver.begin(get()).node, 1, "the preferred node has not refused a read");
}

#[test]
fn a_leader_that_the_client_did_not_know_is_asked_and_remembered() {
    let mut driver = Driver::new();
    let attempt = driver.begin(put());
    driver.answer(&attempt, Reply::NotLeader { leader_address: Some("new:1".to_owned()) });
    let second = driver.next_attempt();
    assert_eq!((second.node, driver.now_ms), (NODES.len(), 0));
    assert_eq!(driver.logic.nodes().last().map(String::as_str), Some("new:1"));
}

#[test]
fn nodes_that_name_each_other_do_not_cause_a_storm() {
    let mut driver = Driver::new();
    let mut attempt = driver.begin(put());
    for _ in 0..40 {
        let other = NODES[(attempt.node + 1) % 2].to_owned();
        driver.answer(&attempt, Reply::NotLeader { leader_address: Some(other) });
        attempt = driver.next_attempt();
    }
    assert!(driver.now_ms > 100, "pauses were made, {} ms", driver.now_ms);
}

#[test]
fn every_attempt_of_a_write_has_the_same_place_in_the_session_and_a_new_request_id() {
    let mut driver = Driver::new();
    let first = driver.begin(put());
    driver.fail(&first, AttemptError::ConnectionLost);
    let second = driver.next_attempt();
    assert_eq!(placement(&first), placement(&second));
    assert_ne!(first.request, second.request);
    assert_eq!(second.node, 2, "the next in line");
    driver.answer(&second, Reply::Ok(put_at(1)));
    driver.actions.clear();
    let next = placement(&driver.begin(put()));
    assert_eq!((next.session, next.sequence, next.established), (SessionId(7), 2, true));
}

#[test]
fn an_answer_that_does_not_come_from_the_log_does_not_establish_the_session() {
    let mut driver = Driver::new();
    let first = driver.begin(put());
    driver.answer(&first, Reply::Ok(put_at(0)));
    driver.actions.clear();
    assert!(!placement(&driver.begin(put())).established);
}

#[test]
fn a_late_reply_is_never_taken_for_the_answer_to_another_attempt() {
    let mut driver = Driver::new();
    let first = driver.begin(get());
    driver.pass(); // The attempt times out.
    assert!(driver.actions.contains(&Action::Abandon { node: 1 }));
    let second = driver.next_attempt();
    driver.answer(&first, Reply::Ok(nothing_at(1)));
    assert_eq!(driver.completion(), None);
    driver.answer(&second, Reply::Ok(nothing_at(2)));
    assert_eq!(driver.completion(), Some(Ok(nothing_at(2))));
}

#[test]
fn a_reply_of_another_kind_is_no_answer() {
    let mut driver = Driver::new();
    let first = driver.begin(get());
    driver.answer(&first, Reply::Ok(put_at(1)));
    assert!(driver.actions.contains(&Action::Abandon { node: 1 }));
    assert_eq!(driver.completion(), None);
}

#[test]
fn each_error_alone_makes_a_write_as_definite_as_the_table_says_and_a_read_always() {
    for error in AttemptError::ALL {
        let mut driver = Driver::new();
        let attempt = driver.begin(put());
        let failure = driver.fail_until_the_end(attempt, *error);
        assert_eq!((failure.error, failure.definite), (*error, error.is_definite()), "{error}");
        assert!(driver.now_ms <= 5000 + 200);

        let mut driver = Driver::new();
        let attempt = driver.begin(get());
        let failure = driver.fail_until_the_end(attempt, *error);
        assert!(failure.definite, "a read changes nothing: {error}");
    }
}

#[test]
fn a_definite_refusal_after_an_indefinite_attempt_leaves_the_operation_indefinite() {
    for error in AttemptError::ALL {
        let mut driver = Driver::new();
        let attempt = driver.begin(put());
        driver.fail(&attempt, AttemptError::ConnectionLost);
        let second = driver.next_attempt();
        let failure = driver.fail_until_the_end(second, *error);
        assert!(!failure.definite, "{error}");
    }
}

#[test]
fn a_success_after_an_indefinite_attempt_is_a_success() {
    let mut driver = Driver::new();
    let attempt = driver.begin(put());
    driver.fail(&attempt, AttemptError::Timeout);
    let second = driver.next_attempt();
    driver.answer(&second, Reply::Ok(put_at(9)));
    assert_eq!(driver.completion(), Some(Ok(put_at(9))));
}

#[test]
fn a_request_that_never_gets_an_answer_ends_with_its_deadline() {
    let mut driver = Driver::new();
    driver.begin(put());
    while driver.completion().is_none() {
        driver.pass();
    }
    assert!((5000..=5200).contains(&driver.now_ms), "{}", driver.now_ms);
    let failure = driver.completion().unwrap().unwrap_err();
    assert_eq!((failure.error, failure.definite), (AttemptError::Timeout, false));
    assert!(failure.attempts >= 4);
}

#[test]
fn a_deadline_that_has_passed_sends_nothing() {
    let mut driver = Driver::new();
    driver.logic.begin(100, put(), 100, &mut driver.actions);
    let failure = driver.completion().unwrap().unwrap_err();
    assert_eq!((failure.error, failure.definite, failure.attempts), (AttemptError::NotSent, true, 0));
}

#[test]
fn a_forgotten_session_is_replaced_for_the_operations_that_follow() {
    let mut driver = Driver::new();
    let attempt = driver.begin(put());
    driver.fail(&attempt, AttemptError::SessionExpired);
    assert!(driver.completion().unwrap().unwrap_err().definite);
    driver.actions.clear();
    let next = placement(&driver.begin(put()));
    assert_ne!(next.session, SessionId(7));
    assert!(!next.established);
    assert_eq!(next.sequence, 2, "numbers go on, whatever the session");
}

#[test]
fn an_operation_whose_caller_has_gone_leaves_its_number_and_its_connection_behind() {
    let mut driver = Driver::new();
    let first = placement(&driver.begin(put()));
    driver.logic.begin(0, put(), 5000, &mut driver.actions);
    assert!(driver.actions.contains(&Action::Abandon { node: 1 }));
    let second = driver.next_attempt();
    assert!(placement(&second).sequence > first.sequence);
}

proptest! {
    /// Whatever the nodes answer and whenever, an operation has exactly one completion, by its deadline and one pause; it is
    /// definite only if every attempt was; and no request id is used twice.
    #[test]
    fn every_operation_ends_once_and_in_time(answers in prop::collection::vec((0..25usize, 0..1500u64), 1..40)) {
        let mut driver = Driver::new();
        let mut answers = answers.into_iter().cycle();
        let mut ids = std::collections::BTreeSet::new();
        for round in 0..5u64 {
            let begun_ms = driver.now_ms;
            let deadline_ms = begun_ms + 3000;
            driver.logic.begin(begun_ms, if round % 2 == 0 { put() } else { get() }, deadline_ms, &mut driver.actions);
            let mut in_doubt = false;
            let result = 'operation: loop {
                let mut sent = None;
                for action in std::mem::take(&mut driver.actions) {
                    match action {
                        Action::Send(attempt) => {
                            prop_assert!(ids.insert(attempt.request));
                            prop_assert!(sent.replace(attempt).is_none(), "one attempt at a time");
                        }
                        Action::Abandon { .. } => {}
                        Action::Complete(result) => break 'operation result,
                    }
                }
                let Some(attempt) = sent else { driver.pass(); continue };
                let (kind, delay_ms) = answers.next().unwrap();
                if delay_ms >= attempt.timeout_ms {
                    in_doubt = true;
                    driver.pass();
                    continue;
                }
                driver.now_ms += delay_ms;
                let reply = match AttemptError::ALL.get(kind) {
                    Some(error) => {
                        in_doubt |= !error.is_definite();
                        Reply::Failed { error: *error, detail: String::new() }
                    }
                    None if kind % 3 == 0 => Reply::NotLeader { leader_address: Some(NODES[kind % 2].to_owned()) },
                    None => Reply::NotLeader { leader_address: None },
                };
                driver.answer(&attempt, reply);
            };
            prop_assert!(driver.now_ms <= deadline_ms + 200);
            let failure = result.unwrap_err();
            prop_assert_eq!(failure.definite, round % 2 == 1 || !in_doubt, "{:?}", failure);
            prop_assert!(driver.logic.wake_at_ms().is_none());
        }
    }
}

//! What the register models take the operations of a history for.

use labrys_checker::models::{PRECONDITION_FAILED, Register, RegisterCall};
use labrys_checker::verdict::Validity;
use labrys_checker::{CheckConfig, Meaning, Model, ModelError, check};
use labrys_history::{Event, History, Value};
use proptest::prelude::*;

use crate::support::mini;

/// What the only operation of a history means to a register with compare-and-set.
fn meaning(history: &History) -> Result<Meaning<RegisterCall>, ModelError> {
    let operations = history.operations();
    assert_eq!(operations.len(), 1, "{history:?}");
    Register::with_cas(Value::Nil).meaning(&operations[0])
}

/// The same history, but its second event is made by `changed`.
fn with_completion(text: &str, changed: impl FnOnce(Event) -> Event) -> History {
    let mut events = mini::history(text).into_events();
    let completion = changed(events.remove(1));
    events.push(completion);
    History::from_validated(events)
}

#[test]
fn every_way_an_operation_can_end_means_what_the_table_says() {
    let cas = || RegisterCall::Cas { expected: Value::Int(1), new: Value::Int(2) };
    let unequal = || RegisterCall::CasUnequal(Value::Int(1));
    for (text, expected) in [
        ("0 inv r; 0 ok 3", Meaning::Completed(RegisterCall::Read(Value::Int(3)))),
        ("0 inv r; 0 ok nil", Meaning::Completed(RegisterCall::Read(Value::Nil))),
        ("0 inv r; 0 fail timed-out", Meaning::Nothing),
        ("0 inv r; 0 info", Meaning::Nothing),
        ("0 inv r", Meaning::Nothing),
        ("0 inv w1; 0 ok", Meaning::Completed(RegisterCall::Write(Value::Int(1)))),
        ("0 inv w1; 0 fail timed-out", Meaning::Nothing),
        ("0 inv w1; 0 info", Meaning::Crashed(RegisterCall::Write(Value::Int(1)))),
        ("0 inv w1", Meaning::Crashed(RegisterCall::Write(Value::Int(1)))),
        ("0 inv c1>2; 0 ok", Meaning::Completed(cas())),
        ("0 inv c1>2; 0 fail", Meaning::Completed(unequal())),
        ("0 inv c1>2; 0 fail precondition-failed", Meaning::Completed(unequal())),
        ("0 inv c1>2; 0 fail timed-out", Meaning::Nothing),
        ("0 inv c1>2; 0 info timed-out", Meaning::Crashed(cas())),
        ("0 inv c1>2", Meaning::Crashed(cas())),
    ] {
        assert_eq!(meaning(&mini::history(text)), Ok(expected), "{text}");
    }
}

#[test]
fn a_cas_that_failed_without_its_pair_is_no_answer() {
    let timed_out = |event: Event| Event { value: Value::keyword("timed-out"), ..event };
    let history = with_completion("0 inv c1>2; 0 fail", timed_out);
    assert_eq!(meaning(&history), Ok(Meaning::Nothing));
}

#[test]
fn the_error_that_makes_a_failure_an_answer_may_be_a_string_or_a_keyword() {
    for error in [Value::string(PRECONDITION_FAILED), Value::keyword(PRECONDITION_FAILED)] {
        let failed = |event: Event| Event { value: Value::Nil, ..event.with_error(Some(error)) };
        let history = with_completion("0 inv c1>2; 0 fail", failed);
        assert_eq!(meaning(&history), Ok(Meaning::Completed(RegisterCall::CasUnequal(Value::Int(1)))));
    }
}

fn error_of(history: &History, model: &str) -> String {
    check(history, &CheckConfig::linearizable(model, None).unwrap()).expect_err("an error").to_string()
}

#[test]
fn an_operation_that_the_model_does_not_know_is_named_with_its_event() {
    let history = mini::history("0 inv w1; 0 ok; 0 inv enqueue; 0 ok");
    assert_eq!(
        error_of(&history, "cas-register"),
        "event 2: the model cas-register has no function \"enqueue\"; it knows read, write, cas"
    );
    assert_eq!(
        error_of(&mini::history("0 inv c1>2; 0 ok"), "register"),
        "event 0: the model register has no function \"cas\"; it knows read, write"
    );
}

#[test]
fn a_cas_without_a_pair_is_named_with_what_it_has() {
    let history = mini::history("0 inv w1; 0 ok; 0 inv cas; 0 ok");
    assert_eq!(
        error_of(&history, "cas-register"),
        "event 2: cas of the model cas-register wants a pair [expected new], but has nil"
    );
}

/// What the model makes of conventions in a history of another program, from the verdict.
fn conventions(text: &str, initial: Value) -> (String, String) {
    let config = CheckConfig::linearizable("cas-register", Some(initial)).unwrap().of_another_program(true);
    let verdict = check(&mini::history(text), &config).unwrap();
    let statistic = |name: &str| verdict.checks[0].statistics[name].as_str().unwrap().to_owned();
    (statistic("convention.read-nil"), statistic("convention.cas-failed-without-error"))
}

#[test]
fn the_history_shows_whether_a_plain_failure_is_an_answer_and_nil_a_value() {
    let cas = "0 inv c1>2; 0 fail";
    for (text, initial, read_nil, cas_failed) in [
        (cas.to_owned(), Value::Nil, "nothing there", "compared unequal"),
        (format!("{cas}; 1 inv r; 1 ok nil"), Value::Nil, "nothing there", "compared unequal"),
        (format!("{cas}; 1 inv r; 1 ok 0"), Value::Int(0), "not known", "compared unequal"),
        (format!("{cas}; 1 inv r; 1 ok nil"), Value::Int(0), "not known", "not executed"),
        (
            format!("{cas}; 1 inv r; 1 ok nil; 2 inv wnil; 2 ok"),
            Value::Int(0),
            "nothing there",
            "compared unequal",
        ),
        (
            format!("{cas}; 1 inv r; 1 ok nil; 2 inv c1>nil; 2 ok"),
            Value::Int(0),
            "nothing there",
            "compared unequal",
        ),
        // Failures without a reason that cannot be comparisons: so one of a cas may be no comparison either.
        (format!("{cas}; 1 inv r; 1 fail"), Value::Nil, "nothing there", "not executed"),
        (format!("{cas}; 1 inv w1; 1 fail"), Value::Nil, "nothing there", "not executed"),
        (format!("{cas}; 1 inv w1; 1 fail timed-out"), Value::Nil, "nothing there", "compared unequal"),
    ] {
        let expected = (read_nil.to_owned(), cas_failed.to_owned());
        assert_eq!(conventions(&text, initial.clone()), expected, "{text} from {initial}");
    }
}

#[test]
fn in_our_own_format_nothing_read_is_what_was_read_and_a_plain_failure_of_a_cas_is_an_answer() {
    for text in ["0 inv w1; 0 ok; 1 inv r; 1 ok nil", "0 inv w1; 0 ok; 1 inv c1>2; 1 fail; 1 inv r; 1 fail"] {
        let config = |foreign| {
            let config = CheckConfig::linearizable("cas-register", Some(Value::Int(0))).unwrap();
            config.of_another_program(foreign)
        };
        let validity = |foreign| check(&mini::history(text), &config(foreign)).unwrap().validity;
        assert_eq!((validity(false), validity(true)), (Validity::Invalid, Validity::Valid), "{text}");
    }
}

fn any_call() -> impl Strategy<Value = RegisterCall> {
    let value = || (0..3_i64).prop_map(Value::Int);
    prop_oneof![
        value().prop_map(RegisterCall::Read),
        value().prop_map(RegisterCall::Write),
        (value(), value()).prop_map(|(expected, new)| RegisterCall::Cas { expected, new }),
        value().prop_map(RegisterCall::CasUnequal),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The statement that the search relies on.
    #[test]
    fn a_pure_call_leaves_every_state_in_which_it_is_legal(call in any_call()) {
        let model = Register::with_cas(Value::Nil);
        let changes = (0..4_i64).map(Value::Int).any(|state| {
            model.step(&state, &call).is_ok_and(|next| next != state)
        });
        prop_assert_eq!(model.is_pure(&call), !changes);
    }
}

#[test]
fn a_register_has_no_more_states_than_values_however_often_calls_are_repeated() {
    let model = Register::with_cas(Value::Int(0));
    assert!(Model::is_finite(&model));
    let calls: Vec<RegisterCall> = (0..4)
        .flat_map(|n| {
            let (this, next) = (Value::Int(n), Value::Int((n + 1) % 4));
            [RegisterCall::Write(this.clone()), RegisterCall::Cas { expected: this, new: next }]
        })
        .collect();
    let mut states = vec![model.init()];
    let mut position = 0;
    while let Some(state) = states.get(position).cloned() {
        for next in calls.iter().filter_map(|call| model.step(&state, call).ok()) {
            if !states.contains(&next) {
                states.push(next);
            }
        }
        position += 1;
        assert!(states.len() <= 4, "{states:?}");
    }
}

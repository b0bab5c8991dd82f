//! What a person is told. That it is *true* is tested in [`crate::agreement`]; here are the words.

use labrys_checker::linearizable::{Algorithm, Completed, Decision, Interval, STEPS_LIMIT, decide};
use labrys_checker::models::{Register, RegisterCall};
use labrys_checker::verdict::{Evidence, ExplanationPart, NonLinearizable, Validity, Verdict};
use labrys_checker::{CheckConfig, Context, Linearizable, Meaning, Model, ModelError, Removal, check};
use labrys_history::{Operation, Value};

use crate::support::mini;

fn verdict_on(text: &str) -> Verdict {
    check(&mini::history(text), &CheckConfig::linearizable("cas-register", Some(Value::Int(0))).unwrap())
        .unwrap()
}

fn evidence_on(text: &str) -> NonLinearizable {
    let verdict = verdict_on(text);
    match &verdict.checks[0].partitions[0].evidence[..] {
        [Evidence::NonLinearizable(evidence)] => evidence.clone(),
        other => panic!("{other:?}"),
    }
}

/// The evidence as text, a line for each step and candidate.
fn told(evidence: &NonLinearizable) -> String {
    let steps = evidence
        .longest_linearization
        .iter()
        .map(|step| format!("{} {} | {}\n", step.operation, step.description, step.state));
    let candidates = evidence.candidates.iter().map(|candidate| {
        format!("? {} {}: {}\n", candidate.operation, candidate.description, candidate.reason)
    });
    format!(
        "{}{}{} to {} does not fit\n",
        steps.collect::<String>(),
        candidates.collect::<String>(),
        evidence.operation,
        evidence.prefix_end
    )
}

#[test]
fn a_stale_read_is_told_with_what_the_register_held() {
    let evidence = evidence_on("0 inv w1; 0 ok; 0 inv w2; 0 ok; 1 inv r; 1 ok 1; 0 inv w3; 0 ok");
    assert_eq!(
        told(&evidence),
        "0 write 1 | register = 1\n\
         2 write 2 | register = 2\n\
         ? 4 read → 1: read 1, but the register holds 2\n\
         4 to 5 does not fit\n"
    );
}

#[test]
fn every_way_to_refuse_has_its_words() {
    let evidence = evidence_on("0 inv c4>1; 1 inv r; 2 inv c0>7; 1 ok 3; 0 ok; 2 fail");
    assert_eq!(
        told(&evidence),
        "? 1 read → 3: read 3, but the register holds 0\n\
         ? 0 cas 4 → 1: compared equal to 4, but the register holds 0\n\
         ? 2 cas 0 → unequal: compared unequal to 0, but the register holds 0\n\
         1 to 3 does not fit\n"
    );
}

#[test]
fn crashed_operations_stand_in_the_order_only_where_they_are_needed() {
    let evidence = evidence_on("0 inv w1; 0 info; 1 inv w2; 1 info; 2 inv r; 2 ok 1; 2 inv r; 2 ok 5");
    assert_eq!(
        told(&evidence),
        "0 write 1 | register = 1\n\
         4 read → 1 | register = 1\n\
         ? 6 read → 5: read 5, but the register holds 1\n\
         ? 2 write 2: leads nowhere: possible, and then register = 2, but no order of the rest explains read → 5 by \
         event 7\n\
         6 to 7 does not fit\n"
    );
}

#[test]
fn the_reason_of_the_check_names_the_key_and_what_was_not_judged() {
    let text = "0 inv a:w1; 0 ok; 0 inv a:r; 0 ok 2; 0 inv b:r; 0 ok 0";
    let verdict = verdict_on(text);
    assert_eq!(
        verdict.checks[0].reason,
        "key \"a\": no order explains read → 2 (events 2 to 3): one that reaches this far ends with register = 1; 1 \
         further key was not judged"
    );
    assert_eq!(verdict.checks[0].partitions.len(), 1);
}

#[test]
fn the_first_violation_in_order_of_size_decides_unless_all_are_asked_for() {
    // Key c is the largest, then b, then a; b and a are invalid.
    let text = "0 inv a:r; 0 ok 9; 0 inv b:w1; 0 ok; 0 inv b:r; 0 ok 9; \
                0 inv c:w1; 0 ok; 0 inv c:w1; 0 ok; 0 inv c:w1; 0 ok";
    let keys = |all: bool| {
        let config = CheckConfig::linearizable("register", Some(Value::Int(0))).unwrap().judging_all(all);
        let verdict = check(&mini::history(text), &config).unwrap();
        assert_eq!(verdict.validity, Validity::Invalid);
        let partitions = verdict.checks[0].partitions.iter();
        partitions.map(|p| (p.key.as_str().unwrap().to_owned(), p.validity)).collect::<Vec<_>>()
    };
    let named = |key: &str, validity| (key.to_owned(), validity);
    assert_eq!(keys(false), [named("b", Validity::Invalid), named("c", Validity::Valid)]);
    assert_eq!(
        keys(true),
        [named("a", Validity::Invalid), named("b", Validity::Invalid), named("c", Validity::Valid)]
    );
}

#[test]
fn of_a_very_long_order_only_the_end_is_told() {
    let sequential = |number: u64, call| Interval {
        call,
        operation: 2 * number,
        invoked_ns: 2 * number,
        completed: Some(Completed { time_ns: 2 * number + 1, index: 2 * number + 1 }),
    };
    let writes = 3 * STEPS_LIMIT as u64;
    let mut intervals: Vec<_> =
        (0..writes).map(|n| sequential(n, RegisterCall::Write(Value::Int(n as i64)))).collect();
    intervals.push(sequential(writes, RegisterCall::Read(Value::Int(-1))));
    let decision = decide(&Register::new(Value::Nil), &intervals, &Context::default());
    let Decision::NonLinearizable(evidence) = decision else { panic!("{decision:?}") };
    assert_eq!(evidence.longest_linearization.len(), STEPS_LIMIT);
    assert_eq!(evidence.omitted_steps, writes - STEPS_LIMIT as u64);
    assert_eq!(evidence.longest_linearization.last().unwrap().operation, 2 * (writes - 1));
    assert_eq!(evidence.prefix_end, 2 * writes + 1);
}

#[test]
fn a_linearization_is_given_as_a_witness() {
    let text = "0 inv w1; 1 inv w2; 2 inv r; 2 ok 1; 2 inv r; 2 ok 2; 3 inv w7; 3 info; 0 ok; 1 ok";
    let history = mini::history(text);
    let operations = history.operations();
    let model = Register::new(Value::Nil);
    let intervals: Vec<Interval<RegisterCall>> = operations
        .iter()
        .map(|operation| {
            let completed = operation.completion().index().zip(operation.completion().time_ns());
            let completed = completed.map(|(index, time_ns)| Completed { time_ns, index });
            let (call, completed) = match labrys_checker::Model::meaning(&model, operation).unwrap() {
                labrys_checker::Meaning::Completed(call) => (call, completed),
                labrys_checker::Meaning::Crashed(call) => (call, None),
                labrys_checker::Meaning::Nothing => panic!("every operation here says something"),
            };
            Interval {
                call,
                operation: operation.invoke_index(),
                invoked_ns: operation.invoke_time_ns(),
                completed,
            }
        })
        .collect();
    let decision = decide(&model, &intervals, &Context::default());
    assert_eq!(decision, Decision::Linearizable(vec![0, 2, 1, 4]));
}

/// The configurations as text, a line for each with its candidates.
fn surviving(evidence: &NonLinearizable) -> String {
    let configurations = evidence.surviving.configurations.iter().map(|one| {
        let candidates = one.candidates.iter().map(|candidate| {
            format!("  ? {} {}: {}\n", candidate.operation, candidate.description, candidate.reason)
        });
        let candidates: String = candidates.collect();
        format!("{} with {:?} and crashed {:?}\n{candidates}", one.state, one.linearized, one.crashed)
    });
    configurations.collect()
}

#[test]
fn the_configurations_before_the_end_are_told_each_with_the_reasons_of_the_model() {
    // The first write may be done before the second or behind it; without it, less would be possible.
    let evidence = evidence_on("0 inv w1; 1 inv w2; 2 inv c2>7; 1 ok; 3 inv r; 3 ok 5; 0 ok; 2 ok");
    assert_eq!(
        surviving(&evidence),
        "register = 1 with [0] and crashed []\n  ? 4 read → 5: read 5, but the register holds 1\n  \
         ? 2 cas 2 → 7: compared equal to 2, but the register holds 1\n\
         register = 2 with [0] and crashed []\n  ? 4 read → 5: read 5, but the register holds 2\n  \
         ? 2 cas 2 → 7: leads nowhere: possible, and then register = 7, but no order of the rest explains read → 5 by event 5\n"
    );
    assert!(evidence.surviving.is_all && evidence.cut_short.is_empty(), "{evidence:?}");
}

#[test]
fn the_configurations_that_a_search_finds_are_there_whichever_algorithm_decides() {
    let text =
        "0 inv w1; 0 info; 1 inv w2; 2 inv w3; 3 inv r; 3 ok 3; 2 ok; 3 inv r; 3 ok 1; 3 inv r; 3 ok 3; 1 ok";
    let told = [Algorithm::Auto, Algorithm::DepthFirst, Algorithm::BreadthFirst].map(|algorithm| {
        let mut config = CheckConfig::linearizable("register", Some(Value::Int(0))).unwrap();
        config.context.algorithm = algorithm;
        let verdict = check(&mini::history(text), &config).unwrap();
        match &verdict.checks[0].partitions[0].evidence[..] {
            [Evidence::NonLinearizable(evidence)] => {
                let mut configurations = evidence.surviving.configurations.clone();
                configurations.sort_by_key(|one| (one.state.clone(), one.linearized.clone()));
                configurations
            }
            other => panic!("{other:?}"),
        }
    });
    assert!(told[0].iter().any(|one| one.crashed == [0]), "{told:#?}");
    assert!(told[1] == told[2] && told[1].iter().all(|one| told[0].contains(one)), "{told:#?}");
}

#[test]
fn a_valid_partition_has_its_linearization_if_that_is_asked_for() {
    let history = mini::history("0 inv a:w1; 1 inv a:r; 0 ok; 1 ok 0; 0 inv b:w1; 0 info; 1 inv b:r; 1 ok 1");
    let linearizations = |witness: bool| {
        let config = CheckConfig::linearizable("register", Some(Value::Int(0))).unwrap();
        let verdict = check(&history, &config.with_witness(witness)).unwrap();
        let partitions = verdict.checks[0].partitions.iter();
        partitions.map(|partition| partition.linearization.clone()).collect::<Vec<_>>()
    };
    assert_eq!(linearizations(true), [Some(vec![1, 0]), Some(vec![4, 6])]);
    assert_eq!(linearizations(false), [None, None]);
}

/// A register that fails to explain: it panics when it is asked for words, or for what may be left out.
struct Speechless {
    register: Register,
    is_without_words: bool,
}

impl Model for Speechless {
    type State = Value;
    type Call = RegisterCall;
    type Refusal = &'static str;

    fn name(&self) -> &str {
        "speechless"
    }

    fn init(&self) -> Value {
        self.register.init()
    }

    fn meaning(&self, operation: &Operation) -> Result<Meaning<RegisterCall>, ModelError> {
        self.register.meaning(operation)
    }

    fn step(&self, state: &Value, call: &RegisterCall) -> Result<Value, &'static str> {
        self.register.step(state, call).map_err(|_| "no")
    }

    fn removal(&self, _: &[Interval<RegisterCall>]) -> Removal {
        panic!("removal, on purpose")
    }

    fn describe_call(&self, call: &RegisterCall) -> String {
        assert!(!self.is_without_words, "words, on purpose");
        self.register.describe_call(call)
    }

    fn describe_state(&self, state: &Value) -> String {
        self.register.describe_state(state)
    }
}

#[test]
fn an_explanation_that_fails_does_not_weaken_the_verdict_and_is_said_to_have_failed() {
    let history = mini::history("0 inv w1; 0 ok; 1 inv r; 1 ok 5");
    for is_without_words in [false, true] {
        let model = Speechless { register: Register::new(Value::Nil), is_without_words };
        let config = CheckConfig::default().with(Linearizable::new(model));
        let verdict = check(&history, &config).unwrap();
        assert_eq!(verdict.validity, Validity::Invalid);
        let [Evidence::NonLinearizable(evidence)] = &verdict.checks[0].partitions[0].evidence[..] else {
            panic!()
        };
        assert_eq!((evidence.operation, evidence.prefix_end), (2, 3));
        let parts: Vec<ExplanationPart> = evidence.cut_short.iter().map(|cut| cut.part).collect();
        let removal = ExplanationPart::MinimalHistory;
        let expected = if is_without_words {
            vec![ExplanationPart::LongestLinearization, removal]
        } else {
            vec![removal]
        };
        assert_eq!(parts, expected);
        assert!(evidence.cut_short[0].reason.contains("on purpose"), "{evidence:?}");
        assert_eq!(evidence.longest_linearization.is_empty(), is_without_words);
    }
}

#[test]
fn a_verdict_survives_being_written_and_read() {
    let verdict = verdict_on("0 inv w1; 0 ok; 1 inv r; 1 ok 5");
    let text = serde_json::to_string(&verdict).unwrap();
    assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
}

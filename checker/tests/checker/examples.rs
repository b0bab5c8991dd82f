//! Named examples, in the mini language of [`crate::support::mini`].

use labrys_checker::verdict::Validity::{self, Invalid, Valid};
use labrys_checker::{CheckConfig, check};
use labrys_history::Value;

use crate::support::mini;

/// Name, initial value, history, verdict.
const EXAMPLES: &[(&str, Option<i64>, &str, Validity)] = &[
    ("nothing happened", None, "", Valid),
    ("a read of nothing", None, "0 inv r; 0 ok nil", Valid),
    ("a read of the initial value", Some(0), "0 inv r; 0 ok 0", Valid),
    ("a read of nil is a read of something else", None, "0 inv w1; 0 ok; 0 inv r; 0 ok nil", Invalid),
    ("a stale read", None, "0 inv w1; 0 ok; 0 inv w2; 0 ok; 1 inv r; 1 ok 1", Invalid),
    ("a read during a write may be early", None, "0 inv w1; 1 inv r; 1 ok nil; 0 ok", Valid),
    ("or late", None, "0 inv w1; 1 inv r; 1 ok 1; 0 ok", Valid),
    ("but not late and then early", None, "0 inv w1; 1 inv r; 1 ok 1; 1 inv r; 1 ok nil; 0 ok", Invalid),
    (
        "two readers that see two writes in different orders",
        None,
        "0 inv w1; 1 inv w2; 2 inv r; 3 inv r; 2 ok 1; 3 ok 2; 2 inv r; 3 inv r; 2 ok 2; 3 ok 1; 0 ok; 1 ok",
        Invalid,
    ),
    ("touching in one instant is concurrent", None, "0 inv w1; 0 ok; = 1 inv r; 1 ok nil", Valid),
    ("though an instant later it is not", None, "0 inv w1; 0 ok; 1 inv r; 1 ok nil", Invalid),
    ("even within one process", None, "0 inv w1; 0 ok; = 0 inv r; 0 ok nil", Valid),
    ("a write that failed did not happen", None, "0 inv w1; 0 fail timed-out; 1 inv r; 1 ok 1", Invalid),
    ("a write that crashed may have", None, "0 inv w1; 0 info; 1 inv r; 1 ok 1", Valid),
    ("or not", None, "0 inv w1; 0 info; 1 inv r; 1 ok nil", Valid),
    ("or late", None, "0 inv w1; 0 info; 1 inv r; 1 ok nil; 1 inv r; 1 ok 1", Valid),
    (
        "but once only",
        None,
        "0 inv w1; 0 info; 1 inv w2; 1 ok; 1 inv r; 1 ok 1; 1 inv w2; 1 ok; 1 inv r; 1 ok 1",
        Invalid,
    ),
    (
        "two crashed writes of a value explain it twice",
        None,
        "0 inv w1; 0 info; 2 inv w1; 2 info; 1 inv w2; 1 ok; 1 inv r; 1 ok 1; 1 inv w2; 1 ok; 1 inv r; 1 ok 1",
        Valid,
    ),
    ("a write that the history leaves open is one that crashed", None, "0 inv w1; 1 inv r; 1 ok 1", Valid),
    ("nothing happens before it is invoked", None, "1 inv r; 1 ok 1; 0 inv w1; 0 info", Invalid),
    ("a cas that found its value", Some(0), "0 inv c0>1; 0 ok; 0 inv r; 0 ok 1", Valid),
    ("a cas that cannot have found its value", Some(0), "0 inv c5>1; 0 ok", Invalid),
    ("two cas of one value", Some(0), "0 inv c0>1; 1 inv c0>2; 0 ok; 1 ok", Invalid),
    ("a cas that failed although it would have fit", Some(0), "0 inv c0>1; 0 fail", Invalid),
    ("unless something else was there for a while", Some(0), "1 inv w3; 0 inv c0>1; 0 fail; 1 ok", Valid),
    ("or it was just not executed", Some(0), "0 inv c0>1; 0 fail timed-out; 0 inv r; 0 ok 0", Valid),
    ("a crashed write explains why a cas failed", Some(0), "1 inv w3; 1 info; 0 inv c0>1; 0 fail", Valid),
    ("a crashed cas only if its value was there", Some(0), "1 inv c7>3; 1 info; 0 inv c0>1; 0 fail", Invalid),
    ("crashed cas in a chain", Some(0), "1 inv c1>2; 1 info; 2 inv c0>1; 2 info; 0 inv r; 0 ok 2", Valid),
    ("a cas of a value with itself changes nothing", Some(0), "0 inv c0>0; 0 ok; 0 inv r; 0 ok 0", Valid),
    ("keys are independent", None, "0 inv a:w1; 0 ok; 0 inv b:r; 0 ok nil", Valid),
    (
        "and each counts",
        None,
        "0 inv a:w1; 0 ok; 0 inv b:r; 0 ok nil; 0 inv b:w2; 0 ok; 0 inv b:r; 0 ok nil",
        Invalid,
    ),
];

#[test]
fn every_example_has_its_verdict() {
    for &(name, initial, text, expected) in EXAMPLES {
        let initial = initial.map(Value::Int);
        let verdict =
            check(&mini::history(text), &CheckConfig::linearizable("cas-register", initial).unwrap());
        let verdict = verdict.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(verdict.validity, expected, "{name}: {text}: {verdict:#?}");
    }
}

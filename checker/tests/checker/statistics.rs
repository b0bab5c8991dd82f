//! Counting, and runs that exercised nothing.

use labrys_checker::statistics::Statistics;
use labrys_checker::verdict::{CheckVerdict, Validity};
use labrys_checker::{CheckConfig, check};
use serde_json::json;

use crate::support::mini;

fn statistics_of(text: &str) -> CheckVerdict {
    let config = CheckConfig::default().with(Statistics::default());
    check(&mini::history(text), &config).unwrap().checks.remove(0)
}

#[test]
fn completions_are_counted_by_function_and_an_open_operation_is_info() {
    let verdict =
        statistics_of("0 inv w1; 0 ok; 0 inv w1; 0 info; 1 inv r; 1 ok 1; 1 inv r; 1 fail; 2 inv r");
    assert_eq!(verdict.validity, Validity::Valid);
    assert_eq!(verdict.statistics["f.write"], json!({"ok": 1, "fail": 0, "info": 1}));
    assert_eq!(verdict.statistics["f.read"], json!({"ok": 1, "fail": 1, "info": 1}));
    assert_eq!(verdict.statistics["total"], json!({"ok": 2, "fail": 1, "info": 2}));
}

#[test]
fn a_run_that_exercised_nothing_is_unknown() {
    for (text, reason) in [
        ("", "the history has no client operations"),
        ("0 inv w1; 0 info; 1 inv r; 1 fail", "no operation succeeded"),
        ("0 inv w1; 0 ok; 1 inv r; 1 fail", "never succeeded: read (tried 1 times)"),
        ("0 inv w1; 0 info; 1 inv w1; 1 fail; 2 inv r; 2 ok nil", "never succeeded: write (tried 2 times)"),
    ] {
        let verdict = statistics_of(text);
        assert_eq!((verdict.validity, verdict.reason.as_str()), (Validity::Unknown, reason), "{text}");
    }
}

#[test]
fn a_cas_may_find_another_value_every_time() {
    let verdict = statistics_of("0 inv c1>2; 0 fail; 1 inv r; 1 ok nil");
    assert_eq!(verdict.validity, Validity::Valid, "{}", verdict.reason);
}

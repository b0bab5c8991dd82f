//! Courses, the text of them, and what a program is started with.

use proptest::prelude::*;

use super::*;

const NOW_NS: i64 = 1_795_000_000_123_456_789;
const SECOND_NS: i64 = 1_000_000_000;

#[test]
fn a_course_runs_on_from_where_the_last_one_was() {
    let right = Course::right(NOW_NS);
    let fast = right.at_rate(NOW_NS, 1_040);
    assert_eq!(fast.ahead_ns(NOW_NS), 0);
    assert_eq!(fast.ahead_ns(NOW_NS + 10 * SECOND_NS), 400_000_000);
    let leapt = fast.at_rate(NOW_NS + 10 * SECOND_NS, 1_040).leapt(7, 3_000);
    assert_eq!(leapt.leaps[&7], Leap { from_ns: 400_000_000, to_ns: 3_400_000_000 });
    assert_eq!(leapt.clone().leapt(7, 3_000), leapt, "once");
    let frozen = leapt.at_rate(NOW_NS + 10 * SECOND_NS, 0);
    let stands_at = frozen.reading_ns(NOW_NS);
    assert_eq!(frozen.reading_ns(NOW_NS + 99 * SECOND_NS), stands_at);
    let again = frozen.at_rate(NOW_NS + 20 * SECOND_NS, 1_000);
    assert_eq!(again.reading_ns(NOW_NS + 20 * SECOND_NS), stands_at, "what it lost stays lost");
    assert_eq!(Course::read(&again.text()), Some(again));
}

#[test]
fn what_the_library_is_told_is_whole_numbers_with_a_rate_each_time() {
    let line = |course: &Course| course.text().lines().next().unwrap().to_owned();
    let right = Course::right(NOW_NS);
    assert_eq!(line(&right), "+0e-9 x1000e-3");
    assert_eq!(line(&right.clone().leapt(1, 1_500)), "+1500000000e-9 x1000e-3");
    let slow = right.at_rate(NOW_NS, 1_100);
    let offset_ns = (NOW_NS - EPOCH_NS) / 10;
    assert_eq!(line(&slow), format!("-{offset_ns}e-9 x1100e-3"));
    let frozen = right.at_rate(NOW_NS, 0);
    assert_eq!(line(&frozen), "1795000000.173456789 x1", "where it will be when this is read at the latest");
}

#[test]
fn what_is_not_a_course_is_none() {
    for text in ["", "+0", "+0\n{}", "+0 x1\n# {\"at_ns\":1}\n", "+0 x1\n# \u{0}"] {
        assert_eq!(Course::read(text), None, "{text:?}");
    }
}

#[test]
fn old_journals_name_a_file_of_orders_and_new_ones_either_means() {
    let orders: ClockMeans = serde_json::from_str("\"/n1/clock.json\"").unwrap();
    assert_eq!(orders, ClockMeans::Orders(PathBuf::from("/n1/clock.json")));
    let daemon = r#"{"program":"p","args":[],"env":[],"directory":"/n1","log_file":"/n1/log","clock_file":"/n1/clock.json"}"#;
    let daemon: crate::host::DaemonSpec = serde_json::from_str(daemon).unwrap();
    assert_eq!(daemon.clock, Some(orders));
    let library = ClockMeans::Libfaketime(Box::new(Libfaketime {
        library: "/lib/libfaketime".into(),
        file: "/n1/faketime".into(),
        shared: "labrys-n1".into(),
    }));
    let text = serde_json::to_string(&library).unwrap();
    assert_eq!(serde_json::from_str::<ClockMeans>(&text).unwrap(), library);
}

/// The head of a program whose program headers are of these kinds.
fn program(kinds: &[u32]) -> Vec<u8> {
    let mut head = vec![0; 64];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    head[32] = 64;
    head[54] = 56;
    head[56] = u8::try_from(kinds.len()).unwrap();
    for kind in kinds {
        head.extend(kind.to_le_bytes());
        head.extend([0; 52]);
    }
    head
}

#[test]
fn a_program_without_a_loader_is_refused_and_nothing_else_is() {
    assert!(has_no_interpreter(&program(&[6, 1, 1])));
    assert!(!has_no_interpreter(&program(&[6, 3, 1])));
    assert!(!has_no_interpreter(b"#!/bin/sh\n"));
    for length in 0..program(&[6, 1]).len() - 52 {
        assert!(!has_no_interpreter(&program(&[6, 1])[..length]), "{length}: too little to judge by");
    }
    let itself = std::env::current_exe().unwrap();
    assert!(!is_statically_linked(&itself).unwrap(), "Rust's programs for glibc have one");
}

#[test]
fn what_cannot_be_under_the_library_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let static_program = folder.path().join("static");
    std::fs::write(&static_program, program(&[1])).unwrap();
    let means = Libfaketime {
        library: folder.path().join("none"),
        file: folder.path().join("faketime"),
        shared: "labrys-test-refused".into(),
    };
    let refusal = means.prepare(Path::new("sh")).unwrap_err().to_string();
    assert!(
        refusal.contains("no libfaketime at") && refusal.contains("apt-get install faketime"),
        "{refusal}"
    );
    let means = Libfaketime { library: static_program.clone(), ..means };
    let refusal = means.prepare(&static_program).unwrap_err().to_string();
    assert!(refusal.contains("linked statically"), "{refusal}");
    assert!(!means.file.exists() && means.shared_files().iter().all(|file| !file.exists()));
}

proptest! {
    #[test]
    fn it_never_runs_back_whenever_a_change_begins_in_time(
        changes in prop::collection::vec((0_i64..5 * SECOND_NS, 0_i64..CHANGED_WITHIN_NS, 0_u64..3_000, 0_u64..2_000), 1..20)
    ) {
        let mut now_ns = NOW_NS;
        let mut course = Course::right(now_ns);
        for (number, (passed_ns, late_ns, rate_permille, leap_ms)) in (0..).zip(changes) {
            now_ns += passed_ns;
            let next = course.at_rate(now_ns, rate_permille);
            let begins_ns = now_ns + late_ns;
            let gap_ns = next.reading_ns(begins_ns) - course.reading_ns(begins_ns);
            let most_ns = CHANGED_WITHIN_NS * i64::try_from(rate_permille.abs_diff(course.rate_permille)).unwrap() / 1000;
            // Rounded twice.
            prop_assert!((-2..=most_ns + 2).contains(&gap_ns), "{gap_ns}");
            course = next.leapt(number, leap_ms);
            prop_assert!(course.order().len() < 255);
            prop_assert_eq!(Course::read(&course.text()), Some(course.clone()));
            now_ns = begins_ns;
        }
    }
}

//! Runs one after the other under one supervisor: none leaves anything for the next, and the supervisor itself does not grow.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use labrys_tests::{Traces, eventually, labrys, whole_machine};

/// So many runs of so many seconds unless the environment says otherwise (`LABRYS_CONSECUTIVE_RUNS`, `LABRYS_CONSECUTIVE_SECONDS`): few, for
/// the sake of those who run all tests. 24 of a minute each, with 360 steps of each kind a minute, are a day's plan.
const RUNS: u64 = 3;
const SECONDS: u64 = 6;

/// Memory comes from the kernel in pages and from the allocator in arenas, not to the byte.
const SLACK_KIB: u64 = 4 * 1024;

#[test]
fn many_runs_one_after_the_other_leak_no_process_descriptor_mount_namespace_or_memory() {
    let _machine = whole_machine();
    let number = |name, otherwise| {
        std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(otherwise)
    };
    let runs = number("LABRYS_CONSECUTIVE_RUNS", RUNS);
    let seconds = number("LABRYS_CONSECUTIVE_SECONDS", SECONDS);
    let folder = tempfile::tempdir().unwrap();
    let before = Traces::look();
    let (count, time_limit) = (runs.to_string(), format!("{seconds}s"));
    let mut child = labrys(
        folder.path(),
        &[
            "test",
            "--test-count",
            &count,
            "--seed",
            "1",
            "--time-limit",
            &time_limit,
            "--rate",
            "300",
            "--nodes",
            "3",
            "--nemesis",
            "partition,pause,kill,clock,network",
            "--nemesis-interval",
            "500ms",
        ],
    )
    .stderr(Stdio::piped())
    .stdout(Stdio::null())
    .spawn()
    .unwrap();
    let supervisor = child.id();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut seen, mut all) = (Vec::new(), String::new());
    for line in lines.map_while(Result::ok) {
        // Said by the harness: its supervisor waits, and goes on to until it has ended.
        if line.starts_with("seed ") {
            seen.push((descriptors(supervisor), resident_kib(supervisor)));
        }
        all.push_str(&line);
        all.push('\n');
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{all}");
    assert_eq!(seen.len() as u64, runs, "{all}");
    assert!(seen.iter().all(|(descriptors, kib)| *descriptors > 0 && *kib > 0), "{seen:?}");
    // From the second run on everything is there that the supervisor needs for itself.
    let settled = &seen[1.min(seen.len() - 1)..];
    let (first_descriptors, first_kib) = settled[0];
    for (descriptors, kib) in settled {
        assert_eq!(*descriptors, first_descriptors, "descriptors of the supervisor: {seen:?}");
        assert!(*kib <= first_kib + SLACK_KIB, "memory of the supervisor in KiB: {seen:?}");
    }
    eventually(10, "nothing is left of any run", || {
        let left = Traces::look().since(&before);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

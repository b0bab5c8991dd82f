//! Runs one after the other under one supervisor: none leaves anything for the next, and neither the supervisor nor the harness of a run
//! collects descriptors.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use labrys_tests::{Traces, eventually, labrys, whole_machine};

/// So many runs of so many seconds unless the environment says otherwise (`LABRYS_CONSECUTIVE_RUNS`, `LABRYS_CONSECUTIVE_SECONDS`): few, for
/// the sake of those who run all tests. 24 of a minute each, with 360 steps of each kind a minute, are a day's plan.
const RUNS: u64 = 3;
const SECONDS: u64 = 6;

/// Memory comes from the kernel in pages and from the allocator in arenas, not to the byte.
const SLACK_KIB: u64 = 4 * 1024;

/// Clients that connect anew and a nemesis at work have some descriptors more at one moment than at another; who forgets one with each fault has
/// hundreds more at the end of a minute.
const SLACK_DESCRIPTORS: usize = 64;

/// How often the harness is looked at.
const BETWEEN_TWO_LOOKS: Duration = Duration::from_millis(100);

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
    let (finished, when_finished) = mpsc::channel();
    let watcher = std::thread::spawn(move || watch_harnesses(supervisor, &when_finished));
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
    drop(finished);
    let harnesses = watcher.join().unwrap();
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
    assert_eq!(harnesses.len() as u64, runs, "harnesses seen");
    for (number, looks) in harnesses.iter().enumerate() {
        let most = |looks: &[Look]| looks.iter().map(|look| look.descriptors).max().unwrap_or(0);
        let kib = looks.iter().map(|look| look.resident_kib).max().unwrap_or(0);
        let (early, late) = (most(&looks[..looks.len() / 2]), most(&looks[looks.len() / 2..]));
        println!(
            "run {}: harness with at most {early} descriptors in the first half, {late} in the second; {kib} KiB",
            number + 1
        );
        assert!(early > 0 && kib > 0, "run {} was not seen: {} looks", number + 1, looks.len());
        assert!(late <= early + SLACK_DESCRIPTORS, "run {}: {early} descriptors became {late}", number + 1);
    }
    eventually(10, "nothing is left of any run", || {
        let left = Traces::look().since(&before);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// The harness of a run at a moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    descriptors: usize,
    resident_kib: u64,
}

/// What is seen of the harness of each run, in order, until nobody is there any more to say that it is finished.
fn watch_harnesses(supervisor: u32, finished: &mpsc::Receiver<()>) -> Vec<Vec<Look>> {
    let mut harnesses: Vec<(u32, Vec<Look>)> = Vec::new();
    while finished.recv_timeout(BETWEEN_TWO_LOOKS) == Err(mpsc::RecvTimeoutError::Timeout) {
        // The supervisor's child is the first process of the run's namespaces; the harness is its child that was given the options.
        let Some(harness) = first_child(supervisor).and_then(first_child).filter(is_harness) else {
            continue;
        };
        let look = Look { descriptors: descriptors(harness), resident_kib: resident_kib(harness) };
        if look.descriptors == 0 || look.resident_kib == 0 {
            continue;
        }
        match harnesses.last_mut() {
            Some((pid, looks)) if *pid == harness => looks.push(look),
            _ => harnesses.push((harness, vec![look])),
        }
    }
    harnesses.into_iter().map(|(_, looks)| looks).collect()
}

fn first_child(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}

fn is_harness(pid: &u32) -> bool {
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command_line.split(|byte| *byte == 0).any(|argument| argument == b"--resolved")
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

//! SIGKILL of the harness at random moments: nothing is left behind, and what was recorded can be checked.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use labrys_tests::{Traces, eventually, finish, labrys, whole_machine};
use rand::Rng;

/// So many random moments; the seed is printed by the assertion that fails.
const MOMENTS: u64 = 10;
const LONGEST_MS: u64 = 6_000;

#[test]
fn sigkill_at_ten_random_moments_leaves_nothing_behind_and_the_recorded_history_can_be_checked() {
    let _machine = whole_machine();
    let seed =
        std::env::var("LABRYS_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121);
    let mut rng = labrys_seed::Seed(seed).rng();
    let mut checked = 0;
    for moment in 0..MOMENTS {
        let after = Duration::from_millis(rng.random_range(0..LONGEST_MS));
        checked += u64::from(kill_after(after, seed, moment));
    }
    assert!(checked >= MOMENTS / 3, "only {checked} of {MOMENTS} runs had recorded anything: seed {seed}");
}

/// Kills a run at a moment; whether it had recorded any operation.
fn kill_after(after: Duration, seed: u64, moment: u64) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let before = Traces::look();
    let args = ["test", "--time-limit", "60s", "--nemesis-interval", "500ms"];
    let mut child = labrys(folder.path(), &args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group_of_its_own()
        .spawn()
        .unwrap();
    // Not a wait for a condition: the moment itself is what is random here.
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually(10, &format!("nothing is left, seed {seed}, moment {moment} ({after:?})"), || {
        let left = Traces::look().since(&before);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    check_what_was_recorded(folder.path(), seed, moment)
}

fn check_what_was_recorded(folder: &std::path::Path, seed: u64, moment: u64) -> bool {
    let run = folder.join("labrys-runs/latest");
    let history = run.join("history.jsonl");
    let Ok(text) = fs::read_to_string(&history) else { return false };
    let any = text.matches(r#""kind":"ok""#).count() > 0;
    let args = ["check", history.to_str().unwrap(), "--model", "cas-register"];
    let finished = finish(&mut labrys(folder, &args));
    let expected = if any { 0 } else { 2 };
    let saved = || format!("seed {seed}, moment {moment}: {finished:?}");
    assert_eq!(finished.code, Some(expected), "{}", saved());
    // No verdict was left, and the report comes to one: unknown, where no fault or no read was seen yet.
    let report = finish(&mut labrys(folder, &["report", run.to_str().unwrap()]));
    assert!(matches!(report.code, Some(0 | 2)), "{}: {report:?}", saved());
    assert!(run.join("report/index.html").is_file(), "{}: {report:?}", saved());
    let heal = finish(&mut labrys(folder, &["heal", run.to_str().unwrap()]));
    assert_eq!(heal.code, Some(0), "seed {seed}, moment {moment}: {heal:?}");
    any
}

/// Keeps the signal from reaching anybody but the one process it is sent to.
trait ProcessGroup {
    fn process_group_of_its_own(&mut self) -> &mut Command;
}

impl ProcessGroup for Command {
    fn process_group_of_its_own(&mut self) -> &mut Command {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}

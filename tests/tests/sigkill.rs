//! SIGKILL of any of Labrys's own processes at random moments: nothing is left behind, and what was recorded can be checked.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use labrys_tests::{Traces, eventually, finish, labrys, whole_machine};
use rand::Rng;
use rand::seq::SliceRandom;

/// So many random moments; the seed is printed by the assertion that fails.
const MOMENTS: u64 = 10;
const LONGEST_MS: u64 = 6_000;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// What the user started.
    Supervisor,
    /// PID 1 inside.
    Init,
    /// Where everything happens.
    Harness,
    /// What has the faults in hand.
    Nemesis,
}

const VICTIMS: [Victim; 4] = [Victim::Supervisor, Victim::Init, Victim::Harness, Victim::Nemesis];

#[test]
fn sigkill_of_any_part_at_ten_random_moments_leaves_nothing_behind_and_the_recorded_history_can_be_checked() {
    let _machine = whole_machine();
    let seed =
        std::env::var("LABRYS_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121);
    let mut rng = labrys_seed::Seed(seed).rng();
    let mut checked = 0;
    let mut victims: Vec<Victim> = Vec::new();
    for moment in 0..MOMENTS {
        if victims.is_empty() {
            victims = VICTIMS.to_vec();
            victims.shuffle(&mut rng);
        }
        let victim = victims.pop().unwrap_or(Victim::Supervisor);
        let after = Duration::from_millis(rng.random_range(0..LONGEST_MS));
        checked += u64::from(kill_after(
            victim,
            after,
            &format!("seed {seed}, moment {moment} ({victim:?}, {after:?})"),
        ));
    }
    assert!(checked >= MOMENTS / 3, "only {checked} of {MOMENTS} runs had recorded anything: seed {seed}");
}

/// Kills a part of a run at a moment after it has come to life; whether the run had recorded any operation.
fn kill_after(victim: Victim, after: Duration, case: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let before = Traces::look();
    // A run whose nemesis is killed goes on to its end.
    let time_limit = if victim == Victim::Nemesis { "8s" } else { "60s" };
    let args = ["test", "--time-limit", time_limit, "--nemesis-interval", "500ms"];
    let told = folder.path().join("stderr");
    let mut child = labrys(folder.path(), &args)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&told).unwrap())
        .process_group_of_its_own()
        .spawn()
        .unwrap();
    let pid = wait_for(victim, &child, case);
    // Not a wait for a condition: the moment itself is what is random here.
    std::thread::sleep(after);
    let killed = Command::new("kill").args(["-KILL", &pid]).status().unwrap().success();
    assert!(killed, "{case}: {pid} was gone before: {}", fs::read_to_string(&told).unwrap());
    let code = child.wait().unwrap().code();
    let expected = (victim != Victim::Supervisor).then_some(255);
    assert_eq!(code, expected, "{case}: never a verdict");
    eventually(10, &format!("nothing is left, {case}"), || {
        let left = Traces::look().since(&before);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    check_what_was_recorded(folder.path(), case)
}

/// The number of the victim, once there is one.
fn wait_for(victim: Victim, supervisor: &Child, case: &str) -> String {
    let mut found = None;
    eventually(60, &format!("{victim:?} lives, {case}"), || {
        found = find(victim, supervisor);
        if found.is_some() { Ok(()) } else { Err("not yet") }
    });
    found.expect("it was found")
}

fn find(victim: Victim, supervisor: &Child) -> Option<String> {
    let supervisor = supervisor.id().to_string();
    // The supervisor becomes init's parent by clone, the harness is executed anew by init, and starts the nemesis.
    let init = || child_of(&supervisor, "test");
    let harness = || child_of(&init()?, "test");
    match victim {
        Victim::Supervisor => Some(supervisor),
        Victim::Init => init(),
        Victim::Harness => harness(),
        Victim::Nemesis => child_of(&harness()?, "nemesis-process"),
    }
}

/// The child of a process whose first argument is this.
fn child_of(parent: &str, argument: &str) -> Option<String> {
    let is_child = |pid: &String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name in brackets: the state, and then the parent.
        let is_of_parent =
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)) == Some(parent);
        let command = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_of_parent && command().split('\0').nth(1) == Some(argument)
    };
    let entries = fs::read_dir("/proc").ok()?.flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).find(is_child)
}

fn check_what_was_recorded(folder: &std::path::Path, case: &str) -> bool {
    let run = folder.join("labrys-runs/latest");
    let history = run.join("history.jsonl");
    let Ok(text) = fs::read_to_string(&history) else { return false };
    let any = text.matches(r#""kind":"ok""#).count() > 0;
    let args = ["check", history.to_str().unwrap(), "--model", "cas-register"];
    let finished = finish(&mut labrys(folder, &args));
    // Unknown where the run was cut off before it had exercised anything; never a violation, never unreadable.
    let expected: &[i32] = if any { &[0, 2] } else { &[2] };
    assert!(finished.code.is_some_and(|code| expected.contains(&code)), "{case}: {finished:?}");
    // No verdict was left, and the report comes to one.
    let report = finish(&mut labrys(folder, &["report", run.to_str().unwrap()]));
    assert!(matches!(report.code, Some(2)), "{case}: {report:?}");
    assert!(run.join("report/index.html").is_file(), "{case}: {report:?}");
    let heal = finish(&mut labrys(folder, &["heal", run.to_str().unwrap()]));
    assert_eq!(heal.code, Some(0), "{case}: {heal:?}");
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

//! Rows, commands and their ends, with real processes. This program is what it starts: `bench-row` and `check` are the two
//! commands that a `labrys` must have for it.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use labrys_bench::{CheckOptions, Report};
use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[derive(Parser)]
enum Labrys {
    #[command(name = labrys_bench::ROW_COMMAND)]
    BenchRow,
    Bench(CheckOptions),
    /// The real one is in the command line's crate.
    Check {
        #[arg(num_args = 0.., allow_hyphen_values = true)]
        _rest: Vec<String>,
    },
}

fn main() -> ExitCode {
    let is_labrys =
        std::env::args().nth(1).is_some_and(|word| ["bench-row", "bench", "check"].contains(&&*word));
    if !is_labrys {
        return libtest_mimic::run(&Arguments::from_args(), trials()).exit_code();
    }
    let outcome = match Labrys::parse() {
        Labrys::BenchRow => labrys_bench::serve_row().map_err(|error| error.to_string()),
        Labrys::Bench(options) => labrys_bench::run(&options).map(|_| ()).map_err(|error| error.to_string()),
        Labrys::Check { .. } => Ok(()),
    };
    ExitCode::from(if outcome.is_ok() { 0 } else { 255 })
}

fn trials() -> Vec<Trial> {
    vec![
        Trial::test("a_row_is_judged_in_a_process_of_its_own", || {
            a_row_is_judged_in_a_process_of_its_own();
            Ok(())
        }),
        Trial::test("a_command_is_judged_by_its_exit_code_and_ended_at_its_limit", || {
            a_command_is_judged_by_its_exit_code_and_ended_at_its_limit();
            Ok(())
        }),
        Trial::test("wrong_options_are_usage", || {
            wrong_options_are_usage();
            Ok(())
        }),
        Trial::test("nothing_is_left_after_an_interrupt", || {
            nothing_is_left_after(Signal::SIGINT, Some(255));
            Ok(())
        }),
        Trial::test("no_process_is_left_after_a_sigkill", || {
            nothing_is_left_after(Signal::SIGKILL, None);
            Ok(())
        }),
    ]
}

/// The smallest row that there is.
const ROW: &str = "unique ops=1000 clients=10 valid";

fn options(words: &[&str]) -> CheckOptions {
    let words = ["labrys", "bench", "--quick"].iter().chain(words);
    match Labrys::parse_from(words) {
        Labrys::Bench(options) => options,
        _ => unreachable!("the word is `bench`"),
    }
}

fn measured(words: &[&str]) -> Report {
    labrys_bench::run(&options(words)).expect("it can be measured").expect("it is more than a list")
}

fn a_row_is_judged_in_a_process_of_its_own() {
    let report = measured(&["--only", ROW]);
    let rows = &report.results["series"][0]["rows"];
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    assert_eq!(rows[0]["validity"], "valid");
    assert!(!report.is_wrong);
    let checked = &rows[0]["checked"];
    assert!(checked["rounds"].as_u64().unwrap() >= 1);
    assert!(checked["milliseconds"].as_f64().unwrap() <= checked["first_milliseconds"].as_f64().unwrap());
    let (loaded, peak) = (checked["loaded_bytes"].as_u64().unwrap(), checked["peak_bytes"].as_u64().unwrap());
    assert!(0 < loaded && loaded <= peak, "{loaded} {peak}");
    assert!(report.table.contains("unique, valid, by length"), "{}", report.table);
}

fn a_command_is_judged_by_its_exit_code_and_ended_at_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, pid) = (folder.path().join("copy"), folder.path().join("pid"));
    let commands = [
        format!("cp {{}} {}", copy.display()),
        "test {model} != register # {}".to_owned(),
        "exit 2 # {}".to_owned(),
        "exit 7 # {}".to_owned(),
        sleeping(&pid),
    ];
    let mut words = vec!["--only", ROW, "--row-time-limit", "1s"];
    words.extend(commands.iter().flat_map(|command| ["--against", command]));
    let report = measured(&words);
    let runs = &report.results["series"][0]["rows"][0]["against"];
    let said: Vec<&str> =
        (0..6).map(|n| runs[n]["validity"].as_str().or(runs[n]["note"].as_str()).unwrap()).collect();
    assert_eq!(said, ["valid", "valid", "invalid", "unknown", "exit 7", "> 1s"]);
    assert!(runs[1]["ratio"].as_f64().unwrap() > 0.0);
    assert!(runs[1]["peak_bytes"].as_u64().unwrap() > 0);
    let text = std::fs::read_to_string(copy).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains(":type :invoke")).count(), 1_000);
    assert_ended(&pid);
}

fn wrong_options_are_usage() {
    let error = |words: &[&str]| labrys_bench::run(&options(words)).unwrap_err();
    let no_place = error(&["--against", "true"]);
    assert!(matches!(no_place, labrys_bench::BenchError::Usage(_)), "{no_place}");
    assert_eq!(no_place.to_string(), "--against 'true': no {} where the file should stand");
    assert!(matches!(error(&["--only", "nothing"]), labrys_bench::BenchError::Usage(_)));
}

/// A bench with a command that sleeps gets `signal`.
fn nothing_is_left_after(signal: Signal, expected_code: Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let pid = folder.path().join("pid");
    let mut bench = Command::new(std::env::current_exe().unwrap())
        .args(["bench", "--quick", "--only", ROW, "--row-time-limit", "10m", "--against"])
        .arg(sleeping(&pid))
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the command runs", || written(&pid).is_some());
    assert!(is_running(written(&pid).unwrap()));
    kill(Pid::from_raw(bench.id() as i32), signal).unwrap();
    assert_eq!(bench.wait().unwrap().code(), expected_code);
    assert_ended(&pid);
    if signal != Signal::SIGKILL {
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    }
}

/// The number in the file.
fn written(pid: &Path) -> Option<i32> {
    std::fs::read_to_string(pid).ok()?.trim().parse().ok()
}

/// A command that waits for a child of its own, whose number it writes into the file.
fn sleeping(pid: &Path) -> String {
    format!("sleep 600 & echo $! > {}; wait # {{}}", pid.display())
}

/// The process of that number ends.
fn assert_ended(pid: &Path) {
    let pid = written(pid).expect("the command wrote it");
    wait_until("it ends", || !is_running(pid));
}

/// Whether it is there and not only waiting to be reaped.
fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

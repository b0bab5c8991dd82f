//! `labrys bench-row`: one measurement in a process of its own, so that its peak memory is its own and whatever it does to
//! itself ends there. Not for people: a [`Job`] comes in as a line of JSON, [`Reply`]s go out.
//!
//! The process leads a group of its own, and when its standard input ends, which the parent holds open, it ends its whole
//! group: nothing of it survives the parent, however that ends.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use labrys_checker::verdict::{Validity, Verdict};
use labrys_checker::{Budget, CheckConfig, check};
use labrys_history::{Format, History, write_history};
use labrys_seed::Seed;
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::sys::time::TimeVal;
use nix::unistd::{Pid, getpgrp};
use serde::{Deserialize, Serialize};

use crate::rows::Row;
use crate::simulation::{self, Runs, Took};

/// A check that is faster than this is repeated until this has passed, and the best round counts: everything else that a
/// machine does only ever makes it slower.
const REPEAT_FOR: Duration = Duration::from_millis(200);
const ROUNDS_LIMIT: u32 = 20;

/// What to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Make the history of a row and judge it.
    Check { row: Row, seed: u64, time_limit: Duration, memory_limit_bytes: usize },
    /// Make the history of a row and write it into a file.
    Write { row: Row, seed: u64, format: String, file: PathBuf },
    /// Simulate.
    Simulate(Runs),
    /// Run a command of the shell.
    Run { command: String, memory_limit_bytes: usize },
}

/// What there is to say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// All is prepared; from now on it counts.
    Ready,
    /// The end of a check.
    Checked(Checked),
    /// The end of a writing.
    Written,
    /// The end of simulations.
    Simulated(Took),
    /// The end of a command.
    Ran { exit_code: Option<i32>, milliseconds: f64, peak_bytes: u64 },
    /// It could not be done.
    Failed(String),
}

/// What a check said and took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Checked {
    pub validity: Validity,
    pub reason: String,
    pub algorithm: String,
    /// The best round.
    pub milliseconds: f64,
    /// The first round.
    pub first_milliseconds: f64,
    /// Processor time of the best round, all threads together: what a busy machine does not change.
    pub cpu_milliseconds: f64,
    pub rounds: u32,
    /// Resident memory before the first round: the program and the history.
    pub loaded_bytes: u64,
    /// The most resident memory from then on.
    pub peak_bytes: u64,
}

/// Does the job that comes in on standard input, and says on standard output what came of it.
///
/// # Errors
/// No job came in, or nobody listens.
pub fn serve_row() -> anyhow::Result<()> {
    let mut job = String::new();
    std::io::stdin().read_line(&mut job)?;
    let job: Job = serde_json::from_str(&job).context("no job came in")?;
    std::thread::spawn(end_with_the_parent);
    say(&carry_out(job).unwrap_or_else(|error| Reply::Failed(format!("{error:#}"))))?;
    Ok(())
}

/// Waits for the end of the input and ends the group, this process included.
fn end_with_the_parent() {
    let mut rest = [0_u8; 64];
    while matches!(std::io::stdin().read(&mut rest), Ok(1..)) {}
    // Only if it is ours: started by hand, it may be the shell's.
    if getpgrp() == Pid::this() {
        let _ = killpg(getpgrp(), Signal::SIGKILL);
    }
    std::process::exit(1);
}

fn say(reply: &Reply) -> std::io::Result<()> {
    let mut line = serde_json::to_string(reply)?;
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()
}

fn carry_out(job: Job) -> anyhow::Result<Reply> {
    match job {
        Job::Check { row, seed, time_limit, memory_limit_bytes } => {
            Ok(Reply::Checked(judge(&row, seed, time_limit, memory_limit_bytes)?))
        }
        Job::Write { row, seed, format, file } => {
            let history = row.recipe().history(Seed(seed))?;
            let mut out = BufWriter::new(File::create(&file).context("creating the file")?);
            let format = Format::named(&format).ok_or_else(|| anyhow!("there is no format {format}"))?;
            write_history(&mut out, &history, format)?;
            out.flush()?;
            Ok(Reply::Written)
        }
        Job::Simulate(runs) => {
            say(&Reply::Ready)?;
            Ok(Reply::Simulated(simulation::carry_out(&runs)?))
        }
        Job::Run { command, memory_limit_bytes } => run_command(&command, memory_limit_bytes),
    }
}

fn judge(row: &Row, seed: u64, time_limit: Duration, memory_limit_bytes: usize) -> anyhow::Result<Checked> {
    let history = row.recipe().history(Seed(seed))?;
    // The checker's own accounting should end it before; this is for what it does not account for.
    let data_bytes = status_bytes("VmData")?;
    limit_memory(data_bytes + memory_limit_bytes as u64 + memory_limit_bytes as u64 / 2 + (64 << 20))?;
    // Where the kernel does not let us (5: forget the peak), the peak includes the making of the history, which is no more
    // than the history.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let loaded_bytes = status_bytes("VmRSS")?;
    say(&Reply::Ready)?;
    let mut times: Vec<(Duration, Duration)> = Vec::new();
    let begun = Instant::now();
    let verdict = loop {
        let before = processor_time()?;
        let (verdict, time) = round(row, &history, time_limit, memory_limit_bytes)?;
        times.push((time, processor_time()?.saturating_sub(before)));
        if begun.elapsed() >= REPEAT_FOR || times.len() >= ROUNDS_LIMIT as usize {
            break verdict;
        }
    };
    let check = verdict.checks.first().ok_or_else(|| anyhow!("no check in the verdict"))?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let (time, cpu_time) = times.iter().min().copied().unwrap_or_default();
    Ok(Checked {
        validity: verdict.validity,
        reason: check.reason.clone(),
        algorithm: algorithm(&verdict),
        milliseconds: milliseconds(time),
        first_milliseconds: times.first().map_or(0.0, |(time, _)| milliseconds(*time)),
        cpu_milliseconds: milliseconds(cpu_time),
        rounds: times.len() as u32,
        loaded_bytes,
        peak_bytes: status_bytes("VmHWM")?,
    })
}

fn round(
    row: &Row,
    history: &History,
    time_limit: Duration,
    memory_limit_bytes: usize,
) -> anyhow::Result<(Verdict, Duration)> {
    let started = Instant::now();
    let clock = move || started.elapsed();
    let budget =
        Budget::unlimited().with_time_limit(&clock, time_limit).with_memory_limit_bytes(memory_limit_bytes);
    let mut config = CheckConfig::linearizable(row.kind.model(), None)?.within(budget);
    config.context.algorithm = row.kind.algorithm();
    let verdict = check(history, &config)?;
    Ok((verdict, started.elapsed()))
}

/// The algorithms that decided, with the number of partitions where there are several.
fn algorithm(verdict: &Verdict) -> String {
    let mut names: Vec<&str> = Vec::new();
    for check in &verdict.checks {
        names.extend(check.partitions.iter().map(|partition| partition.algorithm.as_str()));
    }
    names.sort_unstable();
    let groups: Vec<&[&str]> = names.chunk_by(|a, b| a == b).collect();
    let counted = |group: &&[&str]| {
        if groups.len() == 1 { group[0].to_owned() } else { format!("{} ×{}", group[0], group.len()) }
    };
    groups.iter().map(counted).collect::<Vec<_>>().join(", ")
}

fn run_command(command: &str, memory_limit_bytes: usize) -> anyhow::Result<Reply> {
    limit_memory(memory_limit_bytes as u64)?;
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    say(&Reply::Ready)?;
    let started = Instant::now();
    let status = shell.status().context("starting sh")?;
    let milliseconds = started.elapsed().as_secs_f64() * 1e3;
    // The most that any one process of it had, in KiB.
    let peak_kibibytes = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok(Reply::Ran {
        exit_code: status.code(),
        milliseconds,
        peak_bytes: u64::try_from(peak_kibibytes).unwrap_or(0) * 1024,
    })
}

/// Lets this process and its children have no more than so many bytes of private memory each.
fn limit_memory(bytes: u64) -> anyhow::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_DATA, bytes, bytes)?)
}

/// What all threads of this process have used of processors so far.
pub(crate) fn processor_time() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = |time: TimeVal| {
        Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

/// A size in `/proc/self/status`.
pub(crate) fn status_bytes(name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(1024 * kibibytes.ok_or_else(|| anyhow!("/proc/self/status has no {name}"))?)
}

//! How a machine is made clean: daemon ended, faults undone, leftovers ended, and a look at what is there after all.
//!
//! The daemon goes first. What a fault has done to it (it is dead, its clock is wrong, its disk fails) needs no undoing then; that would
//! mean to start or mend what is about to be ended, which a full disk forbids. What a fault has made beside it (a control group, a copy of its
//! data) is taken away, and nothing is started. The machine's own clock is put right from its note. A disk that can fail is a process and a mount, and goes with these. Nothing here depends on being able to write a file.

use std::io::{BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use labrys_nemesis::machine_clock::restore;
use labrys_nemesis::{
    Engine, Family, Host, Journal, JournalError, Patience, ProcessIdentity, ProcessState, RunTag, Signal,
};

use super::protocol::{AgentSetup, Ending, FromAgent, MAXIMUM_LINE_BYTES, ToAgent, line, read_line};
use super::{AgentError, MARK, ThisMachine, attach, identity_file, journal_file, machine};
use crate::process;
use crate::testbed::LocalHost;

/// How long the daemon may take to end in an orderly way.
const ORDERLY_END_WITHIN: Duration = Duration::from_secs(3);

/// How long a killed process may take to go.
const KILLED_WITHIN: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// How long an agent may take to end when it is told to, before it is killed: it may have to wait out the silence of a harness that was
/// there a moment ago.
const ENDS_WITHIN: Duration = Duration::from_secs(90);

/// Ends, undoes, looks.
pub(super) fn clear(engine: &mut Engine, host: &LocalHost, run_tag: &RunTag) -> Ending {
    let undone = engine.status().active.iter().map(|fault| fault.resolved.to_string()).collect();
    let mut ending = Ending { undone, ..Ending::default() };
    ending.ended.extend(end_daemon(host));
    engine.end_nodes();
    engine.settle(&[Family::Kill, Family::Clock, Family::Disk, Family::PowerCut]);
    if let Err(failure) = engine.undo_all() {
        ending.left.push(failure.to_string());
    }
    sweep(host.directory(), run_tag, &mut ending);
    ending
}

/// What needs no engine: the machine's clock by its note, processes and mounts by the folder, and what is there after all.
fn sweep(directory: &Path, run_tag: &RunTag, ending: &mut Ending) {
    match restore(directory, &mut ThisMachine) {
        Ok(None) => {}
        Ok(Some(off_ns)) => {
            ending
                .undone
                .push(format!("the machine's clock, which was off by {:.1} ms", off_ns as f64 / 1e6));
        }
        Err(error) => ending.left.push(format!("the machine's clock is not right: {error}")),
    }
    for leftover in marked_processes(directory) {
        ending.ended.push(leftover.words());
        kill_and_see(leftover.process);
    }
    for mount_point in mounts_below(directory) {
        // Lazily, as a file of it may be held open by somebody who is about to go.
        let _ = Command::new("umount").args(["-l", "--", &mount_point]).output();
    }
    ending.left.extend(marked_processes(directory).iter().map(|left| format!("process {}", left.words())));
    ending.left.extend(mounts_below(directory).into_iter().map(|left| format!("a mount on {left}")));
    ending.left.extend(rules_of(run_tag).into_iter().map(|left| format!("a rule: {left}")));
}

/// Ends the daemon, if it lives; in words who it was.
fn end_daemon(host: &LocalHost) -> Option<String> {
    let daemon = host.daemon().ok().flatten()?;
    let is_gone = || host.process_state(daemon).is_ok_and(|state| state == ProcessState::Gone);
    if is_gone() {
        return None;
    }
    // What stands still does not hear SIGTERM. Each signal is noted before it is sent, and none is sent that cannot be noted.
    let told =
        host.signal(daemon, Signal::Continue).and_then(|()| host.signal(daemon, Signal::Terminate)).is_ok();
    if !(told && eventually(ORDERLY_END_WITHIN, is_gone)) && host.signal(daemon, Signal::Kill).is_err() {
        // A full disk has no room for the note, and is no reason to let it run.
        process::kill(daemon);
    }
    eventually(KILLED_WITHIN, is_gone);
    Some(format!("{} (the daemon)", daemon.pid))
}

fn kill_and_see(leftover: ProcessIdentity) {
    process::kill(leftover);
    let is_gone = || {
        process::state_and_start(leftover.pid)
            .is_none_or(|(state, start)| start != leftover.start_ticks || matches!(state, 'Z' | 'X'))
    };
    eventually(KILLED_WITHIN, is_gone);
}

fn eventually(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    true
}

/// A process with our mark.
struct Marked {
    process: ProcessIdentity,
    command: String,
}

impl Marked {
    fn words(&self) -> String {
        format!("{} ({})", self.process.pid, self.command)
    }
}

/// The living processes that an agent of this folder has started, and theirs, in ascending order. O(number of processes).
fn marked_processes(directory: &Path) -> Vec<Marked> {
    let mark = format!("{MARK}={}", directory.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if pid == std::process::id().cast_signed()
            || !environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        {
            continue;
        }
        let Some((state, start_ticks)) = process::state_and_start(pid) else { continue };
        if matches!(state, 'Z' | 'X') {
            continue;
        }
        let command = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        found.push(Marked {
            process: ProcessIdentity { pid, start_ticks },
            command: command.trim().to_owned(),
        });
    }
    found.sort_by_key(|marked| marked.process.pid);
    found
}

/// Mounts strictly below a folder, the innermost first.
fn mounts_below(directory: &Path) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split_ascii_whitespace().nth(1)).map(str::to_owned);
    let mut below: Vec<String> = points
        .filter(|point| Path::new(point) != directory && Path::new(point).starts_with(directory))
        .collect();
    below.reverse();
    below
}

/// The rules and chains of a run in the packet filters. Who may not list them has not made any.
fn rules_of(run_tag: &RunTag) -> Vec<String> {
    let ours = format!("LABRYS-{run_tag}");
    let is_ours = |line: &&str| line.split([' ', ':']).any(|word| word == ours);
    let mut found = Vec::new();
    for program in ["iptables-save", "ip6tables-save"] {
        let output = Command::new(program).env("PATH", process::path_with_system_folders()).output();
        let listed = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        found.extend(listed.unwrap_or_default().lines().filter(is_ours).map(str::to_owned));
    }
    found
}

/// Heals the node that has this folder, from its journal alone: ends its agent, if there is one, then whatever that has left.
/// Idempotent. A folder that is not there, or in which nothing was begun, is clean.
///
/// # Errors
/// If the journal cannot be used, or the agent lives, a harness is connected to it, and `force` is not given.
pub fn heal(directory: &Path, force: bool) -> Result<Ending, AgentError> {
    let mut ending = end_agent(directory, force)?;
    let path = journal_file(directory);
    let mut opened = Journal::open_existing(&path);
    // An agent that has just ended gives it free with its process.
    eventually(KILLED_WITHIN, || {
        let in_use = matches!(opened, Err(JournalError::InUse { .. }));
        if in_use {
            opened = Journal::open_existing(&path);
        }
        !in_use
    });
    let (journal, state) = match opened {
        Err(JournalError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(ending);
        }
        opened => opened?,
    };
    let Some(run) = state.run.clone() else { return Ok(ending) };
    let setup: AgentSetup = serde_json::from_value(run.testbed)
        .map_err(|source| AgentError::File { path: path.clone(), source: source.into() })?;
    let host = machine::local_host(&setup)?;
    let engine =
        Engine::new(run.run_tag, machine::hosts(&setup, &host), Patience::default(), (journal, state));
    let healed = clear(&mut engine.acting_only_on(setup.node.clone()), &host, &setup.run_tag);
    ending.undone.extend(healed.undone);
    ending.ended.extend(healed.ended);
    ending.left = healed.left;
    Ok(ending)
}

/// Tells the agent of a folder to end, and sees that it does; one that does not is killed.
fn end_agent(directory: &Path, force: bool) -> Result<Ending, AgentError> {
    let Some(mut stream) = attach::connect(directory)? else { return Ok(Ending::default()) };
    let failed = |source| AgentError::System { what: "telling the agent to end", source };
    stream.set_read_timeout(Some(ENDS_WITHIN)).map_err(failed)?;
    let told = line(&ToAgent::End { force }).and_then(|line| stream.write_all(line.as_bytes()));
    let answered = told.and_then(|()| read_line(&mut BufReader::new(&stream), MAXIMUM_LINE_BYTES));
    match answered.ok().flatten().and_then(|answer| serde_json::from_str(&answer).ok()) {
        Some(FromAgent::Ended(ending)) => Ok(ending),
        Some(FromAgent::Refused { reason }) => {
            Err(AgentError::Stuck { path: directory.to_owned(), detail: reason })
        }
        // It stands still, or has died meanwhile.
        _ => {
            let text = std::fs::read(identity_file(directory)).unwrap_or_default();
            let agent = serde_json::from_slice::<ProcessIdentity>(&text).ok();
            // Whoever heals goes on to live, also where the agent was a thread of its own process, as in tests.
            if let Some(agent) = agent.filter(|agent| agent.pid != std::process::id().cast_signed()) {
                kill_and_see(agent);
            }
            Ok(Ending::default())
        }
    }
}

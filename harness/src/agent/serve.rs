//! [`serve`]: the agent of a node, from its first connection to the silence after the last.
//!
//! One thread accepts connections and watches for silence, one reads each connection, one writes it, one carries out each request: a
//! heartbeat is never behind a slow request or a peer that takes nothing. Only the latest connection is answered.
//!
//! Once ending has begun nothing else begins: the engine is taken away from those who would apply faults, and what would start or change
//! something on the machine goes through a [`Gate`], which is closed; what had begun before is waited for. So what is then found on the
//! machine is all that there is.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use labrys_nemesis::{
    Engine, Failure, FaultReport, Host, Journal, Patience, ProcessIdentity, ProcessState, RequestBody,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::gate::Gate;
use super::link::{Link, TAKEN_WITHIN};
use super::machine::{begins_something, hosts, local_host, on_machine};
use super::memory::{Memory, Taken};
use super::protocol::{
    AgentSetup, Answer, Ending, FromAgent, HostFailure, HostWork, MAXIMUM_LINE_BYTES, ToAgent, Work, line,
    read_line,
};
use super::{AgentError, Ended, SILENCE_MS, ended_file, ending, identity_file, journal_file};
use crate::process;
use crate::testbed::LocalHost;

/// How often silence is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Who connects and says nothing for so long wants nothing.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

/// How long the last answers may take to go when the agent has ended.
const ANSWERS_GO_WITHIN: Duration = Duration::from_secs(2);

/// How long what was begun before the agent's end may take: a command is killed after ten seconds.
const WORK_ENDS_WITHIN: Duration = Duration::from_secs(12);

/// How an agent starts programs that are parts of it.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The process that holds packets back.
    pub packets: Vec<String>,
    /// The process that keeps others from running.
    pub processor: Vec<String>,
    /// What moves the machine's clock; the node's folder and the words of [`labrys_nemesis::machine_clock::carry_out`] are added.
    pub clock: Vec<String>,
}

/// Is an agent until it is told to end or hears nothing for too long; then heals, and returns.
///
/// # Errors
/// If the socket fails. Everything that was done has been undone then, too, as far as possible.
pub fn serve(listener: &UnixListener, programs: Programs) -> Result<(), AgentError> {
    let agent = Arc::new(Agent::new(programs));
    let accepted = agent.accept_until_the_end(listener);
    agent.end("its socket failed", false);
    agent.link.let_answers_go(ANSWERS_GO_WITHIN);
    accepted
}

/// What is known once a harness has said hello.
struct Premises {
    setup: AgentSetup,
    host: LocalHost,
    /// `None` once ending has begun.
    engine: Mutex<Option<Engine>>,
    /// What was left by an agent before this one, which was killed, and undone by this one.
    undone: Vec<FaultReport>,
}

/// How far an agent has come.
enum Stage {
    /// There was no hello.
    Before,
    Working(Arc<Premises>),
    Ended,
}

struct Agent {
    incarnation: ProcessIdentity,
    programs: Programs,
    stage: Mutex<Stage>,
    link: Link,
    /// When something came last.
    heard: Mutex<Instant>,
    memory: Mutex<Memory>,
    gate: Gate,
    /// What came of ending, once it has.
    end: Mutex<Option<Ending>>,
}

/// A panic elsewhere must not keep the agent from healing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection of which every chunk counts as heard while it is the latest: a long line on a slow connection is no silence.
struct Hearing<'a> {
    agent: &'a Agent,
    number: u64,
    stream: &'a UnixStream,
}

impl Read for Hearing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.stream.read(buffer)?;
        if length > 0 && self.agent.link.is_latest(self.number) {
            self.agent.hear();
        }
        Ok(length)
    }
}

impl Agent {
    fn new(programs: Programs) -> Agent {
        let pid = std::process::id().cast_signed();
        Agent {
            incarnation: ProcessIdentity { pid, start_ticks: process::start_ticks(pid).unwrap_or(0) },
            programs,
            stage: Mutex::new(Stage::Before),
            link: Link::default(),
            heard: Mutex::new(Instant::now()),
            memory: Mutex::default(),
            gate: Gate::default(),
            end: Mutex::default(),
        }
    }

    fn accept_until_the_end(self: &Arc<Self>, listener: &UnixListener) -> Result<(), AgentError> {
        let failed = |source| AgentError::System { what: "listening", source };
        let look_every =
            Timespec::try_from(LOOK_EVERY).map_err(|error| failed(std::io::Error::other(error)))?;
        for number in 1.. {
            loop {
                if lock(&self.end).is_some() {
                    return Ok(());
                }
                if self.silence_ends_at() < Instant::now() {
                    let why = format!("it had heard nothing for {:.1} s", self.silence().as_secs_f64());
                    self.end(&why, false);
                    return Ok(());
                }
                // Interrupted by a signal: looked at again.
                if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&look_every)).unwrap_or(0) > 0 {
                    break;
                }
            }
            let (stream, _) = listener.accept().map_err(failed)?;
            let agent = Arc::clone(self);
            let reader = move || agent.converse(number, &stream);
            std::thread::Builder::new().name(format!("connection-{number}")).spawn(reader).map_err(failed)?;
        }
        Ok(())
    }

    fn silence(&self) -> Duration {
        Duration::from_millis(match &*lock(&self.stage) {
            Stage::Working(premises) => premises.setup.silence_ms,
            Stage::Before | Stage::Ended => SILENCE_MS,
        })
    }

    fn silence_ends_at(&self) -> Instant {
        // In this order: what was heard while the machine was being looked at counts.
        let silence = self.silence();
        *lock(&self.heard) + silence
    }

    fn hear(&self) {
        *lock(&self.heard) = Instant::now();
    }

    /// One connection, from its first line to its end.
    fn converse(self: &Arc<Self>, number: u64, stream: &UnixStream) {
        let _ = stream.set_write_timeout(Some(TAKEN_WITHIN));
        let _ = stream.set_read_timeout(Some(BEGINS_WITHIN));
        let mut reader = BufReader::new(Hearing { agent: self, number, stream });
        match next(&mut reader) {
            Some(ToAgent::Hello(setup)) if self.welcome(number, stream, &setup) => {}
            Some(ToAgent::End { force }) => return self.end_if_alone(stream, force),
            _ => return,
        }
        // From now on it is the heartbeats that tell whether somebody is there.
        let _ = stream.set_read_timeout(None);
        while let Some(said) = next(&mut reader) {
            if !self.link.is_latest(number) {
                // What has not been answered is said again over the latest one.
                return;
            }
            match said {
                ToAgent::Heartbeat { received } => {
                    lock(&self.memory).forget(received);
                    self.link.tell(&FromAgent::Heartbeat);
                }
                ToAgent::Request { id, work } => self.take(id, work),
                ToAgent::Hello(_) | ToAgent::End { .. } => break,
            }
        }
        if self.link.lost(number) {
            tracing::info!(number, "the connection is gone");
        }
    }

    /// Whether this connection is the one to work with from now on.
    fn welcome(&self, number: u64, stream: &UnixStream, setup: &AgentSetup) -> bool {
        let premises = match self.premises(setup.clone()) {
            Ok(premises) => premises,
            Err(reason) => {
                let _ = say(stream, &FromAgent::Refused { reason });
                if matches!(*lock(&self.stage), Stage::Before) {
                    // Of no use to anybody.
                    self.end("it has refused the first hello", false);
                }
                return false;
            }
        };
        let welcome = FromAgent::Welcome { incarnation: self.incarnation, undone: premises.undone.clone() };
        let is_taken = self.link.take_over(number, stream, &welcome);
        match is_taken {
            Ok(true) => {
                tracing::info!(number, "a connection");
                self.hear();
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(number, %error, "a connection could not be taken");
                false
            }
        }
    }

    /// Ends for somebody who is not its harness; not while that is there. A harness whose connection was just lost makes it anew before it
    /// is given up for dead: that is waited for.
    fn end_if_alone(&self, stream: &UnixStream, force: bool) {
        let _busy = self.link.busy();
        let may_come_back = !force && matches!(*lock(&self.stage), Stage::Working(_));
        let reply = match may_come_back && self.link.is_there_until(self.silence_ends_at()) {
            true => FromAgent::Refused { reason: "its run is still under way".to_owned() },
            false => FromAgent::Ended(self.end("it was told to end", false)),
        };
        let _ = say(stream, &reply);
    }

    /// What this agent is for; the same for every connection.
    fn premises(&self, setup: AgentSetup) -> Result<Arc<Premises>, String> {
        let mut stage = lock(&self.stage);
        match &*stage {
            Stage::Working(known) if known.setup == setup => return Ok(Arc::clone(known)),
            Stage::Working(known) => {
                return Err(format!(
                    "it is the agent of {} in run {}",
                    known.setup.node, known.setup.run_tag
                ));
            }
            Stage::Ended => {
                return Err("it has undone all faults and ended the node, and is going".to_owned());
            }
            Stage::Before => {}
        }
        if let Ok(text) = std::fs::read(ended_file(&setup.directory)) {
            let why = serde_json::from_slice::<Ended>(&text)
                .map_or_else(|error| error.to_string(), |ended| ended.why);
            return Err(format!("it has undone all faults and ended the node before, because {why}"));
        }
        let furnished = Arc::new(self.furnish(setup).map_err(|error| error.to_string())?);
        *stage = Stage::Working(Arc::clone(&furnished));
        // It may have had much to undo, all the while listening to nobody.
        self.hear();
        Ok(furnished)
    }

    fn furnish(&self, setup: AgentSetup) -> Result<Premises, AgentError> {
        let host = local_host(&setup)?;
        let testbed = serde_json::to_value(&setup).unwrap_or_default();
        let journal = Journal::open(&journal_file(&setup.directory), &setup.run_tag, &testbed)?;
        let identity = serde_json::to_vec(&self.incarnation).unwrap_or_default();
        let path = identity_file(&setup.directory);
        process::write_atomically(&path, &identity).map_err(|source| AgentError::File { path, source })?;
        let engine = Engine::new(setup.run_tag.clone(), hosts(&setup, &host), Patience::default(), journal)
            .with_packet_program(self.programs.packets.clone())
            .with_processor_program(self.programs.processor.clone());
        let engine = match setup.real_clock {
            true => engine.with_clock_program(self.clock_program(&setup.directory)),
            false => engine,
        };
        let mut engine = engine.acting_only_on(setup.node.clone());
        if let Some(orphan) = host.daemon()?
            && host.process_state(orphan)? != ProcessState::Gone
        {
            host.adopt(orphan);
        }
        // What an agent before this one left when it was killed.
        let undone = engine.undo_all().unwrap_or_else(|failure| {
            tracing::warn!(%failure, "what the last agent left could not be undone");
            let is_undone = |report: &FaultReport| !failure.left_behind.contains(&report.fault_id);
            failure.faults.iter().filter(|report| is_undone(report)).cloned().collect()
        });
        Ok(Premises { setup, host, engine: Mutex::new(Some(engine)), undone })
    }

    fn clock_program(&self, directory: &Path) -> Vec<String> {
        let directory = directory.to_string_lossy().into_owned();
        self.programs.clock.iter().cloned().chain([directory]).collect()
    }

    /// Takes a request, unless it has been taken before: then its answer, if there is one, is said once more.
    fn take(self: &Arc<Self>, id: u64, work: Work) {
        let taken = lock(&self.memory).take(id);
        match taken {
            Taken::New => {
                let agent = Arc::clone(self);
                let worker = move || {
                    let _busy = agent.link.busy();
                    let answer = agent.carry_out(work);
                    lock(&agent.memory).answered(id, answer.clone());
                    agent.answer(id, answer);
                };
                if let Err(error) = std::thread::Builder::new().name(format!("request-{id}")).spawn(worker) {
                    lock(&self.memory).not_begun(id);
                    self.answer(id, refusal("(a thread)", error.to_string()));
                }
            }
            Taken::UnderWay => {}
            Taken::Answered(answer) => self.answer(id, *answer),
            Taken::Forgotten => {
                let why = format!("request {id} was carried out before, and is not carried out again");
                self.answer(id, refusal("(a request)", why));
            }
        }
    }

    fn answer(&self, id: u64, answer: Answer) {
        self.link.tell(&FromAgent::Response { id, answer });
    }

    fn carry_out(&self, work: Work) -> Answer {
        let premises = match &*lock(&self.stage) {
            Stage::Before => return refusal("(anything)", "there was no hello".to_owned()),
            Stage::Working(premises) => Some(Arc::clone(premises)),
            Stage::Ended => None,
        };
        let done = catch_unwind(AssertUnwindSafe(|| match (work, premises) {
            (Work::Finish { remove }, _) => Answer::Finished(self.end("the run was over", remove)),
            (_, None) => refusal("(anything)", ITS_END.to_owned()),
            (Work::Nemesis(request), Some(premises)) => faults(&premises, request),
            (Work::Host(work), Some(premises)) => self.on_machine(&premises, work),
        }));
        done.unwrap_or_else(|_| refusal("(a request)", "the agent panicked; see its log".to_owned()))
    }

    fn on_machine(&self, premises: &Premises, work: HostWork) -> Answer {
        let pass = self.gate.enter();
        if pass.is_none() && begins_something(&work) {
            return refusal("(a request)", ITS_END.to_owned());
        }
        // What only looks is not waited for.
        let _pass = pass.filter(|_| begins_something(&work));
        match on_machine(&premises.host, work) {
            Ok(answer) => Answer::Host(answer),
            Err(error) => Answer::HostError(error.into()),
        }
    }

    /// Makes the machine clean, once; what came of it.
    fn end(&self, why: &str, remove: bool) -> Ending {
        let mut end = lock(&self.end);
        if let Some(ending) = &*end {
            return ending.clone();
        }
        tracing::info!(why, "ending");
        let stage = std::mem::replace(&mut *lock(&self.stage), Stage::Ended);
        let ending = match stage {
            Stage::Working(premises) => self.leave(&premises, why, remove),
            Stage::Before | Stage::Ended => Ending::default(),
        };
        tracing::info!(?ending, "ended");
        *end = Some(ending.clone());
        ending
    }

    fn leave(&self, premises: &Premises, why: &str, remove: bool) -> Ending {
        let text = serde_json::to_vec(&Ended { why: why.to_owned() }).unwrap_or_default();
        // On a full disk a later agent will find a journal without faults, and no daemon.
        let _ = std::fs::write(ended_file(&premises.setup.directory), text);
        // What has begun is waited for, and nothing begins any more.
        let still_inside = self.gate.close(WORK_ENDS_WITHIN);
        let engine = lock(&premises.engine).take();
        // The engine goes with this, and its journal is free for `heal`.
        let mut ending = engine.map_or_else(Ending::default, |mut engine| {
            ending::clear(&mut engine, &premises.host, &premises.setup.run_tag)
        });
        if still_inside > 0 {
            ending.left.push(format!("{still_inside} requests that do not come to an end"));
        }
        if remove && ending.left.is_empty() {
            remove_folder(&premises.setup.directory);
        }
        ending
    }
}

/// Why nothing begins any more.
const ITS_END: &str = "the agent has ended the node and undone all faults, and begins nothing any more";

fn remove_folder(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::warn!(%error, "{} could not be removed", directory.display());
    }
    // That of the run, if this was its last node here.
    let _ = directory.parent().map(std::fs::remove_dir);
}

/// `None` at the end of the connection, and when what was said makes no sense.
fn next(reader: &mut BufReader<Hearing<'_>>) -> Option<ToAgent> {
    let text = read_line(reader, MAXIMUM_LINE_BYTES).inspect_err(|error| tracing::warn!(%error, "a line"));
    serde_json::from_str(&text.ok()??)
        .inspect_err(|error| tracing::warn!(%error, "a line makes no sense"))
        .ok()
}

fn say(mut stream: &UnixStream, what: &FromAgent) -> std::io::Result<()> {
    stream.write_all(line(what)?.as_bytes())
}

fn refusal(command: &str, detail: String) -> Answer {
    Answer::HostError(HostFailure::Command { command: command.to_owned(), detail })
}

fn faults(premises: &Premises, request: RequestBody) -> Answer {
    let answered = match &mut *lock(&premises.engine) {
        Some(engine) => engine.answer(request),
        None => Err(Failure { message: ITS_END.to_owned(), faults: Vec::new(), left_behind: Vec::new() }),
    };
    match answered {
        Ok(reply) => Answer::Nemesis(reply),
        Err(failure) => {
            tracing::warn!(%failure, "a request failed");
            Answer::Failure(failure)
        }
    }
}

#[cfg(test)]
mod tests;

//! [`serve`]: the agent of a node, from its first connection to the silence after the last.
//!
//! One thread accepts connections and watches for silence, one reads each connection, one carries out each request: a heartbeat is
//! never behind a slow request. Only the latest connection is answered.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use labrys_nemesis::{
    Engine, Host, HostError, Journal, Patience, ProcessIdentity, ProcessState, RequestBody,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::protocol::{
    AgentSetup, Answer, Bytes, Ending, FromAgent, HostAnswer, HostFailure, HostWork, ToAgent, Work, line,
};
use super::{
    AgentError, Elsewhere, Ended, MARK, SILENCE_MS, ended_file, ending, identity_file, journal_file,
};
use crate::process;
use crate::testbed::LocalHost;

/// How often silence is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A longer line is malformed: 16 MiB, as for the nemesis.
const MAXIMUM_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// Who takes nothing for so long is not there any more.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// How long the last answers may take to go when the agent has ended.
const ANSWERS_GO_WITHIN: Duration = Duration::from_secs(2);

/// More of a file is not sent at once.
const MOST_BYTES: u64 = 1 << 20;

/// Is an agent until it is told to end or hears nothing for too long; then heals, and returns. `packet_program` is how the process is
/// started that holds packets back.
///
/// # Errors
/// If the socket fails. Everything that was done has been undone then, too, as far as possible.
pub fn serve(listener: &UnixListener, packet_program: Vec<String>) -> Result<(), AgentError> {
    let pid = std::process::id().cast_signed();
    let incarnation = ProcessIdentity { pid, start_ticks: process::start_ticks(pid).unwrap_or(0) };
    let agent = Arc::new(Agent {
        incarnation,
        packet_program,
        premises: Mutex::default(),
        link: Mutex::default(),
        heard: Mutex::new(Instant::now()),
        memory: Mutex::default(),
        end: Mutex::default(),
        busy: AtomicUsize::new(0),
    });
    let accepted = agent.accept_until_the_end(listener);
    agent.end("its socket failed", false);
    agent.let_answers_go();
    accepted
}

/// What is known once a harness has said hello.
struct Premises {
    setup: AgentSetup,
    host: LocalHost,
    engine: Mutex<Engine>,
}

/// The latest connection.
#[derive(Default)]
struct Link {
    number: u64,
    stream: Option<UnixStream>,
}

struct Agent {
    incarnation: ProcessIdentity,
    packet_program: Vec<String>,
    premises: Mutex<Option<Arc<Premises>>>,
    link: Mutex<Link>,
    /// When the last heartbeat came.
    heard: Mutex<Instant>,
    /// Requests that have come and not been forgotten, with their answers once there are any.
    memory: Mutex<BTreeMap<u64, Option<Answer>>>,
    /// What came of ending, once it has.
    end: Mutex<Option<Ending>>,
    /// So many threads have an answer yet to give.
    busy: AtomicUsize,
}

/// One thread that has an answer to give.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn new(count: &'a AtomicUsize) -> Busy<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Busy(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A panic elsewhere must not keep the agent from healing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    fn accept_until_the_end(self: &Arc<Self>, listener: &UnixListener) -> Result<(), AgentError> {
        let failed = |source| AgentError::System { what: "listening", source };
        let look_every =
            Timespec::try_from(LOOK_EVERY).map_err(|error| failed(std::io::Error::other(error)))?;
        for number in 1.. {
            loop {
                if lock(&self.end).is_some() {
                    return Ok(());
                }
                if lock(&self.heard).elapsed() > self.silence() {
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
        let premises = lock(&self.premises);
        Duration::from_millis(premises.as_ref().map_or(SILENCE_MS, |premises| premises.setup.silence_ms))
    }

    fn let_answers_go(&self) {
        let deadline = Instant::now() + ANSWERS_GO_WITHIN;
        while self.busy.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// One connection, from its first line to its end.
    fn converse(self: &Arc<Self>, number: u64, stream: &UnixStream) {
        let _ = stream.set_write_timeout(Some(TAKEN_WITHIN));
        let mut reader = BufReader::new(stream);
        match read_line(&mut reader) {
            Some(ToAgent::Hello(setup)) => {
                let reply = match self.premises(setup) {
                    Ok(_) => FromAgent::Welcome { incarnation: self.incarnation },
                    Err(reason) => FromAgent::Refused { reason },
                };
                let is_welcome = matches!(reply, FromAgent::Welcome { .. });
                let was_said = say(stream, &reply).is_ok();
                if !is_welcome && lock(&self.premises).is_none() {
                    // Of no use to anybody.
                    self.end("it has refused the first hello", false);
                }
                if !(was_said && is_welcome) {
                    return;
                }
                self.take_over(number, stream);
            }
            Some(ToAgent::End { force }) => {
                let _busy = Busy::new(&self.busy);
                let reply = match force || lock(&self.link).stream.is_none() {
                    true => FromAgent::Ended(self.end("it was told to end", false)),
                    false => FromAgent::Refused { reason: "its run is still under way".to_owned() },
                };
                let _ = say(stream, &reply);
                return;
            }
            _ => return,
        }
        while let Some(said) = read_line(&mut reader) {
            match said {
                ToAgent::Heartbeat { received } => {
                    *lock(&self.heard) = Instant::now();
                    lock(&self.memory).retain(|id, answer| *id > received || answer.is_none());
                    self.tell(&FromAgent::Heartbeat);
                }
                ToAgent::Request { id, work } => self.take(id, work),
                ToAgent::Hello(_) | ToAgent::End { .. } => break,
            }
        }
        let mut link = lock(&self.link);
        if link.number == number {
            tracing::info!(number, "the connection is gone");
            link.stream = None;
        }
    }

    /// From now on answers go to this connection, unless a later one has come already.
    fn take_over(&self, number: u64, stream: &UnixStream) {
        let mut link = lock(&self.link);
        if number > link.number {
            tracing::info!(number, "a connection");
            *link = Link { number, stream: stream.try_clone().ok() };
            *lock(&self.heard) = Instant::now();
        }
    }

    /// What this agent is for; the same for every connection.
    fn premises(&self, setup: AgentSetup) -> Result<Arc<Premises>, String> {
        let mut premises = lock(&self.premises);
        match &*premises {
            Some(known) if known.setup == setup => return Ok(Arc::clone(known)),
            Some(known) => {
                return Err(format!(
                    "it is the agent of {} in run {}",
                    known.setup.node, known.setup.run_tag
                ));
            }
            None => {}
        }
        if let Ok(text) = std::fs::read(ended_file(&setup.directory)) {
            let why = serde_json::from_slice::<Ended>(&text)
                .map_or_else(|error| error.to_string(), |ended| ended.why);
            return Err(format!("it has undone all faults and ended the node before, because {why}"));
        }
        let furnished = Arc::new(self.furnish(setup).map_err(|error| error.to_string())?);
        *premises = Some(Arc::clone(&furnished));
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
            .with_packet_program(self.packet_program.clone());
        let mut engine = engine.acting_only_on(setup.node.clone());
        if let Some(orphan) = host.daemon()?
            && host.process_state(orphan)? != ProcessState::Gone
        {
            host.adopt(orphan);
        }
        // What an agent before this one left when it was killed.
        if let Err(failure) = engine.undo_all() {
            tracing::warn!(%failure, "what the last agent left could not be undone");
        }
        Ok(Premises { setup, host, engine: Mutex::new(engine) })
    }

    /// Takes a request, unless it has been taken before: then its answer, if there is one, is said once more.
    fn take(self: &Arc<Self>, id: u64, work: Work) {
        let known = lock(&self.memory).get(&id).cloned();
        match known {
            Some(Some(answer)) => self.answer(id, answer),
            Some(None) => {}
            None => {
                lock(&self.memory).insert(id, None);
                let agent = Arc::clone(self);
                let worker = move || {
                    let _busy = Busy::new(&agent.busy);
                    let answer = agent.carry_out(work);
                    lock(&agent.memory).insert(id, Some(answer.clone()));
                    agent.answer(id, answer);
                };
                if let Err(error) = std::thread::Builder::new().name(format!("request-{id}")).spawn(worker) {
                    lock(&self.memory).remove(&id);
                    self.answer(id, host_error("(a thread)", error.to_string()));
                }
            }
        }
    }

    fn answer(&self, id: u64, answer: Answer) {
        self.tell(&FromAgent::Response { id, answer });
    }

    /// To the latest connection. Lost if that is: the harness will ask again.
    fn tell(&self, what: &FromAgent) {
        let mut link = lock(&self.link);
        if let Some(stream) = &link.stream
            && say(stream, what).is_err()
        {
            // Half a line may have gone, to which nothing can be added.
            let _ = stream.shutdown(Shutdown::Both);
            link.stream = None;
        }
    }

    fn carry_out(&self, work: Work) -> Answer {
        let Some(premises) = lock(&self.premises).clone() else {
            return host_error("(anything)", "there was no hello".to_owned());
        };
        let done = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Nemesis(request) => faults(&premises, request),
            Work::Host(work) => match on_machine(&premises.host, work) {
                Ok(answer) => Answer::Host(answer),
                Err(error) => Answer::HostError(error.into()),
            },
            Work::Finish { remove } => Answer::Finished(self.end("the run was over", remove)),
        }));
        done.unwrap_or_else(|_| host_error("(a request)", "the agent panicked; see its log".to_owned()))
    }

    /// Makes the machine clean, once; what came of it.
    fn end(&self, why: &str, remove: bool) -> Ending {
        let mut end = lock(&self.end);
        if let Some(ending) = &*end {
            return ending.clone();
        }
        tracing::info!(why, "ending");
        // Nothing is begun any more, and the journal is free for `heal` when what is under way is done.
        let premises = lock(&self.premises).take();
        let ending = premises.map_or_else(Ending::default, |premises| {
            let text = serde_json::to_vec(&Ended { why: why.to_owned() }).unwrap_or_default();
            // On a full disk a later agent will find a journal without faults, and no daemon.
            let _ = std::fs::write(ended_file(&premises.setup.directory), text);
            let mut engine = lock(&premises.engine);
            let ending = ending::clear(&mut engine, &premises.host, &premises.setup.run_tag);
            if remove && ending.left.is_empty() {
                remove_folder(&premises.setup.directory);
            }
            ending
        });
        tracing::info!(?ending, "ended");
        *end = Some(ending.clone());
        ending
    }
}

fn remove_folder(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::warn!(%error, "{} could not be removed", directory.display());
    }
    // That of the run, if this was its last node here.
    let _ = directory.parent().map(std::fs::remove_dir);
}

/// `None` at the end of the connection, and when what was said makes no sense.
fn read_line(reader: &mut impl BufRead) -> Option<ToAgent> {
    let mut text = Vec::new();
    reader.by_ref().take(MAXIMUM_LINE_BYTES).read_until(b'\n', &mut text).ok()?;
    if !text.ends_with(b"\n") {
        return None;
    }
    serde_json::from_slice(&text).inspect_err(|error| tracing::warn!(%error, "a line makes no sense")).ok()
}

fn say(mut stream: &UnixStream, what: &FromAgent) -> std::io::Result<()> {
    stream.write_all(line(what)?.as_bytes())
}

fn host_error(command: &str, detail: String) -> Answer {
    Answer::HostError(HostFailure::Command { command: command.to_owned(), detail })
}

fn faults(premises: &Premises, request: RequestBody) -> Answer {
    match lock(&premises.engine).answer(request) {
        Ok(reply) => Answer::Nemesis(reply),
        Err(failure) => {
            tracing::warn!(%failure, "a request failed");
            Answer::Failure(failure)
        }
    }
}

/// The machine that an agent is on.
pub(super) fn local_host(setup: &AgentSetup) -> Result<LocalHost, AgentError> {
    let unknown = || HostError::Command {
        host: setup.node.clone(),
        command: "(set-up)".to_owned(),
        detail: "the node has no address".to_owned(),
    };
    let address = *setup.addresses.get(&setup.node).ok_or_else(unknown)?;
    let host = LocalHost::of_this_machine(&setup.node, address, &setup.directory)?;
    let path = process::path_with_system_folders();
    let mark = setup.directory.to_string_lossy();
    Ok(host.with_variable(MARK, &mark).with_variable("PATH", &path.to_string_lossy()))
}

/// Those of the run: this machine, and the others by their addresses.
pub(super) fn hosts(setup: &AgentSetup, host: &LocalHost) -> Vec<Arc<dyn Host>> {
    let others = setup.addresses.iter().filter(|(name, _)| **name != setup.node);
    let others = others.map(|(name, address)| {
        Arc::new(Elsewhere { name: name.clone(), address: *address }) as Arc<dyn Host>
    });
    others.chain([Arc::new(host.clone()) as Arc<dyn Host>]).collect()
}

fn on_machine(host: &LocalHost, work: HostWork) -> Result<HostAnswer, HostError> {
    let file_error = |path: PathBuf, source| HostError::File { host: host.name().to_owned(), path, source };
    Ok(match work {
        HostWork::Run { program, args } => {
            host.run(&program, &args.iter().map(String::as_str).collect::<Vec<_>>())?.into()
        }
        HostWork::StartDaemon(spec) => HostAnswer::Started(host.start_daemon(&spec)?),
        HostWork::Daemon => HostAnswer::Daemon(host.daemon()?),
        HostWork::ProcessState(process) => HostAnswer::ProcessState(host.process_state(process)?),
        HostWork::Signal { process, signal } => {
            host.signal(process, signal)?;
            HostAnswer::Done
        }
        HostWork::ReadFile { path, offset, limit } => {
            let read = || {
                let mut file = File::open(&path)?;
                file.seek(SeekFrom::Start(offset))?;
                let mut content = Vec::new();
                file.take(limit.min(MOST_BYTES)).read_to_end(&mut content)?;
                Ok(content)
            };
            HostAnswer::Content(Bytes(read().map_err(|source| file_error(path.clone(), source))?))
        }
        HostWork::WriteFile { path, append: false, content } => {
            host.write_file(&path, &content.0)?;
            HostAnswer::Done
        }
        HostWork::WriteFile { path, append: true, content } => {
            let opened = File::options().append(true).open(&path);
            let written = opened.and_then(|mut file| file.write_all(&content.0));
            written.map_err(|source| file_error(path, source))?;
            HostAnswer::Done
        }
        HostWork::ListFiles { path } => {
            let mut files = BTreeMap::new();
            list(&path, Path::new(""), &mut files).map_err(|source| file_error(path, source))?;
            HostAnswer::Files(files)
        }
    })
}

/// Regular files only, and no other file system's.
fn list(folder: &Path, below: &Path, files: &mut BTreeMap<PathBuf, u64>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(folder, &name, files)?;
        } else if kind.is_file() && name.to_str().is_some() {
            files.insert(name, entry.metadata()?.len());
        }
    }
    Ok(())
}

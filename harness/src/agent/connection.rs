//! [`AgentConnection`]: the harness's end of the connection to an agent, made again when it is lost.
//!
//! A thread keeps the connection: it opens it, says hello, says again what has no answer yet, reads, and begins anew when it ends.
//! Another one sends heartbeats, and cuts a connection over which nothing comes back. Callers block until they have their answer.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use labrys_nemesis::{ProcessIdentity, RequestBody};

use super::protocol::{AgentSetup, Answer, FromAgent, HostWork, ToAgent, Work, line};

/// Bytes to and from an agent.
pub struct Channel {
    /// To it. Whole lines are written, by one thread at a time.
    pub writer: Box<dyn Write + Send>,
    /// From it.
    pub reader: Box<dyn BufRead + Send>,
    /// Ends both at once, whoever is blocked on them.
    pub cut: Arc<dyn Fn() + Send + Sync>,
    /// Once it has ended: what there is to say of the reason, in a sentence.
    pub complaint: Box<dyn FnOnce() -> String + Send>,
}

/// A way to a machine. `ssh` is one.
pub trait Transport: Send + Sync {
    /// Opens a channel to the agent of the node, which is started if there is none.
    ///
    /// # Errors
    /// In one sentence: what is wrong, where, and how to mend it. `is_final` if another try would not help.
    fn open(&self) -> Result<Channel, NoChannel>;
}

/// Why there is no channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoChannel {
    /// In a sentence.
    pub reason: String,
    /// Another try would not help.
    pub is_final: bool,
}

/// Between two heartbeats.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);

/// A connection over which nothing comes back for so long is cut, and made again.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Between two tries at connecting.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// How long an answer may take; of the nemesis, whose patience ends before. As for a local nemesis.
const ANSWERS_WITHIN: Duration = Duration::from_secs(50);

/// A request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// A request without an answer yet.
struct Waiting {
    line: String,
    /// The agent that it was sent to, and whether another one may be asked the same.
    sent_to: Option<ProcessIdentity>,
    is_repeatable: bool,
    answer: Option<Result<Answer, NoAnswer>>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<u64, Waiting>,
    last_id: u64,
    incarnation: Option<ProcessIdentity>,
    cut: Option<Arc<dyn Fn() + Send + Sync>>,
    heard: Option<Instant>,
    /// Why there will be no connection any more.
    over: Option<String>,
    lost: u64,
}

struct Shared {
    setup: AgentSetup,
    transport: Box<dyn Transport>,
    state: Mutex<State>,
    changed: Condvar,
    /// Apart from the state: who writes may be blocked, and must be seen and cut meanwhile.
    writer: Mutex<Option<Box<dyn Write + Send>>>,
}

/// A connection to the agent of a node. Cheap to clone; when the last one is dropped, it is closed.
#[derive(Clone)]
pub struct AgentConnection {
    shared: Arc<Shared>,
    _closing: Arc<Closing>,
}

struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close("the connection was closed");
    }
}

impl fmt::Debug for AgentConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("AgentConnection").field(&self.shared.setup.node).finish()
    }
}

impl AgentConnection {
    /// Connects, and waits for the agent's welcome.
    ///
    /// # Errors
    /// The first reason why there is none: what cannot be reached at the beginning is not tried again.
    pub fn open(setup: AgentSetup, transport: Box<dyn Transport>) -> Result<AgentConnection, NoAnswer> {
        let shared = Arc::new(Shared {
            setup,
            transport,
            state: Mutex::default(),
            changed: Condvar::new(),
            writer: Mutex::default(),
        });
        let reader = shared.connect().map_err(|no_channel| NoAnswer(no_channel.reason))?;
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let name = format!("{name}-{}", shared.setup.node);
            std::thread::Builder::new().name(name).spawn(body).map_err(|error| NoAnswer(error.to_string()))
        };
        let (keeper, heart) = (Arc::clone(&shared), Arc::clone(&shared));
        spawn("agent", Box::new(move || keeper.keep(reader)))?;
        spawn("heart", Box::new(move || heart.beat()))?;
        Ok(AgentConnection { _closing: Arc::new(Closing(Arc::clone(&shared))), shared })
    }

    /// Whom it is to.
    #[must_use]
    pub fn setup(&self) -> &AgentSetup {
        &self.shared.setup
    }

    /// How often it was lost so far.
    #[must_use]
    pub fn times_lost(&self) -> u64 {
        self.shared.lock().lost
    }

    /// Has a request carried out, across lost connections.
    ///
    /// # Errors
    /// If the agent cannot be reached any more, has been started anew meanwhile and it is not known what became of the request, or does
    /// not answer in time.
    pub fn call(&self, work: Work) -> Result<Answer, NoAnswer> {
        let shared = &self.shared;
        let mut state = shared.lock();
        if let Some(over) = &state.over {
            return Err(NoAnswer(over.clone()));
        }
        state.last_id += 1;
        let id = state.last_id;
        let is_repeatable = is_repeatable(&work);
        let line = line(&ToAgent::Request { id, work }).map_err(|error| NoAnswer(error.to_string()))?;
        let sent_to = state.incarnation;
        state.waiting.insert(id, Waiting { line: line.clone(), sent_to, is_repeatable, answer: None });
        drop(state);
        shared.write(&line);
        let state = shared.lock();
        let waits = |state: &mut State| {
            state.over.is_none() && state.waiting.get(&id).is_some_and(|waiting| waiting.answer.is_none())
        };
        let waited = shared.changed.wait_timeout_while(state, ANSWERS_WITHIN, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let waiting = state.waiting.remove(&id);
        match waiting.and_then(|waiting| waiting.answer) {
            Some(answer) => answer,
            None => Err(NoAnswer(state.over.clone().unwrap_or_else(|| {
                let node = &shared.setup.node;
                format!("{node}: the agent has not answered for {} s", ANSWERS_WITHIN.as_secs())
            }))),
        }
    }

    /// Closes it: the agent waits for another one until its silence is over.
    pub fn close(&self) {
        self.shared.close("the connection was closed");
    }

    /// Cuts it, as a network would. For tests: it is made again.
    pub fn cut(&self) {
        self.shared.cut();
    }
}

/// Whether a new agent may be asked what was asked of its predecessor, of which nobody knows whether it was done.
fn is_repeatable(work: &Work) -> bool {
    match work {
        Work::Nemesis(RequestBody::Apply { .. }) => false,
        Work::Nemesis(_) | Work::Finish { .. } => true,
        Work::Host(work) => match work {
            HostWork::Run { .. } | HostWork::StartDaemon(_) | HostWork::Signal { .. } => false,
            HostWork::WriteFile { append, .. } => !append,
            HostWork::Daemon
            | HostWork::ProcessState(_)
            | HostWork::ReadFile { .. }
            | HostWork::ListFiles { .. } => true,
        },
    }
}

type Reader = Box<dyn BufRead + Send>;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a channel, says hello, and says everything again that has no answer.
    fn connect(&self) -> Result<Reader, NoChannel> {
        let Channel { mut writer, mut reader, cut, complaint } = self.transport.open()?;
        let node = &self.setup.node;
        let temporary = |reason: String| NoChannel { reason, is_final: false };
        let hello =
            line(&ToAgent::Hello(self.setup.clone())).map_err(|error| temporary(error.to_string()))?;
        let mut answer = String::new();
        let said = writer.write_all(hello.as_bytes()).and_then(|()| writer.flush());
        let read = said.and_then(|()| reader.read_line(&mut answer));
        let incarnation = match serde_json::from_str(&answer) {
            Ok(FromAgent::Welcome { incarnation }) => incarnation,
            Ok(FromAgent::Refused { reason }) => {
                cut();
                return Err(NoChannel {
                    reason: format!("{node}: the agent refuses: {reason}"),
                    is_final: true,
                });
            }
            _ => {
                cut();
                let detail = read.err().map(|error| format!(" ({error})")).unwrap_or_default();
                return Err(temporary(format!("{node}: the agent did not begin{detail}: {}", complaint())));
            }
        };
        let mut state = self.lock();
        state.incarnation = Some(incarnation);
        state.cut = Some(cut);
        state.heard = Some(Instant::now());
        let mut again = String::new();
        for waiting in state.waiting.values_mut().filter(|waiting| waiting.answer.is_none()) {
            let is_another = waiting.sent_to.is_some_and(|sent_to| sent_to != incarnation);
            if is_another && !waiting.is_repeatable {
                let reason =
                    format!("{node}: the agent died, and another one has undone what it had applied");
                waiting.answer = Some(Err(NoAnswer(reason)));
            } else {
                waiting.sent_to = Some(incarnation);
                again.push_str(&waiting.line);
            }
        }
        drop(state);
        self.changed.notify_all();
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        self.write(&again);
        Ok(reader)
    }

    /// Reads, and connects again, until it is over.
    fn keep(&self, mut reader: Reader) {
        loop {
            self.read_all(reader);
            let lost_at = Instant::now();
            self.forget_connection();
            reader = loop {
                if self.lock().over.is_some() {
                    return;
                }
                match self.connect() {
                    Ok(reader) => break reader,
                    Err(no_channel) => {
                        tracing::warn!(node = self.setup.node, "{}", no_channel.reason);
                        // Twice the silence: then it has ended for certain, and says so to whoever reaches it.
                        let given_up = lost_at.elapsed() > 2 * Duration::from_millis(self.setup.silence_ms);
                        if no_channel.is_final || given_up {
                            self.close(&no_channel.reason);
                            return;
                        }
                    }
                }
                std::thread::sleep(BETWEEN_TRIES);
            };
            tracing::info!(node = self.setup.node, "the connection was made again");
        }
    }

    fn forget_connection(&self) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut state = self.lock();
        if let Some(cut) = state.cut.take() {
            cut();
        }
        state.heard = None;
        state.lost += 1;
        if state.over.is_none() {
            tracing::warn!(node = self.setup.node, "the connection to the agent was lost");
        }
    }

    fn read_all(&self, mut reader: Reader) {
        let mut text = String::new();
        while reader.read_line(&mut text).is_ok_and(|length| length > 0) {
            let mut state = self.lock();
            state.heard = Some(Instant::now());
            match serde_json::from_str(&text) {
                Ok(FromAgent::Response { id, answer }) => {
                    if matches!(answer, Answer::Finished(_)) {
                        // It ends; another connection would have another one started.
                        state.over.get_or_insert_with(|| "the agent was told to end, and has".to_owned());
                    }
                    if let Some(waiting) = state.waiting.get_mut(&id) {
                        waiting.answer = Some(Ok(answer));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(node = self.setup.node, %error, "what the agent says makes no sense");
                    return;
                }
            }
            drop(state);
            self.changed.notify_all();
            text.clear();
        }
    }

    /// Heartbeats, until it is over.
    fn beat(&self) {
        loop {
            let state = self.lock();
            if state.over.is_some() {
                return;
            }
            let received = state.waiting.keys().next().map_or(state.last_id, |first| first - 1);
            if state.heard.is_some_and(|heard| heard.elapsed() > HEARD_WITHIN)
                && let Some(cut) = &state.cut
            {
                cut();
            }
            drop(state);
            if let Ok(heartbeat) = line(&ToAgent::Heartbeat { received }) {
                self.write(&heartbeat);
            }
            let over = |state: &mut State| state.over.is_none();
            let waited = self.changed.wait_timeout_while(self.lock(), HEARTBEAT_EVERY, over);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// What cannot be written now is said again when there is a connection.
    fn write(&self, text: &str) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &mut *writer
            && open.write_all(text.as_bytes()).and_then(|()| open.flush()).is_err()
        {
            *writer = None;
        }
    }

    fn cut(&self) {
        if let Some(cut) = &self.lock().cut {
            cut();
        }
    }

    fn close(&self, why: &str) {
        let mut state = self.lock();
        state.over.get_or_insert_with(|| why.to_owned());
        let cut = state.cut.take();
        drop(state);
        self.changed.notify_all();
        if let Some(cut) = cut {
            cut();
        }
    }
}

#[cfg(test)]
mod tests;

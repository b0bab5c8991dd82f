//! [`AgentConnection`]: the harness's end of the connection to an agent, made again when it is lost.
//!
//! A thread keeps the connection (`keeper`): it opens it, says hello, says again what has no answer yet, reads, and begins anew when it
//! ends. Another one sends heartbeats. A third one, which does neither, cuts a connection on which nothing comes ([`Lifeline`]), from before
//! it is open. Callers block until they have their answer.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use labrys_nemesis::{FaultReport, ProcessIdentity, RequestBody};

use super::lifeline::Lifeline;
use super::protocol::{AgentSetup, Answer, HostWork, MAXIMUM_LINE_BYTES, ToAgent, Work, line};

mod keeper;

/// Bytes to and from an agent.
pub struct Channel {
    /// To it. Whole lines are written, by one thread at a time.
    pub writer: Box<dyn Write + Send>,
    /// From it.
    pub reader: Box<dyn Read + Send>,
    /// Once it has ended: what there is to say of the reason, in a sentence.
    pub complaint: Box<dyn FnOnce() -> String + Send>,
}

/// A way to a machine. `ssh` is one.
pub trait Transport: Send + Sync {
    /// Opens a channel to the agent of the node, which is started if there is none. Before anything that may block it tells the lifeline how to
    /// cut it, at both ends at once, and meanwhile of every sign of life; what is read of the channel later is heard by others.
    ///
    /// # Errors
    /// In one sentence: what is wrong, where, and how to mend it. `is_final` if another try would not help.
    fn open(&self, lifeline: &Lifeline) -> Result<Channel, NoChannel>;
}

/// Why there is no channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoChannel {
    /// In a sentence.
    pub reason: String,
    /// Another try would not help.
    pub is_final: bool,
}

/// How patient a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two heartbeats.
    heartbeat_every: Duration,
    /// A connection over which nothing comes for so long is cut, and made again.
    heard_within: Duration,
    /// So long nothing may come while the first connection is made.
    opens_within: Duration,
    /// So much of a line is read at most.
    line_bytes: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            heartbeat_every: Duration::from_secs(2),
            heard_within: Duration::from_secs(5),
            opens_within: OPENS_WITHIN,
            line_bytes: MAXIMUM_LINE_BYTES,
        }
    }
}

/// So long nothing may come while a connection is made for the first time: some machines think long about who logs in.
pub(crate) const OPENS_WITHIN: Duration = Duration::from_secs(30);

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
    /// Of the connection that there is, or that is being made.
    lifeline: Option<Arc<Lifeline>>,
    /// The faults that an agent has ended before their time, because the one that had applied them was dead, with when that was learnt.
    ended_early: BTreeMap<u64, (FaultReport, Instant)>,
    /// Why there will be no connection any more.
    over: Option<String>,
    lost: u64,
}

struct Shared {
    setup: AgentSetup,
    transport: Box<dyn Transport>,
    pace: Pace,
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
        AgentConnection::open_at(Pace::default(), setup, transport)
    }

    fn open_at(
        pace: Pace,
        setup: AgentSetup,
        transport: Box<dyn Transport>,
    ) -> Result<AgentConnection, NoAnswer> {
        let shared = Arc::new(Shared {
            setup,
            transport,
            pace,
            state: Mutex::default(),
            changed: Condvar::new(),
            writer: Mutex::default(),
        });
        let reader = shared.connect(pace.opens_within).map_err(|no_channel| NoAnswer(no_channel.reason))?;
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

    /// Whether an agent has undone a fault when it began, before it was asked to, as the one that had applied it was dead: what it knows of
    /// the fault, and how long ago that was learnt.
    #[must_use]
    pub fn ended_early(&self, fault_id: u64) -> Option<(FaultReport, Duration)> {
        let state = self.shared.lock();
        state.ended_early.get(&fault_id).map(|(report, learnt)| (report.clone(), learnt.elapsed()))
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let lifeline = self.lock().lifeline.clone();
        if let Some(lifeline) = lifeline {
            lifeline.cut();
        }
    }

    fn close(&self, why: &str) {
        let mut state = self.lock();
        state.over.get_or_insert_with(|| why.to_owned());
        let lifeline = state.lifeline.take();
        drop(state);
        self.changed.notify_all();
        if let Some(lifeline) = lifeline {
            lifeline.cut();
        }
    }
}

#[cfg(test)]
mod tests;

//! [`FaultDriver`]: carries out the operations of the nemesis thread through the nemesis process, and writes `schedule.jsonl`.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use labrys_history::{Clock, Value};
use labrys_nemesis::{
    ClientError, DaemonSpec, FaultReport, InjectedFault, NemesisClient, RecordError, Resolved, RunTag,
    Schedule, ScheduleWriter, Scheduled, View, resolve,
};
use labrys_seed::{Rng, Seed};
use labrys_workloads::Op;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::plan::Action;
use crate::interpreter::NemesisDriver;
use crate::testbed::NetnsTestbedConfig;

/// What the nemesis process is told when it starts: the content of its set-up file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NemesisSetup {
    /// The tag of everything that it makes on hosts.
    pub run_tag: RunTag,
    /// Where it writes what may be applied, before it is.
    pub journal: PathBuf,
    /// The machines.
    pub testbed: NetnsTestbedConfig,
}

/// The nemesis, or what it writes, failed. Exit code 255.
#[derive(Debug, Error)]
pub enum FaultError {
    /// The process could not be started.
    #[error("cannot start the nemesis process ({program}): {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It did not do what it was asked.
    #[error("the nemesis could not {what}: {source}")]
    Nemesis {
        /// What it was asked.
        what: String,
        /// What it says.
        source: ClientError,
    },
    /// `schedule.jsonl` could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What is applied now, in words, by fault.
#[derive(Clone, Debug, Default)]
pub struct ActiveFaults(Arc<Mutex<BTreeMap<u64, String>>>);

impl ActiveFaults {
    /// In words, in the order of the faults' numbers.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        lock(&self.0).values().cloned().collect()
    }
}

/// A running nemesis process.
struct NemesisProcess {
    child: Child,
    client: NemesisClient<BufReader<ChildStdout>, ChildStdin>,
}

impl NemesisProcess {
    /// `labrys nemesis-process --setup FILE`: this very binary, so that no other version can be met.
    fn start(setup_file: &std::path::Path, log: std::fs::File) -> Result<NemesisProcess, FaultError> {
        let program = PathBuf::from("/proc/self/exe");
        let started = Command::new(&program)
            .args(["nemesis-process", "--setup"])
            .arg(setup_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn();
        let mut child = started.map_err(|source| FaultError::Start { program: program.clone(), source })?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked to be pipes")
        };
        Ok(NemesisProcess { child, client: NemesisClient::new(BufReader::new(output), input) })
    }
}

/// The files that the driver reads and writes.
#[derive(Clone, Debug)]
pub struct FaultFiles {
    /// Where the nemesis finds its [`NemesisSetup`].
    pub setup: PathBuf,
    /// Where its standard error goes.
    pub log: PathBuf,
    /// `schedule.jsonl`.
    pub schedule: PathBuf,
}

/// Who believes to lead, at this moment.
pub type Leaders = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

struct State {
    /// `None` once it has been finished.
    process: Option<NemesisProcess>,
    writer: ScheduleWriter,
    rng: Rng,
    injected: BTreeMap<u64, InjectedFault>,
    failure: Option<FaultError>,
    /// What could not be undone when it was to be.
    mishaps: Vec<String>,
}

impl State {
    fn client(&mut self) -> Result<&mut NemesisClient<BufReader<ChildStdout>, ChildStdin>, ClientError> {
        self.process.as_mut().map(|process| &mut process.client).ok_or(ClientError::Ended)
    }
}

/// Carries out the operations of the nemesis thread. One at a time; blocking, because the nemesis is.
#[derive(Clone)]
pub struct FaultDriver {
    state: Arc<Mutex<State>>,
    planned: Arc<BTreeMap<u64, Scheduled>>,
    nodes: Arc<Vec<String>>,
    leaders: Leaders,
    clock: Arc<dyn Clock>,
    active: ActiveFaults,
}

impl FaultDriver {
    /// Starts the nemesis process and tells it how to restart the daemons.
    ///
    /// # Errors
    /// If it does not start or does not answer.
    pub fn start(
        setup: &NemesisSetup,
        files: &FaultFiles,
        daemons: BTreeMap<String, DaemonSpec>,
        schedule: &Schedule,
        leaders: Leaders,
        clock: Arc<dyn Clock>,
        seed: Seed,
    ) -> Result<FaultDriver, FaultError> {
        let failed = |source| FaultError::Start { program: files.setup.clone(), source };
        let text = serde_json::to_vec_pretty(setup).map_err(|error| failed(error.into()))?;
        std::fs::write(&files.setup, text).map_err(failed)?;
        let log = std::fs::File::create(&files.log).map_err(failed)?;
        let mut process = NemesisProcess::start(&files.setup, log)?;
        let told = process.client.set_daemons(daemons);
        told.map_err(|source| FaultError::Nemesis { what: "take its set-up".to_owned(), source })?;
        let state = State {
            process: Some(process),
            writer: ScheduleWriter::open(&files.schedule)?,
            rng: seed.fork("fault-targets").rng(),
            injected: BTreeMap::new(),
            failure: None,
            mishaps: Vec::new(),
        };
        Ok(FaultDriver {
            state: Arc::new(Mutex::new(state)),
            planned: Arc::new(schedule.faults.iter().map(|fault| (fault.id, fault.clone())).collect()),
            nodes: Arc::new(setup.testbed.nodes.iter().map(|node| node.name.clone()).collect()),
            leaders,
            clock,
            active: ActiveFaults::default(),
        })
    }

    /// What is applied now.
    #[must_use]
    pub fn active(&self) -> ActiveFaults {
        self.active.clone()
    }

    /// Carries out one operation of [`PlannedFaults`](super::PlannedFaults): what the history is to say of it, and the error
    /// if there was one. Blocks for as long as the nemesis needs.
    pub fn perform(&self, op: &Op) -> (Value, Option<Value>) {
        let id = op.value.get("fault").and_then(Value::as_int).and_then(|id| u64::try_from(id).ok());
        let action = op.value.get("action").and_then(Value::as_text).and_then(Action::named);
        let planned = id.and_then(|id| self.planned.get(&id));
        let (Some(action), Some(planned)) = (action, planned) else {
            return (op.value.clone(), Some(Value::from("this is no step of the plan")));
        };
        let mut state = lock(&self.state);
        let resolved = match state.injected.get(&planned.id) {
            Some(injected) => injected.resolved.clone(),
            None => {
                let view = View { nodes: self.nodes.to_vec(), leaders: (self.leaders)() };
                resolve(&planned.fault, &view, &mut state.rng)
            }
        };
        let outcome = match action {
            Action::Apply => self.apply(&mut state, planned, &resolved),
            Action::Undo => self.undo(&mut state, planned.id),
        };
        let error = outcome.as_ref().err().map(|error| Value::from(error.to_string()));
        let value = describe(planned.id, action, &resolved, outcome.as_ref().ok());
        match (outcome, action) {
            (Ok(_), _) => {}
            (Err(error), Action::Apply) => {
                state.failure.get_or_insert(error);
            }
            // Tried again at the end; a node that dies as soon as it is started again is the system's fault, and is seen.
            (Err(error), Action::Undo) => state.mishaps.push(error.to_string()),
        }
        (value, error)
    }

    fn apply(
        &self,
        state: &mut State,
        planned: &Scheduled,
        resolved: &Resolved,
    ) -> Result<FaultReport, FaultError> {
        lock(&self.active.0).insert(planned.id, resolved.to_string());
        let answer = state.client().and_then(|client| client.apply(planned.id, resolved.clone()));
        let applied_at_ms = answer.is_ok().then(|| self.now_ms());
        let report = answer.as_ref().ok().cloned().unwrap_or_default();
        let injected = InjectedFault {
            id: planned.id,
            planned: Some(planned.clone()),
            resolved: resolved.clone(),
            applied_at_ms,
            undone_at_ms: None,
            bit: report.evidence.bit,
            evidence: report.evidence,
            errors: answer.as_ref().err().map(ToString::to_string).into_iter().collect(),
        };
        state.injected.insert(planned.id, injected);
        answer.map_err(|source| FaultError::Nemesis { what: format!("apply `{resolved}`"), source })
    }

    fn undo(&self, state: &mut State, id: u64) -> Result<FaultReport, FaultError> {
        let Some(injected) = state.injected.get(&id) else { return Ok(FaultReport::default()) };
        let what = format!("undo `{}`", injected.resolved);
        let answer = state.client().and_then(|client| client.undo(id));
        self.ended(state, id, answer.as_ref().map_err(ToString::to_string))?;
        answer.map_err(|source| FaultError::Nemesis { what, source })
    }

    /// Writes down how a fault ended.
    fn ended(
        &self,
        state: &mut State,
        id: u64,
        answer: Result<&FaultReport, String>,
    ) -> Result<(), FaultError> {
        let Some(mut injected) = state.injected.remove(&id) else { return Ok(()) };
        match answer {
            Ok(report) => {
                injected.undone_at_ms = Some(self.now_ms());
                injected.bit = report.evidence.bit;
                injected.evidence = report.evidence.clone();
                injected.errors = report.failures.iter().map(ToString::to_string).collect();
            }
            Err(error) => injected.errors.push(error),
        }
        lock(&self.active.0).remove(&id);
        state.writer.append(&injected)?;
        Ok(())
    }

    /// Undoes whatever is still applied, and writes it down.
    ///
    /// # Errors
    /// If something could not be undone; the rest is.
    pub fn undo_all(&self) -> Result<(), FaultError> {
        let mut state = lock(&self.state);
        let ids: Vec<u64> = state.injected.keys().copied().collect();
        let outcomes: Vec<_> = ids.into_iter().map(|id| self.undo(&mut state, id)).collect();
        let rest = state.client().and_then(|client| client.undo_all());
        outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        rest.map_err(|source| FaultError::Nemesis { what: "undo everything".to_owned(), source })?;
        Ok(())
    }

    /// What could not be undone at its time, in words.
    #[must_use]
    pub fn mishaps(&self) -> Vec<String> {
        lock(&self.state).mishaps.clone()
    }

    /// The first fault that could not be applied, if there was one. A run whose faults could not be applied has no verdict.
    #[must_use]
    pub fn failure(&self) -> Option<FaultError> {
        lock(&self.state).failure.take()
    }

    /// Ends the nemesis process by closing its input, and waits for it.
    ///
    /// # Errors
    /// If it did not end well.
    pub fn finish(&self) -> Result<(), FaultError> {
        let Some(NemesisProcess { mut child, client }) = lock(&self.state).process.take() else {
            return Ok(());
        };
        let failed =
            |source| FaultError::Nemesis { what: "end".to_owned(), source: ClientError::Connection(source) };
        drop(client);
        let status = child.wait().map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        Err(failed(std::io::Error::other(format!("it ended with {status}; its log says more"))))
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ns() / 1_000_000
    }
}

#[async_trait]
impl NemesisDriver for FaultDriver {
    async fn invoke(&self, op: &Op) -> (Value, Option<Value>) {
        let (driver, step) = (self.clone(), op.clone());
        let performed = tokio::task::spawn_blocking(move || driver.perform(&step)).await;
        performed.unwrap_or_else(|panic| (op.value.clone(), Some(Value::from(panic.to_string()))))
    }
}

/// What the history says of a step: the convention that checkers and reports read.
fn describe(id: u64, action: Action, resolved: &Resolved, report: Option<&FaultReport>) -> Value {
    let nodes = resolved.nodes().into_iter().map(Value::from).collect();
    let mut fields = vec![
        ("fault", Value::Int(i64::try_from(id).unwrap_or(i64::MAX))),
        ("action", Value::from(action.name())),
        ("phase", Value::from("complete")),
        ("what", Value::from(resolved.to_string())),
        ("nodes", Value::Vector(nodes)),
    ];
    if let Some(report) = report {
        fields.push(("bit", Value::Bool(report.evidence.bit)));
        fields.push(("evidence", Value::from(report.evidence.to_string())));
    }
    Value::Map(fields.into_iter().map(|(name, value)| (Value::from(name), value)).collect())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! [`FaultDriver`]: carries out the operations of the nemesis thread through the nemesis process, and writes `schedule.jsonl`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use labrys_history::{Clock, Draft, EventKind, Process, Value};
use labrys_nemesis::{
    ClientError, DaemonSpec, Failpoint, FaultReport, InjectedFault, RecordError, Resolved, RunTag, Schedule,
    ScheduleWriter, Scheduled, View, resolve,
};
use labrys_seed::{Rng, Seed};
use labrys_workloads::Op;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::link::{ENDS_WITHIN, FaultLink, NemesisProcess};
use super::plan::{Action, operation};
use crate::agent::Fleet;
use crate::interpreter::{EventSink, NemesisDriver};
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
    /// The history could not be written.
    #[error("the history cannot be recorded: {0}")]
    History(#[from] labrys_history::RecordError),
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
    nemesis: Option<Box<dyn FaultLink>>,
    writer: ScheduleWriter,
    rng: Rng,
    /// The faults that are, or may be, applied.
    injected: BTreeMap<u64, InjectedFault>,
    /// The nodes whose disks have rotted, also if that was mended.
    rotten: BTreeSet<String>,
    failure: Option<FaultError>,
    /// What could not be undone when it was to be, in words, by fault.
    mishaps: BTreeMap<u64, String>,
}

impl State {
    /// Asks the nemesis. One that does not answer is ended: what it would say later could be taken for another answer.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut dyn FaultLink) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let Some(nemesis) = &mut self.nemesis else { return Err(ClientError::Ended) };
        let answer = question(nemesis.as_mut());
        if let Err(ClientError::Connection(error)) = &answer
            && error.kind() == ErrorKind::TimedOut
            && let Some(nemesis) = self.nemesis.take()
        {
            nemesis.abandon();
        }
        answer
    }
}

/// Carries out the operations of the nemesis thread. One at a time; blocking, because the nemesis is.
#[derive(Clone)]
pub struct FaultDriver {
    state: Arc<Mutex<State>>,
    planned: Arc<BTreeMap<u64, Scheduled>>,
    nodes: Arc<Vec<String>>,
    /// The names of the user's own commands.
    commands: Arc<Vec<String>>,
    /// What can be had to happen at places in the nodes' processes.
    failpoints: Arc<Vec<Failpoint>>,
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
        process.set_daemons(daemons).map_err(untold)?;
        let nodes = setup.testbed.nodes.iter().map(|node| node.name.clone()).collect();
        FaultDriver::over(Box::new(process), &files.schedule, nodes, schedule, leaders, clock, seed)
    }

    /// The same with agents in place of a process: the nodes are `nodes`, in the order in which people list them.
    ///
    /// # Errors
    /// If an agent does not answer.
    pub fn with_fleet(
        mut fleet: Fleet,
        schedule_file: &std::path::Path,
        (nodes, daemons): (Vec<String>, BTreeMap<String, DaemonSpec>),
        schedule: &Schedule,
        leaders: Leaders,
        clock: Arc<dyn Clock>,
        seed: Seed,
    ) -> Result<FaultDriver, FaultError> {
        fleet.set_daemons(daemons).map_err(untold)?;
        FaultDriver::over(Box::new(fleet), schedule_file, nodes, schedule, leaders, clock, seed)
    }

    fn over(
        nemesis: Box<dyn FaultLink>,
        schedule_file: &std::path::Path,
        nodes: Vec<String>,
        schedule: &Schedule,
        leaders: Leaders,
        clock: Arc<dyn Clock>,
        seed: Seed,
    ) -> Result<FaultDriver, FaultError> {
        let state = State {
            nemesis: Some(nemesis),
            writer: ScheduleWriter::open(schedule_file)?,
            rng: seed.fork("fault-targets").rng(),
            injected: BTreeMap::new(),
            rotten: BTreeSet::new(),
            failure: None,
            mishaps: BTreeMap::new(),
        };
        Ok(FaultDriver {
            state: Arc::new(Mutex::new(state)),
            planned: Arc::new(schedule.faults.iter().map(|fault| (fault.id, fault.clone())).collect()),
            nodes: Arc::new(nodes),
            commands: Arc::default(),
            failpoints: Arc::default(),
            leaders,
            clock,
            active: ActiveFaults::default(),
        })
    }

    /// The same, knowing the names of the user's own commands.
    #[must_use]
    pub fn with_commands(self, names: Vec<String>) -> FaultDriver {
        FaultDriver { commands: Arc::new(names), ..self }
    }

    /// The same, knowing what can be had to happen at places in the nodes' processes.
    #[must_use]
    pub fn with_failpoints(self, failpoints: Vec<Failpoint>) -> FaultDriver {
        FaultDriver { failpoints: Arc::new(failpoints), ..self }
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
                let view = View {
                    nodes: self.nodes.to_vec(),
                    leaders: (self.leaders)(),
                    commands: self.commands.to_vec(),
                    failpoints: self.failpoints.to_vec(),
                    rotten: state.rotten.iter().cloned().collect(),
                };
                let resolved = resolve(&planned.fault, &view, &mut state.rng);
                state.rotten.extend(resolved.rots().into_iter().map(str::to_owned));
                resolved
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
            // A schedule that lacks a fault tells less than happened: the run fails as if the history could not be recorded.
            (Err(error), Action::Apply) | (Err(error @ FaultError::Record(_)), Action::Undo) => {
                state.failure.get_or_insert(error);
            }
            // Tried again, at the end at the latest; a node that dies as soon as it is started again is the system's fault, and is seen.
            (Err(error), Action::Undo) => {
                state.mishaps.entry(planned.id).or_insert_with(|| error.to_string());
            }
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
        let answer = state.ask(|nemesis| nemesis.apply(planned.id, resolved));
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

    /// Undoes a fault. If that fails it counts as applied until [`FaultDriver::heal`].
    fn undo(&self, state: &mut State, id: u64) -> Result<FaultReport, FaultError> {
        let Some(injected) = state.injected.get(&id) else { return Ok(FaultReport::default()) };
        let what = format!("undo `{}`", injected.resolved);
        match state.ask(|nemesis| nemesis.undo(id)) {
            Ok(report) => {
                self.ended(state, id, Ok(Some(&report)))?;
                Ok(report)
            }
            Err(source) => {
                if let Some(injected) = state.injected.get_mut(&id) {
                    injected.errors.push(source.to_string());
                }
                Err(FaultError::Nemesis { what, source })
            }
        }
    }

    /// Writes down how a fault ended: undone, with what was seen of it if there is news, or not to be undone.
    fn ended(
        &self,
        state: &mut State,
        id: u64,
        end: Result<Option<&FaultReport>, String>,
    ) -> Result<(), FaultError> {
        let Some(mut injected) = state.injected.remove(&id) else { return Ok(()) };
        match end {
            Ok(report) => {
                injected.undone_at_ms = Some(self.now_ms());
                if let Some(report) = report {
                    injected.bit = report.evidence.bit;
                    injected.evidence = report.evidence.clone();
                    injected.errors.extend(report.failures.iter().map(ToString::to_string));
                    injected.errors.dedup();
                }
            }
            Err(error) => injected.errors.push(error),
        }
        lock(&self.active.0).remove(&id);
        state.writer.append(&injected)?;
        Ok(())
    }

    /// Undoes whatever is still applied, because the run was stopped or an undo failed; in the history and in `schedule.jsonl`
    /// as if it had been its time.
    ///
    /// # Errors
    /// If something could not be undone, which is written down too, or it could not be written down.
    pub fn heal(&self, history: &dyn EventSink) -> Result<(), FaultError> {
        let mut state = lock(&self.state);
        let outstanding: Vec<(Op, Resolved)> = state
            .injected
            .values()
            .filter_map(|fault| {
                Some((operation(Action::Undo, fault.planned.as_ref()?), fault.resolved.clone()))
            })
            .collect();
        let ids: Vec<u64> = state.injected.keys().copied().collect();
        for (op, _) in &outstanding {
            history.record(nemesis_event(op, op.value.clone(), None))?;
        }
        let answer = state.ask(|nemesis| nemesis.undo_all());
        for (id, (op, resolved)) in ids.into_iter().zip(&outstanding) {
            let end = end_of(id, &answer);
            let value = describe(id, Action::Undo, resolved, end.as_ref().ok().copied().flatten());
            let error = end.as_ref().err().map(|error| Value::from(error.clone()));
            self.ended(&mut state, id, end)?;
            history.record(nemesis_event(op, value, error))?;
        }
        answer.map_err(|source| FaultError::Nemesis { what: "undo everything".to_owned(), source })?;
        Ok(())
    }

    /// What could not be undone at its time, in words: why it could not when that was tried first.
    #[must_use]
    pub fn mishaps(&self) -> Vec<String> {
        lock(&self.state).mishaps.values().cloned().collect()
    }

    /// The first fault that could not be applied, if there was one. A run whose faults could not be applied has no verdict.
    #[must_use]
    pub fn failure(&self) -> Option<FaultError> {
        lock(&self.state).failure.take()
    }

    /// Ends the nemesis: a process by closing its input, which is waited for.
    ///
    /// # Errors
    /// If it did not end well.
    pub fn finish(&self) -> Result<(), FaultError> {
        let Some(nemesis) = lock(&self.state).nemesis.take() else { return Ok(()) };
        nemesis.finish(ENDS_WITHIN).map_err(|source| FaultError::Nemesis {
            what: "end".to_owned(),
            source: ClientError::Connection(source),
        })
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ns() / 1_000_000
    }
}

fn untold(source: ClientError) -> FaultError {
    FaultError::Nemesis { what: "take its set-up".to_owned(), source }
}

#[async_trait]
impl NemesisDriver for FaultDriver {
    async fn invoke(&self, op: &Op) -> (Value, Option<Value>) {
        let (driver, step) = (self.clone(), op.clone());
        match tokio::task::spawn_blocking(move || driver.perform(&step)).await {
            Ok(performed) => performed,
            // The interpreter knows what to do about a panic.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => (op.value.clone(), Some(Value::from(error.to_string()))),
        }
    }
}

/// What became of a fault when everything was undone, with the news of it if there are any.
fn end_of(id: u64, answer: &Result<Vec<FaultReport>, ClientError>) -> Result<Option<&FaultReport>, String> {
    let find = |reports: &'_ [FaultReport]| reports.iter().position(|report| report.fault_id == id);
    match answer {
        Ok(reports) => Ok(find(reports).map(|position| &reports[position])),
        Err(ClientError::Refused(failure)) if !failure.left_behind.contains(&id) => {
            Ok(find(&failure.faults).map(|position| &failure.faults[position]))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn nemesis_event(op: &Op, value: Value, error: Option<Value>) -> Draft {
    Draft::new(Process::nemesis(), EventKind::Info, op.f.clone(), value).with_error(error)
}

/// What the history says of a step: the convention that checkers and reports read.
#[must_use]
pub fn describe(id: u64, action: Action, resolved: &Resolved, report: Option<&FaultReport>) -> Value {
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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use labrys_history::{Event, MonotonicClock};
    use labrys_nemesis::{Evidence, Failure, Fault, Outcome, Reply, Response, Target, read_schedule};

    use super::*;
    use crate::interpreter::MemorySink;

    struct Bench {
        driver: FaultDriver,
        sink: MemorySink,
        folder: tempfile::TempDir,
    }

    impl Bench {
        /// A driver of a nemesis that gives these answers, whatever it is asked, and then none.
        fn new(answers: Vec<Outcome>) -> Bench {
            // Only where there is nothing to wait for is the wait short.
            let answers_within = Duration::from_millis(if answers.is_empty() { 500 } else { 60_000 });
            let responses = answers.into_iter().zip(1..).map(|(outcome, id)| {
                let line = serde_json::to_string(&Response { id, outcome }).expect("an answer");
                format!("read line; echo '{line}'\n")
            });
            let script = responses.collect::<String>() + "while read line; do :; done";
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            let process = NemesisProcess::spawn(&mut command, answers_within).expect("a shell");
            let folder = tempfile::tempdir().expect("a folder");
            let fault = Scheduled {
                id: 0,
                at_ms: 1,
                duration_ms: 1,
                fault: Fault::Pause { target: Target::One },
                trigger: None,
            };
            let clock = Arc::new(MonotonicClock::start());
            let driver = FaultDriver::over(
                Box::new(process),
                &folder.path().join("schedule.jsonl"),
                vec!["n1".to_owned()],
                &Schedule { faults: vec![fault] },
                Arc::new(Vec::new),
                clock.clone(),
                Seed(1),
            );
            Bench { driver: driver.expect("a driver"), sink: MemorySink::new(clock), folder }
        }

        fn perform(&self, action: Action) -> Option<Value> {
            self.driver.perform(&operation(action, &self.driver.planned[&0])).1
        }

        /// The steps in the history: action, phase, whether there was an error, and whether the fault had bitten.
        fn steps(&self) -> Vec<(String, String, bool, Option<Value>)> {
            let word = |event: &Event, name| {
                event.value.get(name).and_then(Value::as_text).unwrap_or_default().to_owned()
            };
            let step = |event: &Event| {
                (
                    word(event, "action"),
                    word(event, "phase"),
                    event.error().is_some(),
                    event.value.get("bit").cloned(),
                )
            };
            self.sink.events().iter().map(step).collect()
        }

        fn schedule(&self) -> Vec<InjectedFault> {
            read_schedule(&self.folder.path().join("schedule.jsonl")).expect("a schedule")
        }
    }

    fn report() -> FaultReport {
        let evidence = Evidence { bit: true, ..Evidence::default() };
        FaultReport { fault_id: 0, evidence, failures: Vec::new() }
    }

    fn refused() -> Outcome {
        let message = "n1 is stubborn".to_owned();
        Outcome::Error(Failure { message, faults: vec![report()], left_behind: vec![0] })
    }

    fn step(phase: &str, is_error: bool, bit: Option<bool>) -> (String, String, bool, Option<Value>) {
        ("undo".to_owned(), phase.to_owned(), is_error, bit.map(Value::Bool))
    }

    #[test]
    fn what_is_undone_only_at_the_end_is_in_the_history_and_in_the_schedule() {
        for undo_failed_before in [false, true] {
            let mut answers = vec![Outcome::Result(Reply::Applied(report()))];
            answers.extend(undo_failed_before.then(refused));
            answers.push(Outcome::Result(Reply::UndoneAll(vec![report()])));
            let bench = Bench::new(answers);
            assert_eq!(bench.perform(Action::Apply), None);
            if undo_failed_before {
                assert!(bench.perform(Action::Undo).is_some());
            }
            assert_eq!(bench.driver.active().in_words(), ["pause n1"]);
            bench.driver.heal(&bench.sink).expect("healed");
            assert_eq!(bench.steps(), [step("invoke", false, None), step("complete", false, Some(true))]);
            let [fault] = &bench.schedule()[..] else { panic!("{:?}", bench.schedule()) };
            assert!(fault.bit && fault.undone_at_ms.is_some());
            assert_eq!(fault.errors.len(), usize::from(undo_failed_before));
            assert_eq!(bench.driver.mishaps().len(), usize::from(undo_failed_before));
            assert_eq!(bench.driver.active().in_words(), Vec::<String>::new());
        }
    }

    #[test]
    fn what_is_undone_when_it_is_tried_again_is_over_then_and_was_one_mishap() {
        let undone = Outcome::Result(Reply::Undone(report()));
        let bench = Bench::new(vec![Outcome::Result(Reply::Applied(report())), refused(), refused(), undone]);
        assert_eq!(bench.perform(Action::Apply), None);
        let tried = [(); 3].map(|()| bench.perform(Action::Undo).is_some());
        assert_eq!(tried, [true, true, false]);
        assert_eq!(bench.driver.active().in_words(), Vec::<String>::new());
        assert_eq!(bench.driver.mishaps().len(), 1);
        let [fault] = &bench.schedule()[..] else { panic!("{:?}", bench.schedule()) };
        assert!(fault.undone_at_ms.is_some());
    }

    #[test]
    fn what_cannot_be_undone_in_the_end_is_an_error_and_written_down() {
        let bench = Bench::new(vec![Outcome::Result(Reply::Applied(report())), refused()]);
        bench.perform(Action::Apply);
        let error = bench.driver.heal(&bench.sink).expect_err("left behind");
        assert!(error.to_string().contains("n1 is stubborn"), "{error}");
        assert_eq!(bench.steps(), [step("invoke", false, None), step("complete", true, None)]);
        let [fault] = &bench.schedule()[..] else { panic!("{:?}", bench.schedule()) };
        assert_eq!((fault.undone_at_ms, fault.errors.len()), (None, 1));
    }

    #[test]
    fn a_nemesis_that_does_not_answer_is_an_error_and_ended() {
        let bench = Bench::new(vec![]);
        assert!(bench.perform(Action::Apply).is_some());
        let failure = bench.driver.failure().expect("a failure").to_string();
        assert!(failure.contains("it has done nothing for 0.5 s"), "{failure}");
        let error = bench.driver.heal(&bench.sink).expect_err("it is gone").to_string();
        assert!(error.contains("has ended"), "{error}");
        bench.driver.finish().expect("there is nothing left to end");
    }
}

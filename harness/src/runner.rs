//! [`run`]: one test from the testbed to the verdict.
//!
//! The phases, in order: build the testbed, bring the system up, clients and nemesis at work, undo all faults, wait until
//! recovery is observed, final reads, last observations, tear down, how the nodes ended, check. Whatever fails on the way ends the run with a
//! [`RunError`], which is never a verdict; what was recorded until then stays.
//!
//! What it is not: it prints nothing and draws nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labrys_checker::invariants::ENDED_BY_ENVIRONMENT;
use labrys_checker::verdict::{CheckVerdict, Validity, Verdict};
use labrys_checker::{Budget, CheckConfig, CheckError, check};
use labrys_history::{
    Clock, Draft, EventKind, MonotonicClock, Process, ReadError, ReadOptions, RecordError, Recorder, Value,
    read_history,
};
use labrys_nemesis::{
    BadRunTag, DiskKind, FailpointCommands, Family, HostError, JournalError, LIBFAKETIME_MEND, RunTag,
    Schedule, find_libfaketime,
};
use labrys_workloads::generator::{BoxGenerator, GeneratorExt, any};
use labrys_workloads::{Workload, WorkloadError, WorkloadOptions, workload};
use thiserror::Error;
use tokio::sync::watch;

use crate::config::{ClockBy, ConfigError, TestConfig};
use crate::db::{
    Db, DbError, ReferenceStore, ReferenceStoreOptions, StoreClock, find_store_binary, set_up_and_start,
    wait_until_recovered,
};
use crate::fail_fast::{self, FailFast};
use crate::faults::{
    FaultDriver, FaultError, FaultFiles, Leaders, NemesisSetup, PlannedFaults, Unmet, coverage, planned,
    unplanned_faults,
};
use crate::interpreter::{
    Counters, Equipment, EventSink, Interpreter, InterpreterConfig, InterpreterError, NemesisDriver,
    NoNemesis, Stop,
};
use crate::isolation::Enclosure;
use crate::memory::half_of_the_memory_bytes;
use crate::observer::{Observer, ObserverError};
use crate::progress::{Phase, Progress};
use crate::run_directory::{RunDirectory, RunDirectoryError};
use crate::testbed::disks::Disks;
use crate::testbed::{Testbed, TestbedError};

/// Why there is no verdict.
#[derive(Debug, Error)]
pub enum RunError {
    /// The testbed could not be built.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// The system under test did not come up.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Only root can mount a real file system, and not in a user namespace.
    #[error("--disk ext4: only root can mount one: run it as root (sudo), or leave --disk out")]
    NotRoot,
    /// The disks of the nodes could not be mounted.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A fault could not be applied.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// The interpreter could not go on.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// The nodes could not be watched.
    #[error(transparent)]
    Observer(#[from] ObserverError),
    /// The history could not be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The recorded history could not be read again.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The run directory could not be written.
    #[error(transparent)]
    RunDirectory(#[from] RunDirectoryError),
    /// The workload cannot be built as asked: wrong usage.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A name in the configuration is wrong: wrong usage.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The history cannot be judged by the workload's checkers: a bug of the workload.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A node was ended by its environment, and nothing worse was found. What it would have done is not known.
    #[error("{0}")]
    NodeEndedByEnvironment(String),
    /// The journal of the faults could not be made.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run's tag is malformed: a bug of this module.
    #[error(transparent)]
    Tag(#[from] BadRunTag),
}

impl RunError {
    /// Whether the user asked for something that cannot be, rather than the machine failing.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, RunError::Workload(_) | RunError::Config(_))
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// The verdict, which is in the run directory as well.
    pub verdict: Verdict,
    /// How long the system needed to recover when all faults were undone; `None` if it did not within the time allowed.
    pub recovery: Option<Duration>,
    /// Why the clients were stopped before their time, if the run itself stopped them.
    pub stopped_early: Option<String>,
    /// What went wrong without costing the verdict: a teardown that failed, a kind of fault that could not be planned.
    pub warnings: Vec<String>,
}

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Runs one test. `stop` ends it early and in an orderly way: it is judged on what it saw. The testbed of network namespaces needs the
/// isolation, others do not.
///
/// # Errors
/// Whatever keeps it from a verdict.
pub async fn run(
    config: &TestConfig,
    enclosure: Option<&Enclosure>,
    directory: &RunDirectory,
    progress: watch::Sender<Progress>,
    stop: &Stop,
) -> Result<RunOutcome, RunError> {
    tracing::info!("{}", Phase::SettingUp);
    progress.send_modify(|progress| progress.phase = Phase::SettingUp);
    let mut rig = tokio::task::block_in_place(|| Rig::build(config, enclosure, directory))?;
    let ran = run_on(&mut rig, config, directory, progress, stop).await;
    let was_valid = ran.as_ref().is_ok_and(|outcome| outcome.verdict.validity == Validity::Valid);
    let problems = tokio::task::block_in_place(|| rig.testbed.leave(directory, was_valid));
    problems.iter().for_each(|problem| tracing::warn!("{problem}"));
    ran.map(|outcome| {
        let warnings = outcome.warnings.into_iter().chain(problems).collect();
        RunOutcome { warnings, ..outcome }
    })
}

/// From the first start of the nodes to the verdict.
async fn run_on(
    rig: &mut Rig,
    config: &TestConfig,
    directory: &RunDirectory,
    progress: watch::Sender<Progress>,
    stop: &Stop,
) -> Result<RunOutcome, RunError> {
    let time_limit = config.time_limit;
    progress.send_modify(|progress| progress.time_limit = time_limit);
    let enter = |phase: Phase| {
        tracing::info!("{phase}");
        progress.send_modify(|progress| progress.phase = phase);
    };
    let mut warnings = unplanned_faults(config)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    enter(Phase::Starting);
    set_up_and_start(&*rig.db, config.recovery_timeout).await?;
    let mut stage = Stage::set(config, directory, rig, stop)?;
    enter(Phase::Running);
    let teller =
        tokio::spawn(tell(progress.clone(), stage.counters(), Arc::clone(&rig.db), stage.faults.clone()));
    let ran = stage.perform(config, stop).await;
    teller.abort();
    ran?;
    let stopped_early = stage.end_fail_fast(&mut warnings)?;
    stage.note_unmet(&mut warnings)?;

    enter(Phase::Recovering);
    let unhealed = stage.heal(&mut warnings).err();
    let recovery = stage.wait_for_recovery(&*rig.db, config.recovery_timeout).await?;
    enter(Phase::FinalReads);
    stage.perform_finally(recovery.is_ok()).await?;
    enter(Phase::TearingDown);
    stage.observe_finally(&*rig.db, &mut warnings).await?;
    warnings.extend(rig.tear_down().await);
    stage.close(&*rig.db).await?;

    enter(Phase::Checking);
    let (judged_config, judged_directory) = (config.clone(), directory.clone());
    let judged = tokio::task::spawn_blocking(move || judge(&judged_config, &judged_directory));
    let mut verdict = judged.await.map_err(|error| DbError::Interrupted(error.to_string()))??;
    if let Some(error) = &unhealed {
        // Whoever reads the verdict later must not find a valid one of a run that failed.
        verdict = and_unknown(verdict, "faults-undone", error.to_string());
    }
    if let Some(violation) = stopped_early.as_ref().filter(|_| verdict.validity == Validity::Valid) {
        let reason =
            format!("{violation}, but the check of the whole history found none: this is a bug of Labrys");
        verdict = and_unknown(verdict, "fail-fast", reason);
    }
    directory.write_verdict(&verdict)?;
    refuse_ends_by_environment(&verdict)?;
    match unhealed {
        Some(error) if verdict.validity != Validity::Invalid => return Err(error.into()),
        // A violation stays one whatever became of the faults.
        error => warnings.extend(error.map(|error| error.to_string())),
    }
    Ok(RunOutcome { verdict, recovery: recovery.ok(), stopped_early, warnings })
}

/// The machines and the system on them.
struct Rig {
    testbed: Testbed,
    run_tag: RunTag,
    /// Those that can fail, if that is asked for.
    disks: Option<Disks>,
    db: Arc<dyn Db>,
}

impl Rig {
    fn build(
        config: &TestConfig,
        enclosure: Option<&Enclosure>,
        directory: &RunDirectory,
    ) -> Result<Rig, RunError> {
        if config.disk == DiskKind::Ext4 && enclosure.is_some_and(Enclosure::has_user_namespace) {
            return Err(RunError::NotRoot);
        }
        let run_tag: RunTag = format!("{:x}", config.seed.0).parse()?;
        let store = find_store_binary(None)?;
        let testbed = Testbed::build(config, enclosure, directory, &run_tag, &store)?;
        let schedule = planned(config)?;
        let has = |families: &[Family]| {
            schedule.faults.iter().any(|fault| families.contains(&fault.fault.family()))
        };
        let disk_faults = has(&[Family::Disk, Family::PowerCut]) || config.disk != DiskKind::default();
        // The only system so far; the configuration has been checked for others.
        let options = ReferenceStoreOptions {
            binary: testbed.store(store),
            election_timeout: config.election_timeout,
            pre_vote: config.pre_vote,
            check_quorum: config.check_quorum,
            flags: config.store_option.clone(),
            seed: config.seed.fork("store"),
            defects: config.defects()?,
            clock: has(&[Family::Clock]).then(|| store_clock(config.clock_by)).transpose()?,
            failpoints: schedule.faults.iter().any(|fault| fault.fault.is_failpoint()),
            disk_faults,
        };
        let disk_program = testbed.disk_program();
        let start_disks = || Disks::start(testbed.hosts(), &disk_program, config.disk);
        let disks = disk_faults.then(start_disks).transpose()?;
        let mut db = ReferenceStore::new(testbed.hosts(), &options)?;
        if let Some(address) = testbed.observer_address() {
            db = db.observed_from(address);
        }
        Ok(Rig { testbed, run_tag, disks, db: Arc::new(db) })
    }

    /// Ends the nodes; what went wrong is only told, for the kernel ends them anyway.
    async fn tear_down(&mut self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (node, name) in self.db.node_names().into_iter().enumerate() {
            warnings.extend(
                self.db.tear_down(node).await.err().map(|error| format!("tear-down of {name}: {error}")),
            );
        }
        let unmounted = self.disks.as_mut().map(|disks| tokio::task::block_in_place(|| disks.stop()));
        warnings.extend(unmounted.unwrap_or_default().iter().map(|error| format!("unmounting: {error}")));
        warnings
    }
}

/// # Errors
/// If it is the library's, and that is not here.
fn store_clock(by: ClockBy) -> Result<StoreClock, DbError> {
    match by {
        ClockBy::Orders => Ok(StoreClock::Orders),
        ClockBy::Libfaketime => find_libfaketime().map(StoreClock::Libfaketime).map_err(|places| {
            let mend = format!("For --clock-by libfaketime {LIBFAKETIME_MEND}");
            DbError::NoProgram { program: "libfaketime".to_owned(), places, mend }
        }),
    }
}

/// How the process of a disk is started: this very program, by a name that stays its own whatever becomes of its file.
pub(crate) fn disk_program() -> Vec<String> {
    vec![format!("/proc/{}/exe", std::process::id()), DISK_PROCESS.to_owned()]
}

/// The command of `labrys` that is a disk.
pub const DISK_PROCESS: &str = "disk-process";

/// Everybody who acts while a test runs, and the recorder of what they do.
struct Stage {
    recorder: Arc<Recorder>,
    fail_fast: Option<Arc<FailFast>>,
    interpreter: Interpreter,
    generator: BoxGenerator,
    /// The faults that wait for something.
    unmet: Unmet,
    final_generator: Option<BoxGenerator>,
    observer: Option<Observer>,
    faults: Option<FaultDriver>,
    schedule: Schedule,
}

impl Stage {
    fn set(config: &TestConfig, directory: &RunDirectory, rig: &Rig, stop: &Stop) -> Result<Stage, RunError> {
        let Workload { generator, final_generator, clients, checks, .. } =
            workload::build(&config.workload, &workload_options(config, &*rig.db))?;
        let schedule = planned(config)?;
        let clock = MonotonicClock::start();
        let recorder = Arc::new(Recorder::create(directory.history(), clock)?);
        let faults = start_nemesis(config, directory, rig, &schedule, clock)?;
        let driver: Arc<dyn NemesisDriver> = match &faults {
            Some(driver) => Arc::new(driver.clone()),
            None => Arc::new(NoNemesis),
        };
        let means = fail_fast::Means {
            time_limit: config.check_time_limit,
            memory_limit_bytes: half_of_the_memory_bytes() / 2,
        };
        let fail_fast = config
            .fail_fast
            .then(|| FailFast::start(recorder.clone(), &checks, means, stop.clone()))
            .transpose()?;
        let sink: Arc<dyn EventSink> = match &fail_fast {
            Some(judging) => judging.clone(),
            None => recorder.clone(),
        };
        let observer = Observer::start(Arc::clone(&rig.db), Arc::clone(&sink));
        let equipment = Equipment { clients, nemesis: driver, sink, clock: Arc::new(clock) };
        let interpreter_config = InterpreterConfig {
            client_threads: config.threads(),
            nodes: config.nodes,
            operation_timeout: config.operation_timeout,
            seed: config.seed.fork("interpreter"),
            ..InterpreterConfig::default()
        };
        let db = Arc::clone(&rig.db);
        let ends_ms = u64::try_from(config.time_limit.as_millis()).unwrap_or(u64::MAX);
        let steps = PlannedFaults::new(&schedule, ends_ms, Arc::new(move || db.signals()));
        let unmet = steps.unmet();
        Ok(Stage {
            recorder,
            fail_fast,
            interpreter: Interpreter::new(&interpreter_config, equipment),
            generator: any(vec![generator, steps.boxed()]).boxed(),
            unmet,
            final_generator,
            observer: Some(observer),
            faults,
            schedule,
        })
    }

    fn counters(&self) -> Arc<Counters> {
        self.interpreter.counters()
    }

    /// Clients and nemesis at work.
    async fn perform(&mut self, config: &TestConfig, stop: &Stop) -> Result<(), RunError> {
        tracing::info!(seed = config.seed.0, faults = self.schedule.faults.len(), "clients begin");
        self.interpreter.run(&mut self.generator, stop).await?;
        match self.faults.as_ref().and_then(FaultDriver::failure) {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    /// The faults whose event never came are in the history, and told.
    fn note_unmet(&self, warnings: &mut Vec<String>) -> Result<(), RunError> {
        for fault in self.unmet.faults() {
            let waited_for = fault.trigger.map(|trigger| trigger.to_string()).unwrap_or_default();
            warnings.push(format!(
                "fault {} ({}) never came: it waited from {} ms on to begin {waited_for}. Have it wait for something that comes sooner, wait earlier \
                 (at-ms), or make the run longer (--time-limit)",
                fault.id,
                fault.fault.family(),
                fault.at_ms,
            ));
            let draft =
                Draft::new(Process::observer(), EventKind::Info, "fault-never-came", Unmet::describe(&fault));
            self.recorder.record(draft)?;
        }
        Ok(())
    }

    /// Ends the judging of what is recorded: why it stopped the run, if it did, which is in the history as well.
    fn end_fail_fast(&mut self, warnings: &mut Vec<String>) -> Result<Option<String>, RunError> {
        let ending = self.fail_fast.take().map(|judging| tokio::task::block_in_place(|| judging.finish()));
        let violation = match ending {
            None | Some(fail_fast::Ending::Fine) => return Ok(None),
            Some(fail_fast::Ending::GaveUp(reason)) => {
                warnings.push(format!("--fail-fast gave up, and the run went on to its end: {reason}"));
                return Ok(None);
            }
            Some(fail_fast::Ending::Violated(violation)) => violation,
        };
        let key = violation.key.as_ref().map(|key| format!(" on key {key}")).unwrap_or_default();
        let why = format!("stopped at the first violation: event {}{key}", violation.prefix_end);
        let value = Value::map(vec![
            (Value::from("what"), Value::from(why.clone())),
            (Value::from("event"), Value::Int(violation.prefix_end as i64)),
        ]);
        self.recorder.record(Draft::new(Process::observer(), EventKind::Info, "stopped-early", value))?;
        Ok(Some(why))
    }

    /// Undoes whatever is applied. What failed in its time, and now succeeds, is a warning.
    ///
    /// # Errors
    /// If something cannot be undone, which shows in the recovery as well.
    fn heal(&self, warnings: &mut Vec<String>) -> Result<(), FaultError> {
        let Some(faults) = &self.faults else { return Ok(()) };
        warnings.extend(faults.mishaps());
        tokio::task::block_in_place(|| faults.heal(&*self.recorder))
    }

    /// Waits for the system; what was missing, if it did not recover. Both are in the history.
    async fn wait_for_recovery(
        &mut self,
        db: &dyn Db,
        timeout: Duration,
    ) -> Result<Result<Duration, String>, RunError> {
        let started = Instant::now();
        let outcome = match wait_until_recovered(db, timeout).await {
            Ok(()) => Ok(started.elapsed()),
            // Both may be the system's fault: the checkers see the observations, and a verdict is possible.
            Err(error @ (DbError::TooLate { .. } | DbError::Ended { .. })) => Err(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let text = match &outcome {
            Ok(after) => format!("recovered after {} ms", after.as_millis()),
            Err(error) => error.clone(),
        };
        let mut fields = vec![("recovered", Value::Bool(outcome.is_ok())), ("what", Value::from(text))];
        fields.extend(outcome.as_ref().ok().map(|after| ("after_ms", Value::Int(after.as_millis() as i64))));
        let value = Value::Map(fields.into_iter().map(|(name, value)| (Value::from(name), value)).collect());
        self.recorder.record(Draft::new(Process::observer(), EventKind::Info, "recovery", value))?;
        Ok(outcome)
    }

    async fn perform_finally(&mut self, recovered: bool) -> Result<(), RunError> {
        if let Some(generator) = &mut self.final_generator {
            let value = Value::map(vec![(Value::from("recovered"), Value::Bool(recovered))]);
            self.recorder.record(Draft::new(Process::observer(), EventKind::Info, "final-reads", value))?;
            // Not stopped by a signal: without the last reads, lost writes stay unseen.
            self.interpreter.run(generator, &Stop::new()).await?;
        }
        Ok(())
    }

    /// The last observations of living nodes; ends the nemesis and the observer.
    async fn observe_finally(&mut self, db: &dyn Db, warnings: &mut Vec<String>) -> Result<(), RunError> {
        if let Some(observer) = self.observer.take() {
            observer.finish().await?;
        }
        for observation in db.final_observations().await? {
            self.recorder.record(observation.draft())?;
        }
        if let Some(faults) = &self.faults {
            // What it could not undo has been told, and the kernel will undo it: that costs no verdict.
            warnings
                .extend(tokio::task::block_in_place(|| faults.finish()).err().map(|error| error.to_string()));
        }
        Ok(())
    }

    /// When all nodes are gone: how they ended, and the end of the recording.
    async fn close(&mut self, db: &dyn Db) -> Result<(), RunError> {
        for observation in db.closing_observations().await? {
            self.recorder.record(observation.draft())?;
        }
        self.recorder.finish()?;
        Ok(())
    }
}

fn workload_options(config: &TestConfig, db: &dyn Db) -> WorkloadOptions {
    WorkloadOptions {
        system: config.db.clone(),
        node_addresses: (0..config.nodes).map(|node| db.client_address(node)).collect(),
        concurrency: config.threads(),
        rate_per_second: (config.rate > 0.0).then_some(config.rate),
        key_count: config.key_count,
        ops_per_key: config.ops_per_key,
        time_limit_ms: u64::try_from(config.time_limit.as_millis()).unwrap_or(u64::MAX),
        read_mode: config.read_mode,
        seed: config.seed.fork("workload"),
        ..WorkloadOptions::default()
    }
}

/// The nemesis process, if there is anything for it to do.
fn start_nemesis(
    config: &TestConfig,
    directory: &RunDirectory,
    rig: &Rig,
    schedule: &Schedule,
    clock: MonotonicClock,
) -> Result<Option<FaultDriver>, RunError> {
    if schedule.faults.is_empty() {
        return Ok(None);
    }
    let db = Arc::clone(&rig.db);
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let seed = config.seed.fork("nemesis");
    let daemons = rig.db.node_names().into_iter().enumerate();
    let hosts = rig.testbed.hosts();
    let daemons = daemons.map(|(node, name)| {
        let mut daemon = rig.db.daemon_spec(node);
        let address = hosts[node].0.address().to_string();
        let known = daemon.commands.get_or_insert_default();
        known.orders.extend(config.commands.of_node(&name, &address));
        (name, daemon)
    });
    let daemons: BTreeMap<_, _> = daemons.collect();
    let known = daemons.values().find_map(|daemon| daemon.commands.as_ref()?.failpoints.as_deref());
    let failpoints = known.map(FailpointCommands::all).unwrap_or_default();
    let leaders: Leaders = Arc::new(move || db.primaries());
    let driver = match &rig.testbed {
        Testbed::Netns(testbed) => {
            let setup = NemesisSetup {
                run_tag: rig.run_tag.clone(),
                journal: directory.nemesis_journal(),
                testbed: testbed.config().clone(),
            };
            let files = FaultFiles {
                setup: directory.nemesis_setup(),
                log: directory.nemesis_log(),
                schedule: directory.schedule(),
            };
            FaultDriver::start(&setup, &files, daemons, schedule, leaders, clock, seed)?
        }
        Testbed::Ssh(testbed) => {
            let fleet = testbed.fleet(&rig.run_tag, &directory.nemesis_journal())?;
            let schedule_file = directory.schedule();
            let nodes = (config.node_names(), daemons);
            FaultDriver::with_fleet(fleet, &schedule_file, nodes, schedule, leaders, clock, seed)?
        }
    };
    Ok(Some(driver.with_commands(config.commands.own_names()).with_failpoints(failpoints)))
}

/// A node that its environment ended leaves no verdict, unless what the others showed is a violation whatever became of it.
fn refuse_ends_by_environment(verdict: &Verdict) -> Result<(), RunError> {
    let is_ended = |check: &&CheckVerdict| {
        check.statistics.get(ENDED_BY_ENVIRONMENT).is_some_and(|ended| *ended != serde_json::json!(0))
    };
    match verdict.checks.iter().find(is_ended) {
        Some(check) if verdict.validity != Validity::Invalid => {
            Err(RunError::NodeEndedByEnvironment(check.reason.clone()))
        }
        _ => Ok(()),
    }
}

/// Tells progress until it is aborted.
async fn tell(
    progress: watch::Sender<Progress>,
    counters: Arc<Counters>,
    db: Arc<dyn Db>,
    faults: Option<FaultDriver>,
) {
    let started = Instant::now();
    let mut ticker = tokio::time::interval(TELL_EVERY);
    let mut before: Vec<u64> = Vec::new();
    let window = usize::try_from(Duration::from_secs(1).as_millis() / TELL_EVERY.as_millis()).unwrap_or(1);
    loop {
        ticker.tick().await;
        let counts = counters.now();
        before.push(counts.completed());
        let second_ago = before[before.len().saturating_sub(window + 1)];
        progress.send_modify(|progress| {
            progress.elapsed = started.elapsed();
            (progress.ok, progress.fail, progress.info) = (counts.ok, counts.fail, counts.info);
            progress.operations_per_s = counts.completed() - second_ago;
            progress.leaders = db.primaries();
            progress.faults = faults.as_ref().map(|faults| faults.active().in_words()).unwrap_or_default();
        });
    }
}

/// Judges what is on the disk, as anybody can do again, after a run that was cut short for the first time.
///
/// # Errors
/// If the history cannot be read, or the workload's checkers cannot judge it.
pub fn judge(config: &TestConfig, directory: &RunDirectory) -> Result<Verdict, RunError> {
    let history = read_history(directory.history(), ReadOptions::default())?.history;
    let checks = workload::checks(&config.workload)?;
    let started = Instant::now();
    let clock = || started.elapsed();
    let budget = Budget::unlimited()
        .with_time_limit(&clock, config.check_time_limit)
        .with_memory_limit_bytes(half_of_the_memory_bytes());
    let check_config = CheckConfig::linearizable(checks.model, Some(checks.initial))
        .map_err(CheckError::from)?
        .with_run_checkers(config.has_faults()?)
        .with_availability(config.availability())
        .within(budget);
    let check_config = match config.has_faults()? {
        true => check_config.with(coverage(config, &planned(config)?)?),
        false => check_config,
    };
    let verdict = check(&history, &check_config)?;
    let has_ended = history.named(Process::OBSERVER).any(|event| &*event.f == "recovery");
    if has_ended {
        return Ok(verdict);
    }
    let reason = "the run was cut short: neither its recovery nor its final reads were seen";
    Ok(and_unknown(verdict, "run-completed", reason.to_owned()))
}

/// The same verdict, and what keeps it from being valid.
fn and_unknown(verdict: Verdict, checker: &str, reason: String) -> Verdict {
    let mut checks = verdict.checks;
    checks.push(CheckVerdict {
        checker: checker.to_owned(),
        validity: Validity::Unknown,
        reason,
        partitions: Vec::new(),
        evidence: Vec::new(),
        statistics: Default::default(),
    });
    Verdict::of(checks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TestOptions;
    use labrys_seed::Seed;

    fn config(toml: &str, seed: u64) -> TestConfig {
        let options = TestOptions::parse(toml, std::path::Path::new("test.toml")).expect("options");
        options.resolve(Seed(seed)).expect("a configuration")
    }

    #[test]
    fn the_default_run_has_a_fault_of_each_kind_on_every_seed() {
        for seed in 0..100 {
            let config = config("", seed);
            assert_eq!(unplanned_faults(&config).expect("known kinds"), Vec::<String>::new());
            let faults = planned(&config).expect("known kinds").faults;
            for kind in &config.nemesis {
                let count = faults.iter().filter(|fault| fault.fault.family().to_string() == *kind).count();
                assert!(count >= 2, "seed {seed}: {count} of {kind}");
            }
        }
    }

    #[test]
    fn a_kind_that_cannot_come_is_told_with_the_reason() {
        let told = |toml: &str| unplanned_faults(&config(toml, 1)).expect("known kinds");
        assert_eq!(
            told("nodes = 1\nnemesis = [\"partition\", \"kill\"]"),
            ["no partition will happen in this run: the cluster is too small for one"]
        );
        assert_eq!(
            told("time-limit = \"10ms\"\nnemesis = [\"pause\"]"),
            ["no pause will happen in this run: the time limit is too short for one"]
        );
    }
}

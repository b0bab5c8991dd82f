//! [`run`]: one simulated test, from the first start to the verdict.
//!
//! The phases are those of a real run, with one more: the cluster comes up; clients and nemesis are at work (*safety*); all faults
//! are undone; then only a random majority, the *core*, is left alive and must make progress within a bound (*liveness*: a store
//! that cannot is *unavailable*, which is another verdict than *invalid*); the others come back; recovery; final reads; digests.
//! (Two phases as in TigerBeetle's simulator: TigerBeetle, *A Friendly Abstraction Over io_uring and kqueue* and its VOPR; the idea
//! of a stable core is Dwork, Lynch and Stockmeyer's, J. ACM 1988: safety always, liveness once the network is good.)

use std::time::Duration;

use clap::Parser as _;
use labrys_checker::verdict::{CheckVerdict, Validity, Verdict};
use labrys_checker::{Budget, CheckConfig, CheckError, check};
use labrys_harness::config::{ConfigError, TestConfig};
use labrys_harness::db::Observation;
use labrys_harness::faults::{PlannedFaults, Unmet, coverage, planned};
use labrys_history::{Draft, EventKind, History, Process, Value};
use labrys_nemesis::{InjectedFault, Schedule};
use labrys_store::options::{Arguments, OptionsError, Permissions, resolve};
use labrys_store::raft::{LogIndex, NodeId};
use labrys_store::server::ServerOptions;
use labrys_workloads::generator::{BoxGenerator, Generator, GeneratorExt, any};
use labrys_workloads::{Workload, WorkloadError, WorkloadOptions, workload};
use thiserror::Error;

use crate::environment::{Environment, disturb};
use crate::interpreter::Left;
use crate::node::Death;
use crate::oracles::Violation;
use crate::trace::Trace;
use crate::trials::{self, Deaf};
use crate::world::{Marks, World, address_of, heartbeat_ms};

/// What is simulated.
#[derive(Clone, Debug)]
pub struct SimulationConfig {
    /// What a real run is told as well.
    pub test: TestConfig,
    /// How long things take.
    pub environment: Environment,
    /// These faults, instead of those that the seed plans.
    pub schedule: Option<Schedule>,
    /// Whether the seed tunes the store so that its rare paths are taken.
    pub tuned: bool,
    /// Whether a majority alone must make progress in the end.
    pub core: bool,
    /// Whether the others must make progress in the end while this one sends but hears nobody.
    pub deaf: Option<Deaf>,
    /// Whether messages are kept for a picture.
    pub traced: bool,
}

impl SimulationConfig {
    /// The usual way to simulate a test.
    #[must_use]
    pub fn new(test: TestConfig) -> SimulationConfig {
        SimulationConfig {
            tuned: test.tuned,
            test,
            environment: Environment::default(),
            schedule: None,
            core: true,
            deaf: None,
            traced: false,
        }
    }
}

/// A run cannot be simulated. Wrong usage, or a bug of Labrys; never the store's fault.
#[derive(Debug, Error)]
pub enum SimulationError {
    /// The workload cannot be built as asked.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A name in the configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A flag of the store is wrong.
    #[error("--store-option: {0}")]
    StoreFlags(String),
    /// The flags of the store make no sense together.
    #[error("--store-option: {0}")]
    StoreOptions(#[from] OptionsError),
    /// The history cannot be judged by the workload's checkers.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The history makes no sense.
    #[error("event {index} of the simulated history: {problem}; this is a bug of Labrys")]
    History {
        /// Which.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// The generator waits for nothing.
    #[error("the generator is stuck: it waits for a completion, but no operation is in flight")]
    Stuck,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It went through all phases.
    Whole,
    /// An oracle saw a violation, and the run was stopped.
    Violated,
    /// The store made no progress, though it should have.
    Unavailable {
        /// What was missing.
        what: String,
    },
}

/// What came of a run.
#[derive(Debug)]
pub struct Simulated {
    /// Everything that was recorded.
    pub history: History,
    /// The faults as injected.
    pub schedule: Vec<InjectedFault>,
    /// How it ended.
    pub ended: Ended,
    /// What the oracles saw.
    pub violations: Vec<Violation>,
    /// The judgement of all checkers and oracles.
    pub verdict: Verdict,
    /// Processes that ended by themselves, and why.
    pub deaths: Vec<(String, Death)>,
    /// How much time has passed in the world.
    pub simulated: Duration,
    /// How many events were handled.
    pub events: u64,
    /// How often the store's rare paths were taken.
    pub marks: Marks,
    /// What passed between the nodes, if it was kept.
    pub trace: Trace,
}

const MILLISECOND: u64 = 1_000_000;
/// How often a condition is looked at.
const LOOK_EVERY_NS: u64 = 5 * MILLISECOND;

/// Simulates a run and judges it. `budget` is the checkers'; what the run does never depends on it.
///
/// # Errors
/// [`SimulationError`].
pub fn run(config: &SimulationConfig, budget: Budget<'_>) -> Result<Simulated, SimulationError> {
    let test = &config.test;
    let schedule = match &config.schedule {
        Some(schedule) => schedule.clone(),
        None => planned(test)?,
    };
    let options = node_options(config)?;
    let mut world = World::new(test, &config.environment, options, &schedule);
    world.trace.is_kept = config.traced;
    let Workload { generator, final_generator, .. } =
        workload::build(&test.workload, &workload_options(test))?;
    let ends_ms = u64::try_from(test.time_limit.as_millis()).unwrap_or(u64::MAX);
    let steps = PlannedFaults::new(&schedule, ends_ms, world.nemesis.signals());
    let unmet = steps.unmet();
    let generator = any(vec![generator, steps.boxed()]).boxed();
    let ended = phases(&mut world, config, generator, &unmet, final_generator)?;
    judge(world, test, ended, budget)
}

/// What each node is started with, by its id.
pub(crate) fn node_options(
    config: &SimulationConfig,
) -> Result<impl Fn(u64) -> ServerOptions, SimulationError> {
    let (options, test) = (store_options(config)?, config.test.clone());
    Ok(move |id| of_node(&options, &test, id))
}

/// What every node is started with.
fn store_options(config: &SimulationConfig) -> Result<ServerOptions, SimulationError> {
    let test = &config.test;
    let mut options = parsed_options(test)?;
    options.peers = (1..=test.nodes as u64).map(|id| (id, address_of(NodeId(id)))).collect();
    options.election_timeout_ms = u64::try_from(test.election_timeout.as_millis()).unwrap_or(u64::MAX);
    options.heartbeat_interval_ms = heartbeat_ms(test);
    options.pre_vote = test.pre_vote;
    options.check_quorum = test.check_quorum;
    options.defects = test.defects()?;
    if config.tuned {
        disturb(&mut options, test.seed);
    }
    Ok(options)
}

/// As a process of the store would read its command line. The configuration has checked every flag.
fn parsed_options(test: &TestConfig) -> Result<ServerOptions, SimulationError> {
    let own = ["labrys-store", "--id=1", "--peers=1=n1:7000", "--data-dir=/simulated", "--seed=0"];
    let given = test.store_option.iter().map(|option| format!("--{option}"));
    let arguments = own.into_iter().map(str::to_owned).chain(given);
    let arguments = Arguments::try_parse_from(arguments)
        .map_err(|error| SimulationError::StoreFlags(error.to_string()))?;
    // The clock is the simulator's own.
    let permissions = Permissions { defects: true, ..Permissions::default() };
    Ok(resolve(arguments.flags, None, permissions)?.server)
}

fn of_node(options: &ServerOptions, test: &TestConfig, id: u64) -> ServerOptions {
    ServerOptions { id, seed: test.seed.fork("store").fork_index(id).0, ..options.clone() }
}

fn workload_options(test: &TestConfig) -> WorkloadOptions {
    WorkloadOptions {
        node_addresses: (1..=test.nodes as u64).map(|id| address_of(NodeId(id))).collect(),
        concurrency: test.threads(),
        rate_per_second: (test.rate > 0.0).then_some(test.rate),
        key_count: test.key_count,
        ops_per_key: test.ops_per_key,
        time_limit_ms: u64::try_from(test.time_limit.as_millis()).unwrap_or(u64::MAX),
        read_mode: test.read_mode,
        seed: test.seed.fork("workload"),
        ..WorkloadOptions::default()
    }
}

fn phases(
    world: &mut World,
    config: &SimulationConfig,
    mut generator: BoxGenerator,
    unmet: &Unmet,
    final_generator: Option<BoxGenerator>,
) -> Result<Ended, SimulationError> {
    let patience_ns = u64::try_from(config.test.recovery_timeout.as_nanos()).unwrap_or(u64::MAX);
    (0..world.nodes.len()).for_each(|node| world.start(node));
    if let Some(ended) = wait(world, patience_ns, "the cluster does not come up", World::is_ready) {
        return Ok(ended);
    }
    world.origin_ns = world.now_ns;
    if let Some(ended) = perform(world, &mut generator)? {
        return Ok(ended);
    }
    for fault in unmet.faults() {
        let value = Unmet::describe(&fault);
        world.record(Draft::new(Process::observer(), EventKind::Info, "fault-never-came", value));
    }
    world.heal();
    if let Some(deaf) = config.deaf
        && let Some(ended) = trials::go_on_without(world, deaf, patience_ns)
    {
        return Ok(ended);
    }
    if config.core
        && let Some(ended) = trials::core_makes_progress(world)
    {
        return Ok(ended);
    }
    let began_ns = world.now_ns;
    let recovered = wait(world, patience_ns, "the cluster does not recover", World::is_whole);
    world.record_recovery(began_ns, recovered.as_ref());
    if let Some(ended) = recovered {
        return Ok(ended);
    }
    if let Some(mut generator) = final_generator {
        let value = Value::map(vec![(Value::from("recovered"), Value::Bool(true))]);
        world.record(Draft::new(Process::observer(), EventKind::Info, "final-reads", value));
        if let Some(ended) = perform(world, &mut generator)? {
            return Ok(ended);
        }
    }
    // What the last operations left has to reach everybody before states are compared.
    if let Some(ended) = wait(world, patience_ns, "the cluster does not come to rest", World::is_whole) {
        return Ok(ended);
    }
    Ok(world.observe_finally())
}

/// Clients, and the nemesis if it is in the generator, at work.
fn perform(world: &mut World, generator: &mut dyn Generator) -> Result<Option<Ended>, SimulationError> {
    let mut is_asked = true;
    loop {
        if is_asked {
            match world.pump(generator) {
                Left::Nothing => return Ok(None),
                Left::Stuck => return Err(SimulationError::Stuck),
                Left::Something => {}
            }
        }
        if world.is_violated() {
            return Ok(Some(Ended::Violated));
        }
        if !world.advance() {
            return Err(SimulationError::Stuck);
        }
        // What a generator says changes with time, which it has named, and with completions only.
        is_asked = world.scheduled_ns.is_none() || !world.completed.is_empty();
    }
}

/// Lets time pass until something is so; how the run ends if that takes too long.
pub(crate) fn wait(
    world: &mut World,
    patience_ns: u64,
    complaint: &str,
    holds: impl Fn(&World) -> bool,
) -> Option<Ended> {
    let until_ns = world.now_ns.saturating_add(patience_ns);
    let mut looked_ns = 0;
    loop {
        if world.is_violated() {
            return Some(Ended::Violated);
        }
        if world.now_ns >= looked_ns + LOOK_EVERY_NS {
            looked_ns = world.now_ns;
            if holds(world) {
                return None;
            }
        }
        if world.now_ns > until_ns || !world.advance() {
            let after = Duration::from_nanos(patience_ns);
            let what = format!("{complaint} within {after:?} of simulated time ({})", world.in_words());
            return Some(Ended::Unavailable { what });
        }
    }
}

impl World {
    /// A majority knows a leader that has committed something in its term.
    fn is_ready(&self) -> bool {
        self.nodes.iter().all(|node| node.process.is_some())
            && self.follow_one_leader(self.nodes.len() / 2 + 1, 1)
    }

    /// All know the same leader, and have applied what it has committed.
    pub(crate) fn is_whole(&self) -> bool {
        let statuses = || {
            self.nodes
                .iter()
                .filter_map(|node| node.process.as_ref())
                .map(|process| process.replica.raft_status())
        };
        let commit = statuses().map(|status| status.commit.0).max().unwrap_or(0);
        self.nodes.iter().all(|node| node.is_running())
            && self.follow_one_leader(self.nodes.len(), 1)
            && statuses().all(|status| status.applied.0 >= commit)
    }

    fn follow_one_leader(&self, followers: usize, commit: u64) -> bool {
        let statuses: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|node| node.process.as_ref())
            .map(|process| process.replica.raft_status())
            .collect();
        let Some(newest) = statuses
            .iter()
            .filter(|status| status.leader == Some(status.id))
            .max_by_key(|status| status.term)
        else {
            return false;
        };
        let knows = |status: &&labrys_store::raft::Status| {
            (status.term, status.leader) == (newest.term, newest.leader)
        };
        statuses.iter().filter(knows).count() >= followers && newest.commit.0 >= commit
    }

    /// What the nodes are, for a complaint.
    pub(crate) fn in_words(&self) -> String {
        let of = |node: &crate::node::SimulatedNode| match &node.process {
            None => format!("{} is down", node.name),
            Some(process) => {
                let status = process.replica.raft_status();
                let leader = status.leader.map_or_else(|| "nobody".to_owned(), |leader| format!("n{leader}"));
                format!(
                    "{} follows {leader} in term {}, {} of {} committed, {} applied",
                    node.name, status.term, status.commit, status.last_index, status.applied
                )
            }
        };
        self.nodes.iter().map(of).collect::<Vec<_>>().join("; ")
    }

    fn record_recovery(&mut self, began_ns: u64, failed: Option<&Ended>) {
        let after_ms = (self.now_ns - began_ns) / MILLISECOND;
        let text = match failed {
            None => format!("recovered after {after_ms} ms"),
            Some(Ended::Unavailable { what }) => what.clone(),
            Some(_) => "a property is violated".to_owned(),
        };
        let mut fields = vec![("recovered", Value::Bool(failed.is_none())), ("what", Value::from(text))];
        fields.extend(failed.is_none().then_some(("after_ms", Value::Int(after_ms as i64))));
        let value = Value::Map(fields.into_iter().map(|(name, value)| (Value::from(name), value)).collect());
        self.record(Draft::new(Process::observer(), EventKind::Info, "recovery", value));
    }

    /// The digests at the index that all have applied, and the last look of the oracles.
    pub(crate) fn observe_finally(&mut self) -> Ended {
        let applied = |node: &crate::node::SimulatedNode| {
            node.process.as_ref().map(|process| process.replica.raft_status().applied)
        };
        let index = self.nodes.iter().filter_map(applied).min().unwrap_or(LogIndex(0));
        let mut seen = Vec::new();
        for (position, node) in self.nodes.iter().enumerate() {
            let Some(process) = &node.process else { continue };
            self.oracles.ended(self.now_ns, position, &process.replica);
            if let Some(digest) = process.replica.digest(index) {
                let digest = format!("{digest:016x}");
                seen.push(Observation::Digest { node: node.name.clone(), applied: index.0, digest });
            }
        }
        for observation in seen {
            self.record(observation.draft());
        }
        if self.is_violated() { Ended::Violated } else { Ended::Whole }
    }
}

pub(crate) fn judge(
    world: World,
    test: &TestConfig,
    ended: Ended,
    budget: Budget<'_>,
) -> Result<Simulated, SimulationError> {
    let checks = workload::checks(&test.workload)?;
    let World {
        history,
        oracles,
        nemesis,
        deaths,
        now_ns,
        handled,
        marks,
        trace,
        nodes,
        agenda,
        origin_ns,
        ..
    } = world;
    let trace = trace.ended(agenda, origin_ns);
    let history = History::new(history)
        .map_err(|(index, problem)| SimulationError::History { index, problem: problem.to_string() })?;
    let check_config = CheckConfig::linearizable(checks.model, Some(checks.initial))
        .map_err(CheckError::from)?
        .with_run_checkers(test.has_faults()?)
        .with_availability(test.availability())
        .within(budget);
    let check_config = match test.has_faults()? {
        true => check_config.with(coverage(test, &nemesis.schedule())?),
        false => check_config,
    };
    let verdict = check(&history, &check_config)?;
    let verdict = with_oracles(verdict, &oracles.violations, &ended);
    Ok(Simulated {
        history,
        schedule: nemesis.into_injected(),
        ended,
        violations: oracles.violations,
        verdict,
        deaths: deaths.into_iter().map(|(node, death)| (nodes[node].name.clone(), death)).collect(),
        simulated: Duration::from_nanos(now_ns),
        events: handled,
        marks,
        trace,
    })
}

/// The same verdict, with what the oracles say, and whether the store was there.
fn with_oracles(verdict: Verdict, violations: &[Violation], ended: &Ended) -> Verdict {
    let mut checks = verdict.checks;
    let said = |checker: &str, validity, reason: String| CheckVerdict {
        checker: checker.to_owned(),
        validity,
        reason,
        partitions: Vec::new(),
        evidence: Vec::new(),
        statistics: Default::default(),
    };
    let (validity, reason) = match violations {
        [] => (Validity::Valid, "no oracle saw a violation".to_owned()),
        [first, ..] => (Validity::Invalid, first.to_string()),
    };
    checks.push(said("oracles", validity, reason));
    match ended {
        Ended::Unavailable { what } => checks.push(said("available", Validity::Invalid, what.clone())),
        Ended::Whole => checks.push(said(
            "available",
            Validity::Valid,
            "it makes progress once nothing is wrong any more".to_owned(),
        )),
        Ended::Violated => {}
    }
    Verdict::of(checks)
}

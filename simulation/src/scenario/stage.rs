//! [`Stage`]: carries out a script, step by step, in a simulated world in which everything takes a fixed time.

use std::collections::{BTreeMap, BTreeSet};

use labrys_checker::Budget;
use labrys_checker::verdict::Validity;
use labrys_harness::config::TestConfig;
use labrys_history::EventKind;
use labrys_nemesis::PowerLoss;
use labrys_nemesis::Schedule;
use labrys_store::raft::{Change, NodeId, Role, Token};
use labrys_store::server::{ClientRequest, ReplicaInput};
use labrys_workloads::Op;
use labrys_workloads::generator::{Invocation, Thread};
use serde::Serialize;

use super::{Played, Step};
use crate::environment::Environment;
use crate::run::{Ended, SimulationConfig, SimulationError, judge, node_options};
use crate::world::{Event, Strike, World};

/// A step that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reported {
    /// When it began, in the world's nanoseconds.
    pub at_ns: u64,
    /// As written.
    pub step: String,
    /// What came of it, if that is not what it says.
    pub happened: String,
}

/// While what a node was in trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interval {
    /// Position of the node.
    pub node: usize,
    /// From when, in the world's nanoseconds.
    pub from_ns: u64,
    /// Until when; `None`: to the end.
    pub to_ns: Option<u64>,
    /// What.
    pub label: String,
}

/// The world, and what the script has done to it.
pub(super) struct Stage {
    world: World,
    cuts: u64,
    intervals: Vec<Interval>,
    steps: Vec<Reported>,
    /// The node of each client.
    homes: BTreeMap<usize, usize>,
    /// How each client's last operation ended.
    ended: BTreeMap<usize, String>,
    tokens: u64,
    is_settled: bool,
    /// The first expectation that was not met.
    disappointed: Option<String>,
}

fn id_of(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

const MILLISECOND: u64 = 1_000_000;
const MOMENT_NS: u64 = 1_000;
/// The fault that the script's own doings are.
const SCRIPT: u64 = u64::MAX - 1;
/// How long an election or the end of an operation is waited for.
const PATIENCE_MS: u64 = 5_000;
const ELECTION_MS: u64 = 50;

/// Everything takes as long every time.
fn exact() -> Environment {
    Environment {
        message_us: (1_000, 1_000),
        log_write_us: (500, 500),
        snapshot_us: (2_000, 2_000),
        wake_up_us: (10, 10),
        start_ms: (1, 1),
    }
}

impl Stage {
    pub fn new(config: &TestConfig, one_entry_per_message: bool) -> Result<Stage, SimulationError> {
        let mut simulated = SimulationConfig::new(config.clone());
        (simulated.tuned, simulated.environment) = (false, exact());
        let of_node = node_options(&simulated)?;
        let options = |id| {
            let mut options = of_node(id);
            if one_entry_per_message {
                (options.batching.max_batch_entries, options.batching.max_inflight_batches) = (1, 1);
            }
            options
        };
        let mut world = World::new(config, &simulated.environment, options, &Schedule::default());
        world.trace.is_kept = true;
        world.origin_ns = 0;
        world.is_exact = true;
        Ok(Stage {
            world,
            cuts: 0,
            intervals: Vec::new(),
            steps: Vec::new(),
            homes: BTreeMap::new(),
            ended: BTreeMap::new(),
            tokens: u64::MAX,
            is_settled: false,
            disappointed: None,
        })
    }

    /// Does a step, and notes what came of it.
    pub fn perform(&mut self, line: String, step: Step) -> Result<(), String> {
        // A moment later than what has ended: what begins at the same time as something else ends is concurrent with it.
        self.pass(MOMENT_NS);
        let at_ns = self.world.now_ns;
        self.is_settled = step == Step::Settle || (self.is_settled && !changes_faults(&step));
        let happened = self.carry_out(step)?;
        self.steps.push(Reported { at_ns, step: line, happened });
        Ok(())
    }

    fn carry_out(&mut self, step: Step) -> Result<String, String> {
        match step {
            Step::StartAll => {
                (0..self.world.nodes.len()).for_each(|node| self.world.start(node));
                self.pass(10 * MILLISECOND);
            }
            Step::Elect(node) => return Ok(self.elect(node)),
            Step::Timeout(node) => self.time_out(node),
            Step::Client { client, node, op } => self.ask(client, node, op)?,
            Step::WaitFor(client) => return self.wait_for(client),
            Step::Cut(from, to) => self.cut(BTreeSet::from([(from, to)])),
            Step::CutOff(node) => {
                let others = (0..self.world.nodes.len()).filter(|other| *other != node);
                self.cut(others.flat_map(|other| [(node, other), (other, node)]).collect());
                self.begin(node, "cut off");
            }
            Step::Split(one, other) => {
                let pairs = one.iter().flat_map(|a| other.iter().flat_map(|b| [(*a, *b), (*b, *a)]));
                self.cut(pairs.collect());
                one.iter().for_each(|node| self.begin(*node, "apart"));
            }
            Step::Heal => self.heal(),
            Step::Hold(from, to) => {
                self.world.held_links.entry((from, to)).or_default();
            }
            Step::Deliver(from, to) => self.world.release_link(from, to),
            Step::Pause(node) => {
                self.begin(node, "stopped");
                self.world.nodes[node].stopped_by.insert(SCRIPT);
            }
            Step::PauseInStep(node) => {
                self.begin(node, "stopped");
                self.world.strikes.entry(node).or_default().push((SCRIPT, Strike::Pause));
            }
            Step::Resume(node) => self.resume(node),
            Step::Kill(node) => self.end_process(node, false, "down"),
            Step::PowerCut(node) => self.end_process(node, true, "without power"),
            Step::Restart(node) => self.restart(node),
            Step::SlowDisk(node, ms) => {
                self.begin(node, "slow disk");
                self.world.nodes[node].slow_sync_ns = ms * MILLISECOND;
            }
            Step::LoseReply(client) => {
                self.world.lost_replies.insert(client);
            }
            Step::Clock(node, ms) => {
                let now_ns = self.world.now_ns;
                self.world.nodes[node].clock.jump(now_ns, ms * MILLISECOND);
                self.world.wake(node);
                self.world.trace.mark(now_ns, node, &format!("clock +{ms} ms"));
            }
            Step::Drift(node, percent) => {
                let now_ns = self.world.now_ns;
                self.world.nodes[node].clock.drift(now_ns, percent);
                self.world.trace.mark(now_ns, node, &format!("clock {percent:+} %"));
            }
            Step::Transfer(from, to) => {
                self.world.trace.mark(self.world.now_ns, from, &format!("hands over to n{}", to + 1));
                self.operate(from, ClientRequest::Transfer(Some(id_of(to))));
            }
            Step::Remove { member, leader } => {
                self.world.trace.mark(self.world.now_ns, leader, &format!("shall remove n{}", member + 1));
                self.operate(leader, ClientRequest::Change(Change::Remove { id: id_of(member) }));
            }
            Step::ExpectLeader(node) => return Ok(self.expect_leader(node)),
            Step::Advance(ms) => self.pass(ms * MILLISECOND),
            Step::Settle => return Ok(self.settle()),
        }
        Ok(String::new())
    }

    /// So much time passes.
    fn pass(&mut self, for_ns: u64) {
        let until_ns = self.world.now_ns + for_ns;
        self.pass_until(until_ns, |_| false);
    }

    /// Time passes until something is so, but not beyond a moment. Whether it is so.
    fn pass_until(&mut self, until_ns: u64, holds: impl Fn(&Stage) -> bool) -> bool {
        self.world.agenda.plan(until_ns, Event::Schedule);
        loop {
            self.collect();
            if holds(self) {
                return true;
            }
            if self.world.now_ns >= until_ns || !self.world.advance() {
                return false;
            }
        }
    }

    /// Notes which operations are over.
    fn collect(&mut self) {
        for (thread, event) in std::mem::take(&mut self.world.completed) {
            self.world.threads.release(thread, event.kind == EventKind::Info);
            let Thread::Client(client) = thread else { continue };
            let error = event.error().map_or_else(String::new, |error| format!(" ({error})"));
            let what = match event.kind {
                EventKind::Ok => format!("ok, {}", event.value),
                EventKind::Fail => format!("refused{error}"),
                _ => format!("nobody knows{error}"),
            };
            self.ended.insert(client, what);
        }
    }

    fn time_out(&mut self, node: usize) {
        let (now_ns, timeout_ns) = (self.world.now_ns, self.world.election_timeout_ns());
        self.world.trace.mark(now_ns, node, "election timeout");
        // No node waits for as long.
        self.world.nodes[node].clock.jump(now_ns, 3 * timeout_ns);
        self.world.wake(node);
    }

    fn elect(&mut self, node: usize) -> String {
        self.time_out(node);
        let leads = move |stage: &Stage| stage.world.leads(node);
        let before = self.world.term_of(node);
        let until_ns = self.world.now_ns + ELECTION_MS * MILLISECOND;
        if self.pass_until(until_ns, |stage| leads(stage) && stage.world.term_of(node) > before) {
            return format!("n{} leads term {}", node + 1, self.world.term_of(node));
        }
        format!("n{} is not elected", node + 1)
    }

    fn ask(&mut self, client: usize, node: usize, op: Op) -> Result<(), String> {
        let home = *self.homes.entry(client).or_insert(node);
        if home != node {
            return Err(format!("c{} is at n{}; another node needs another client", client + 1, home + 1));
        }
        if self.world.clients[client].under_way.is_some() {
            return Err(format!("c{} has an operation under way; wait for it first", client + 1));
        }
        self.ended.remove(&client);
        self.world.clients[client].prefer(node);
        let thread = Thread::Client(client);
        let process = self.world.threads.process(thread);
        self.world.begin(Invocation { thread, process, op });
        Ok(())
    }

    fn wait_for(&mut self, client: usize) -> Result<String, String> {
        let until_ns = self.world.now_ns + PATIENCE_MS * MILLISECOND;
        let is_over = move |stage: &Stage| stage.ended.contains_key(&client);
        if self.pass_until(until_ns, is_over) {
            return Ok(self.ended.get(&client).cloned().unwrap_or_default());
        }
        Err(format!("c{} has no operation that could end", client + 1))
    }

    fn cut(&mut self, links: BTreeSet<(usize, usize)>) {
        self.cuts += 1;
        self.world.network.cut(self.cuts, links);
    }

    fn begin(&mut self, node: usize, label: &str) {
        let from_ns = self.world.now_ns;
        self.intervals.push(Interval { node, from_ns, to_ns: None, label: label.to_owned() });
    }

    fn end(&mut self, of: impl Fn(&Interval) -> bool) {
        let now_ns = self.world.now_ns;
        let open = self.intervals.iter_mut().filter(|interval| interval.to_ns.is_none() && of(interval));
        open.for_each(|interval| interval.to_ns = Some(now_ns));
    }

    fn heal(&mut self) {
        (1..=self.cuts).for_each(|cut| {
            self.world.network.mend(cut);
        });
        let held: Vec<(usize, usize)> = self.world.held_links.keys().copied().collect();
        held.into_iter().for_each(|(from, to)| self.world.release_link(from, to));
        self.world.nodes.iter_mut().for_each(|node| node.slow_sync_ns = 0);
        self.world.lost_replies.clear();
        self.end(|interval| matches!(&*interval.label, "cut off" | "apart" | "slow disk"));
    }

    fn resume(&mut self, node: usize) {
        self.world.strikes.remove(&node);
        if self.world.nodes[node].stopped_by.remove(&SCRIPT) {
            self.end(|interval| interval.node == node && interval.label == "stopped");
            self.world.resume(node);
        }
    }

    fn end_process(&mut self, node: usize, loses_power: bool, label: &str) {
        self.resume(node);
        self.begin(node, label);
        self.world.nodes[node].down_by.insert(SCRIPT);
        self.world.kill(node, loses_power.then(PowerLoss::default));
    }

    fn restart(&mut self, node: usize) {
        self.end(|interval| interval.node == node && matches!(&*interval.label, "down" | "without power"));
        self.world.nodes[node].down_by.remove(&SCRIPT);
        self.world.start_if_down(node);
        self.pass(5 * MILLISECOND);
    }

    /// An operator asks a node for something.
    fn operate(&mut self, node: usize, request: ClientRequest) {
        self.tokens -= 1;
        self.world.put_in(node, ReplicaInput::Request { token: Token(self.tokens), request });
    }

    fn expect_leader(&mut self, node: usize) -> String {
        let found = self.world.in_words();
        if !self.world.leads(node) {
            self.disappointed.get_or_insert_with(|| format!("n{} was to lead, but {found}", node + 1));
        }
        found
    }

    fn settle(&mut self) -> String {
        self.heal();
        for node in 0..self.world.nodes.len() {
            self.resume(node);
            if self.world.nodes[node].process.is_none() {
                self.restart(node);
            }
        }
        let patience_ns = u64::try_from(self.world.config.recovery_timeout.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = self.world.now_ns.saturating_add(patience_ns);
        self.pass_until(until_ns, |stage| stage.world.members_are_whole());
        self.world.in_words()
    }

    /// The end: all is well again, replicas are compared, and the history is judged.
    pub fn finish(mut self, config: &TestConfig, budget: Budget<'_>) -> Result<Played, SimulationError> {
        if !self.is_settled {
            let at_ns = self.world.now_ns;
            let happened = self.settle();
            self.steps.push(Reported { at_ns, step: "settle".to_owned(), happened });
        }
        let until_ns = self.world.now_ns + 2 * PATIENCE_MS * MILLISECOND;
        self.pass_until(until_ns, |stage| stage.world.threads.is_idle() && stage.world.members_are_whole());
        let ended = match (self.disappointed.take(), self.world.members_are_whole()) {
            (Some(what), _) => Ended::Unavailable { what },
            (None, true) => self.world.observe_finally(),
            (None, false) => Ended::Unavailable { what: self.world.in_words() },
        };
        let Stage { world, steps, intervals, .. } = self;
        let simulated = judge(world, config, ended, budget)?;
        let properties = simulated.violations.iter().map(|violation| violation.property.name().to_owned());
        let accusing = simulated.verdict.checks.iter().filter(|check| check.validity == Validity::Invalid);
        let checkers = accusing.map(|check| check.checker.clone()).filter(|checker| checker != "oracles");
        let seen_by: BTreeSet<String> = properties.chain(checkers).collect();
        Ok(Played { steps, intervals, simulated, seen_by: seen_by.into_iter().collect() })
    }
}

/// Whether a step leaves something that is not well.
fn changes_faults(step: &Step) -> bool {
    !matches!(
        step,
        Step::Client { .. }
            | Step::WaitFor(_)
            | Step::Advance(_)
            | Step::Heal
            | Step::Resume(_)
            | Step::ExpectLeader(_)
    )
}

impl World {
    /// All members, as the newest leader knows them, follow it, and have applied what it has committed. (A node that was removed does
    /// as it likes.)
    fn members_are_whole(&self) -> bool {
        let replica = |node: usize| self.nodes[node].process.as_ref().map(|process| &process.replica);
        let leaders = (0..self.nodes.len()).filter(|node| self.leads(*node)).filter_map(replica);
        let Some(leader) = leaders.max_by_key(|leader| leader.raft_status().term) else { return false };
        let (newest, members) = (leader.raft_status(), leader.membership().members());
        members.into_iter().all(|member| {
            let node = member.0 as usize - 1;
            let status = replica(node).map(|replica| replica.raft_status());
            let follows =
                status.filter(|status| (status.term, status.leader) == (newest.term, newest.leader));
            self.nodes[node].is_running() && follows.is_some_and(|status| status.applied >= newest.commit)
        })
    }

    fn term_of(&self, node: usize) -> u64 {
        self.nodes[node].process.as_ref().map_or(0, |process| process.replica.raft_status().term.0)
    }

    fn leads(&self, node: usize) -> bool {
        let process = self.nodes[node].process.as_ref();
        process.is_some_and(|process| process.replica.raft_status().role == Role::Leader)
    }
}

//! A made-up run of a register workload: clients on threads, a correct register per key, faults that make it slow or
//! unreachable, and on request one stale read. Used by the tests and by the example `demo_report`.
//!
//! Not a simulation of any store: operations take effect at a random moment between invocation and completion, which
//! makes every history without the planted read linearizable, and gives its linearization.

#![allow(dead_code, reason = "the example uses a part of this module")]

use std::collections::BTreeMap;

use labrys_checker::verdict::{
    Candidate, CheckVerdict, Evidence, NonLinearizable, PartitionVerdict, Step, Surviving, Validity, Verdict,
};
use labrys_history::{Event, EventKind, History, Process, Value};
use labrys_reports::RunDescription;
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub operations: usize,
    pub threads: u64,
    pub keys: i64,
    /// Mean latency without faults.
    pub latency_ns: u64,
    pub stale_read: bool,
}

/// Ten threads for a few seconds.
pub const SMALL: Plan =
    Plan { seed: 42, operations: 1_500, threads: 10, keys: 8, latency_ns: 6_000_000, stale_read: false };

/// A run, ready to be reported.
pub struct Run {
    pub history: History,
    pub verdict: Verdict,
    pub description: RunDescription,
}

impl Run {
    pub fn inputs(&self) -> labrys_reports::Inputs<'_> {
        labrys_reports::Inputs { history: &self.history, verdict: &self.verdict, run: &self.description }
    }
}

/// An operation before it is events.
#[derive(Clone, Debug)]
struct Made {
    process: u64,
    key: i64,
    f: &'static str,
    argument: Value,
    invoke_ns: u64,
    end_ns: u64,
    kind: EventKind,
    result: Value,
    error: Option<&'static str>,
    /// When it took effect, if it did.
    point_ns: Option<u64>,
    /// The state of its key after it.
    state: i64,
}

struct Planned {
    kind: &'static str,
    from_ns: u64,
    to_ns: u64,
    what: &'static str,
    nodes: &'static [&'static str],
    bit: bool,
    evidence: &'static str,
}

/// Makes a run.
pub fn run(plan: Plan) -> Run {
    let mut made = operations(plan);
    // Evaluated in the order of their points, each operation meets the register that the one before left.
    let mut order: Vec<usize> = (0..made.len()).filter(|&at| made[at].point_ns.is_some()).collect();
    order.sort_by_key(|&at| (made[at].point_ns, at));
    let mut registers: BTreeMap<i64, i64> = BTreeMap::new();
    let mut stale: Option<(usize, i64)> = None;
    let total_ns = made.iter().map(|operation| operation.end_ns).max().unwrap_or(0);
    for &at in &order {
        let register = registers.entry(made[at].key).or_insert(0);
        let before = *register;
        evaluate(&mut made[at], register);
        let operation = &made[at];
        let is_late = operation.invoke_ns > total_ns * 47 / 100;
        if plan.stale_read
            && stale.is_none()
            && is_late
            && operation.kind == EventKind::Ok
            && operation.f == "read"
        {
            stale = Some((at, (before + 3) % 5));
        }
    }
    if let Some((at, value)) = stale {
        made[at].result = Value::Int(value);
    }
    let faults = faults(total_ns);
    let (history, index_of) = history(&made, &faults, total_ns);
    let verdict = verdict(plan, &made, &order, stale, &index_of);
    Run { history, verdict, description: description(plan) }
}

fn operations(plan: Plan) -> Vec<Made> {
    let mut rng = Seed(plan.seed).fork("operations").rng();
    let mut free_at: Vec<u64> = (0..plan.threads).map(|thread| 20_000_000 + thread * 313_000).collect();
    let mut process_of: Vec<u64> = (0..plan.threads).collect();
    let estimated_ns = plan.operations as u64 * plan.latency_ns * 3 / plan.threads.max(1);
    let faults = faults(estimated_ns);
    let mut made = Vec::with_capacity(plan.operations);
    for number in 0..plan.operations {
        let Some(thread) = (0..free_at.len()).min_by_key(|&thread| free_at[thread]) else { break };
        let invoke_ns = free_at[thread];
        let disturbed =
            faults.iter().any(|fault| fault.bit && (fault.from_ns..fault.to_ns).contains(&invoke_ns));
        let operation = operation(&mut rng, plan, number, process_of[thread], invoke_ns, disturbed);
        free_at[thread] = operation.end_ns + rng.random_range(plan.latency_ns / 2..plan.latency_ns * 3);
        if operation.kind == EventKind::Info {
            process_of[thread] += plan.threads;
        }
        made.push(operation);
    }
    made
}

fn operation(
    rng: &mut Rng,
    plan: Plan,
    number: usize,
    process: u64,
    invoke_ns: u64,
    disturbed: bool,
) -> Made {
    // Two keys at a time, as a workload of independent keys has it: half of the threads on each.
    let pairs = (plan.keys / 2).max(1);
    let pair = number as i64 * pairs / plan.operations.max(1) as i64;
    let key = (pair * 2 + (process % plan.threads >= plan.threads / 2) as i64).min(plan.keys - 1);
    let (f, argument) = match rng.random_range(0..10) {
        0..4 => ("read", Value::Nil),
        4..7 => ("write", Value::Int(rng.random_range(0..4))),
        _ => ("cas", Value::vector(vec![rng.random_range(0..3).into(), rng.random_range(0..5).into()])),
    };
    let luck = rng.random_range(0..100);
    let (kind, error, factor) = match (disturbed, luck) {
        (true, 0..7) => (EventKind::Info, Some("timeout: no answer within the deadline"), 25.0),
        (true, 7..20) => (EventKind::Fail, Some("unavailable: connection refused"), 0.5),
        (true, _) => (EventKind::Ok, None, 4.0),
        (false, 0) => (EventKind::Fail, Some("not the leader, and none is known"), 0.4),
        (false, _) => (EventKind::Ok, None, 1.0),
    };
    let spread = -(1.0 - rng.random::<f64>()).ln() * 0.8 + 0.2;
    let length_ns = (plan.latency_ns as f64 * factor * spread) as u64 + 1_000;
    let end_ns = invoke_ns + length_ns;
    let happens = kind == EventKind::Ok || (kind == EventKind::Info && f != "read" && rng.random_bool(0.5));
    let point_ns = happens.then(|| invoke_ns + rng.random_range(1..length_ns));
    Made { process, key, f, argument, invoke_ns, end_ns, kind, result: Value::Nil, error, point_ns, state: 0 }
}

/// Lets an operation take effect.
fn evaluate(operation: &mut Made, register: &mut i64) {
    match (operation.f, operation.argument.as_sequence(), operation.argument.as_int()) {
        ("read", ..) => operation.result = Value::Int(*register),
        ("write", _, Some(new)) => {
            *register = new;
            operation.result = operation.argument.clone();
        }
        (_, Some([expected, new]), _) if expected.as_int() == Some(*register) => {
            *register = new.as_int().unwrap_or(0);
            operation.result = operation.argument.clone();
        }
        _ if operation.kind == EventKind::Ok => {
            operation.kind = EventKind::Fail;
            operation.error = Some("compared unequal");
            operation.point_ns = None;
        }
        _ => operation.point_ns = None,
    }
    operation.state = *register;
}

fn faults(total_ns: u64) -> Vec<Planned> {
    let at = |percent: u64| total_ns * percent / 100;
    let fault = |kind, from, to, what, nodes, bit, evidence| Planned {
        kind,
        from_ns: at(from),
        to_ns: at(to),
        what,
        nodes,
        bit,
        evidence,
    };
    vec![
        fault("partition", 12, 24, "partition n1 n2 | n3 n4 n5", &["n1", "n2"], true, "412 packets dropped"),
        fault("pause", 30, 36, "pause n4", &["n4"], true, "state T in /proc"),
        fault(
            "partition",
            42,
            56,
            "isolate the leader: n3 | n1 n2 n4 n5",
            &["n3"],
            true,
            "1,093 packets dropped",
        ),
        fault("kill", 50, 62, "kill n1 n2", &["n1", "n2"], true, "both processes gone"),
        fault("pause", 72, 73, "pause n5", &["n5"], false, ""),
        fault("partition", 80, 92, "one way: n2 → n4", &["n2", "n4"], true, "88 packets dropped"),
    ]
}

/// The events in order of time, and the index of each operation's invocation and completion.
fn history(made: &[Made], faults: &[Planned], total_ns: u64) -> (History, Vec<(u64, u64)>) {
    // With the position of its operation, and whether it is the completion.
    let mut events: Vec<(Option<(usize, bool)>, Event)> = Vec::new();
    for (at, operation) in made.iter().enumerate() {
        let process = Process::Client(operation.process);
        let mut invoke = Event::new(
            0,
            operation.invoke_ns,
            process.clone(),
            EventKind::Invoke,
            operation.f,
            operation.argument.clone(),
        );
        invoke.key = Some(Value::Int(operation.key));
        let mut end =
            Event::new(0, operation.end_ns, process, operation.kind, operation.f, operation.result.clone());
        end.key = Some(Value::Int(operation.key));
        end = end.with_error(operation.error.map(Value::from));
        events.push((Some((at, false)), invoke));
        events.push((Some((at, true)), end));
    }
    for event in fault_events(faults).into_iter().chain(observations(total_ns)) {
        events.push((None, event));
    }
    events.sort_by_key(|(_, event)| event.time_ns);
    let mut index_of = vec![(0, 0); made.len()];
    let mut list = Vec::with_capacity(events.len());
    for (index, (operation, mut event)) in (0..).zip(events) {
        event.index = index;
        match operation {
            Some((at, false)) => index_of[at].0 = index,
            Some((at, true)) => index_of[at].1 = index,
            None => {}
        }
        list.push(event);
    }
    (History::from_validated(list), index_of)
}

fn map(entries: Vec<(&str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(name, value)| (Value::from(name), value)).collect())
}

fn fault_events(faults: &[Planned]) -> Vec<Event> {
    let mut events = Vec::new();
    for (id, fault) in (1..).zip(faults) {
        let nodes = Value::Vector(fault.nodes.iter().map(|node| Value::from(*node)).collect());
        let value = |action: &str| {
            let mut entries = vec![
                ("fault", Value::Int(id)),
                ("action", Value::from(action)),
                ("what", Value::from(fault.what)),
                ("nodes", nodes.clone()),
            ];
            if action == "undo" {
                entries.push(("bit", Value::Bool(fault.bit)));
                entries.push(("evidence", Value::from(fault.evidence)));
            }
            map(entries)
        };
        let moments = [
            (fault.from_ns, "apply"),
            (fault.from_ns + 20_000_000, "apply"),
            (fault.to_ns, "undo"),
            (fault.to_ns + 15_000_000, "undo"),
        ];
        for (time_ns, action) in moments {
            events.push(Event::new(
                0,
                time_ns,
                Process::nemesis(),
                EventKind::Info,
                fault.kind,
                value(action),
            ));
        }
    }
    events
}

fn observations(total_ns: u64) -> Vec<Event> {
    let leaders = [(0, "n1", 1), (13, "n3", 2), (43, "n1", 3), (51, "n4", 4), (81, "n5", 5)];
    let mut events: Vec<Event> = leaders
        .into_iter()
        .map(|(percent, node, term)| {
            let value = map(vec![("node", Value::from(node)), ("term", Value::Int(term))]);
            let time_ns = total_ns * percent / 100 + 9_000_000;
            Event::new(0, time_ns, Process::observer(), EventKind::Info, "leader", value)
        })
        .collect();
    let exit = map(vec![("node", Value::from("n1")), ("signal", Value::from("SIGKILL"))]);
    events.push(Event::new(0, total_ns / 2 + 21_000_000, Process::observer(), EventKind::Info, "exit", exit));
    events
}

fn verdict(
    plan: Plan,
    made: &[Made],
    order: &[usize],
    stale: Option<(usize, i64)>,
    index_of: &[(u64, u64)],
) -> Verdict {
    let partition = |key: i64| {
        let bad = stale.filter(|(at, _)| made[*at].key == key);
        let reason = bad.map(|(at, value)| {
            format!("the read of {value} by process {} contradicts what was acknowledged", made[at].process)
        });
        PartitionVerdict {
            key: key.into(),
            validity: if bad.is_some() { Validity::Invalid } else { Validity::Valid },
            reason: reason.unwrap_or_default(),
            algorithm: "wgl".to_owned(),
            operations: made.iter().filter(|operation| operation.key == key).count() as u64,
            evidence: bad.map(|(at, value)| proof(made, order, at, value, index_of)).into_iter().collect(),
            linearization: None,
            statistics: BTreeMap::new(),
        }
    };
    let partitions: Vec<PartitionVerdict> = (0..plan.keys).map(partition).collect();
    let validity = partitions.iter().map(|partition| partition.validity).max().unwrap_or(Validity::Unknown);
    let reason = stale.map(|(at, _)| {
        format!("Key {} cannot be linearized; the other {} can.", made[at].key, plan.keys - 1)
    });
    let check = |checker: &str, validity, reason: Option<String>, partitions| CheckVerdict {
        checker: checker.to_owned(),
        validity,
        reason: reason.unwrap_or_default(),
        partitions,
        evidence: Vec::new(),
        statistics: BTreeMap::new(),
    };
    let mut verdict = Verdict::of(vec![
        check("linearizable", validity, reason, partitions),
        check("statistics", Validity::Valid, None, Vec::new()),
        check("one-leader-per-term", Validity::Valid, None, Vec::new()),
    ]);
    verdict.labrys_version = "0.1.0".to_owned();
    verdict
}

/// The evidence for the planted read: everything of its key before it in order, and what is open at its completion.
fn proof(made: &[Made], order: &[usize], at: usize, value: i64, index_of: &[(u64, u64)]) -> Evidence {
    let bad = &made[at];
    let of_key =
        |other: &&usize| made[**other].key == bad.key && **other != at && made[**other].point_ns.is_some();
    let before: Vec<usize> =
        order.iter().filter(of_key).filter(|&&other| made[other].point_ns < bad.point_ns).copied().collect();
    let state = before.last().map_or(0, |&last| made[last].state);
    let words = |operation: &Made| match operation.f {
        "read" if operation.kind == EventKind::Ok => format!("read → {}", operation.result),
        "cas" => operation
            .argument
            .as_sequence()
            .and_then(|pair| Some(format!("cas {} → {}", pair.first()?, pair.get(1)?)))
            .unwrap_or_default(),
        f => format!("{f} {}", operation.argument),
    };
    let step = |&other: &usize| Step {
        operation: index_of[other].0,
        description: words(&made[other]),
        state: made[other].state.to_string(),
    };
    let mut candidates = vec![Candidate {
        operation: index_of[at].0,
        description: words(bad),
        reason: format!("read {value}, but the register holds {state}"),
    }];
    let open = (0..made.len()).filter(|other| {
        let operation = &made[*other];
        let unfinished = operation.kind == EventKind::Info || operation.end_ns > bad.end_ns;
        *other != at
            && operation.key == bad.key
            && operation.f == "cas"
            && operation.invoke_ns < bad.end_ns
            && unfinished
            && !before.contains(other)
            && operation.kind != EventKind::Fail
    });
    for other in open.take(4) {
        let expected =
            made[other].argument.as_sequence().and_then(|pair| pair.first()?.as_int()).unwrap_or(0);
        candidates.push(Candidate {
            operation: index_of[other].0,
            description: words(&made[other]),
            reason: if expected == state {
                format!("leads to a register from which no read of {value} can follow")
            } else {
                format!("expects {expected}, but the register holds {state}")
            },
        });
    }
    Evidence::NonLinearizable(NonLinearizable {
        prefix_end: index_of[at].1,
        operation: index_of[at].0,
        omitted_steps: 0,
        longest_linearization: before.iter().map(step).collect(),
        state: format!("the register holds {state}"),
        candidates,
        surviving: Surviving::default(),
        minimal: None,
        cut_short: Vec::new(),
    })
}

fn description(plan: Plan) -> RunDescription {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    RunDescription {
        name: "register".to_owned(),
        started: "2026-11-21T03:33:56Z".to_owned(),
        seed: Some(plan.seed),
        command: format!(
            "labrys test --workload register --nemesis partition,pause,kill --seed {}",
            plan.seed
        ),
        concurrency: Some(plan.threads),
        configuration: vec![
            pair("workload", "register"),
            pair("nemesis", "partition, pause, kill"),
            pair("nodes", "n1 n2 n3 n4 n5"),
            pair("concurrency", &plan.threads.to_string()),
            pair("operations", &plan.operations.to_string()),
        ],
        files: Vec::new(),
        versions: vec![pair("labrys", "0.1.0"), pair("labrys-store", "0.1.0"), pair("kernel", "6.1.0")],
    }
}

//! What a simulated run kept of its messages, as a diagram that can be drawn.

use std::path::Path;

use anyhow::Context;
use labrys_checker::Budget;
use labrys_history::{Event, EventKind, History, Process};
use labrys_reports::lamport::{Arrow, Diagram, Mark, Span, Window, svg};
use labrys_simulation::scenario::Interval;
use labrys_simulation::trace::Trace;
use labrys_simulation::{Simulated, SimulationConfig, run as simulate};

use crate::commands::test::first_violation;

/// So many messages before a violation are drawn,
const MESSAGES_BEFORE: usize = 80;
/// and no more clients than these: the last ones that had something to do with the store.
const MOST_CLIENTS: usize = 4;
/// What happens for so long after a violation is drawn as well.
const AFTERMATH_NS: u64 = 5_000_000;

/// Simulates a run that failed once more, keeps its messages, and draws the last ones before what was violated first into `file`.
///
/// # Errors
/// The simulation refuses the configuration, or the file cannot be written.
pub fn draw_failure(config: &SimulationConfig, file: &Path) -> anyhow::Result<()> {
    let traced = SimulationConfig { traced: true, ..config.clone() };
    let simulated = simulate(&traced, Budget::unlimited())?;
    std::fs::write(file, before_violation(config, &simulated)).with_context(|| file.display().to_string())
}

fn before_violation(config: &SimulationConfig, simulated: &Simulated) -> String {
    let (trace, history) = (&simulated.trace, &simulated.history);
    let by_oracle =
        simulated.violations.iter().map(|violation| (violation.at_ns, violation.property.to_string()));
    let by_checker = first_violation(history, &simulated.verdict)
        .map(|(time_ns, checker)| (time_ns + trace.history_begins_ns, checker));
    let at_the_end = (simulated.simulated.as_nanos() as u64, "the end".to_owned());
    let (violated_ns, what) = by_oracle.chain(by_checker).min().unwrap_or(at_the_end);
    let to_ns = violated_ns + AFTERMATH_NS;
    let last_events =
        history.events().iter().rev().filter(|event| event.time_ns + trace.history_begins_ns <= to_ns);
    let mut clients: Vec<usize> = Vec::new();
    for client in last_events.filter_map(|event| client_of(event, config.test.threads())) {
        if !clients.contains(&client) && clients.len() < MOST_CLIENTS {
            clients.push(client);
        }
    }
    clients.sort_unstable();
    let names = if config.test.defect.is_empty() {
        String::new()
    } else {
        format!(" with {}", config.test.defect.join(", "))
    };
    let title = format!(
        "seed {}{names}: until {what} is violated at {:.3} s",
        config.test.seed,
        violated_ns as f64 / 1e9
    );
    let run =
        Run { nodes: config.test.nodes, threads: config.test.threads(), clients: &clients, trace, history };
    let diagram = of_run(&title, &run);
    let drawn = diagram.messages.iter().rev().filter(|arrow| !arrow.is_routine && arrow.sent_ns <= to_ns);
    let from_ns = drawn.take(MESSAGES_BEFORE).last().map_or(0, |arrow| arrow.sent_ns);
    svg(&diagram, Window { from_ns, to_ns, messages: MESSAGES_BEFORE })
}

/// What is drawn.
pub struct Run<'a> {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many client threads there are,
    pub threads: usize,
    /// and which of them are drawn, in ascending order.
    pub clients: &'a [usize],
    /// What passed.
    pub trace: &'a Trace,
    /// What the clients did.
    pub history: &'a History,
}

/// The diagram of a run.
pub fn of_run(title: &str, run: &Run<'_>) -> Diagram {
    let Run { nodes, clients, trace, .. } = *run;
    let line_of = |client: usize| clients.binary_search(&client).ok();
    let named = |letter: char| move |number: usize| format!("{letter}{}", number + 1);
    let lines = clients.iter().copied().map(named('c')).chain((0..nodes).map(named('n'))).collect();
    let clients = clients.len();
    let arrows = trace.messages.iter().zip(trace.routine()).map(|(message, is_routine)| Arrow {
        from: clients + message.from,
        to: clients + message.to,
        sent_ns: message.sent_ns,
        arrived_ns: message.arrived_ns,
        label: message.label.clone(),
        is_routine,
    });
    let calls = trace.calls.iter().filter_map(|call| {
        let (client, node) = (line_of(call.client)?, clients + call.node);
        Some(Arrow {
            from: if call.is_reply { node } else { client },
            to: if call.is_reply { client } else { node },
            sent_ns: call.sent_ns,
            arrived_ns: call.arrives_ns,
            label: call.label.clone(),
            is_routine: false,
        })
    });
    let of_nodes = trace.marks.iter().map(|mark| Mark {
        line: clients + mark.node,
        at_ns: mark.at_ns,
        label: mark.label.clone(),
    });
    Diagram {
        title: title.to_owned(),
        lines,
        messages: in_order(arrows.chain(calls).collect()),
        marks: of_nodes.chain(operations(run)).collect(),
        spans: Vec::new(),
    }
}

fn in_order(mut arrows: Vec<Arrow>) -> Vec<Arrow> {
    arrows.sort_by_key(|arrow| arrow.sent_ns);
    arrows
}

/// While what a node was in trouble.
pub fn spans(clients: usize, intervals: &[Interval]) -> Vec<Span> {
    let span = |interval: &Interval| Span {
        line: clients + interval.node,
        from_ns: interval.from_ns,
        to_ns: interval.to_ns,
        label: interval.label.clone(),
    };
    intervals.iter().map(span).collect()
}

/// The thread of a client's event; a client's next process is on the same one.
fn client_of(event: &Event, threads: usize) -> Option<usize> {
    let Process::Client(process) = event.process else { return None };
    usize::try_from(process).ok()?.checked_rem(threads)
}

/// Begin and end of each operation.
fn operations<'a>(run: &'a Run<'a>) -> impl Iterator<Item = Mark> + 'a {
    run.history.events().iter().filter_map(move |event| {
        let line = run.clients.binary_search(&client_of(event, run.threads)?).ok()?;
        let key = event.key.as_ref().map(|key| key.to_string()).unwrap_or_default();
        let key = key.trim_matches('"');
        let label = match event.kind {
            EventKind::Invoke if event.f.as_ref() == "read" => format!("read {key}"),
            EventKind::Invoke => format!("{} {key} {}", event.f, event.value),
            EventKind::Ok if event.f.as_ref() == "read" => format!("→ {}", event.value),
            EventKind::Ok => "→ done".to_owned(),
            EventKind::Fail => "→ refused".to_owned(),
            EventKind::Info => "→ nobody knows".to_owned(),
        };
        Some(Mark { line, at_ns: event.time_ns + run.trace.history_begins_ns, label })
    })
}

//! What a simulated run kept of its messages, as a diagram that can be drawn.

use labrys_history::{EventKind, History, Process};
use labrys_reports::lamport::{Arrow, Diagram, Mark, Span};
use labrys_simulation::scenario::Interval;
use labrys_simulation::trace::Trace;

/// The diagram of `nodes` nodes, and of `clients` clients with their operations beside them. The history's times are the trace's.
pub fn of_run(title: &str, nodes: usize, clients: usize, trace: &Trace, history: &History) -> Diagram {
    let line = |letter: char| move |number: usize| format!("{letter}{}", number + 1);
    let lines = (0..clients).map(line('c')).chain((0..nodes).map(line('n'))).collect();
    let arrows = trace.messages.iter().zip(trace.routine()).map(|(message, is_routine)| Arrow {
        from: clients + message.from,
        to: clients + message.to,
        sent_ns: message.sent_ns,
        arrived_ns: message.arrived_ns,
        label: message.label.clone(),
        is_routine,
    });
    let calls = trace.calls.iter().filter(|call| call.client < clients).map(|call| {
        let (client, node) = (call.client, clients + call.node);
        Arrow {
            from: if call.is_reply { node } else { client },
            to: if call.is_reply { client } else { node },
            sent_ns: call.sent_ns,
            arrived_ns: call.arrives_ns,
            label: call.label.clone(),
            is_routine: false,
        }
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
        marks: of_nodes.chain(operations(clients, history)).collect(),
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

/// Begin and end of each operation; a client's next process is on the same line.
fn operations(clients: usize, history: &History) -> impl Iterator<Item = Mark> {
    history.events().iter().filter_map(move |event| {
        let Process::Client(process) = event.process else { return None };
        let line = usize::try_from(process).ok()?.checked_rem(clients)?;
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
        Some(Mark { line, at_ns: event.time_ns, label })
    })
}

//! A model of one's own: `cargo run -p labrys-checker --example own_model`.
//!
//! A ticket machine: each `take` returns the number after the one before. The whole specification is [`Model::step`].

use std::fmt;

use labrys_checker::linearizable::{Completed, Decision, Interval, decide};
use labrys_checker::{Context, Meaning, Model, ModelError};
use labrys_history::{Completion, Operation};

/// A `take` and the ticket that it returned; `None` if nobody saw it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Take(Option<i64>);

/// Why a ticket cannot have been taken. `Display` makes the words, when somebody reads them.
struct WrongTicket {
    taken: i64,
    next: i64,
}

impl fmt::Display for WrongTicket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "took ticket {}, but the next one is {}", self.taken, self.next)
    }
}

struct TicketMachine;

impl Model for TicketMachine {
    /// The next ticket.
    type State = i64;
    type Call = Take;
    type Refusal = WrongTicket;

    fn name(&self) -> &str {
        "ticket-machine"
    }

    fn init(&self) -> i64 {
        1
    }

    /// How a history says it; [`decide`] below is given calls, and does not ask.
    fn meaning(&self, operation: &Operation) -> Result<Meaning<Take>, ModelError> {
        Ok(match operation.completion() {
            Completion::Ok { value, .. } => Meaning::Completed(Take(value.as_int())),
            Completion::Fail { .. } => Meaning::Nothing,
            // Perhaps a ticket came out after all.
            Completion::Info { .. } => Meaning::Crashed(Take(None)),
        })
    }

    fn step(&self, &next: &i64, take: &Take) -> Result<i64, WrongTicket> {
        match take.0 {
            Some(taken) if taken != next => Err(WrongTicket { taken, next }),
            _ => Ok(next + 1),
        }
    }

    fn describe_call(&self, take: &Take) -> String {
        take.0.map_or_else(|| "take → unknown".to_owned(), |ticket| format!("take → {ticket}"))
    }

    fn describe_state(&self, next: &i64) -> String {
        format!("next ticket = {next}")
    }
}

fn main() {
    // Three takes: the second begins when the first is over; the third runs along with both, and nobody saw its ticket.
    let take = |operation, ticket, invoked_ns, completed_ns: Option<u64>| Interval {
        call: Take(ticket),
        operation,
        invoked_ns,
        completed: completed_ns.map(|time_ns| Completed { time_ns, index: operation + 1 }),
    };
    let history =
        |second| [take(0, Some(1), 0, Some(10)), take(2, Some(second), 20, Some(30)), take(4, None, 5, None)];
    for second in [2, 3] {
        assert!(matches!(
            decide(&TicketMachine, &history(second), &Context::default()),
            Decision::Linearizable(_)
        ));
    }
    match decide(&TicketMachine, &history(4), &Context::default()) {
        Decision::NonLinearizable(evidence) => {
            println!("not linearizable up to event {}: {}", evidence.prefix_end, evidence.state);
            for candidate in &evidence.candidates {
                println!("  {}: {}", candidate.description, candidate.reason);
            }
        }
        other => panic!("{other:?}"),
    }
}

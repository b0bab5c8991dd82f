//! What clients call, what they are answered, and how both are written into events.

use labrys_history::{Details, Event, EventKind, Process, Text, Value};
use labrys_seed::Rng;
use rand::Rng as _;

/// A function and its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Read,
    Write(i64),
    Cas(i64, i64),
    Enqueue(i64),
    Dequeue,
}

/// A call, as it is invoked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub function: Function,
    pub key: usize,
    pub fate: Fate,
    /// How many operations were invoked before it, plus one: its name.
    pub number: usize,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It takes effect, and its client hears of it.
    Completes,
    /// It takes effect, and its client gives up.
    CrashesAfterEffect,
    /// Its client gives up, and later it takes effect.
    CrashesBeforeEffect,
    /// It never takes effect.
    CrashesWithoutEffect,
}

impl Fate {
    /// Of a thousand so many crash.
    pub fn drawn(crashed_per_mille: u32, rng: &mut Rng) -> Fate {
        if rng.random_range(0..1_000) >= crashed_per_mille {
            return Fate::Completes;
        }
        match rng.random_range(0..4) {
            0 => Fate::CrashesAfterEffect,
            1 => Fate::CrashesBeforeEffect,
            _ => Fate::CrashesWithoutEffect,
        }
    }
}

/// What a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A write, a compare-and-set or an insertion is done.
    Done,
    /// A compare-and-set found something else.
    Unequal,
    /// This was read or taken out.
    Value(i64),
    /// There was nothing to take out.
    Empty,
}

/// The object that clients work on. Sees every operation three times, in order of time.
pub(crate) trait Served {
    /// What is called before everything else, one after the other.
    fn first_calls(&self) -> Vec<(Function, usize)>;

    /// What the client whose operation has this number calls next: the key, the function, and what will become of it.
    fn invoke(&mut self, number: usize, rng: &mut Rng) -> Call;

    /// The call takes effect.
    fn take_effect(&mut self, call: &Call) -> Answer;

    /// Its client hears of it, or gives up.
    fn complete(&mut self, call: &Call);

    /// Whether the violation that the recipe asks for has been answered and heard of.
    fn has_violation(&self) -> bool;
}

/// Why an operation did not happen, or nobody knows.
#[derive(Clone, Copy)]
enum Error {
    PreconditionFailed,
    Empty,
    Timeout,
}

/// Makes events; their functions share one allocation each, and so do their errors.
pub(crate) struct Scribe {
    names: [Text; 5],
    /// By [`Error`].
    errors: [Details; 3],
    has_keys: bool,
    events: Vec<Event>,
}

impl Scribe {
    pub fn new(operations: usize, has_keys: bool) -> Scribe {
        let names = ["read", "write", "cas", "enqueue", "dequeue"].map(Text::from);
        let errors = ["precondition-failed", "empty", "timeout"]
            .map(|error| Details::new(Some(Value::keyword(error)), Vec::new()));
        Scribe { names, errors, has_keys, events: Vec::with_capacity(2 * operations) }
    }

    pub fn invoke(&mut self, now_ns: u64, process: u64, call: &Call) {
        self.push(now_ns, process, call, EventKind::Invoke, argument(call.function), None);
    }

    /// The answer; none if the client gave up.
    pub fn complete(&mut self, now_ns: u64, process: u64, call: &Call, answer: Option<Answer>) {
        let same = argument(call.function);
        let (kind, value, error) = match answer {
            Some(Answer::Done) => (EventKind::Ok, same, None),
            Some(Answer::Value(value)) => (EventKind::Ok, Value::Int(value), None),
            Some(Answer::Unequal) => (EventKind::Fail, same, Some(Error::PreconditionFailed)),
            Some(Answer::Empty) => (EventKind::Fail, same, Some(Error::Empty)),
            None => (EventKind::Info, same, Some(Error::Timeout)),
        };
        self.push(now_ns, process, call, kind, value, error);
    }

    fn push(
        &mut self,
        time_ns: u64,
        process: u64,
        call: &Call,
        kind: EventKind,
        value: Value,
        error: Option<Error>,
    ) {
        let name = match call.function {
            Function::Read => 0,
            Function::Write(_) => 1,
            Function::Cas(..) => 2,
            Function::Enqueue(_) => 3,
            Function::Dequeue => 4,
        };
        let index = self.events.len() as u64;
        let mut event =
            Event::new(index, time_ns, Process::Client(process), kind, self.names[name].clone(), value);
        event.key = self.has_keys.then_some(Value::Int(call.key as i64));
        if let Some(error) = error {
            event.details = self.errors[error as usize].clone();
        }
        self.events.push(event);
    }

    pub fn into_events(self) -> Vec<Event> {
        self.events
    }
}

fn argument(function: Function) -> Value {
    match function {
        Function::Read | Function::Dequeue => Value::Nil,
        Function::Write(value) | Function::Enqueue(value) => Value::Int(value),
        Function::Cas(expected, new) => Value::vector([Value::Int(expected), Value::Int(new)]),
    }
}

//! Events of other programs: what they leave out is filled in, what they get wrong is mended or refused, and said.

use crate::{Details, Event, EventKind, MAX_DEPTH, Process, Text, Value};

/// An event as another program's file has it.
#[derive(Debug, Default)]
pub(crate) struct ForeignEvent {
    pub(crate) index: Option<u64>,
    pub(crate) time_ns: Option<u64>,
    pub(crate) process: Option<Process>,
    pub(crate) kind: Option<EventKind>,
    pub(crate) f: Option<Text>,
    pub(crate) key: Option<Value>,
    pub(crate) value: Value,
    pub(crate) error: Option<Value>,
    pub(crate) extra: Vec<(Text, Value)>,
    /// The file says that `value` is `[key value]`.
    pub(crate) independent: bool,
    /// `value` may be deeper by one than a value may be, so that a tuple of the deepest key and value can be read.
    pub(crate) may_be_too_deep: bool,
}

/// The name under which a time that had to be mended is kept, in [`Event::extra`].
const ORIGINAL_TIME: &str = "original-time";

/// Something mended: how often, and where first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mended {
    pub(crate) count: u64,
    pub(crate) first_offset: usize,
}

impl Mended {
    fn at(&mut self, offset: usize) {
        if self.count == 0 {
            self.first_offset = offset;
        }
        self.count += 1;
    }
}

/// Turns foreign events into ours.
#[derive(Debug)]
pub(crate) struct Naturalizer {
    independent: bool,
    events: u64,
    next_index: u64,
    time_ns: u64,
    /// Events that were earlier than the one before them.
    pub(crate) times: Mended,
    /// Events without a process.
    pub(crate) processes: Mended,
    /// Events without a time.
    pub(crate) untimed: u64,
}

impl Naturalizer {
    /// `independent`: all values of clients are `[key value]`.
    pub(crate) fn new(independent: bool) -> Naturalizer {
        let (times, processes) = (Mended::default(), Mended::default());
        Naturalizer { independent, events: 0, next_index: 0, time_ns: 0, times, processes, untimed: 0 }
    }

    /// The event at `offset` of the file, or what was expected of it.
    pub(crate) fn event(&mut self, foreign: ForeignEvent, offset: usize) -> Result<Event, String> {
        let kind = foreign.kind.ok_or("expected a field :type, one of :invoke, :ok, :fail and :info")?;
        let process = foreign.process.unwrap_or_else(|| {
            self.processes.at(offset);
            Process::Client(0)
        });
        let mut extra = foreign.extra;
        let time_ns = match foreign.time_ns {
            None => {
                self.untimed += 1;
                self.events.max(self.time_ns)
            }
            Some(time_ns) if time_ns < self.time_ns => {
                self.times.at(offset);
                extra.push((ORIGINAL_TIME.into(), Value::integer(&time_ns.to_string()).unwrap_or_default()));
                self.time_ns
            }
            Some(time_ns) => time_ns,
        };
        let index = foreign.index.unwrap_or(self.next_index);
        let split = foreign.independent || (self.independent && process.client().is_some());
        let (key, value) = match (foreign.key, foreign.value) {
            (None, value) if split => split_tuple(value, kind)?,
            (key, value) => (key, value),
        };
        if foreign.may_be_too_deep && value.depth() > MAX_DEPTH {
            return Err(format!("expected a value nested at most {MAX_DEPTH} deep"));
        }
        self.events += 1;
        self.next_index = index.saturating_add(1);
        self.time_ns = time_ns;
        let f = foreign.f.unwrap_or_else(|| "".into());
        let details = Details::new(foreign.error, extra);
        Ok(Event { index, time_ns, process, kind, f, key, value, details })
    }
}

/// Key and value of a tuple `[key value]`. A completion may be without (a crashed one often is).
fn split_tuple(value: Value, kind: EventKind) -> Result<(Option<Value>, Value), String> {
    match value {
        Value::Vector(elements) | Value::List(elements) if elements.len() == 2 => {
            Ok((Some(elements[0].clone()), elements[1].clone()))
        }
        value if kind == EventKind::Invoke => Err(format!("expected a value [key value], found {value}")),
        value => Ok((None, value)),
    }
}

//! What the property tests draw: any value, any event, any valid history.

use labrys_history::{Details, Event, EventKind, History, Process, Text, Value};
use proptest::prelude::*;

/// Any text, with a liking for what is special in one of the formats.
pub fn text() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "[a-z][a-z-]{0,6}",
        2 => ".{0,6}",
        1 => "[\\PC\\n\\r\\t\\x00-\\x1f\"\\\\/:#$,;{}()\\[\\] ]{0,5}",
        1 => proptest::sample::select(vec![
            "", "nil", "true", "1", "-1", "1/2", "1.5M", "0x1f", "1.5", "##NaN", ":a", "a/b", "/", "'", "$keyword", "$map",
            "$extra", "index", "time_ns", "kind", "key", "type", "process", "f", "value", "time", "error",
            "labrys/keyword", "labrys/tagged", "labrys/extra", "labrys/independent", "_", "#_", "a\u{a0}b", "ü", "🪓",
            "\u{2028}", "\u{feff}", "nemesis", "NaN", "inf", "+", "-", "+a", "-0", "N", "..",
        ])
        .prop_map(str::to_owned),
    ]
    .boxed()
}

fn shared_text() -> impl Strategy<Value = Text> {
    text().prop_map(Text::from)
}

/// Integers beyond 64 bits, in the one form they have.
fn big_integer() -> impl Strategy<Value = Value> {
    ("-?[1-9][0-9]{18,40}").prop_map(|digits| Value::integer(&digits).expect("these are digits"))
}

/// Any float but the NaNs that are not *the* NaN, whose payload no format keeps.
fn float() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_map(|number| if number.is_nan() { f64::NAN } else { number }),
        proptest::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            1e16,
            -1e300,
            f64::MIN_POSITIVE,
            f64::NAN,
            f64::INFINITY
        ]),
        Just(f64::NEG_INFINITY),
    ]
    .prop_map(Value::Float)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(Value::Nil),
        1 => any::<bool>().prop_map(Value::Bool),
        4 => any::<i64>().prop_map(Value::Int),
        2 => (-9_i64..10).prop_map(Value::Int),
        1 => big_integer(),
        2 => float(),
        2 => shared_text().prop_map(Value::string),
        2 => shared_text().prop_map(Value::keyword),
        2 => shared_text().prop_map(Value::Symbol),
        2 => any::<char>().prop_map(Value::Char),
        1 => proptest::sample::select(vec!['u', 'n', '\n', ' ', '(', '\\', '\u{8}', '\u{85}', '\u{3000}', ',', ';', 'o'])
            .prop_map(Value::Char),
    ]
}

/// Any value, in the forms that [`Value`] promises.
pub fn value() -> BoxedStrategy<Value> {
    scalar()
        .prop_recursive(4, 24, 4, |inside| {
            let elements = || prop::collection::vec(inside.clone(), 0..4);
            prop_oneof![
                elements().prop_map(Value::list),
                elements().prop_map(Value::vector),
                elements().prop_map(Value::set),
                prop::collection::vec((inside.clone(), inside.clone()), 0..4).prop_map(Value::map),
                prop::collection::vec((shared_text().prop_map(Value::string), inside.clone()), 0..4)
                    .prop_map(Value::map),
                (shared_text(), inside.clone()).prop_map(|(tag, value)| Value::tagged(tag, value)),
            ]
        })
        .boxed()
}

fn kind() -> impl Strategy<Value = EventKind> {
    proptest::sample::select(vec![EventKind::Invoke, EventKind::Ok, EventKind::Fail, EventKind::Info])
}

/// Any event of a named process, about which histories have no rules.
pub fn named_event() -> impl Strategy<Value = Event> {
    let extra = prop::collection::vec((shared_text(), value()), 0..3);
    (
        (any::<u64>(), any::<u64>(), text(), kind(), text()),
        prop::option::of(value()),
        value(),
        prop::option::of(value()),
        extra,
    )
        .prop_map(|((index, time_ns, name, kind, f), key, value, error, extra)| Event {
            index,
            time_ns,
            process: Process::Named(name.into()),
            kind,
            f: f.into(),
            key,
            value,
            details: Details::new(error, extra),
        })
}

/// Any event of any process; alone it is no history.
pub fn event() -> impl Strategy<Value = Event> {
    (named_event(), prop::option::of(any::<u64>())).prop_map(|(mut event, number)| {
        if let Some(number) = number {
            event.process = Process::Client(number);
        }
        event
    })
}

/// One step in the making of a history: who moves, how much time passes, how much the index skips, how it ends, and what
/// is said.
type Step = (u8, u32, u8, EventKind, Event);

/// Any valid history of up to `most` events. Clients and the nemesis take turns at random; whoever ends with `info` comes
/// back under a new number.
pub fn history(most: usize) -> impl Strategy<Value = History> {
    let step = (
        0_u8..6,
        prop_oneof![Just(0), any::<u32>()],
        prop_oneof![9 => Just(0), 1 => any::<u8>()],
        kind(),
        event(),
    );
    prop::collection::vec(step, 0..most)
        .prop_map(|steps| History::new(events(steps)).expect("made by the rules"))
}

fn events(steps: Vec<Step>) -> Vec<Event> {
    let mut numbers = [0_u64, 1, 2, 3, 4];
    let mut open: [Option<Event>; 5] = Default::default();
    let (mut index, mut time_ns) = (0, 0);
    let mut events = Vec::new();
    for (thread, time_passes_ns, skip, kind, mut event) in steps {
        time_ns += u64::from(time_passes_ns);
        index += u64::from(skip);
        (event.index, event.time_ns) = (index, time_ns);
        index += 1;
        if let Some(slot) = open.get_mut(usize::from(thread)) {
            let number = &mut numbers[usize::from(thread)];
            event.process = Process::Client(*number);
            match slot.take() {
                Some(invocation) => {
                    event.f = invocation.f;
                    event.kind = if kind == EventKind::Invoke { EventKind::Ok } else { kind };
                    *number += if event.kind == EventKind::Info { 5 } else { 0 };
                }
                None => {
                    event.kind = EventKind::Invoke;
                    *slot = Some(event.clone());
                }
            }
        } else {
            event.process = Process::nemesis();
        }
        events.push(event);
    }
    events
}

//! What a synthetic history promises, checked without a checker: `labrys-checker`'s tests judge some as well.

use std::collections::BTreeMap;

use labrys_history::{Completion, EventKind, History, Operation, Value, write_json_lines};
use labrys_seed::Seed;
use labrys_synthetic::{Object, Recipe, RecipeError, Values};

const UNIQUE: Object = Object::Register { values: Values::Unique, has_cas: false };
const FIVE: Object = Object::Register { values: Values::Below(5), has_cas: true };

fn recipe(object: Object, operations: usize, clients: usize) -> Recipe {
    Recipe { object, operations, clients, keys: 1, crashed_per_mille: 0, violation_at_per_cent: None }
}

/// Small ones of every kind, with and without crashes and violations.
fn recipes() -> Vec<Recipe> {
    let mut recipes = Vec::new();
    for object in [UNIQUE, FIVE, Object::Queue] {
        for (operations, clients, keys) in [(0, 1, 1), (3, 40, 1), (600, 2, 1), (900, 10, 1), (900, 10, 5)] {
            for crashed_per_mille in [0, 50, 1_000] {
                let plain = Recipe { crashed_per_mille, ..recipe(object, operations, clients) };
                if keys == 1 || object != Object::Queue {
                    recipes.push(Recipe { keys, ..plain });
                }
            }
        }
    }
    recipes
}

/// Those of them that can be violated, at both places.
fn violated() -> Vec<Recipe> {
    let roomy =
        recipes().into_iter().filter(|recipe| recipe.operations >= 600 && recipe.crashed_per_mille < 1_000);
    roomy.flat_map(|recipe| [50, 90].map(|at| Recipe { violation_at_per_cent: Some(at), ..recipe })).collect()
}

fn history(recipe: Recipe, seed: u64) -> History {
    recipe.history(Seed(seed)).unwrap_or_else(|error| panic!("{recipe:?}, seed {seed}: {error}"))
}

fn text(history: &History) -> Vec<u8> {
    let mut text = Vec::new();
    write_json_lines(&mut text, history.events()).unwrap();
    text
}

#[test]
fn equal_seeds_give_equal_bytes_and_other_seeds_others() {
    for recipe in recipes().into_iter().chain(violated()) {
        let bytes = text(&history(recipe, 7));
        assert_eq!(bytes, text(&history(recipe, 7)), "{recipe:?}");
        assert!(recipe.operations == 0 || bytes != text(&history(recipe, 8)), "{recipe:?}");
    }
}

#[test]
fn the_bytes_of_a_seed_are_those_of_every_machine() {
    // FNV-1a of the JSON Lines, recorded once: another number is another history, and figures cannot be compared any more.
    let hash = |recipe: Recipe| {
        let bytes = text(&history(recipe, 1));
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    let spoilt = |object, keys| {
        let plain = recipe(object, 2_000, 10);
        Recipe { keys, crashed_per_mille: 50, violation_at_per_cent: Some(50), ..plain }
    };
    let hashes = [spoilt(UNIQUE, 1), spoilt(FIVE, 1), spoilt(FIVE, 7), spoilt(Object::Queue, 1)].map(hash);
    assert_eq!(hashes, RECORDED);
}

const RECORDED: [u64; 4] = [
    14_392_961_124_512_888_590,
    12_862_215_922_001_245_333,
    7_353_326_989_847_717_600,
    14_930_041_046_258_622_613,
];

#[test]
fn histories_are_well_formed_and_clients_never_rest() {
    for recipe in recipes().into_iter().chain(violated()) {
        let history = history(recipe, 3);
        let events = history.events();
        assert!(History::new(events.to_vec()).is_ok(), "{recipe:?}");
        assert!(events.windows(2).all(|pair| pair[0].time_ns < pair[1].time_ns), "{recipe:?}");
        assert_eq!(history.operations().len(), recipe.operations, "{recipe:?}");
        assert_eq!(events.len(), 2 * recipe.operations, "{recipe:?}");
        let mut open = 0;
        let mut most = 0;
        for event in events {
            open = if event.kind == EventKind::Invoke { open + 1 } else { open - 1 };
            most = most.max(open);
        }
        let busy = if recipe.operations < 600 { 0 } else { recipe.clients };
        assert!((busy..=recipe.clients).contains(&most), "{recipe:?}: {most}");
    }
}

#[test]
fn so_many_writes_crash_as_were_asked_for() {
    for object in [UNIQUE, FIVE, Object::Queue] {
        for (crashed_per_mille, expected) in [(0, 0..=0), (50, 300..=700), (1_000, 10_000..=10_000)] {
            let history = history(Recipe { crashed_per_mille, ..recipe(object, 20_000, 10) }, 5);
            let operations = history.operations();
            // The first write of a register never crashes.
            let writes = operations.iter().skip(1).filter(|op| matches!(op.f(), "write" | "cas" | "enqueue"));
            let (crashed, others): (Vec<&Operation>, Vec<&Operation>) =
                writes.partition(|op| matches!(op.completion(), Completion::Info { .. }));
            let in_ten_thousand = crashed.len() * 10_000 / (crashed.len() + others.len());
            assert!(expected.contains(&in_ten_thousand), "{object:?}: {in_ten_thousand}");
        }
    }
}

#[test]
fn a_violation_is_proved_by_intervals_alone_and_there_is_none_unless_asked_for() {
    for recipe in violated() {
        for seed in 0..5 {
            assert!(is_refuted(&history(recipe, seed), recipe.object), "{recipe:?}, seed {seed}");
        }
    }
    for recipe in recipes() {
        assert!(!is_refuted(&history(recipe, 1), recipe.object), "{recipe:?}");
    }
}

#[test]
fn a_recipe_that_makes_no_history_is_an_error_that_says_why() {
    let plain = recipe(FIVE, 100, 5);
    let error = |recipe: Recipe| recipe.history(Seed(1)).unwrap_err().to_string();
    assert_eq!(error(Recipe { clients: 0, ..plain }), "a history needs a client");
    assert_eq!(error(Recipe { keys: 0, ..plain }), "a history needs a key");
    assert_eq!(
        error(Recipe { crashed_per_mille: 1_001, ..plain }),
        "the share of crashed operations is 1001, but it can be at most 1000"
    );
    assert_eq!(
        error(Recipe { operations: 3, violation_at_per_cent: Some(50), ..plain }),
        "3 operations of 5 clients leave no room for a violation at 50%"
    );
    let one_value = Object::Register { values: Values::Below(1), has_cas: true };
    assert_eq!(recipe(one_value, 10, 1).history(Seed(1)), Err(RecipeError::TooFew("two values")));
}

/// When an operation was complete; never, if it crashed.
fn completed(operation: &Operation) -> u64 {
    match operation.completion() {
        Completion::Info { .. } => u64::MAX,
        other => other.time_ns().unwrap_or(u64::MAX),
    }
}

fn answer<'h>(operation: &Operation<'h>) -> Option<&'h Value> {
    if let Completion::Ok { value, .. } = operation.completion() { Some(value) } else { None }
}

/// Whether two or three operations alone show, by their intervals, that the history is not linearizable.
fn is_refuted(history: &History, object: Object) -> bool {
    let mut by_key = history.by_key();
    by_key.iter_mut().any(|(_, operations)| {
        if object == Object::Queue { has_overtaken(operations) } else { has_stale_read(operations) }
    })
}

/// A read of a value such that between each operation that could have written it and the read another write fits.
fn has_stale_read(operations: &[Operation]) -> bool {
    let written = |op: &Operation| match (op.f(), op.completion()) {
        (_, Completion::Fail { .. }) => None,
        ("write", _) => Some(op.value().clone()),
        ("cas", _) => op.value().as_sequence().map(|pair| pair[1].clone()),
        _ => None,
    };
    let mut writers: BTreeMap<Option<Value>, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        writers.entry(written(operation)).or_default().push(operation);
    }
    writers.remove(&None);
    let reads = operations.iter().filter(|op| op.f() == "read");
    reads.filter_map(|read| Some((read, answer(read)?))).any(|(read, value)| {
        let others =
            || writers.iter().filter(|(other, _)| other.as_ref() != Some(value)).flat_map(|(_, ops)| ops);
        // The latest invocation of a write of something else that completed before the read.
        let latest =
            others().filter(|op| completed(op) < read.invoke_time_ns()).map(|op| op.invoke_time_ns()).max();
        let mut own = writers.get(&Some(value.clone())).into_iter().flatten();
        own.all(|writer| writer.invoke_time_ns() > completed(read) || Some(completed(writer)) < latest)
    })
}

/// Two elements that were inserted one after the other, and of which the later was taken out before the earlier.
fn has_overtaken(operations: &[Operation]) -> bool {
    let mut taken: BTreeMap<&Value, &Operation> = BTreeMap::new();
    for operation in operations.iter().filter(|op| op.f() == "dequeue") {
        if let Some(value) = answer(operation) {
            assert!(taken.insert(value, operation).is_none(), "{value} was taken out twice");
        }
    }
    let inserted: Vec<&Operation> = operations.iter().filter(|op| op.f() == "enqueue").collect();
    let taken_from = |op: &Operation| taken.get(op.value()).map_or(u64::MAX, |taken| taken.invoke_time_ns());
    inserted.iter().filter(|a| completed(a) < u64::MAX).any(|a| {
        let later = inserted.iter().filter(|b| completed(a) < b.invoke_time_ns());
        later.filter_map(|b| taken.get(b.value())).any(|b| completed(b) < taken_from(a))
    })
}

//! Random commands against the reference. `LABRYS_STORE_CASES` runs more of them.

use super::reference::Reference;
use super::*;

#[derive(Clone, Debug)]
pub(super) enum Event {
    Operation(Operation),
    /// The operation before once more, in the same place of the session.
    Retry,
    Pass(u64),
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "a", "ab", "b", "c"]).prop_map(bytes)
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "0", "1", "-3", "9223372036854775807", "text"]).prop_map(bytes)
}

fn lease() -> impl Strategy<Value = LeaseId> {
    (1..5u64).prop_map(LeaseId)
}

fn token() -> impl Strategy<Value = LockToken> {
    (1..4u64).prop_map(LockToken)
}

fn query() -> impl Strategy<Value = RangeQuery> {
    (key(), prop::option::of(key()), 0..3u32).prop_map(|(start, end, limit)| RangeQuery { start, end, limit })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        key().prop_map(|key| Step::Get { key }),
        query().prop_map(Step::Range),
        (key(), value(), prop::option::weighted(0.3, lease())).prop_map(|(key, value, lease)| Step::Put {
            key,
            value,
            lease
        }),
        (key(), prop::option::of(value()), value()).prop_map(|(key, expected, value)| Step::CompareAndSet {
            key,
            expected,
            value
        }),
        key().prop_map(|key| Step::Delete { key }),
        (key(), value()).prop_map(|(key, suffix)| Step::Append { key, suffix }),
        (key(), -2..3i64).prop_map(|(key, by)| Step::Increment { key, by }),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let relation =
        prop::sample::select(vec![Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater]);
    let operand = prop_oneof![
        value().prop_map(Operand::Value),
        (0..4u64).prop_map(Operand::Version),
        (0..8u64).prop_map(|at| Operand::Created(Revision(at))),
        (0..8u64).prop_map(|at| Operand::Modified(Revision(at))),
    ];
    prop_oneof![
        4 => (key(), relation, operand)
            .prop_map(|(key, relation, operand)| Condition::Key { key, relation, operand }),
        1 => (key(), token()).prop_map(|(name, token)| Condition::LockHeld { name, token }),
    ]
}

fn commit() -> impl Strategy<Value = Commit> {
    let read = prop_oneof![key().prop_map(ReadItem::Key), query().prop_map(ReadItem::Range)];
    (
        0..20u64,
        prop::bool::ANY,
        prop::collection::vec(read, 0..3),
        prop::collection::vec((key(), prop::option::of(value())), 0..3),
    )
        .prop_map(|(snapshot, serializable, reads, writes)| Commit {
            snapshot: Revision(snapshot),
            isolation: if serializable { Isolation::Serializable } else { Isolation::Snapshot },
            reads,
            writes,
        })
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let list = || prop::collection::vec(any_step(), 0..4);
    prop_oneof![
        6 => any_step().prop_map(Operation::Step),
        4 => (prop::collection::vec(condition(), 0..2), list(), list()).prop_map(
            |(conditions, then, otherwise)| {
                Operation::Transaction(Transaction { conditions, then, otherwise })
            },
        ),
        4 => commit().prop_map(Operation::Commit),
        3 => (0..20u64).prop_map(|revision| Operation::Compact { revision: Revision(revision) }),
        2 => (1..50u64).prop_map(|ttl_ms| Operation::GrantLease { ttl_ms }),
        1 => lease().prop_map(|lease| Operation::RenewLease { lease }),
        1 => lease().prop_map(|lease| Operation::RevokeLease { lease }),
        2 => (key(), lease()).prop_map(|(name, lease)| Operation::AcquireLock { name, lease }),
        1 => (key(), token()).prop_map(|(name, token)| Operation::ReleaseLock { name, token }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => operation().prop_map(Event::Operation),
        1 => Just(Event::Retry),
        1 => (0..30u64).prop_map(Event::Pass),
    ]
}

pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 0..60)
}

impl Driver {
    /// Carries an event out; gives what a client would be told.
    pub(super) fn event(&mut self, event: Event) -> Option<Outcome> {
        match event {
            Event::Operation(operation) => {
                self.sequence += 1;
                Some(self.run(0, self.sequence, false, operation))
            }
            Event::Retry if self.sequence == 0 => None,
            Event::Retry => Some(self.run(0, self.sequence, false, Operation::delete("a retry's content"))),
            Event::Pass(duration_ms) => {
                self.pass(duration_ms);
                None
            }
        }
    }
}

/// Any conflict is right that is one: a key that the commit wrote or read, changed when it says, after the snapshot.
fn is_same(found: &Done, expected: &Done, reference: &Reference) -> bool {
    match (found, expected) {
        (Done::Conflict { key, revision }, Done::Conflict { revision: earliest, .. }) => {
            revision >= earliest && reference.changed(revision.0).iter().any(|(changed, _)| changed == key)
        }
        _ => found == expected,
    }
}

fn check_reads(driver: &Driver, reference: &Reference, revision: Revision, range: &RangeQuery) {
    let asked = Some(revision);
    for name in ["", "a", "ab", "b", "c", "d"] {
        let found = match driver.machine.read(&Query::Get { key: bytes(name), revision: asked }).found {
            Found::Value(record) => Ok(record.map(|record| (*record).clone())),
            Found::Problem(problem) => Err(problem),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, reference.get(&bytes(name), revision), "{name} at {revision}");
    }
    let found = match driver.machine.read(&Query::Range { range: range.clone(), revision: asked }).found {
        Found::Range(result) => {
            let items = result.items.into_iter().map(|(key, record)| (key, (*record).clone())).collect();
            Ok((items, result.more))
        }
        Found::Problem(problem) => Err(problem),
        other => panic!("{other:?}"),
    };
    assert_eq!(found, reference.range(range, revision), "{range:?} at {revision}");
}

type Changes = Vec<(Bytes, Option<Record>)>;

/// A watch that asks now and then, for so many revisions and bytes at a time, and resumes wherever it got to.
struct Watcher {
    range: RangeQuery,
    next: Revision,
    seen: Vec<(Revision, Changes)>,
}

impl Watcher {
    fn ask(&mut self, driver: &Driver, reference: &Reference, max_revisions: usize, max_bytes: usize) {
        match driver.machine.changes(self.next, &self.range, max_revisions, max_bytes) {
            Ok(batch) => {
                assert!(batch.through.next() >= self.next && batch.through <= driver.machine.revision());
                for revision in batch.revisions {
                    let changes = revision.changes.into_iter();
                    let changes =
                        changes.map(|change| (change.key, change.record.map(|record| (*record).clone())));
                    self.seen.push((revision.revision, changes.collect()));
                }
                self.next = batch.through.next();
            }
            Err(first) => {
                assert_eq!(first.0, reference.compacted() + 1, "what is there is named");
                assert!(self.next < first, "nothing that is there is refused");
                // What is missed is known to be missed; it is taken from the reference here, to compare the rest.
                for revision in self.next.0..first.0 {
                    self.expect(reference, revision);
                }
                self.next = first;
            }
        }
    }

    fn expect(&mut self, reference: &Reference, revision: u64) {
        let mut changes = reference.changed(revision);
        changes.retain(|(key, _)| self.range.contains(key));
        if !changes.is_empty() {
            self.seen.push((Revision(revision), changes));
        }
    }
}

pub(crate) fn cases() -> u32 {
    std::env::var("LABRYS_STORE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Outcomes, reads at every revision, ranges, and what a watch sees that resumes at random points, are the reference's.
    #[test]
    fn the_machine_does_what_the_reference_does(
        events in prop::collection::vec((event(), 0..25u64, query(), 0..3usize, 1..300usize), 0..60),
        watched in query(),
    ) {
        let mut driver = Driver::new(8, Defects::NONE);
        let mut reference = Reference::new();
        let mut watcher = Watcher { range: watched, next: Revision(1), seen: Vec::new() };
        let mut last = None;
        for (event, at, range, max_revisions, max_bytes) in events {
            let outcome = driver.event(event.clone());
            reference.advance(driver.time_ms);
            match (event, outcome) {
                (Event::Operation(operation), Some(outcome)) => {
                    let expected = reference.apply(operation);
                    let Outcome::Done { revision, done, .. } = &outcome else { panic!("{outcome:?}") };
                    prop_assert!(is_same(done, &expected, &reference), "{:?}, not {:?}", done, expected);
                    prop_assert_eq!(revision.0, reference.revision());
                    last = Some(outcome);
                }
                (Event::Retry, outcome) => prop_assert_eq!(&outcome, &last),
                (_, outcome) => prop_assert_eq!(outcome, None),
            }
            prop_assert_eq!(driver.machine.revision().0, reference.revision());
            check_reads(&driver, &reference, Revision(at), &range);
            check_reads(&driver, &reference, driver.machine.revision(), &range);
            watcher.ask(&driver, &reference, max_revisions, max_bytes);
        }
        while watcher.next <= driver.machine.revision() {
            watcher.ask(&driver, &reference, 3, 100);
        }
        let mut all = Watcher { range: watcher.range.clone(), next: Revision(1), seen: Vec::new() };
        for revision in 1..=reference.revision() {
            all.expect(&reference, revision);
        }
        prop_assert_eq!(watcher.seen, all.seen, "every event once, in order");
    }
}

//! The data model over the network: three nodes in this process, with real sockets and real disks.

#![allow(clippy::disallowed_methods)] // Tests own clocks and start programs.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Cluster, PATIENCE};
use labrys_store::api::{self, MAX_KEY_BYTES, MAX_REVISION_BYTES, MAX_VALUE_BYTES, data_client::DataClient};
use labrys_store::client::{
    Acquired, AttemptError, StoreClient, Transacted, Watch, WatchEnd, WatchEvent, prefix,
};
use labrys_store::machine::{
    Condition, Done, Isolation, Operand, Query, RangeQuery, Relation, Revision, RevisionProblem, Step,
    StepProblem, StepResult, Transaction,
};
use labrys_store::raft::{Defect, Defects};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> Step {
    Step::Put { key: bytes(key), value: bytes(value), lease: None }
}

fn everything() -> RangeQuery {
    prefix("")
}

#[test]
fn numbers_lists_ranges_and_transactions() {
    runtime().block_on(async {
        let cluster = Cluster::start(3);
        let mut client = cluster.client(1);
        assert_eq!(client.increment("n", 5, PATIENCE).await.unwrap(), Ok(5));
        assert_eq!(client.increment("n", -7, PATIENCE).await.unwrap(), Ok(-2));
        assert_eq!(client.append("list", "ab", PATIENCE).await.unwrap(), Ok(2));
        assert_eq!(client.append("list", "c", PATIENCE).await.unwrap(), Ok(3));
        assert_eq!(client.increment("list", 1, PATIENCE).await.unwrap(), Err(StepProblem::NotANumber));

        let condition = |value: &str| Condition::Key {
            key: bytes("list"),
            relation: Relation::Equal,
            operand: Operand::Value(bytes(value)),
        };
        let transaction = |value| Transaction {
            conditions: vec![condition(value)],
            then: vec![put("a/1", "x"), put("a/2", "y"), Step::Range(prefix("a/"))],
            otherwise: vec![Step::Get { key: bytes("list") }],
        };
        let done = client.transact(transaction("abc"), PATIENCE).await.unwrap();
        let Transacted::Done { held: true, results, revision } = done else { panic!("{done:?}") };
        let StepResult::Range(range) = &results[2] else { panic!("{results:?}") };
        assert_eq!((range.items.len(), range.more, revision), (2, false, Revision(5)));
        let done = client.transact(transaction("other"), PATIENCE).await.unwrap();
        assert!(matches!(done, Transacted::Done { held: false, .. }), "{done:?}");
        let aborted = Transaction {
            then: vec![put("never", "1"), Step::Increment { key: bytes("list"), by: 1 }],
            ..Transaction::default()
        };
        let done = client.transact(aborted, PATIENCE).await.unwrap();
        assert_eq!(done, Transacted::Aborted { held: true, step: 1, problem: StepProblem::NotANumber });

        let range = RangeQuery { limit: 2, ..everything() };
        let found = client.range(range.clone(), None, PATIENCE).await.unwrap().unwrap();
        let keys: Vec<&[u8]> = found.items.iter().map(|(key, _)| &key[..]).collect();
        assert_eq!((keys, found.more), (vec![&b"a/1"[..], b"a/2"], true));
        let earlier = client.range(range, Some(Revision(4)), PATIENCE).await.unwrap().unwrap();
        let keys: Vec<&[u8]> = earlier.items.iter().map(|(key, _)| &key[..]).collect();
        assert_eq!((keys, earlier.more), (vec![&b"list"[..], b"n"], false));
        let record = client.get_at("n", Some(Revision(1)), PATIENCE).await.unwrap().unwrap().unwrap();
        assert_eq!((&record.value, record.version), (&bytes("5"), 1));

        assert_eq!(client.compact(Revision(3), PATIENCE).await.unwrap(), Ok(Revision(3)));
        let gone = Err(RevisionProblem::Compacted { first: Revision(3) });
        assert_eq!(client.get_at("n", Some(Revision(2)), PATIENCE).await.unwrap(), gone);
        let statuses = cluster.settled().await;
        assert!(statuses.iter().all(|status| status.digest == statuses[0].digest), "{statuses:?}");
    });
}

#[test]
fn interactive_transactions_read_their_snapshot_and_the_first_to_commit_wins() {
    runtime().block_on(async {
        let cluster = Cluster::start(3);
        let mut first = cluster.client(0);
        let mut second = cluster.client(1);
        first.put("x", "0", PATIENCE).await.unwrap();
        for isolation in [Isolation::Snapshot, Isolation::Serializable] {
            let mut slow = first.begin(PATIENCE).await.unwrap();
            let before = slow.get("x", PATIENCE).await.unwrap().unwrap();
            let mut quick = second.begin(PATIENCE).await.unwrap();
            quick.put("x", "changed");
            assert_eq!(quick.get("x", PATIENCE).await.unwrap().unwrap(), Some(bytes("changed")));
            assert_eq!(quick.commit(isolation, PATIENCE).await.unwrap().done, Done::Committed);
            assert_eq!(slow.get("x", PATIENCE).await.unwrap().unwrap(), before, "its snapshot stays");
            slow.put("x", "lost");
            let written = slow.commit(isolation, PATIENCE).await.unwrap();
            assert!(matches!(written.done, Done::Conflict { .. }), "{written:?}");
        }
        // Write skew: only serializable refuses it.
        for (isolation, expected) in [(Isolation::Snapshot, true), (Isolation::Serializable, false)] {
            let mut left = first.begin(PATIENCE).await.unwrap();
            let mut right = second.begin(PATIENCE).await.unwrap();
            left.get("x", PATIENCE).await.unwrap().unwrap();
            right.range(prefix("y"), PATIENCE).await.unwrap().unwrap();
            left.put("y1", "1");
            right.put("x", "1");
            assert_eq!(left.commit(isolation, PATIENCE).await.unwrap().done, Done::Committed);
            let both = right.commit(isolation, PATIENCE).await.unwrap().done == Done::Committed;
            assert_eq!(both, expected, "{isolation:?}");
        }
    });
}

/// Waits until `key` is gone, while nobody writes.
async fn vanishes(client: &mut StoreClient, key: &str) {
    let deadline = Instant::now() + PATIENCE;
    while client.get(bytes(key), PATIENCE).await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "{key} does not end with its lease");
    }
}

#[test]
fn leases_end_by_themselves_with_their_keys_and_locks_and_fenced_writes_fail() {
    runtime().block_on(async {
        let cluster = Cluster::start(3);
        let mut client = cluster.client(0);
        let lease = client.grant_lease(3_000, PATIENCE).await.unwrap().unwrap();
        let long = client.grant_lease(3_600_000, PATIENCE).await.unwrap().unwrap();
        assert_eq!(client.put_with_lease("x", "1", lease, PATIENCE).await.unwrap(), Ok(()));
        let acquired = client.acquire_lock("l", lease, PATIENCE).await.unwrap();
        let Acquired::Taken(token) = acquired else { panic!("{acquired:?}") };
        let busy = client.acquire_lock("l", long, PATIENCE).await.unwrap();
        assert!(matches!(busy, Acquired::Busy(holder) if holder.token == token), "{busy:?}");
        vanishes(&mut client, "x").await;
        assert!(!client.renew_lease(lease, PATIENCE).await.unwrap());
        assert_eq!(client.lock_holder("l", PATIENCE).await.unwrap(), None);
        let fenced = Transaction {
            conditions: vec![Condition::LockHeld { name: bytes("l"), token }],
            then: vec![put("protected", "by a holder that is late")],
            ..Transaction::default()
        };
        let done = client.transact(fenced, PATIENCE).await.unwrap();
        assert!(matches!(done, Transacted::Done { held: false, .. }), "{done:?}");
        let next = client.acquire_lock("l", long, PATIENCE).await.unwrap();
        let Acquired::Taken(next) = next else { panic!("{next:?}") };
        assert!(next > token);
        assert!(!client.release_lock("l", token, PATIENCE).await.unwrap());
        assert!(client.release_lock("l", next, PATIENCE).await.unwrap());
        let view = client.lease(long, PATIENCE).await.unwrap().unwrap();
        assert_eq!((view.ttl_ms, view.key_count, view.lock_count), (3_600_000, 0, 0));
        assert!(client.revoke_lease(long, PATIENCE).await.unwrap());
        assert_eq!(client.lease(long, PATIENCE).await.unwrap(), None);
    });
}

#[test]
fn a_lease_ends_under_the_next_leader_too() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(3);
        let mut client = cluster.client(0);
        let lease = client.grant_lease(3_000, PATIENCE).await.unwrap().unwrap();
        client.put_with_lease("x", "1", lease, PATIENCE).await.unwrap().unwrap();
        let leader = cluster.leader().await;
        cluster.kill(leader);
        vanishes(&mut client, "x").await;
    });
}

/// The changes of each revision from the first to `last`, as one watch tells them.
async fn collect(watch: &mut Watch, last: Revision) -> Vec<(u64, Vec<(Bytes, Option<Bytes>)>)> {
    let mut seen = Vec::new();
    while watch.next_revision().is_none_or(|next| next <= last) {
        match watch.next(PATIENCE).await.unwrap() {
            WatchEvent::Through(_) => {}
            WatchEvent::Changes(changes) => {
                let value = |change: labrys_store::machine::Change| {
                    (change.key, change.record.map(|record| record.value.clone()))
                };
                seen.push((changes.revision.0, changes.changes.into_iter().map(value).collect()));
            }
        }
    }
    seen
}

#[test]
fn a_watch_sees_every_change_once_in_order_although_its_connections_and_nodes_go() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(3);
        let mut client = cluster.client(0);
        let mut watch = Watch::new(&cluster.addresses(), 0, prefix("w/"), Some(Revision(1))).unwrap();
        let mut expected = Vec::new();
        let mut seen = Vec::new();
        for round in 0..3u64 {
            for number in 0..20u64 {
                let (key, value) = (format!("w/{}", number % 3), format!("{round}-{number}"));
                let both = Transaction {
                    then: vec![put(&key, &value), put("other", "not watched"), put("w/all", &value)],
                    ..Transaction::default()
                };
                let done = client.transact(both, PATIENCE).await.unwrap();
                let Transacted::Done { revision, .. } = done else { panic!("{done:?}") };
                let changes = vec![(bytes(&key), Some(bytes(&value))), (bytes("w/all"), Some(bytes(&value)))];
                expected.push((revision.0, changes));
                client.put("other", value, PATIENCE).await.unwrap();
                // Now and then it asks for a little, loses its connection, and resumes elsewhere.
                if number % 7 == round {
                    seen.extend(collect(&mut watch, Revision(revision.0.saturating_sub(5))).await);
                    watch.disconnect();
                }
            }
            let leader = cluster.leader().await;
            cluster.kill(leader);
            client.put("other", "after", PATIENCE).await.unwrap();
            cluster.restart(leader);
        }
        client.delete("w/0", PATIENCE).await.unwrap();
        let last = expected.last().unwrap().0 + 3;
        expected.push((last, vec![(bytes("w/0"), None)]));
        seen.extend(collect(&mut watch, Revision(last)).await);
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_watch_of_what_is_compacted_is_told_where_it_can_go_on() {
    runtime().block_on(async {
        let cluster = Cluster::start(1);
        let mut client = cluster.client(0);
        for number in 0..5 {
            client.put("x", format!("{number}"), PATIENCE).await.unwrap();
        }
        client.compact(Revision(3), PATIENCE).await.unwrap().unwrap();
        let mut watch = Watch::new(&cluster.addresses(), 0, everything(), Some(Revision(1))).unwrap();
        let first = Revision(4);
        assert_eq!(watch.next(PATIENCE).await, Err(WatchEnd::Compacted { first }));
        watch.skip_to(first);
        let revisions: Vec<u64> =
            collect(&mut watch, Revision(5)).await.into_iter().map(|(revision, _)| revision).collect();
        assert_eq!(revisions, [4, 5]);
    });
}

#[test]
fn with_watch_gap_on_reconnect_a_watch_that_resumes_misses_what_was_between() {
    let sees_what_was_before = |defects| {
        runtime().block_on(async {
            let cluster = Cluster::start_with(1, defects);
            let mut client = cluster.client(0);
            client.put("x", "1", PATIENCE).await.unwrap();
            let mut watch = Watch::new(&cluster.addresses(), 0, everything(), Some(Revision(1))).unwrap();
            matches!(watch.next(PATIENCE).await, Ok(WatchEvent::Changes(_)))
        })
    };
    assert!(sees_what_was_before(Defects::NONE));
    assert!(!sees_what_was_before(Defects::NONE.with(Defect::WatchGapOnReconnect)));
}

#[test]
fn what_makes_no_sense_is_refused_definitely_and_by_name() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(1);
        cluster.leader().await;
        let mut client = cluster.client(0);
        let error = client.put(vec![b'k'; 5000], "1", PATIENCE).await.unwrap_err();
        assert_eq!((error.error, error.definite), (AttemptError::TooLarge, true), "{error}");
        assert!(error.detail.contains("a key has at most 4096 bytes, this one 5000"), "{error}");
        let steps = vec![Step::Get { key: Bytes::new() }; 200];
        let transaction = Transaction { then: steps, ..Transaction::default() };
        let error = client.transact(transaction, PATIENCE).await.unwrap_err();
        assert_eq!((error.error, error.definite), (AttemptError::TooLarge, true), "{error}");
        let error = client.grant_lease(0, PATIENCE).await.unwrap_err();
        assert_eq!((error.error, error.definite), (AttemptError::Malformed, true), "{error}");
        client.put("k", "the session is still good", PATIENCE).await.unwrap();

        let mut raw = DataClient::connect(format!("http://{}", cluster.peers[&1])).await.unwrap();
        let reply = raw.write(api::WriteRequest::default()).await.unwrap().into_inner();
        let Some(api::write_reply::Outcome::Refused(refused)) = reply.outcome else { panic!("{reply:?}") };
        assert_eq!((refused.code(), refused.definite), (api::RefusalCode::Malformed, true));
        // The end of all revisions is one that never comes, and no reason to panic.
        let request = api::WatchRequest { from_revision: Some(u64::MAX), range: None };
        let mut watch = raw.watch(request).await.unwrap().into_inner();
        assert!(watch.message().await.unwrap().is_some());
        client.put("k", "the watch looks again", PATIENCE).await.unwrap();
        let mut endless = watch;

        let range = Some(api::KeyRange { start: vec![0; 5000].into(), ..Default::default() });
        let request = api::WatchRequest { from_revision: None, range };
        let mut watch = raw.watch(request).await.unwrap().into_inner();
        let reply = watch.message().await.unwrap().unwrap();
        let Some(api::watch_reply::Outcome::Refused(refused)) = reply.outcome else { panic!("{reply:?}") };
        assert_eq!(refused.code(), api::RefusalCode::TooLarge);

        cluster.nodes.remove(&1).unwrap().stop().await.unwrap();
        let reply = endless.message().await.unwrap().unwrap();
        let Some(api::watch_reply::Outcome::Refused(refused)) = reply.outcome else { panic!("{reply:?}") };
        assert_eq!(refused.code(), api::RefusalCode::ShuttingDown);
    });
}

#[test]
fn a_watch_ends_with_its_node_and_does_not_hold_it_up() {
    runtime().block_on(async {
        let mut cluster = Cluster::start(1);
        cluster.leader().await;
        let mut watch = Watch::new(&cluster.addresses(), 0, everything(), None).unwrap();
        assert!(matches!(watch.next(PATIENCE).await, Ok(WatchEvent::Through(_))));
        let server = cluster.nodes.remove(&1).unwrap();
        server.stop().await.unwrap();
        let end = watch.next(Duration::from_millis(200)).await.unwrap_err();
        assert!(matches!(end, WatchEnd::Timeout { .. }), "{end}");
    });
}

/// The watcher does not read while far more is written than fits on the way to it.
#[test]
fn a_watcher_that_is_too_slow_is_told_where_it_can_go_on() {
    runtime().block_on(async {
        let cluster = Cluster::start(1);
        let mut client = cluster.client(0);
        let mut watch = Watch::new(&cluster.addresses(), 0, everything(), Some(Revision(1))).unwrap();
        assert_eq!(watch.next(PATIENCE).await, Ok(WatchEvent::Through(Revision(0))));
        for _ in 0..100 {
            client.put("x", vec![b'v'; 512 * 1024], PATIENCE).await.unwrap();
        }
        client.compact(Revision(100), PATIENCE).await.unwrap().unwrap();
        let mut expected = 1;
        let first = loop {
            match watch.next(PATIENCE).await {
                Ok(WatchEvent::Changes(changes)) => {
                    assert_eq!(changes.revision, Revision(expected), "in order, without a gap");
                    expected += 1;
                }
                Ok(WatchEvent::Through(through)) => assert_eq!(through, Revision(expected - 1)),
                Err(WatchEnd::Compacted { first }) => break first,
                Err(end) => panic!("{end}"),
            }
        };
        assert_eq!(first, Revision(101));
        assert!(expected < 100, "what was on its way is bounded");
    });
}

/// The largest revisions that there can be: the most bytes of values, and the most bytes of deleted keys.
#[test]
fn the_largest_revision_reaches_a_watch_and_the_largest_transaction_its_client() {
    runtime().block_on(async {
        let cluster = Cluster::start(1);
        let mut client = cluster.client(0);
        let counted = 1 + 64;
        let rest = MAX_REVISION_BYTES - 3 * (MAX_VALUE_BYTES + counted) - counted;
        let keys = [("a", MAX_VALUE_BYTES), ("b", MAX_VALUE_BYTES), ("c", MAX_VALUE_BYTES), ("d", rest)];
        for (key, bytes) in keys {
            client.put(key, vec![b'v'; bytes - 1], PATIENCE).await.unwrap();
        }
        let append = |key: &str| Step::Append { key: bytes(key), suffix: bytes("1") };
        let appends = |more: Option<Step>| Transaction {
            then: keys.iter().map(|(key, _)| append(key)).chain(more).collect(),
            ..Transaction::default()
        };
        let one_more = appends(Some(Step::Delete { key: bytes("e") }));
        assert_eq!(
            client.transact(one_more, PATIENCE).await.unwrap(),
            Transacted::Aborted { held: true, step: 4, problem: StepProblem::WritesTooLarge }
        );
        let done = client.transact(appends(None), PATIENCE).await.unwrap();
        let Transacted::Done { revision, .. } = done else { panic!("{done:?}") };
        let mut watch = Watch::new(&cluster.addresses(), 0, everything(), Some(revision)).unwrap();
        let WatchEvent::Changes(seen) = watch.next(PATIENCE).await.unwrap() else { panic!("nothing") };
        let sizes = seen.changes.iter().map(|change| change.record.as_ref().unwrap().value.len());
        assert_eq!(sizes.collect::<Vec<_>>(), keys.map(|(_, bytes)| bytes));

        let lease = client.grant_lease(3_600_000, PATIENCE).await.unwrap().expect("there are not many");
        let key = |number: usize| Bytes::from(format!("{number:0width$}", width = MAX_KEY_BYTES));
        for first in (0..1024).step_by(128) {
            let put = |number| Step::Put { key: key(number), value: Bytes::new(), lease: Some(lease) };
            let then = (first..first + 128).map(put).collect();
            client.transact(Transaction { then, ..Transaction::default() }, PATIENCE).await.unwrap();
        }
        let before = client.read(Query::Revision, PATIENCE).await.unwrap().revision;
        client.revoke_lease(lease, PATIENCE).await.unwrap();
        let last = client.read(Query::Revision, PATIENCE).await.unwrap().revision;
        let mut watch = Watch::new(&cluster.addresses(), 0, everything(), Some(before.next())).unwrap();
        let ended: Vec<usize> =
            collect(&mut watch, last).await.iter().map(|(_, changes)| changes.len()).collect();
        let fit = MAX_REVISION_BYTES / (MAX_KEY_BYTES + 64);
        assert_eq!(ended, [fit, 1024 - fit]);
    });
}

#[test]
fn a_full_state_refuses_what_makes_it_larger_and_says_what_helps() {
    runtime().block_on(async {
        let cluster = Cluster::start_adjusted(3, |options| options.machine.max_state_bytes = 100_000);
        let mut client = cluster.client(0);
        client.put("a", vec![1; 60_000], PATIENCE).await.unwrap();
        let error = client.put("b", vec![1; 60_000], PATIENCE).await.unwrap_err();
        assert_eq!(
            (error.error, error.definite, error.attempts),
            (AttemptError::NoSpace, true, 1),
            "{error}"
        );
        assert!(error.detail.contains("delete keys"), "{error}");
        assert_eq!(client.get("b", PATIENCE).await.unwrap(), None);
        assert_eq!(
            client.append("a", vec![2; 50_000], PATIENCE).await.unwrap_err().error,
            AttemptError::NoSpace
        );
        assert!(client.delete("a", PATIENCE).await.unwrap());
        client.put("b", vec![1; 60_000], PATIENCE).await.unwrap();
        let digests: Vec<u64> = cluster.settled().await.iter().map(|status| status.digest).collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    });
}

/// Passes connections on to a node, until it is told to swallow whatever comes: as a stopped process, or a network that has gone.
struct Passage {
    address: String,
    is_black_hole: Arc<AtomicBool>,
}

impl Passage {
    fn start(to: String) -> Passage {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let is_black_hole = Arc::<AtomicBool>::default();
        let swallows = Arc::clone(&is_black_hole);
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let far = TcpStream::connect(&to).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let swallows = Arc::clone(&swallows);
                    std::thread::spawn(move || {
                        let mut buffer = [0; 4096];
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            if !swallows.load(Ordering::Relaxed) && to.write_all(&buffer[..count]).is_err() {
                                break;
                            }
                        }
                    });
                }
            }
        });
        Passage { address, is_black_hole }
    }
}

#[test]
fn a_watch_leaves_a_node_from_which_nothing_comes_any_more() {
    runtime().block_on(async {
        let cluster = Cluster::start(3);
        let mut client = cluster.client(0);
        client.put("x", "1", PATIENCE).await.unwrap();
        let passage = Passage::start(cluster.addresses()[0].clone());
        let nodes = vec![passage.address.clone(), cluster.addresses()[1].clone()];
        let mut watch = Watch::new(&nodes, 0, everything(), Some(Revision(1))).unwrap();
        assert_eq!(collect(&mut watch, Revision(1)).await.len(), 1);
        passage.is_black_hole.store(true, Ordering::Relaxed);
        client.put("x", "2", PATIENCE).await.unwrap();
        let seen = collect(&mut watch, Revision(2)).await;
        assert_eq!(seen, [(2, vec![(bytes("x"), Some(bytes("2")))])]);
    });
}

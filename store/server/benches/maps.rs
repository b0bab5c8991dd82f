//! What persistent maps cost: the standard library's B-tree, which cannot be cloned cheaply, against two that can.
//!
//! `cargo bench -p labrys-store --bench maps -- [KEYS]`. Each line: nanoseconds per operation on a map of that many keys, in random order:
//! gets, puts of existing keys, and puts while a snapshot that was taken at their beginning is held. The result is in
//! `docs/decisions/006-persistent-maps.md`.

#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

type Value = Arc<[u8; 64]>;

/// What is measured of a map.
trait Map: Clone {
    fn put(&mut self, key: Bytes, value: Value);
    fn get(&self, key: &[u8]) -> Option<&Value>;
}

impl Map for BTreeMap<Bytes, Value> {
    fn put(&mut self, key: Bytes, value: Value) {
        self.insert(key, value);
    }

    fn get(&self, key: &[u8]) -> Option<&Value> {
        BTreeMap::get(self, key)
    }
}

impl Map for imbl::OrdMap<Bytes, Value> {
    fn put(&mut self, key: Bytes, value: Value) {
        self.insert(key, value);
    }

    fn get(&self, key: &[u8]) -> Option<&Value> {
        imbl::OrdMap::get(self, key)
    }
}

impl Map for rpds::RedBlackTreeMapSync<Bytes, Value> {
    fn put(&mut self, key: Bytes, value: Value) {
        self.insert_mut(key, value);
    }

    fn get(&self, key: &[u8]) -> Option<&Value> {
        rpds::RedBlackTreeMapSync::get(self, key)
    }
}

/// All keys, in an order that is as good as random: a step that shares no divisor with the count goes through all.
fn keys(count: usize) -> Vec<Bytes> {
    (0..count).map(|number| Bytes::from(format!("key-{:012}", number * 7_368_787 % count))).collect()
}

fn nanoseconds_each(count: usize, work: impl FnOnce()) -> u128 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_nanos() / count as u128
}

fn measure(name: &str, mut map: impl Map, keys: &[Bytes], snapshots: bool) {
    let value = Arc::new([7; 64]);
    for key in keys {
        map.put(key.clone(), Arc::clone(&value));
    }
    let puts = |map: &mut _| put_all(map, keys, &value);
    let get = nanoseconds_each(keys.len(), || {
        for key in keys {
            black_box(map.get(key));
        }
    });
    let put = nanoseconds_each(keys.len(), || puts(&mut map));
    print!("{name}: get {get} ns, put {put} ns");
    if snapshots {
        let begun = Instant::now();
        let snapshot = map.clone();
        let freeze = begun.elapsed().as_nanos();
        let put = nanoseconds_each(keys.len(), || puts(&mut map));
        black_box(snapshot.get(&keys[0]));
        print!(", snapshot {freeze} ns, put beside it {put} ns");
    }
    println!();
}

fn put_all(map: &mut impl Map, keys: &[Bytes], value: &Value) {
    for key in keys {
        map.put(key.clone(), Arc::clone(value));
    }
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|text| text.parse().ok());
    let keys = keys(asked.unwrap_or(1_000_000));
    println!("{} keys", keys.len());
    measure("BTreeMap", BTreeMap::new(), &keys, false);
    measure("imbl::OrdMap", imbl::OrdMap::new(), &keys, true);
    measure("rpds::RedBlackTreeMapSync", rpds::RedBlackTreeMapSync::new_sync(), &keys, true);
}

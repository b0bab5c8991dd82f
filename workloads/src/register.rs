//! The `register` workload: every key is a register that is read, written and compared-and-set.
//!
//! The generator is that of Jepsen's linearizable register: groups of threads, each on a key of its own for a bounded number
//! of operations and processes; in a group, half of the threads only read, so that reads go on while the others wait for
//! time-outs, and the others write (one in three) or compare-and-set (two in three).
//!
//! Functions and values in the history:
//!
//! | f | invoked with | `ok` with |
//! | --- | --- | --- |
//! | `read` | nil | what the key holds; nil if it does not exist |
//! | `write` | the value | the same |
//! | `cas` | `[expected new]` | the same |
//!
//! A `cas` that found another value than the expected one is `fail` with the error `:precondition-failed`; that is an
//! observation, and the checker uses it. Any other `fail` means only that nothing happened.
//!
//! Keys are 0, 1, 2, … in order of use, each from its own random stream, so that a key's operations depend on the completions
//! on that key only.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use labrys_history::Value;
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

use crate::generator::{
    BoxGenerator, GeneratorExt, clients as on_clients, concurrent_keys, from_fn, mix_weighted, repeat,
    reserve,
};
use crate::workload::{Checks, Workload, WorkloadError, WorkloadOptions, WrittenValues};
use crate::{Op, clients};

/// The workload's name.
pub const NAME: &str = "register";
/// The error of a `cas` that found another value than the expected one.
pub const PRECONDITION_FAILED: &str = "precondition-failed";
/// How often a final read is tried until it is `ok`.
const FINAL_READ_ATTEMPTS: u64 = 5;

/// An operation on a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterOp {
    /// What does the key hold?
    Read,
    /// The key shall hold this.
    Write(Value),
    /// If the key holds `expected`, it shall hold `new`.
    CompareAndSet {
        /// What it must hold; nil: it must not exist.
        expected: Value,
        /// What it shall hold then.
        new: Value,
    },
}

impl RegisterOp {
    /// What `op` asks for; `None` if it is not an operation on a register.
    #[must_use]
    pub fn parse(op: &Op) -> Option<RegisterOp> {
        match (&*op.f, &op.value) {
            ("read", _) => Some(RegisterOp::Read),
            ("write", value) => Some(RegisterOp::Write(value.clone())),
            ("cas", pair) => match pair.as_sequence()? {
                [expected, new] => {
                    Some(RegisterOp::CompareAndSet { expected: expected.clone(), new: new.clone() })
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// Builds the workload.
pub fn build(options: &WorkloadOptions) -> Result<Workload, WorkloadError> {
    let touched = Arc::new(AtomicI64::new(0));
    Ok(Workload {
        name: NAME,
        generator: main_generator(options, Arc::clone(&touched)),
        final_generator: Some(final_reads(touched)),
        clients: clients::factory(&options.system, options)?,
        checks: checks(),
    })
}

/// How the histories of this workload are judged.
#[must_use]
pub fn checks() -> Checks {
    Checks { model: "cas-register", initial: Value::Nil, independent_keys: true }
}

/// Keys in order of use; `touched` counts those that have been given out.
fn main_generator(options: &WorkloadOptions, touched: Arc<AtomicI64>) -> BoxGenerator {
    let keys = std::iter::from_fn(move || Some(Value::Int(touched.fetch_add(1, Ordering::SeqCst))));
    let seed = options.seed.fork(NAME);
    let (values, readers) = (options.values, options.threads_per_key() / 2);
    let (ops_per_key, processes_per_key) = (options.ops_per_key, options.process_limit());
    let on_key = move |key: &Value| {
        let key_seed = seed.fork_index(key.as_int().unwrap_or(0).cast_unsigned());
        operations(readers, values, key_seed).limit(ops_per_key).process_limit(processes_per_key).boxed()
    };
    options.paced(concurrent_keys(options.threads_per_key(), keys, on_key))
}

fn read() -> Op {
    Op::new("read", Value::Nil)
}

/// Endless operations on one key.
fn operations(readers: usize, values: WrittenValues, seed: Seed) -> BoxGenerator {
    let mut updates = Updates::new(values);
    let updates = from_fn(seed.fork("updates"), move |rng, _| updates.next(rng)).boxed();
    if readers == 0 {
        // One thread must do both. As many reads as writes, and twice as many compare-and-sets.
        return mix_weighted(seed.fork("mix"), vec![(1, repeat(read()).boxed()), (3, updates)]).boxed();
    }
    reserve(vec![(readers, repeat(read()).boxed())], updates).boxed()
}

/// Makes writes and compare-and-sets.
struct Updates {
    values: WrittenValues,
    written: i64,
    /// The last few values that were asked to be written: what a compare-and-set may expect, if values are unique.
    recent: VecDeque<i64>,
}

impl Updates {
    const RECENT: usize = 4;

    fn new(values: WrittenValues) -> Updates {
        Updates { values, written: 0, recent: VecDeque::new() }
    }

    fn next(&mut self, rng: &mut Rng) -> Op {
        if rng.random_range(0..3) == 0 {
            return Op::new("write", Value::Int(self.fresh(rng)));
        }
        let expected = self.expected(rng);
        let new = self.fresh(rng);
        Op::new("cas", Value::vector(vec![expected, Value::Int(new)]))
    }

    fn fresh(&mut self, rng: &mut Rng) -> i64 {
        match self.values {
            WrittenValues::Below(bound) => i64::from(rng.random_range(0..bound.max(1))),
            WrittenValues::Unique => {
                let value = self.written;
                self.written += 1;
                self.recent.push_back(value);
                if self.recent.len() > Self::RECENT {
                    self.recent.pop_front();
                }
                value
            }
        }
    }

    fn expected(&mut self, rng: &mut Rng) -> Value {
        match self.values {
            WrittenValues::Below(bound) => Value::Int(i64::from(rng.random_range(0..bound.max(1)))),
            WrittenValues::Unique if self.recent.is_empty() => Value::Nil,
            WrittenValues::Unique => Value::Int(self.recent[rng.random_range(0..self.recent.len())]),
        }
    }
}

/// A successful read of every key that has been given out, at several attempts, each key on one thread.
pub(crate) fn final_reads(touched: Arc<AtomicI64>) -> BoxGenerator {
    let mut next = 0;
    let keys = std::iter::from_fn(move || {
        (next < touched.load(Ordering::SeqCst)).then(|| {
            next += 1;
            Value::Int(next - 1)
        })
    });
    let until_read = |_: &Value| repeat(read()).until_ok().limit(FINAL_READ_ATTEMPTS).boxed();
    on_clients(concurrent_keys(1, keys, until_read)).boxed()
}

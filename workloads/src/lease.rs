//! The `lease` workload: keys that last as long as the lease that they were put with.
//!
//! Groups of threads, each on a key of its own. A key has one life: a lease is granted, with a time to live of one to three seconds; the key is
//! put with it; the lease is kept alive for a while, three times in its time to live; then it is revoked (one in four) or left
//! alone. All the while the key is read, some twenty times a second, and a few times more when it is gone. Then the group goes on to
//! the next key. How long a lease is kept alive is drawn per key: not at all (one in four), or for up to twenty seconds, so that
//! some outlive faults and leaders.
//!
//! Functions and values in the history:
//!
//! | f | invoked with | `ok` with |
//! | --- | --- | --- |
//! | `grant` | the time to live in milliseconds | `[lease ttl]`: the lease's number, and the time again |
//! | `put` | `[lease value]` | the same |
//! | `keep-alive` | the lease | the same |
//! | `revoke` | the lease | the same |
//! | `read` | nil | what the key holds; nil if it does not exist |
//!
//! An operation with a lease that has ended is `fail` with the error `:lease-unknown`; that is an observation, and the checkers use it.
//! Any other `fail` means only that nothing happened.
//!
//! What is judged: by the model `lease`, that what is gone stays gone and is not kept alive; by the checker `leases-last`, that nothing
//! is gone before its time. The load is what the lives make it, whatever the rate allows: some 25 operations per second and key.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use labrys_history::{Event, EventKind, Process, Value};
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

use crate::generator::{
    BoxGenerator, Context, Generator, GeneratorExt, Invocation, Peek, Taken, concurrent_keys,
};
use crate::register::final_reads;
use crate::workload::{Checks, Workload, WorkloadError, WorkloadOptions};
use crate::{Op, clients};

/// The workload's name.
pub const NAME: &str = "lease";
/// The error of an operation with a lease that has ended, or never was.
pub const LEASE_UNKNOWN: &str = "lease-unknown";

const MILLISECOND_NS: u64 = 1_000_000;
/// Times to live are between these, in milliseconds.
const TTL_MS: (u64, u64) = (1_000, 3_000);
/// The longest time for which a lease is kept alive.
const LONGEST_KEPT_MS: u64 = 20_000;
/// Between two reads of a key.
const READ_AFTER_MS: (u64, u64) = (20, 80);
/// Before what failed is tried again.
const RETRY_AFTER_MS: u64 = 20;
/// A key whose lease does not end is left alone so long after the lease's time to live: long enough for the checker to be sure.
const WATCHED_MS: u64 = 15_000;
/// So many reads find nothing before a key is left alone.
const READS_OF_NOTHING: u32 = 4;
/// So often a revocation is tried.
const REVOCATIONS: u32 = 5;

/// An operation on leases and the keys under them; reads are those of the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOp {
    /// A new lease.
    Grant {
        /// Its time to live.
        ttl_ms: u64,
    },
    /// The key shall hold this until the lease ends.
    Put {
        /// The lease.
        lease: u64,
        /// The value.
        value: Value,
    },
    /// The lease shall last its whole time again.
    KeepAlive {
        /// Which.
        lease: u64,
    },
    /// The lease shall end.
    Revoke {
        /// Which.
        lease: u64,
    },
}

impl LeaseOp {
    /// What `op` asks for; `None` if it is not an operation on a lease.
    #[must_use]
    pub fn parse(op: &Op) -> Option<LeaseOp> {
        let number = |value: &Value| u64::try_from(value.as_int()?).ok();
        match &*op.f {
            "grant" => Some(LeaseOp::Grant { ttl_ms: number(&op.value)? }),
            "put" => match op.value.as_sequence()? {
                [lease, value] => Some(LeaseOp::Put { lease: number(lease)?, value: value.clone() }),
                _ => None,
            },
            "keep-alive" => Some(LeaseOp::KeepAlive { lease: number(&op.value)? }),
            "revoke" => Some(LeaseOp::Revoke { lease: number(&op.value)? }),
            _ => None,
        }
    }
}

/// What a `grant` is `ok` with.
#[must_use]
pub fn granted(lease: u64, ttl_ms: u64) -> Value {
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    Value::vector(vec![number(lease), number(ttl_ms)])
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
    Checks { model: "lease", initial: Value::Nil, independent_keys: true }
}

/// Keys in order of use; `touched` counts those that have been given out.
fn main_generator(options: &WorkloadOptions, touched: Arc<AtomicI64>) -> BoxGenerator {
    let keys = std::iter::from_fn(move || Some(Value::Int(touched.fetch_add(1, Ordering::SeqCst))));
    let seed = options.seed.fork(NAME);
    let (ops_per_key, processes_per_key) = (options.ops_per_key, options.process_limit());
    let on_key = move |key: &Value| {
        let life = Life::new(seed.fork_index(key.as_int().unwrap_or(0).cast_unsigned()));
        life.limit(ops_per_key).process_limit(processes_per_key).boxed()
    };
    options.paced(concurrent_keys(options.threads_per_key(), keys, on_key))
}

/// What the keeper of a lease does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Grant,
    Put,
    KeepAlive,
    Revoke,
    /// Nothing: it has ended, or it shall.
    Watch,
}

/// The life of one key. One thread at a time is the keeper's, which grants, puts, keeps alive and revokes; the others read.
struct Life {
    rng: Rng,
    ttl_ms: u64,
    kept_ms: u64,
    is_revoked: bool,
    step: Step,
    /// The keeper's operation in flight, and when it was invoked.
    in_flight: Option<(Process, u64)>,
    /// When the keeper's next one is due.
    due_ns: u64,
    lease: Value,
    /// What is put next: no value twice.
    value: i64,
    /// When the lease is not kept alive any longer; from the put on.
    kept_until_ns: u64,
    revocations: u32,
    /// When a read is due.
    read_ns: u64,
    /// Reads that found nothing, in the end.
    nothing: u32,
    /// When it is left alone, in the end.
    watched_until_ns: u64,
}

impl Life {
    fn new(seed: Seed) -> Life {
        let mut rng = seed.rng();
        let ttl_ms = rng.random_range(TTL_MS.0..=TTL_MS.1);
        let kept_ms = if rng.random_range(0..4) == 0 { 0 } else { rng.random_range(1..=LONGEST_KEPT_MS) };
        let is_revoked = rng.random_range(0..4) == 0;
        Life {
            rng,
            ttl_ms,
            kept_ms,
            is_revoked,
            step: Step::Grant,
            in_flight: None,
            due_ns: 0,
            lease: Value::Nil,
            value: 0,
            kept_until_ns: 0,
            revocations: 0,
            read_ns: 0,
            nothing: 0,
            watched_until_ns: u64::MAX,
        }
    }

    fn is_over(&self, time_ns: u64) -> bool {
        self.step == Step::Watch && (self.nothing >= READS_OF_NOTHING || time_ns >= self.watched_until_ns)
    }

    /// When the keeper's next operation can be invoked.
    fn keeper_ns(&self) -> Option<u64> {
        (self.step != Step::Watch && self.in_flight.is_none()).then_some(self.due_ns)
    }

    /// When the next read can be. One thread is left to the keeper, if there are two.
    fn reader_ns(&self, context: &Context<'_>) -> Option<u64> {
        let has_room = match self.step {
            Step::Grant | Step::Put => false,
            Step::Watch => true,
            Step::KeepAlive | Step::Revoke => {
                self.in_flight.is_some() || context.scope().len() == 1 || context.free().len() > 1
            }
        };
        has_room.then_some(self.read_ns)
    }

    fn keeper_s_op(&mut self) -> Op {
        match self.step {
            Step::Grant => Op::new("grant", Value::Int(self.ttl_ms.cast_signed())),
            Step::Put => {
                self.value += 1;
                Op::new("put", Value::vector(vec![self.lease.clone(), Value::Int(self.value)]))
            }
            Step::KeepAlive => Op::new("keep-alive", self.lease.clone()),
            Step::Revoke => Op::new("revoke", self.lease.clone()),
            Step::Watch => unreachable!("a keeper that only watches has no operation"),
        }
    }

    /// The keeper's operation, invoked at `invoked_ns`, has ended.
    fn go_on(&mut self, time_ns: u64, invoked_ns: u64, event: &Event) {
        let after = |ms: u64| time_ns.saturating_add(ms * MILLISECOND_NS);
        let is_ok = event.kind == EventKind::Ok;
        let has_ended = event.error().and_then(Value::as_text) == Some(LEASE_UNKNOWN);
        let (step, due_ns) = match self.step {
            _ if has_ended => (Step::Watch, time_ns),
            Step::Grant => match event.value.as_sequence().filter(|_| is_ok) {
                Some([lease, _]) => {
                    self.lease = lease.clone();
                    (Step::Put, time_ns)
                }
                _ => (Step::Grant, after(RETRY_AFTER_MS)),
            },
            Step::Put if is_ok => {
                self.kept_until_ns = after(self.kept_ms);
                self.keep_on(time_ns, invoked_ns)
            }
            Step::KeepAlive if is_ok => self.keep_on(time_ns, invoked_ns),
            Step::Revoke => {
                self.revocations += 1;
                let is_done = is_ok || self.revocations >= REVOCATIONS;
                (if is_done { Step::Watch } else { Step::Revoke }, after(RETRY_AFTER_MS))
            }
            step => (step, after(RETRY_AFTER_MS)),
        };
        if step == Step::Watch {
            self.watched_until_ns = after(self.ttl_ms + WATCHED_MS);
        }
        (self.step, self.due_ns) = (step, due_ns);
    }

    /// What comes after the lease was there for sure.
    fn keep_on(&self, time_ns: u64, invoked_ns: u64) -> (Step, u64) {
        let next_ns = invoked_ns.saturating_add(self.ttl_ms * MILLISECOND_NS / 3).max(time_ns);
        match self.is_revoked {
            _ if next_ns < self.kept_until_ns => (Step::KeepAlive, next_ns),
            true => (Step::Revoke, next_ns),
            false => (Step::Watch, time_ns),
        }
    }
}

impl Generator for Life {
    fn peek(&mut self, context: &Context<'_>) -> Peek {
        if self.is_over(context.time_ns) {
            return Peek::Exhausted;
        }
        if !context.any_free() {
            return Peek::Pending;
        }
        let soonest = self.keeper_ns().into_iter().chain(self.reader_ns(context)).min();
        soonest.map_or(Peek::Pending, |at_ns| Peek::At(at_ns.max(context.time_ns)))
    }

    fn take(&mut self, context: &Context<'_>) -> Taken {
        let thread = context.choose_free().expect("an operation is only taken while a thread is free");
        let process = context.process(thread);
        let op = if self.keeper_ns().is_some_and(|due_ns| due_ns <= context.time_ns) {
            self.in_flight = Some((process.clone(), context.time_ns));
            self.keeper_s_op()
        } else {
            let gap_ms = self.rng.random_range(READ_AFTER_MS.0..=READ_AFTER_MS.1);
            self.read_ns = context.time_ns.saturating_add(gap_ms * MILLISECOND_NS);
            Op::new("read", Value::Nil)
        };
        Taken::Invoke(Invocation { thread, process, op })
    }

    fn update(&mut self, context: &Context<'_>, event: &Event) {
        match &self.in_flight {
            Some((process, invoked_ns)) if *process == event.process => {
                let invoked_ns = *invoked_ns;
                self.in_flight = None;
                self.go_on(context.time_ns, invoked_ns, event);
            }
            _ => {
                let found_nothing = event.kind == EventKind::Ok && event.value.is_nil();
                self.nothing += u32::from(self.step == Step::Watch && found_nothing);
            }
        }
    }
}

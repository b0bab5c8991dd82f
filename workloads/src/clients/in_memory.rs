//! A map behind a lock, for testing the whole pipeline without a cluster: linearizable with whatever errors are asked for, or
//! broken on request.
//!
//! Everything random comes from the seed and the process's number. O(log keys) per operation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use labrys_history::{Clock as _, MonotonicClock, Value};
use labrys_seed::{Rng, Seed};
use rand::Rng as _;

use crate::lease::{self, LEASE_UNKNOWN, LeaseOp};
use crate::register::{PRECONDITION_FAILED, RegisterOp};
use crate::workload::{WorkloadError, WorkloadOptions};
use crate::{Client, ClientFactory, Op, OpenError, Outcome};

/// The name in the table of systems.
pub const NAME: &str = "in-memory";

/// What the map does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Breakage {
    /// Nothing: it is linearizable.
    #[default]
    None,
    /// A read sees what the key held before the last change.
    StaleReads,
    /// Every so many-th write is acknowledged and thrown away; 0: none.
    LosesWrites(u64),
    /// A compare-and-set sets without comparing.
    SetsWithoutComparing,
}

/// How the map behaves. Probabilities are in per mille.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InMemoryOptions {
    /// What it does wrong.
    pub breakage: Breakage,
    /// An operation waits up to so long before it takes effect, and again before it is answered.
    pub maximum_delay: Duration,
    /// An operation is refused without having any effect: `fail`.
    pub refused_per_mille: u32,
    /// The answer of an operation is lost, which half of the time has taken effect: `info`.
    pub lost_per_mille: u32,
    /// A client cannot be opened.
    pub open_failures_per_mille: u32,
    /// The source of all this.
    pub seed: Seed,
}

impl Default for InMemoryOptions {
    fn default() -> InMemoryOptions {
        InMemoryOptions {
            breakage: Breakage::None,
            maximum_delay: Duration::ZERO,
            refused_per_mille: 0,
            lost_per_mille: 0,
            open_failures_per_mille: 0,
            seed: Seed(0),
        }
    }
}

/// The map, and the factory of its clients. Clones share the map.
#[derive(Clone, Debug)]
pub struct InMemory {
    options: InMemoryOptions,
    /// What leases end by.
    clock: Arc<MonotonicClock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Per key what it holds and what it held before.
    registers: BTreeMap<Option<Value>, (Value, Value)>,
    /// Leases by number: their time to live, and when they end.
    leases: BTreeMap<u64, (u64, u64)>,
    /// With which lease a key was put.
    lease_of: BTreeMap<Option<Value>, u64>,
    granted: u64,
    writes: u64,
    opened: u64,
}

impl InMemory {
    /// An empty map.
    #[must_use]
    pub fn new(options: InMemoryOptions) -> InMemory {
        InMemory { options, clock: Arc::new(MonotonicClock::start()), state: Arc::default() }
    }

    /// What `key` holds.
    #[must_use]
    pub fn get(&self, key: Option<&Value>) -> Value {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.registers.get(&key.cloned()).map_or(Value::Nil, |(now, _)| now.clone())
    }
}

#[async_trait]
impl ClientFactory for InMemory {
    async fn open(&self, process: u64, node: usize) -> Result<Box<dyn Client>, OpenError> {
        let opened = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.opened += 1;
            state.opened
        };
        let mut rng = self.options.seed.fork("in-memory").fork_index(process).fork_index(opened).rng();
        if chance(&mut rng, self.options.open_failures_per_mille) {
            let address = format!("in-memory node {node}");
            return Err(OpenError { process, address, detail: "refused on request".to_owned() });
        }
        Ok(Box::new(InMemoryClient { map: self.clone(), rng }))
    }
}

fn chance(rng: &mut Rng, per_mille: u32) -> bool {
    rng.random_range(0..1000) < per_mille
}

struct InMemoryClient {
    map: InMemory,
    rng: Rng,
}

#[async_trait]
impl Client for InMemoryClient {
    async fn invoke(&mut self, op: &Op, _: Duration) -> Outcome {
        let parsed = (LeaseOp::parse(op), RegisterOp::parse(op));
        if parsed == (None, None) {
            return Outcome::Fail { error: Value::keyword("unsupported-operation") };
        }
        let options = self.map.options;
        self.delay().await;
        if chance(&mut self.rng, options.refused_per_mille) {
            return Outcome::Fail { error: Value::keyword("refused") };
        }
        let lost = chance(&mut self.rng, options.lost_per_mille);
        if lost && self.rng.random() {
            return Outcome::Info { error: Value::keyword("lost") };
        }
        let outcome = {
            let mut state = self.map.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.end_leases(self.map.clock.now_ns());
            match parsed {
                (Some(lease_op), _) => state.apply_to_lease(op, lease_op, self.map.clock.now_ns()),
                (None, Some(register_op)) => state.apply(&op.key, register_op, options.breakage),
                (None, None) => Outcome::Fail { error: Value::keyword("unsupported-operation") },
            }
        };
        self.delay().await;
        if lost { Outcome::Info { error: Value::keyword("lost") } } else { outcome }
    }

    async fn close(self: Box<Self>) {}
}

impl InMemoryClient {
    async fn delay(&mut self) {
        let maximum = self.map.options.maximum_delay;
        if !maximum.is_zero() {
            let delay = maximum.mul_f64(self.rng.random());
            tokio::time::sleep(delay).await;
        }
    }
}

impl State {
    fn end_leases(&mut self, now_ns: u64) {
        self.leases.retain(|_, (_, ends_ns)| *ends_ns > now_ns);
        self.drop_unleased();
    }

    fn drop_unleased(&mut self) {
        let State { registers, leases, lease_of, .. } = self;
        lease_of.retain(|key, lease| {
            let is_there = leases.contains_key(lease);
            if !is_there {
                registers.remove(key);
            }
            is_there
        });
    }

    fn apply_to_lease(&mut self, op: &Op, lease_op: LeaseOp, now_ns: u64) -> Outcome {
        let ends_ns = |ttl_ms: u64| now_ns.saturating_add(ttl_ms.saturating_mul(1_000_000));
        let is_known = match &lease_op {
            LeaseOp::Grant { ttl_ms } => {
                self.granted += 1;
                self.leases.insert(self.granted, (*ttl_ms, ends_ns(*ttl_ms)));
                return Outcome::Ok(lease::granted(self.granted, *ttl_ms));
            }
            LeaseOp::Put { lease, value } => {
                let is_known = self.leases.contains_key(lease);
                if is_known {
                    self.registers.insert(op.key.clone(), (value.clone(), Value::Nil));
                    self.lease_of.insert(op.key.clone(), *lease);
                }
                is_known
            }
            LeaseOp::KeepAlive { lease } => match self.leases.get_mut(lease) {
                Some((ttl_ms, until_ns)) => {
                    *until_ns = ends_ns(*ttl_ms);
                    true
                }
                None => false,
            },
            LeaseOp::Revoke { lease } => {
                let is_known = self.leases.remove(lease).is_some();
                self.drop_unleased();
                is_known
            }
        };
        match is_known {
            true => Outcome::Ok(op.value.clone()),
            false => Outcome::Fail { error: Value::keyword(LEASE_UNKNOWN) },
        }
    }

    fn apply(&mut self, key: &Option<Value>, op: RegisterOp, breakage: Breakage) -> Outcome {
        let (now, before) = self.registers.get(key).cloned().unwrap_or_default();
        match op {
            RegisterOp::Read if breakage == Breakage::StaleReads => Outcome::Ok(before),
            RegisterOp::Read => Outcome::Ok(now),
            RegisterOp::Write(value) => {
                self.writes += 1;
                let lost =
                    matches!(breakage, Breakage::LosesWrites(n) if n > 0 && self.writes.is_multiple_of(n));
                if !lost {
                    self.registers.insert(key.clone(), (value.clone(), now));
                }
                Outcome::Ok(value)
            }
            RegisterOp::CompareAndSet { expected, new } => {
                if now != expected && breakage != Breakage::SetsWithoutComparing {
                    return Outcome::Fail { error: Value::keyword(PRECONDITION_FAILED) };
                }
                self.registers.insert(key.clone(), (new.clone(), now));
                Outcome::Ok(Value::vector(vec![expected, new]))
            }
        }
    }
}

pub(super) fn factory(options: &WorkloadOptions) -> Result<Arc<dyn ClientFactory>, WorkloadError> {
    Ok(Arc::new(InMemory::new(InMemoryOptions { seed: options.seed, ..InMemoryOptions::default() })))
}

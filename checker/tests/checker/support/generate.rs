//! Register histories from a seed: by a register that exists, so that they are linearizable, and then spoilt a little.

use labrys_seed::Rng;
use rand::Rng as _;

use super::{Call, Op};

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub operations: usize,
    /// Values are 0..values; 0 is the initial one. With 0 every write has a value of its own.
    pub values: i64,
    /// At most so many operations at the same time, about.
    pub clients: usize,
    /// Of a thousand operations that change something so many crash.
    pub crashed_per_mille: u32,
    pub with_cas: bool,
    pub keys: i64,
    /// Times are divided by this, so that some become equal.
    pub coarseness: u64,
}

/// A linearizable history of that shape: `clients` clients, each always busy, whose operations take effect at some moment of
/// theirs.
pub fn linearizable(shape: Shape, rng: &mut Rng) -> Vec<Op> {
    let mut clients: Vec<Vec<(u64, u64, u64)>> = Vec::new();
    for client in 0..shape.clients {
        let mut now = rng.random_range(0..100);
        let share = (shape.operations + shape.clients - 1 - client) / shape.clients;
        clients.push(
            (0..share)
                .map(|_| {
                    let invoked = now + rng.random_range(1..20);
                    let effect = invoked + rng.random_range(0..100);
                    let completed = effect + rng.random_range(0..100);
                    now = completed;
                    (effect, invoked, completed)
                })
                .collect(),
        );
    }
    let mut moments: Vec<(u64, u64, u64)> = clients.into_iter().flatten().collect();
    moments.sort_unstable();
    let mut states = vec![0_i64; shape.keys as usize];
    let mut fresh = 0;
    moments
        .into_iter()
        .map(|(_, invoked, completed)| {
            let key = rng.random_range(0..shape.keys);
            let state = &mut states[key as usize];
            let mut value = |rng: &mut Rng| {
                fresh += 1;
                if shape.values == 0 { fresh } else { rng.random_range(0..shape.values) }
            };
            let call = match rng.random_range(0..if shape.with_cas { 4 } else { 2 }) {
                0 => Call::Read(*state),
                1 => Call::Write(value(rng)),
                _ => {
                    let expected = if rng.random_bool(0.5) { *state } else { value(rng) };
                    let new = value(rng);
                    if expected == *state {
                        Call::Cas(expected, new)
                    } else {
                        Call::CasUnequal(expected, new)
                    }
                }
            };
            let crashes = rng.random_range(0..1000) < shape.crashed_per_mille;
            let completed = (!crashes).then_some(completed / shape.coarseness);
            let call = match (crashes, call) {
                // Nobody heard that it failed.
                (true, Call::CasUnequal(expected, new)) => Call::Cas(expected, new),
                (_, call) => call,
            };
            // What crashed took effect or not.
            if let (Call::Write(new) | Call::Cas(_, new), true) = (call, !crashes || rng.random_bool(0.5))
                && super::brute_force::step(*state, call).is_some()
            {
                *state = new;
            }
            Op { key, call, invoked: invoked / shape.coarseness, completed }
        })
        .collect()
}

/// Spoils one operation: another result, another interval, or a crash that was none. It may be linearizable afterwards.
pub fn spoil(ops: &mut [Op], values: i64, rng: &mut Rng) {
    let Some(position) = (!ops.is_empty()).then(|| rng.random_range(0..ops.len())) else { return };
    let op = &mut ops[position];
    let value = rng.random_range(0..values.max(2));
    match rng.random_range(0..3) {
        0 => {
            op.call = match op.call {
                Call::Read(_) => Call::Read(value),
                Call::Write(_) => Call::Write(value),
                Call::Cas(a, b) if op.completed.is_some() => Call::CasUnequal(a, b),
                Call::Cas(a, b) | Call::CasUnequal(a, b) => Call::Cas(a, b),
            };
        }
        1 => {
            let shift = rng.random_range(0..100);
            op.invoked += shift;
            op.completed = op.completed.map(|time| time + shift);
        }
        _ => {
            op.completed = op.completed.map(|time| op.invoked + (time - op.invoked) / 4);
        }
    }
}

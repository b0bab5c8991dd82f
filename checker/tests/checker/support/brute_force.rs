//! The oracle: tries every order. It shares nothing with the checker, not even the model, and remembers nothing, so that it
//! is too simple to be wrong. Good for some eight operations.

use super::{Call, Op};

/// An operation in the eyes of the oracle.
#[derive(Clone, Copy, Debug)]
pub struct Timed<C = Call> {
    pub call: C,
    pub invoked: u64,
    /// `u64::MAX`: never.
    pub completed: u64,
    /// Whether an order may leave it out.
    pub optional: bool,
}

impl Timed {
    pub fn of(op: &Op) -> Timed {
        Timed {
            call: op.call,
            invoked: op.invoked,
            completed: op.completed.unwrap_or(u64::MAX),
            optional: op.completed.is_none(),
        }
    }
}

/// The state after `call`, if it is allowed.
pub fn step(state: i64, call: Call) -> Option<i64> {
    match call {
        Call::Read(value) => (value == state).then_some(state),
        Call::Write(value) => Some(value),
        Call::Cas(expected, new) => (expected == state).then_some(new),
        Call::CasUnequal(expected, _) => (expected != state).then_some(state),
    }
}

/// Whether a call can change a state.
pub fn is_write(call: Call) -> bool {
    match call {
        Call::Write(_) => true,
        Call::Cas(expected, new) => expected != new,
        Call::Read(_) | Call::CasUnequal(..) => false,
    }
}

/// Whether some order of all operations (optional ones may be left out) is legal and respects real time: an operation that
/// completed strictly before another was invoked comes before it.
pub fn is_linearizable(ops: &[Timed], initial: i64) -> bool {
    is_linearizable_by(step, ops, initial)
}

/// The same for any object.
pub fn is_linearizable_by<C: Copy, S: Clone>(step: Step<C, S>, ops: &[Timed<C>], initial: S) -> bool {
    extend(step, ops, 0, initial, &mut |placed, _| {
        ops.iter().enumerate().all(|(position, op)| op.optional || placed >> position & 1 == 1)
    })
}

/// The state after a call, if it is allowed.
pub type Step<C, S = i64> = fn(S, C) -> Option<S>;

/// The most operations for which `counts` holds in any legal order that has all of `required` (positions).
pub fn longest(
    ops: &[Timed],
    initial: i64,
    required: &[usize],
    counts: &dyn Fn(usize) -> bool,
) -> Option<usize> {
    let mut most = None;
    extend(step, ops, 0, initial, &mut |placed, _| {
        if required.iter().all(|position| placed >> position & 1 == 1) {
            let number = (0..ops.len()).filter(|&p| placed >> p & 1 == 1 && counts(p)).count();
            most = most.max(Some(number));
        }
        false
    });
    most
}

/// Whether some legal order has exactly these operations and ends in a state.
pub fn leads_to(ops: &[Timed], initial: i64, positions: &[usize], state: i64) -> bool {
    let wanted = positions.iter().fold(0, |placed, position| placed | 1 << position);
    extend(step, ops, 0, initial, &mut |placed, &reached| placed == wanted && reached == state)
}

/// Visits every legal order, operation by operation, until `is_enough` of those placed.
fn extend<C: Copy, S: Clone>(
    step: Step<C, S>,
    ops: &[Timed<C>],
    placed: u64,
    state: S,
    is_enough: &mut dyn FnMut(u64, &S) -> bool,
) -> bool {
    if is_enough(placed, &state) {
        return true;
    }
    for (position, op) in ops.iter().enumerate() {
        let is_blocked = placed >> position & 1 == 1
            || ops.iter().enumerate().any(|(other, earlier)| {
                placed >> other & 1 == 0 && other != position && earlier.completed < op.invoked
            });
        if is_blocked {
            continue;
        }
        if let Some(next) = step(state.clone(), op.call)
            && extend(step, ops, placed | 1 << position, next, is_enough)
        {
            return true;
        }
    }
    false
}

#[test]
fn the_oracle_knows_the_textbook_cases() {
    let op = |call, invoked, completed| Timed { call, invoked, completed, optional: completed == u64::MAX };
    let write = op(Call::Write(1), 0, 10);
    for (read, expected) in [
        (op(Call::Read(0), 5, 15), true),
        (op(Call::Read(1), 5, 15), true),
        (op(Call::Read(2), 5, 15), false),
        (op(Call::Read(0), 10, 15), true), // touching is concurrent
        (op(Call::Read(0), 11, 15), false),
    ] {
        assert_eq!(is_linearizable(&[write, read], 0), expected, "{read:?}");
    }
    let crashed = op(Call::Write(1), 0, u64::MAX);
    assert!(is_linearizable(&[crashed, op(Call::Read(0), 5, 15), op(Call::Read(1), 20, 25)], 0));
    assert!(!is_linearizable(&[crashed, op(Call::Read(1), 5, 15), op(Call::Read(0), 20, 25)], 0));
}

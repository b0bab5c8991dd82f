//! [`check`]: an order is a linearization, before anybody is given it.
//!
//! The checks are those of the definition (Herlihy and Wing 1990, section 2), and know nothing of how the order was found:
//! it has every operation that completed once and every other one at most once; the model allows it, step by step; and nothing stands in it
//! before what had completed strictly before it was invoked. O(n log n) and the steps.

use super::problem::Interval;
use crate::model::Model;

/// Whether `order`, by name, is a linearization of `intervals`.
///
/// # Errors
/// What is wrong with it: a bug in a checker.
pub(crate) fn check<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    order: &[u64],
) -> Result<(), String> {
    let mut by_name: Vec<&Interval<M::Call>> = intervals.iter().collect();
    by_name.sort_unstable_by_key(|interval| interval.operation);
    let mut is_placed = vec![false; by_name.len()];
    let mut state = model.init();
    let mut latest_invocation_ns = 0;
    for &name in order {
        let position = by_name
            .binary_search_by_key(&name, |interval| interval.operation)
            .map_err(|_| format!("operation {name} of a linearization is not one of the history"))?;
        if std::mem::replace(&mut is_placed[position], true) {
            return Err(format!("operation {name} stands twice in a linearization"));
        }
        let interval = by_name[position];
        if interval.completed.is_some_and(|completed| completed.time_ns < latest_invocation_ns) {
            return Err(format!("operation {name} stands in a linearization behind one that came later"));
        }
        latest_invocation_ns = latest_invocation_ns.max(interval.invoked_ns);
        state = model
            .step(&state, &interval.call)
            .map_err(|refusal| format!("operation {name} is not legal in a linearization: {refusal}"))?;
    }
    match by_name.iter().zip(is_placed).find(|(interval, placed)| interval.completed.is_some() && !placed) {
        Some((missing, _)) => Err(format!("operation {} is missing in a linearization", missing.operation)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use labrys_history::Value;

    use super::super::problem::Completed;
    use super::*;
    use crate::models::{Register, RegisterCall};

    #[test]
    fn only_a_linearization_passes() {
        let (write, read) = (|n| RegisterCall::Write(Value::Int(n)), |n| RegisterCall::Read(Value::Int(n)));
        let calls =
            [(write(1), 0, Some(1)), (write(2), 2, Some(5)), (read(1), 3, Some(6)), (write(3), 4, None)];
        let interval = |(operation, (call, invoked_ns, completed)): (u64, (_, u64, Option<u64>))| Interval {
            call,
            operation,
            invoked_ns,
            completed: completed.map(|time_ns| Completed { time_ns, index: 10 + operation }),
        };
        let intervals: Vec<_> = (0..).zip(calls).map(interval).collect();
        let told =
            |order: &[u64]| check(&Register::new(Value::Nil), &intervals, order).err().unwrap_or_default();
        assert_eq!(told(&[0, 2, 1]), "");
        assert_eq!(told(&[0, 2, 1, 3]), "");
        assert_eq!(told(&[0, 2]), "operation 1 is missing in a linearization");
        assert_eq!(told(&[0, 2, 1, 1]), "operation 1 stands twice in a linearization");
        assert_eq!(told(&[0, 7]), "operation 7 of a linearization is not one of the history");
        assert_eq!(told(&[1, 0, 2]), "operation 0 stands in a linearization behind one that came later");
        assert!(told(&[0, 1, 2]).starts_with("operation 2 is not legal in a linearization: read 1"));
    }
}

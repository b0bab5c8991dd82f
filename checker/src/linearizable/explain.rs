//! Turns a search that found nothing into evidence that a person can follow.

use super::problem::Problem;
use super::search::{Search, Taken};
use crate::model::Model;
use crate::verdict::{Candidate, NonLinearizable, Step};

/// The most steps of the longest linearization that stand in the evidence; of a longer one, the last.
pub const STEPS_LIMIT: usize = 1_000;
/// The most candidates that stand in the evidence.
pub const CANDIDATES_LIMIT: usize = 200;

/// The evidence that nothing reaches beyond `level`, which `longest` reaches; and a sentence of it.
pub(crate) fn explain<M: Model>(
    model: &M,
    problem: &Problem<M::Call>,
    level: u32,
    longest: &[Taken],
) -> (NonLinearizable, String) {
    let all = vec![true; problem.groups.len()];
    let mut replay = Search::new(model, problem, &all);
    let omitted = longest.len().saturating_sub(STEPS_LIMIT);
    let mut steps = Vec::with_capacity(longest.len() - omitted);
    for (position, &taken) in longest.iter().enumerate() {
        let operation = name_of(&replay, taken);
        replay.replay(taken);
        if position >= omitted {
            steps.push(Step {
                operation,
                description: model.describe_call(replay.compiled.call(replay.call_of(taken))),
                state: model.describe_state(replay.compiled.state(replay.state)),
            });
        }
    }
    assert_eq!(replay.level, level, "the longest order reaches the furthest level");
    let blocked = problem.completes[level as usize];
    let (operation, prefix_end) = problem.events[blocked as usize];
    let state = model.describe_state(replay.compiled.state(replay.state));
    let wanted = model.describe_call(replay.compiled.call(problem.entries[blocked as usize].call));
    let candidates = candidates(&mut replay, &wanted, prefix_end);
    let reason = format!(
        "no order explains {wanted} (events {operation} to {prefix_end}): of those that reach this far, a longest ends \
         with {state}"
    );
    let evidence = NonLinearizable {
        prefix_end,
        operation,
        longest_linearization: steps,
        omitted_steps: omitted as u64,
        state,
        candidates,
        minimal: None,
    };
    (evidence, reason)
}

/// The operations of a path, by name.
pub(crate) fn names<M: Model>(model: &M, problem: &Problem<M::Call>, path: &[Taken]) -> Vec<u64> {
    let all = vec![true; problem.groups.len()];
    let mut replay = Search::new(model, problem, &all);
    path.iter()
        .map(|&taken| {
            let name = name_of(&replay, taken);
            replay.replay(taken);
            name
        })
        .collect()
}

/// The operation that a step is about, before it is taken.
fn name_of<M: Model>(search: &Search<'_, M>, taken: Taken) -> u64 {
    match taken {
        Taken::Entry(entry) => search.problem.events[entry as usize].0,
        Taken::Crashed(group) => {
            let already = search.crash_sets.used(search.used, group) as usize;
            search.problem.groups[group as usize].operations[already]
        }
    }
}

/// All that could come next: the operations in flight, earliest completion first, and the crashed ones, one of each group.
fn candidates<M: Model>(search: &mut Search<'_, M>, wanted: &str, prefix_end: u64) -> Vec<Candidate> {
    let crashed = (0..search.problem.groups.len() as u32).filter(|&group| {
        let there = search.problem.groups[group as usize].arrivals.partition_point(|&at| at <= search.level);
        there > search.crash_sets.used(search.used, group) as usize
    });
    let next: Vec<Taken> =
        search.pending().into_iter().map(Taken::Entry).chain(crashed.map(Taken::Crashed)).collect();
    next.into_iter()
        .take(CANDIDATES_LIMIT)
        .map(|taken| {
            let model = search.compiled.model;
            let (holds, call) =
                (search.compiled.state(search.state), search.compiled.call(search.call_of(taken)));
            let reason = match model.step(holds, call) {
                Err(refusal) => refusal.to_string(),
                Ok(next) => leads_nowhere(&model.describe_state(&next), wanted, prefix_end),
            };
            Candidate { operation: name_of(search, taken), description: model.describe_call(call), reason }
        })
        .collect()
}

/// Why an operation that could be next does not help.
pub(crate) fn leads_nowhere(state_after: &str, wanted: &str, prefix_end: u64) -> String {
    format!(
        "leads nowhere: possible, and then {state_after}, but no order of the rest explains {wanted} by event {prefix_end}"
    )
}

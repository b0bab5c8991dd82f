//! [`Linearizable`]: is there one order of the operations that respects real time and that the model allows?
//!
//! The history is split into the model's independent parts (by key: locality, Herlihy and Wing 1990, theorem 1; also called
//! P-compositionality), and each part is searched by itself, in parallel, the largest first. The verdict does not depend on
//! the number of threads: unless every part is to be judged, the first invalid part *in the order of size* decides, parts
//! before it are judged to the end, and parts behind it are not reported, whether they happened to be finished or not.
//!
//! - `problem` prepares a part: the order of events, levels and slots.
//! - `search` finds a linearization, or the furthest level, depth-first; why it may skip what it skips is proved there.
//! - `breadth` does the same breadth-first, in order of time; `frontier` and `path` are what it keeps.
//! - `race` lets both take turns; `domain` finds what follows from there being few states.
//! - `refine` makes an exact answer of searches that do not count the uses of all crashed operations.
//! - `explain` puts into words that there is none, whichever algorithm said so; `surviving` finds what is left of all orders.
//! - `witness` checks an order before it is given out.

mod breadth;
mod compiled;
mod crashed;
mod domain;
mod explain;
mod frontier;
mod memo;
mod path;
mod problem;
mod race;
mod refine;
mod resumable;
mod search;
mod surviving;
mod witness;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use labrys_history::{Completion, History, Operation, Value};

pub use explain::{CANDIDATES_LIMIT, STEPS_LIMIT};
pub(crate) use explain::{Ending, Failure, Order, guarded};
pub use problem::{Completed, Interval};
pub use race::Algorithm;
pub(crate) use resumable::Resumable;
pub use surviving::CONFIGURATIONS_LIMIT;

use crate::budget::{Budget, Exhausted, Meter};
use crate::check::{CheckError, Checker, Context, bug_report};
use crate::json::to_json;
use crate::model::{Meaning, Model, ModelError};
use crate::online::{Online, OnlineCheck};
use crate::polynomial::{self, Judged};
use crate::verdict::{CheckVerdict, Evidence, NonLinearizable, PartitionVerdict, Validity};
use problem::Problem;
use refine::solve;
use search::Found;

/// The name of the search in verdicts.
const ALGORITHM: &str = "wgl";
/// With fewer operations than this the partitions are searched one after the other: threads would cost more than they give.
const PARALLEL_FROM_OPERATIONS: usize = 4_000;

/// A model with its types erased, for tables of models: what [`Linearizable`] needs of one.
pub trait JudgedByModel: Send + Sync {
    /// The model's name.
    fn name(&self) -> &str;

    /// The verdict on a history of these operations.
    ///
    /// # Errors
    /// If an operation means nothing to the model.
    fn judge(&self, operations: &[Operation], context: &Context<'_>) -> Result<CheckVerdict, ModelError> {
        self.judge_owned(operations.to_vec(), context)
    }

    /// The same, giving the memory of the operations back before they are judged.
    ///
    /// # Errors
    /// As [`JudgedByModel::judge`].
    fn judge_owned(
        &self,
        operations: Vec<Operation>,
        context: &Context<'_>,
    ) -> Result<CheckVerdict, ModelError>;

    /// A check of a history that grows, within `budget`.
    fn online<'b>(self: Box<Self>, budget: Budget<'b>) -> Box<dyn OnlineCheck + 'b>
    where
        Self: 'b;
}

impl<M: Model> JudgedByModel for M {
    fn name(&self) -> &str {
        Model::name(self)
    }

    fn online<'b>(self: Box<Self>, budget: Budget<'b>) -> Box<dyn OnlineCheck + 'b>
    where
        Self: 'b,
    {
        Box::new(Online::new(*self, budget))
    }

    fn judge_owned(
        &self,
        operations: Vec<Operation>,
        context: &Context<'_>,
    ) -> Result<CheckVerdict, ModelError> {
        let adapted = if context.foreign { self.adapted(&operations) } else { None };
        let model = adapted.as_ref().unwrap_or(self);
        let prepared = model.prepared(&operations);
        let model = prepared.as_ref().unwrap_or(model);
        let parts = split(model, operations)?;
        Ok(judge_parts(model, &parts, context))
    }
}

/// The checker `linearizable`.
pub struct Linearizable {
    model: Box<dyn JudgedByModel>,
}

impl Linearizable {
    /// The name of this checker.
    pub const NAME: &'static str = "linearizable";

    /// Linearizability with respect to `model`.
    #[must_use]
    pub fn new(model: impl Model + 'static) -> Linearizable {
        Linearizable { model: Box::new(model) }
    }

    /// The same for a model from the table.
    #[must_use]
    pub fn of(model: Box<dyn JudgedByModel>) -> Linearizable {
        Linearizable { model }
    }
}

impl Checker for Linearizable {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn check(&self, history: &History, context: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        Ok(self.model.judge_owned(history.operations(), context)?)
    }
}

/// What [`decide`] says of one part.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Linearizable: the names of the operations in an order that proves it. Crashed operations stand in it where they took
    /// effect, if they did.
    Linearizable(Vec<u64>),
    /// Not linearizable.
    NonLinearizable(Box<NonLinearizable>),
    /// A budget ran out.
    Unknown(String),
}

/// Decides one part by itself: for callers that have calls and intervals, and no history.
#[must_use]
pub fn decide<M: Model>(model: &M, intervals: &[Interval<M::Call>], context: &Context<'_>) -> Decision {
    let meter = Meter::new(context.budget);
    match answer(model, intervals, context.algorithm, &meter, &|| true).outcome {
        Outcome::Linearizable(order) => Decision::Linearizable(order),
        Outcome::NonLinearizable(failure) => {
            Decision::NonLinearizable(Box::new(explain::explain(model, intervals, failure, &meter).0))
        }
        Outcome::Unknown(reason) => Decision::Unknown(reason),
    }
}

/// What some algorithm says of a part, not yet explained.
struct Answered {
    outcome: Outcome,
    algorithm: &'static str,
    statistics: BTreeMap<String, serde_json::Value>,
}

enum Outcome {
    /// An order, by name.
    Linearizable(Vec<u64>),
    NonLinearizable(Failure),
    Unknown(String),
}

/// Decides a part by the algorithm that suits.
fn answer<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    algorithm: Algorithm,
    meter: &Meter<'_>,
    is_wanted: &dyn Fn() -> bool,
) -> Answered {
    let unknown = |exhausted: Exhausted| Answered {
        outcome: Outcome::Unknown(exhausted.to_string()),
        algorithm: ALGORITHM,
        statistics: BTreeMap::new(),
    };
    match judge_by_class(model, intervals, algorithm, meter) {
        Ok(None) => {}
        Ok(Some(judged)) => return Answered::of(model, intervals, judged),
        Err(exhausted) => return unknown(exhausted),
    }
    let problem = match Problem::new(model, intervals, meter) {
        Ok(problem) => problem,
        Err(exhausted) => return unknown(exhausted),
    };
    let solved = solve(model, &problem, algorithm, meter, is_wanted);
    let statistics = BTreeMap::from([
        ("completed".to_owned(), problem.completes.len().into()),
        ("crashed".to_owned(), problem.crashed().into()),
        ("concurrency".to_owned(), problem.slots.into()),
        ("configurations".to_owned(), solved.configurations.into()),
        ("rounds".to_owned(), solved.rounds.into()),
        ("ordered".to_owned(), solved.furthest.into()),
        ("peak-bytes".to_owned(), solved.peak_bytes.into()),
    ]);
    let outcome = match solved.found {
        Found::Linearization(path) => Outcome::Linearizable(problem.names(&path)),
        Found::Nothing { level, longest } => {
            let blocked = problem.events[problem.completes[level as usize] as usize].0;
            Outcome::NonLinearizable(failure(intervals, blocked, &problem.names(&longest)))
        }
        Found::GivenUp(exhausted) => Outcome::Unknown(format!(
            "{exhausted} with an order for {} of {} completed operations; up to {} at a time, and {} crashed",
            solved.furthest,
            problem.completes.len(),
            problem.slots,
            problem.crashed(),
        )),
    };
    Answered { outcome, algorithm: solved.algorithm, statistics }
}

/// The failure at the completion of the operation `blocked`, which `longest` reaches.
fn failure<C>(intervals: &[Interval<C>], blocked: u64, longest: &[u64]) -> Failure {
    let mut by_name: Vec<(u64, u32)> = intervals.iter().map(|interval| interval.operation).zip(0..).collect();
    by_name.sort_unstable();
    let position = |name: &u64| {
        let found = by_name.binary_search_by_key(name, |&(name, _)| name);
        by_name[found.expect("an operation of the part")].1
    };
    let positions = longest.iter().map(position).collect();
    Failure {
        blocked: position(&blocked),
        order: Some(Order { positions, is_longest: true }),
        cut_short: Vec::new(),
    }
}

/// The answer of a polynomial algorithm, if there is one and it is wanted.
fn judge_by_class<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    algorithm: Algorithm,
    meter: &Meter<'_>,
) -> Result<Option<Judged>, Exhausted> {
    match algorithm {
        Algorithm::Auto => polynomial::judge(model, intervals, meter),
        Algorithm::General | Algorithm::DepthFirst | Algorithm::BreadthFirst => Ok(None),
    }
}

impl Answered {
    /// The answer of a polynomial algorithm.
    fn of<M: Model>(model: &M, intervals: &[Interval<M::Call>], judged: Judged) -> Answered {
        let name = |position: u32| intervals[position as usize].operation;
        let outcome = match judged.outcome {
            Ok(order) => Outcome::Linearizable(order.into_iter().map(name).collect()),
            Err(failure) => Outcome::NonLinearizable(failure),
        };
        let completed = intervals.iter().filter(|interval| interval.completed.is_some()).count();
        let crashed = intervals
            .iter()
            .filter(|interval| interval.completed.is_none() && !model.is_pure(&interval.call));
        let statistics = BTreeMap::from([
            ("completed".to_owned(), completed.into()),
            ("crashed".to_owned(), crashed.count().into()),
            ("peak-bytes".to_owned(), judged.peak_bytes.into()),
        ]);
        Answered { outcome, algorithm: judged.algorithm, statistics }
    }
}

/// Whether it is certain that `intervals` cannot be linearized, by the general search alone; `None` if the budget runs out or
/// `is_wanted`, which is asked now and then, says no.
pub(crate) fn is_non_linearizable<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    meter: &Meter<'_>,
    is_wanted: &dyn Fn() -> bool,
) -> Option<bool> {
    let problem = Problem::new(model, intervals, meter).ok()?;
    match solve(model, &problem, Algorithm::General, meter, is_wanted).found {
        Found::Linearization(_) => Some(false),
        Found::Nothing { .. } => Some(true),
        Found::GivenUp(_) => None,
    }
}

/// An independent part of a history.
struct Part<C> {
    key: Option<Value>,
    intervals: Vec<Interval<C>>,
    operations: usize,
}

/// The parts, in order of key. Takes the operations so that they are gone when the parts are judged.
fn split<M: Model>(model: &M, operations: Vec<Operation>) -> Result<Vec<Part<M::Call>>, ModelError> {
    let mut parts: BTreeMap<Option<Value>, Part<M::Call>> = BTreeMap::new();
    for operation in operations {
        let key = model.partition(&operation);
        let part = parts.entry(key).or_insert_with_key(|key| Part {
            key: key.clone(),
            intervals: Vec::new(),
            operations: 0,
        });
        part.operations += 1;
        let (call, completed) = match (model.meaning(&operation)?, operation.completion()) {
            (Meaning::Nothing, _) => continue,
            (Meaning::Completed(call), Completion::Ok { time_ns, index, .. })
            | (Meaning::Completed(call), Completion::Fail { time_ns, index, .. }) => {
                (call, Some(Completed { time_ns, index }))
            }
            (Meaning::Completed(call) | Meaning::Crashed(call), _) => (call, None),
        };
        part.intervals.push(Interval {
            call,
            operation: operation.invoke_index(),
            invoked_ns: operation.invoke_time_ns(),
            completed,
        });
    }
    Ok(parts.into_values().collect())
}

/// Judges the parts, which are in order of key.
fn judge_parts<M: Model>(model: &M, parts: &[Part<M::Call>], context: &Context<'_>) -> CheckVerdict {
    let mut by_size: Vec<usize> = (0..parts.len()).collect();
    by_size.sort_by_key(|&position| Reverse(parts[position].intervals.len()));
    let queue = Queue {
        model,
        parts,
        meter: &Meter::new(context.budget),
        context,
        next_rank: AtomicUsize::new(0),
        first_invalid_rank: AtomicUsize::new(usize::MAX),
        verdicts: by_size.iter().map(|_| OnceLock::new()).collect(),
        by_size,
    };
    let total: usize = parts.iter().map(|part| part.intervals.len()).sum();
    if total < PARALLEL_FROM_OPERATIONS {
        queue.work_off();
    } else {
        rayon::scope(|scope| {
            for _ in 0..rayon::current_num_threads() {
                scope.spawn(|_| queue.work_off());
            }
        });
    }
    queue.into_verdict()
}

/// The parts, taken off one by one by the threads.
struct Queue<'q, M: Model> {
    model: &'q M,
    parts: &'q [Part<M::Call>],
    meter: &'q Meter<'q>,
    context: &'q Context<'q>,
    /// Positions of the parts; the position in this list is a part's rank.
    by_size: Vec<usize>,
    next_rank: AtomicUsize,
    first_invalid_rank: AtomicUsize,
    /// By rank.
    verdicts: Vec<OnceLock<PartitionVerdict>>,
}

impl<M: Model> Queue<'_, M> {
    fn work_off(&self) {
        loop {
            let rank = self.next_rank.fetch_add(1, Ordering::Relaxed);
            if rank >= self.by_size.len() || !self.is_wanted(rank) {
                return;
            }
            let part = &self.parts[self.by_size[rank]];
            // A failing explanation is caught before, by itself: it does not weaken a verdict.
            let judged = catch_unwind(AssertUnwindSafe(|| {
                judge_part(self.model, part, self.context, self.meter, &|| self.is_wanted(rank))
            }));
            let verdict = judged.unwrap_or_else(|panic| part.verdict(Validity::Unknown, bug_report(&*panic)));
            if verdict.validity == Validity::Invalid {
                self.first_invalid_rank.fetch_min(rank, Ordering::Relaxed);
            }
            let fresh = self.verdicts[rank].set(verdict);
            assert!(fresh.is_ok(), "each part is judged once");
        }
    }

    /// Whether the part of that rank can still have a say.
    fn is_wanted(&self, rank: usize) -> bool {
        self.context.all || rank <= self.first_invalid_rank.load(Ordering::Relaxed)
    }

    fn into_verdict(self) -> CheckVerdict {
        let decided_at = self.first_invalid_rank.into_inner();
        let ranks = self.by_size.len();
        let mut kept: Vec<(usize, PartitionVerdict)> = Vec::new();
        for (rank, (position, verdict)) in self.by_size.into_iter().zip(self.verdicts).enumerate() {
            if self.context.all || rank <= decided_at {
                kept.push((
                    position,
                    verdict.into_inner().expect("every part up to the deciding one is judged"),
                ));
            }
        }
        kept.sort_by_key(|&(position, _)| position);
        let partitions: Vec<PartitionVerdict> = kept.into_iter().map(|(_, verdict)| verdict).collect();
        combine(self.model, partitions, ranks)
    }
}

/// The verdict of the whole check from those of its partitions, which are in order of key.
fn combine<M: Model>(model: &M, partitions: Vec<PartitionVerdict>, partitions_in_all: usize) -> CheckVerdict {
    let validity = partitions.iter().map(|partition| partition.validity).max().unwrap_or(Validity::Valid);
    let of_that = || partitions.iter().filter(|partition| partition.validity == validity);
    let not_judged = partitions_in_all - partitions.len();
    let mut reason = String::new();
    if let (Some(first), true) = (of_that().next(), validity != Validity::Valid) {
        let others = match of_that().count() - 1 {
            0 => String::new(),
            more => format!("; {more} more {} like it", if more == 1 { "key is" } else { "keys are" }),
        };
        let rest = match not_judged {
            0 => String::new(),
            rest => {
                format!("; {rest} further {} not judged", if rest == 1 { "key was" } else { "keys were" })
            }
        };
        let key = if first.key.is_null() { String::new() } else { format!("key {}: ", first.key) };
        reason = format!("{key}{}{others}{rest}", first.reason);
    }
    let mut statistics = BTreeMap::from([
        ("model".to_owned(), Model::name(model).into()),
        ("operations".to_owned(), partitions.iter().map(|p| p.operations).sum::<u64>().into()),
        ("partitions".to_owned(), partitions_in_all.into()),
        ("partitions-not-judged".to_owned(), not_judged.into()),
    ]);
    statistics.extend(model.conventions().into_iter().map(|(name, how)| (name.to_owned(), how.into())));
    CheckVerdict {
        checker: Linearizable::NAME.to_owned(),
        validity,
        reason,
        partitions,
        evidence: Vec::new(),
        statistics,
    }
}

impl<C> Part<C> {
    fn verdict(&self, validity: Validity, reason: String) -> PartitionVerdict {
        PartitionVerdict {
            key: self.key.as_ref().map_or(serde_json::Value::Null, to_json),
            validity,
            reason,
            algorithm: ALGORITHM.to_owned(),
            operations: self.operations as u64,
            evidence: Vec::new(),
            linearization: None,
            statistics: BTreeMap::new(),
        }
    }
}

fn judge_part<M: Model>(
    model: &M,
    part: &Part<M::Call>,
    context: &Context<'_>,
    meter: &Meter<'_>,
    is_wanted: &dyn Fn() -> bool,
) -> PartitionVerdict {
    let intervals = &part.intervals;
    let answered = answer(model, intervals, context.algorithm, meter, is_wanted);
    let mut verdict = match answered.outcome {
        Outcome::Linearizable(order) if context.witness => match witness::check(model, intervals, &order) {
            Ok(()) => PartitionVerdict {
                linearization: Some(order),
                ..part.verdict(Validity::Valid, String::new())
            },
            Err(wrong) => part.verdict(Validity::Unknown, bug_report(&wrong)),
        },
        Outcome::Linearizable(_) => part.verdict(Validity::Valid, String::new()),
        Outcome::NonLinearizable(failure) => {
            let (evidence, reason) = explain::explain(model, intervals, failure, meter);
            let mut verdict = part.verdict(Validity::Invalid, reason);
            verdict.evidence.push(Evidence::NonLinearizable(evidence));
            verdict
        }
        Outcome::Unknown(reason) => part.verdict(Validity::Unknown, reason),
    };
    answered.algorithm.clone_into(&mut verdict.algorithm);
    verdict.statistics = answered.statistics;
    verdict
}

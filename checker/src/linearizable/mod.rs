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
//! - `explain` puts the outcome of a search that found none into words.

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

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use labrys_history::{Completion, History, Operation, Value};

pub(crate) use explain::leads_nowhere;
pub use explain::{CANDIDATES_LIMIT, STEPS_LIMIT};
pub use problem::{Completed, Interval};
pub use race::Algorithm;
pub(crate) use resumable::Resumable;

use crate::budget::{Budget, Exhausted, Meter};
use crate::check::{CheckError, Checker, Context, bug_report};
use crate::json::to_json;
use crate::minimal;
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
    fn judge(&self, operations: &[Operation], context: &Context<'_>) -> Result<CheckVerdict, ModelError>;

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

    fn judge(&self, operations: &[Operation], context: &Context<'_>) -> Result<CheckVerdict, ModelError> {
        let adapted = if context.foreign { self.adapted(operations) } else { None };
        let model = adapted.as_ref().unwrap_or(self);
        let prepared = model.prepared(operations);
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
        Ok(self.model.judge(&history.operations(), context)?)
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
    let mut decision = decision(model, intervals, context.algorithm, &meter);
    if let Decision::NonLinearizable(evidence) = &mut decision {
        evidence.minimal = minimal::minimal(model, intervals, &meter, evidence);
    }
    decision
}

fn decision<M: Model>(
    model: &M,
    intervals: &[Interval<M::Call>],
    algorithm: Algorithm,
    meter: &Meter<'_>,
) -> Decision {
    match judge_by_class(model, intervals, algorithm, meter) {
        Ok(None) => {}
        Ok(Some(judged)) => return Decision::of(intervals, judged),
        Err(exhausted) => return Decision::Unknown(exhausted.to_string()),
    }
    let problem = Problem::new(model, intervals);
    match solve(model, &problem, algorithm, meter, &|| true).found {
        Found::Linearization(path) => Decision::Linearizable(explain::names(model, &problem, &path)),
        Found::Nothing { level, longest } => {
            Decision::NonLinearizable(Box::new(explain::explain(model, &problem, level, &longest).0))
        }
        Found::GivenUp(exhausted) => Decision::Unknown(exhausted.to_string()),
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

impl Decision {
    fn of<C>(intervals: &[Interval<C>], judged: Judged) -> Decision {
        match judged.outcome {
            Ok(order) => Decision::Linearizable(
                order.into_iter().map(|position| intervals[position as usize].operation).collect(),
            ),
            Err(evidence) => Decision::NonLinearizable(Box::new(evidence.0)),
        }
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
    match solve(model, &Problem::new(model, intervals), Algorithm::General, meter, is_wanted).found {
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

/// The parts, in order of key.
fn split<M: Model>(model: &M, operations: &[Operation]) -> Result<Vec<Part<M::Call>>, ModelError> {
    let mut parts: BTreeMap<Option<Value>, Part<M::Call>> = BTreeMap::new();
    for operation in operations {
        let key = model.partition(operation);
        let part = parts.entry(key).or_insert_with_key(|key| Part {
            key: key.clone(),
            intervals: Vec::new(),
            operations: 0,
        });
        part.operations += 1;
        let (call, completed) = match (model.meaning(operation)?, operation.completion()) {
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
        all: context.all,
        algorithm: context.algorithm,
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
    all: bool,
    algorithm: Algorithm,
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
            let judged = catch_unwind(AssertUnwindSafe(|| {
                let mut verdict =
                    judge_part(self.model, part, self.algorithm, self.meter, &|| self.is_wanted(rank));
                minimal::add(self.model, &part.intervals, self.meter, &mut verdict.evidence);
                verdict
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
        self.all || rank <= self.first_invalid_rank.load(Ordering::Relaxed)
    }

    fn into_verdict(self) -> CheckVerdict {
        let decided_at = self.first_invalid_rank.into_inner();
        let ranks = self.by_size.len();
        let mut kept: Vec<(usize, PartitionVerdict)> = Vec::new();
        for (rank, (position, verdict)) in self.by_size.into_iter().zip(self.verdicts).enumerate() {
            if self.all || rank <= decided_at {
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
            statistics: BTreeMap::new(),
        }
    }

    /// The verdict when a polynomial algorithm decided.
    fn judged<M: Model<Call = C>>(&self, model: &M, judged: Judged) -> PartitionVerdict {
        let mut verdict = match judged.outcome {
            Ok(_) => self.verdict(Validity::Valid, String::new()),
            Err(evidence) => {
                let (evidence, reason) = *evidence;
                let mut verdict = self.verdict(Validity::Invalid, reason);
                verdict.evidence.push(Evidence::NonLinearizable(evidence));
                verdict
            }
        };
        judged.algorithm.clone_into(&mut verdict.algorithm);
        let completed = self.intervals.iter().filter(|interval| interval.completed.is_some()).count();
        let crashed = self
            .intervals
            .iter()
            .filter(|interval| interval.completed.is_none() && !model.is_pure(&interval.call));
        verdict.statistics = BTreeMap::from([
            ("completed".to_owned(), completed.into()),
            ("crashed".to_owned(), crashed.count().into()),
            ("peak-bytes".to_owned(), judged.peak_bytes.into()),
        ]);
        verdict
    }
}

fn judge_part<M: Model>(
    model: &M,
    part: &Part<M::Call>,
    algorithm: Algorithm,
    meter: &Meter<'_>,
    is_wanted: &dyn Fn() -> bool,
) -> PartitionVerdict {
    match judge_by_class(model, &part.intervals, algorithm, meter) {
        Ok(None) => {}
        Ok(Some(judged)) => return part.judged(model, judged),
        Err(exhausted) => return part.verdict(Validity::Unknown, exhausted.to_string()),
    }
    let problem = Problem::new(model, &part.intervals);
    let solved = solve(model, &problem, algorithm, meter, is_wanted);
    let mut verdict = match solved.found {
        Found::Linearization(_) => part.verdict(Validity::Valid, String::new()),
        Found::Nothing { level, longest } => {
            let (evidence, reason) = explain::explain(model, &problem, level, &longest);
            let mut verdict = part.verdict(Validity::Invalid, reason);
            verdict.evidence.push(Evidence::NonLinearizable(evidence));
            verdict
        }
        Found::GivenUp(exhausted) => part.verdict(
            Validity::Unknown,
            format!(
                "{exhausted} with an order for {} of {} completed operations; up to {} at a time, and {} crashed",
                solved.furthest,
                problem.completes.len(),
                problem.slots,
                problem.crashed(),
            ),
        ),
    };
    verdict.algorithm = solved.algorithm.to_owned();
    verdict.statistics = BTreeMap::from([
        ("completed".to_owned(), problem.completes.len().into()),
        ("crashed".to_owned(), problem.crashed().into()),
        ("concurrency".to_owned(), problem.slots.into()),
        ("configurations".to_owned(), solved.configurations.into()),
        ("rounds".to_owned(), solved.rounds.into()),
        ("ordered".to_owned(), solved.furthest.into()),
        ("peak-bytes".to_owned(), solved.peak_bytes.into()),
    ]);
    verdict
}

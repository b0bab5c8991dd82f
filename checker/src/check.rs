//! [`check`]: the front door. A history and a list of checkers in, one [`Verdict`] out.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use labrys_history::{History, Process, Value};
use thiserror::Error;

use crate::budget::Budget;
use crate::invariants::{
    Available, FaultCoverage, FaultsOverlapped, FinalReads, LeasesLast, NoCrashes, NodeInvariants,
    OneLeaderPerTerm, Recovery, ReplicasAgree,
};
use crate::linearizable::{Algorithm, Linearizable};
use crate::model::ModelError;
use crate::models::{self, ModelChoiceError};
use crate::observer::{self, FaultAction, FaultSeen};
use crate::statistics::Statistics;
use crate::verdict::{CheckVerdict, Validity, Verdict};

/// Judges one aspect of a history. Pure: equal histories and contexts give equal verdicts, as long as no budget runs out.
pub trait Checker: Send + Sync {
    /// The name in the verdict: `linearizable`.
    fn name(&self) -> &str;

    /// The verdict.
    ///
    /// # Errors
    /// If the history is not of a kind that this checker can judge. That is wrong usage, never a violation.
    fn check(&self, history: &History, context: &Context<'_>) -> Result<CheckVerdict, CheckError>;
}

/// What a checker may use, and how far it should go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Time and memory.
    pub budget: Budget<'a>,
    /// Judge every partition even if one is invalid already.
    pub all: bool,
    /// Whether another program than Labrys wrote the history: models may then look for the conventions of that program
    /// ([`crate::Model::adapted`]).
    pub foreign: bool,
    /// Which search decides linearizability; the verdict is the same.
    pub algorithm: Algorithm,
    /// Whether a linearization of each valid partition is wanted ([`crate::verdict::PartitionVerdict::linearization`]).
    pub witness: bool,
}

/// A history that cannot be judged as asked: exit code 254, not 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckError {
    /// An operation means nothing to the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// There is no such model, or not with that initial value.
    #[error(transparent)]
    ModelChoice(#[from] ModelChoiceError),
    /// An event of the observer or the nemesis is not as the conventions say.
    #[error("event {event}: {f} of {process} wants {expected}, but has {found}")]
    Convention {
        /// Its index.
        event: u64,
        /// The process.
        process: &'static str,
        /// The function.
        f: String,
        /// What the convention says.
        expected: &'static str,
        /// What is there, as EDN.
        found: String,
    },
}

/// The checkers to run, in the order in which their verdicts will stand, and what they may use.
#[derive(Default)]
pub struct CheckConfig<'a> {
    /// The checkers.
    pub checkers: Vec<Box<dyn Checker>>,
    /// Budget and thoroughness.
    pub context: Context<'a>,
}

impl<'a> CheckConfig<'a> {
    /// Only linearizability, and what else there is to say of the operations of that model: for a history file of unknown origin.
    ///
    /// # Errors
    /// [`ModelChoiceError`].
    pub fn linearizable(model: &str, initial: Option<Value>) -> Result<CheckConfig<'a>, ModelChoiceError> {
        let config = CheckConfig::default().with(Linearizable::of(models::find(model, initial)?));
        Ok(if model == models::Lease::NAME { config.with(LeasesLast) } else { config })
    }

    /// What every run of the harness is judged by besides its workload's own checkers: statistics, the invariants that its
    /// observer's events speak of, and, where faults were asked for, whether any met an operation.
    #[must_use]
    pub fn with_run_checkers(self, faults_requested: bool) -> CheckConfig<'a> {
        self.with(Statistics::default()).with_harness_checkers(faults_requested)
    }

    fn with_harness_checkers(self, faults_requested: bool) -> CheckConfig<'a> {
        self.with(OneLeaderPerTerm)
            .with(ReplicasAgree)
            .with(NoCrashes)
            .with(NodeInvariants)
            .with(FaultsOverlapped { requested: faults_requested })
            .with(Recovery)
            .with(FinalReads)
    }

    /// The same and, if the harness recorded `history`, all that a run is judged by besides its workload's checkers and the
    /// statistics, so that whoever judges it later comes to no better verdict than the run did. Only what was asked for is not
    /// in a history: faults count as asked for if any was applied.
    #[must_use]
    pub fn with_checkers_of_harness(self, history: &History) -> CheckConfig<'a> {
        let has = |process| history.named(process).next().is_some();
        if !has(Process::NEMESIS) && !has(Process::OBSERVER) {
            return self;
        }
        let is_applied = |step: &FaultSeen| step.action == FaultAction::Apply && step.ends;
        let has_faults = observer::faults(history).iter().any(is_applied);
        let checked = self.with_harness_checkers(has_faults);
        if has_faults { checked.with(FaultCoverage::default()) } else { checked }
    }

    /// The same and `checker`.
    #[must_use]
    pub fn with(mut self, checker: impl Checker + 'static) -> CheckConfig<'a> {
        self.checkers.push(Box::new(checker));
        self
    }

    /// The same and, if there are limits, whether the system was available.
    #[must_use]
    pub fn with_availability(self, limits: Available) -> CheckConfig<'a> {
        if limits.is_limited() { self.with(limits) } else { self }
    }

    /// The same within `budget`.
    #[must_use]
    pub fn within(mut self, budget: Budget<'a>) -> CheckConfig<'a> {
        self.context.budget = budget;
        self
    }

    /// The same for a history that another program wrote.
    #[must_use]
    pub fn of_another_program(mut self, foreign: bool) -> CheckConfig<'a> {
        self.context.foreign = foreign;
        self
    }

    /// The same; `witness` for a linearization of each valid partition in the verdict.
    #[must_use]
    pub fn with_witness(mut self, witness: bool) -> CheckConfig<'a> {
        self.context.witness = witness;
        self
    }

    /// The same; `all` for every partition even if one is invalid already.
    #[must_use]
    pub fn judging_all(mut self, all: bool) -> CheckConfig<'a> {
        self.context.all = all;
        self
    }
}

/// Judges `history`.
///
/// # Errors
/// If the history is not of a kind that a checker can judge: the wrong model, or events that break a convention.
pub fn check(history: &History, config: &CheckConfig<'_>) -> Result<Verdict, CheckError> {
    let mut checks = Vec::with_capacity(config.checkers.len());
    for checker in &config.checkers {
        let outcome = catch_unwind(AssertUnwindSafe(|| checker.check(history, &config.context)));
        checks.push(match outcome {
            Ok(verdict) => verdict?,
            Err(panic) => CheckVerdict {
                checker: checker.name().to_owned(),
                validity: Validity::Unknown,
                reason: bug_report(&*panic),
                partitions: Vec::new(),
                evidence: Vec::new(),
                statistics: Default::default(),
            },
        });
    }
    Ok(Verdict::of(checks))
}

/// The reason of a verdict that a panic made unknown.
pub(crate) fn bug_report(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    format!("bug in the checker, please report it with the history: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics;

    impl Checker for Panics {
        fn name(&self) -> &str {
            "panics"
        }

        fn check(&self, _: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
            panic!("on purpose, in a test")
        }
    }

    #[test]
    fn a_panic_in_a_checker_is_unknown_and_a_bug_report() {
        let verdict = check(&History::default(), &CheckConfig::default().with(Panics)).unwrap();
        assert_eq!(verdict.validity, Validity::Unknown);
        assert_eq!(
            verdict.checks[0].reason,
            "bug in the checker, please report it with the history: on purpose, in a test"
        );
    }

    #[test]
    fn no_checker_is_unknown() {
        let verdict = check(&History::default(), &CheckConfig::default()).unwrap();
        assert_eq!(verdict.validity, Validity::Unknown);
    }

    #[test]
    fn a_model_that_does_not_exist_is_named_with_those_that_do() {
        let error = CheckConfig::linearizable("banana", None).err().unwrap();
        let names: Vec<&str> = models::MODELS.iter().map(|entry| entry.name).collect();
        assert_eq!(
            error.to_string(),
            format!("there is no model \"banana\"; there are {}", names.join(", "))
        );
    }
}

//! [`Failure`]: in which way a run failed. Two runs fail in the same way if the same oracle's property or the same checker says so.

use std::fmt;

use labrys_checker::verdict::Validity;

use crate::run::Simulated;

/// What a run is accused of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The oracle's property or the checker: `leader-completeness`, `linearizable`.
    pub of: String,
    /// What it says.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What an oracle says begins with its name.
        match self.what.strip_prefix(self.of.as_str()) {
            Some(_) => formatter.write_str(&self.what),
            None => write!(formatter, "{}: {}", self.of, self.what),
        }
    }
}

/// The check that stands for all oracles in a verdict; what they say is known more exactly.
const ORACLES: &str = "oracles";

impl Failure {
    /// All that a run is accused of: what the oracles saw, in their order, each property once; then what checkers say. Empty if the
    /// run is valid, or unknown.
    #[must_use]
    pub fn all(simulated: &Simulated) -> Vec<Failure> {
        let mut failures: Vec<Failure> = Vec::new();
        for violation in &simulated.violations {
            let of = violation.property.name();
            if failures.iter().all(|failure| failure.of != of) {
                failures.push(Failure { of: of.to_owned(), what: violation.to_string() });
            }
        }
        let checks = simulated.verdict.checks.iter();
        let invalid = checks.filter(|check| check.validity == Validity::Invalid && check.checker != ORACLES);
        failures
            .extend(invalid.map(|check| Failure { of: check.checker.clone(), what: check.reason.clone() }));
        failures
    }

    /// The first thing that a run is accused of.
    #[must_use]
    pub fn first(simulated: &Simulated) -> Option<Failure> {
        Failure::all(simulated).into_iter().next()
    }

    /// What `of` says of a run, if it accuses it.
    #[must_use]
    pub fn named(simulated: &Simulated, of: &str) -> Option<Failure> {
        Failure::all(simulated).into_iter().find(|failure| failure.of == of)
    }
}

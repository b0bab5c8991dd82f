//! [`Failure`]: in which way a run failed. Two runs fail in the same way if the same oracle's property or the same checker says so.

use std::fmt;

use labrys_checker::invariants::{Available, FaultCoverage, LeasesLast};
use labrys_checker::verdict::Validity;
use labrys_checker::{CheckConfig, Linearizable};

use crate::oracles::Property;
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

    /// The names of all that may accuse a run: the oracles' properties, in the order of their table, then the checkers.
    #[must_use]
    pub fn names() -> Vec<String> {
        let checkers = CheckConfig::default()
            .with(LeasesLast)
            .with_run_checkers(true)
            .with(Available::default())
            .with(FaultCoverage::default());
        let properties = Property::ALL.iter().map(|property| property.name().to_owned());
        let checkers = checkers.checkers.iter().map(|checker| checker.name().to_owned());
        properties.chain([Linearizable::NAME.to_owned()]).chain(checkers).collect()
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

#[cfg(test)]
mod tests {
    use labrys_harness::config::TestOptions;
    use labrys_seed::Seed;

    use super::*;
    use crate::run::SimulationConfig;
    use crate::shrink::simulate;

    #[test]
    fn every_checker_of_a_run_and_every_property_is_among_the_names() {
        let names = Failure::names();
        let toml = "testbed = \"sim\"\nworkload = \"lease\"\ntime-limit = \"2s\"\nnemesis = [\"kill\"]\nlongest-outage = \"9s\"";
        let options = TestOptions::parse(toml, "test.toml".as_ref()).expect("options");
        let config = SimulationConfig::new(options.resolve(Seed(1)).expect("a configuration"));
        let simulated = simulate(&config).expect("it can be simulated");
        for check in simulated.verdict.checks.iter().filter(|check| check.checker != ORACLES) {
            assert!(names.contains(&check.checker), "{} is not in {names:?}", check.checker);
        }
        for property in Property::ALL {
            assert!(names.iter().any(|name| name == property.name()));
        }
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len(), "{names:?}");
    }
}

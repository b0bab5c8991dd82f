//! From a configuration to the faults of its run: which are planned, how often, which of them must bite.

use std::collections::BTreeMap;
use std::time::Duration;

use labrys_checker::invariants::FaultCoverage;
use labrys_nemesis::{Family, FaultKind, PlanConfig, Schedule, kinds_without_faults, plan};

use crate::config::{ConfigError, TestConfig};

/// The faults of a run: those that its configuration names or else those that its seed plans.
///
/// # Errors
/// If a kind of fault is unknown.
pub fn planned(config: &TestConfig) -> Result<Schedule, ConfigError> {
    if !config.faults.0.is_empty() {
        return Ok(config.faults.clone().into());
    }
    Ok(plan(config.seed.fork("nemesis"), &plan_config(config)?))
}

/// The kinds of faults that were asked for and will not come, in words. What they were to test stays untested.
///
/// # Errors
/// As [`planned`].
pub fn unplanned_faults(config: &TestConfig) -> Result<Vec<String>, ConfigError> {
    if !config.faults.0.is_empty() {
        return Ok(Vec::new());
    }
    let missing = kinds_without_faults(config.seed.fork("nemesis"), &plan_config(config)?);
    Ok(missing.into_iter().map(|(kind, why)| format!("no {kind} will happen in this run: {why}")).collect())
}

/// The checker that says how `schedule` was carried out, and whether what had to bite did.
///
/// # Errors
/// If a kind of fault is unknown.
pub fn coverage(config: &TestConfig, schedule: &Schedule) -> Result<FaultCoverage, ConfigError> {
    let mut planned: BTreeMap<String, u64> = BTreeMap::new();
    for fault in &schedule.faults {
        *planned.entry(fault.fault.family().to_string()).or_default() += 1;
    }
    let required = config.required_families()?.iter().map(Family::to_string).collect();
    Ok(FaultCoverage { planned, required })
}

fn plan_config(config: &TestConfig) -> Result<PlanConfig, ConfigError> {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let own_interval =
        |(kind, interval): (FaultKind, Duration)| (kind.name().to_owned(), milliseconds(interval));
    let usual = PlanConfig::new(
        config.fault_kinds()?,
        milliseconds(config.nemesis_interval),
        milliseconds(config.time_limit),
        config.nodes,
    );
    Ok(PlanConfig {
        intervals_ms: config.own_intervals()?.into_iter().map(own_interval).collect(),
        storm_ms: if config.quiet.is_zero() { 0 } else { milliseconds(config.quiet_every) },
        lull_ms: milliseconds(config.quiet),
        ..usual
    })
}

#[cfg(test)]
mod tests {
    use labrys_seed::Seed;

    use super::*;
    use crate::config::TestOptions;

    fn config(toml: &str) -> TestConfig {
        let options = TestOptions::parse(toml, std::path::Path::new("test.toml")).expect("options");
        options.resolve(Seed(3)).expect("a configuration")
    }

    #[test]
    fn a_kind_with_an_interval_of_its_own_comes_as_often_as_that_says() {
        let toml = "nemesis = [\"kill=1s\", \"pause\"]\ntime-limit = \"2m\"\nnemesis-interval = \"10s\"";
        let schedule = planned(&config(toml)).expect("a plan");
        let count =
            |family: Family| schedule.faults.iter().filter(|fault| fault.fault.family() == family).count();
        assert!(count(Family::Kill) > 4 * count(Family::Pause), "{schedule:?}");
        assert!(count(Family::Pause) >= 3, "{schedule:?}");
    }

    #[test]
    fn quiet_periods_come_after_so_long_and_last_so_long() {
        let toml = "nemesis = [\"kill\"]\ntime-limit = \"2m\"\nnemesis-interval = \"1s\"\nquiet = \"10s\"\nquiet-every = \"20s\"";
        let faults = planned(&config(toml)).expect("a plan").faults;
        // The first begins after half of an interval and the 20 s.
        let is_quiet = |ms: u64| (ms + 30_000 - 500) % 30_000 >= 20_000;
        assert!(faults.len() > 20, "{faults:?}");
        assert!(
            faults
                .iter()
                .all(|fault| !is_quiet(fault.at_ms) && !is_quiet(fault.at_ms + fault.duration_ms - 1))
        );
        let none = planned(&config(
            "nemesis = [\"kill\"]\ntime-limit = \"2m\"\nnemesis-interval = \"1s\"\nquiet = \"0s\"",
        ));
        let gaps = none.expect("a plan").faults;
        let longest = gaps.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms - pair[0].duration_ms).max();
        assert!(longest < Some(2_000), "{gaps:?}");
    }

    #[test]
    fn all_that_was_asked_for_can_be_required_and_what_was_not_cannot() {
        let required = |toml: &str| {
            let config = config(toml);
            coverage(&config, &planned(&config).expect("a plan")).expect("known kinds")
        };
        let all = required("nemesis = [\"kill-leader\", \"pause\"]\nrequire-bite = [\"all\"]");
        assert_eq!(all.required, ["pause", "kill"], "in the order of the families");
        assert!(all.planned["kill"] > 0);
        assert_eq!(required("nemesis = [\"kill\"]").required, Vec::<String>::new());
        let toml = "nemesis = [\"kill\"]\nrequire-bite = [\"clock\"]";
        let options = TestOptions::parse(toml, std::path::Path::new("test.toml")).expect("options");
        let problem = options.resolve(Seed(3)).expect_err("no clock").to_string();
        assert!(problem.contains("--require-bite: `clock` is not among the faults"), "{problem}");
    }
}

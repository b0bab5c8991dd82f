//! Clocks of machines, moved by a command on them ([`crate::machine_clock`]): for nodes whose engine was told of one.
//!
//! Where faults overlap on a node, leaps add up, and of the rates that which is furthest from right holds; so the order of a machine is a
//! function of the set of its faults. Undoing the last one puts the clock right wholly: what it gained or lost as well.
//!
//! What is verified: that a leap took the clock ahead of `CLOCK_MONOTONIC_RAW` by just so much, to a millisecond; that between two
//! readings [`WATCHED_NS`] apart it gained what its rate says, to [`RATE_PRECISION_PPM`].

use serde::Deserialize;

use super::clock::{change, deviation_permille, jump_ms, unexpected};
use super::{InjectError, Scope, StepReport};
use crate::evidence::{Effect, NodeFailure, Step};
use crate::fault::{ClockChange, Fault};
use crate::host::Host;
use crate::machine_clock::{MOST_DRIFT_PERCENT, Order, Seen, Work};

/// Over so long a rate is watched: the slightest drift, of a percent, is half a millisecond then.
const WATCHED_NS: i64 = 50_000_000;

/// A right clock may be off by 500 of the raw one, as far as `adjtimex` goes with a frequency; the slightest drift is 10 000.
const RATE_PRECISION_PPM: i64 = 2_000;
const READING_PRECISION_NS: i64 = 50_000;
const LEAP_PRECISION_NS: i64 = 1_000_000;

/// Why a fault cannot be done to the clocks of machines; `None` if it can, or is none of clocks.
#[must_use]
pub fn machine_clock_objection(fault: &Fault) -> Option<String> {
    match fault {
        Fault::Clock { change, .. } => objection(*change),
        _ => None,
    }
}

fn objection(change: ClockChange) -> Option<String> {
    match change {
        ClockChange::JumpMs(_) => None,
        ClockChange::DriftPercent(percent) if percent.abs() <= MOST_DRIFT_PERCENT => None,
        ClockChange::DriftPercent(_) => {
            Some(format!("a machine's own clock can run {MOST_DRIFT_PERCENT} percent fast or slow at most"))
        }
        ClockChange::Freeze => Some("a machine's own clock cannot stand still".to_owned()),
    }
}

pub(super) fn objections(scope: &Scope<'_>) -> Vec<NodeFailure> {
    let Some(detail) = change(scope.resolved).and_then(objection) else { return Vec::new() };
    let nodes = scope.resolved.nodes().into_iter();
    nodes
        .map(|node| NodeFailure { node: node.to_owned(), step: Step::Apply, detail: detail.clone() })
        .collect()
}

pub(super) fn apply(scope: &Scope<'_>) -> StepReport {
    scope.on_each_node(Step::Apply, |node, host| {
        let (before, after): (Seen, Seen) = ask(scope, host, Work::Hold(order(scope, node, true)))?;
        let Some(ms) = change(scope.resolved).and_then(jump_ms) else { return Ok(Vec::new()) };
        let (from_ns, to_ns) = (off_ns(&before)?, off_ns(&after)?);
        let wanted_ns = i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let passed_ns = after.reading.raw_ns.saturating_sub(before.reading.raw_ns);
        // It may be running fast or slow meanwhile.
        let tolerated_ns = LEAP_PRECISION_NS + passed_ns / 5;
        if to_ns.saturating_sub(from_ns).saturating_sub(wanted_ns).abs() > tolerated_ns {
            let detail = format!("the machine's clock leapt by {} ns instead of {ms} ms", to_ns - from_ns);
            return Err(unexpected(detail));
        }
        Ok(vec![Effect::ClockWrong { from_us: from_ns / 1_000, to_us: to_ns / 1_000, within_us: 0 }])
    })
}

pub(super) fn verify(scope: &Scope<'_>) -> StepReport {
    scope.on_each_node(Step::Verify, |node, host| {
        let held = order(scope, node, true);
        let (first, later) = watch(scope, host, held.drift_percent)?;
        let (from_ns, to_ns) = (off_ns(&first)?, off_ns(&later)?);
        let own = change(scope.resolved).map(own_percent);
        Ok(match own {
            // A leap, which was seen when it was made.
            Some(0) | None => Vec::new(),
            Some(own) if own != held.drift_percent => {
                vec![Effect::ClockStillWrong { offset_us: to_ns / 1_000 }]
            }
            Some(_) => vec![Effect::ClockWrong {
                from_us: from_ns / 1_000,
                to_us: to_ns / 1_000,
                within_us: later.reading.raw_ns.abs_diff(first.reading.raw_ns) / 1_000,
            }],
        })
    })
}

pub(super) fn undo(scope: &Scope<'_>) -> StepReport {
    scope.on_each_node(Step::Undo, |node, host| {
        if others(scope, node).next().is_some() {
            let _: (Seen, Seen) = ask(scope, host, Work::Hold(order(scope, node, false)))?;
        } else {
            let _: Option<i64> = ask(scope, host, Work::Restore)?;
        }
        Ok(Vec::new())
    })
}

pub(super) fn verify_undone(scope: &Scope<'_>) -> StepReport {
    scope.on_each_node(Step::VerifyUndone, |node, host| {
        let (_, later) = watch(scope, host, order(scope, node, false).drift_percent)?;
        let is_held = others(scope, node).next().is_some();
        match later.off_ns {
            None if !is_held => Ok(vec![Effect::ClockRight { offset_us: 0 }]),
            Some(off_ns) if is_held => Ok(vec![Effect::ClockStillWrong { offset_us: off_ns / 1_000 }]),
            _ => Err(unexpected("its note does not say of the machine's clock what is applied".to_owned())),
        }
    })
}

fn off_ns(seen: &Seen) -> Result<i64, InjectError> {
    seen.off_ns.ok_or_else(|| unexpected("nobody holds the machine's clock".to_owned()))
}

fn own_percent(change: ClockChange) -> i32 {
    i32::try_from(deviation_permille(change) / 10).unwrap_or(i32::MAX)
}

/// What the other clock faults on a node do.
fn others<'s>(scope: &'s Scope<'_>, node: &'s str) -> impl Iterator<Item = ClockChange> + 's {
    let on_node = scope.others.iter().map(|(resolved, _)| *resolved);
    on_node.filter(move |resolved| resolved.nodes().contains(&node)).filter_map(change)
}

/// What the faults on a node ask for, with this one or without it.
fn order(scope: &Scope<'_>, node: &str, with_this: bool) -> Order {
    let this = change(scope.resolved).filter(|_| with_this);
    let all: Vec<ClockChange> = others(scope, node).chain(this).collect();
    let furthest = all.iter().map(|change| own_percent(*change)).max_by_key(|own| (own.abs(), -own));
    Order {
        ahead_ms: all.iter().filter_map(|change| jump_ms(*change)).fold(0, u64::saturating_add),
        drift_percent: furthest.unwrap_or(0),
    }
}

/// Sees that the clock gains so many percent, between two readings.
fn watch(scope: &Scope<'_>, host: &dyn Host, drift_percent: i32) -> Result<(Seen, Seen), InjectError> {
    let first: Seen = ask(scope, host, Work::Look)?;
    let watched = scope.patience.wait_for(|| {
        let later: Seen = ask(scope, host, Work::Look)?;
        let is_enough = later.reading.raw_ns - first.reading.raw_ns >= WATCHED_NS;
        Ok::<_, InjectError>(is_enough.then_some(later))
    })?;
    let later = watched.ok_or_else(|| unexpected("the machine's clock could not be watched".to_owned()))?;
    let passed_ns = later.reading.raw_ns - first.reading.raw_ns;
    let gained_ns = (later.reading.real_ns - first.reading.real_ns) - passed_ns;
    let expected_ns = passed_ns / 100 * i64::from(drift_percent);
    if (gained_ns - expected_ns).abs() > passed_ns / 1_000_000 * RATE_PRECISION_PPM + READING_PRECISION_NS {
        let detail = format!(
            "the machine's clock gained {gained_ns} ns in {passed_ns} ns, which is not {drift_percent} percent of that: does a service set it \
             that is not known here?"
        );
        return Err(unexpected(detail));
    }
    Ok((first, later))
}

fn ask<T: for<'de> Deserialize<'de>>(
    scope: &Scope<'_>,
    host: &dyn Host,
    work: Work,
) -> Result<T, InjectError> {
    let [program, first @ ..] = scope.clock_program else {
        return Err(unexpected("nobody knows how the machine's clock is moved".to_owned()));
    };
    let words = work.words();
    let arguments: Vec<&str> = first.iter().chain(&words).map(String::as_str).collect();
    let output = host.run(program, &arguments)?;
    serde_json::from_str(output.stdout.trim())
        .map_err(|error| unexpected(format!("`{program}` says `{}`: {error}", output.stdout.trim())))
}

#[cfg(test)]
mod tests;

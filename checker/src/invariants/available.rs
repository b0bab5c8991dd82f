//! [`Available`]: the system answered, all the time or most of it.
//!
//! An *outage* is a time in which some operation waits and none succeeds: it begins when the last success has been, or, if nothing waited
//! then, with the next invocation, and ends with the next success. What fails or times out is no success. How long an outage may last is
//! for whoever asks to say: it depends on what the faults leave of the cluster, on its timeouts, and on the machine. A run with a
//! longer one is *invalid*: the system was not available. The watch begins with the first operation and ends when the recovery begins to be
//! awaited, for then clients do nothing, or when the last operation before that has ended, however.
//!
//! O(n log n) for n operations.

use std::collections::BTreeMap;
use std::time::Duration;

use labrys_history::{Completion, History, Process, Value};

use crate::check::{CheckError, Checker, Context};
use crate::verdict::{CheckVerdict, Evidence, Validity};

/// A shorter outage counts for nothing in [`Available::most_percent`]: it is how systems are.
pub const COUNTED_OUTAGE: Duration = Duration::from_millis(500);

/// The checker `available`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Available {
    /// No outage may be longer.
    pub longest: Option<Duration>,
    /// Outages of [`COUNTED_OUTAGE`] or longer may be so much of the time, all together.
    pub most_percent: Option<f64>,
}

impl Available {
    /// Whether there is anything to judge.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.longest.is_some() || self.most_percent.is_some()
    }
}

/// A time without a success, in nanoseconds of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outage {
    from_ns: u64,
    to_ns: u64,
}

impl Outage {
    fn lasts(self) -> Duration {
        Duration::from_nanos(self.to_ns - self.from_ns)
    }
}

impl Checker for Available {
    fn name(&self) -> &str {
        "available"
    }

    fn check(&self, history: &History, _: &Context<'_>) -> Result<CheckVerdict, CheckError> {
        let (outages, watched) = outages(history);
        let longest = outages.iter().copied().max_by_key(|outage| outage.lasts());
        let longest_lasts = longest.map_or(Duration::ZERO, Outage::lasts);
        let counted: Vec<Duration> =
            outages.iter().map(|outage| outage.lasts()).filter(|lasts| *lasts >= COUNTED_OUTAGE).collect();
        let share = counted.iter().sum::<Duration>().as_secs_f64() / watched.as_secs_f64().max(1e-9);
        let percent = 100.0 * share;
        let mut broken: Vec<(String, u64)> = Vec::new();
        if let (Some(limit), Some(longest)) = (self.longest, longest)
            && longest_lasts > limit
        {
            let too_long_ns =
                longest.from_ns.saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
            let what = format!(
                "no operation succeeded for {:.1} s, from {:.1} s on: longer than the {:.1} s that an outage may last",
                longest_lasts.as_secs_f64(),
                longest.from_ns as f64 / 1e9,
                limit.as_secs_f64()
            );
            broken.push((what, too_long_ns));
        }
        if let Some(limit) = self.most_percent
            && percent > limit
        {
            let what = format!(
                "{} outages of half a second or longer were {percent:.0} % of the time: more than the {limit} % that they may be",
                counted.len()
            );
            broken.push((what, outages.last().map_or(0, |outage| outage.to_ns)));
        }
        let statistics = BTreeMap::from([
            ("outages".to_owned(), counted.len().into()),
            ("longest_outage_ms".to_owned(), (longest_lasts.as_millis() as u64).into()),
            ("outage_percent".to_owned(), ((percent * 10.0).round() / 10.0).into()),
        ]);
        Ok(CheckVerdict {
            checker: self.name().to_owned(),
            validity: if broken.is_empty() { Validity::Valid } else { Validity::Invalid },
            reason: broken.first().map(|(what, _)| what.clone()).unwrap_or_default(),
            partitions: Vec::new(),
            evidence: broken
                .into_iter()
                .map(|(what, at_ns)| Evidence::Broken { what, events: event_at(history, at_ns) })
                .collect(),
            statistics,
        })
    }
}

/// The first event at that time or later: where a reader of the history finds what is meant.
fn event_at(history: &History, at_ns: u64) -> Vec<u64> {
    let events = history.events();
    let position = events.partition_point(|event| event.time_ns < at_ns);
    events.get(position).map(|event| event.index).into_iter().collect()
}

/// The outages in order of time, and how long was watched.
fn outages(history: &History) -> (Vec<Outage>, Duration) {
    let awaited = history.named(Process::OBSERVER).find(|event| &*event.f == "recovery");
    // It says when the wait was over, and how long it was.
    let awaited_ns = awaited.map(|event| {
        let waited_ms = event.value.get("after_ms").and_then(Value::as_int).unwrap_or(0);
        event.time_ns.saturating_sub(u64::try_from(waited_ms).unwrap_or(0).saturating_mul(1_000_000))
    });
    let last_ns = awaited_ns.or_else(|| history.events().last().map(|event| event.time_ns)).unwrap_or(0);
    let mut waits: Vec<(u64, u64)> = Vec::new();
    let mut successes: Vec<u64> = Vec::new();
    for operation in history.operations() {
        let invoked_ns = operation.invoke_time_ns();
        if awaited_ns.is_some_and(|awaited_ns| invoked_ns >= awaited_ns) {
            continue;
        }
        let completion = operation.completion();
        waits.push((invoked_ns, completion.time_ns().unwrap_or(u64::MAX)));
        if let Completion::Ok { time_ns, .. } = completion {
            successes.push(time_ns);
        }
    }
    waits.sort_unstable();
    successes.sort_unstable();
    let (Some((begin_ns, _)), Some((invoked_ns, _))) = (waits.first().copied(), waits.last().copied()) else {
        return (Vec::new(), Duration::ZERO);
    };
    // latest_end[n]: the latest end of the first n + 1 operations.
    let latest_end: Vec<u64> = waits
        .iter()
        .scan(0, |latest, (_, completed_ns)| {
            *latest = (*latest).max(*completed_ns);
            Some(*latest)
        })
        .collect();
    let end_ns = latest_end.last().map_or(invoked_ns, |latest| (*latest).min(last_ns)).max(invoked_ns);
    let waiting_from = |from_ns: u64| {
        let next = waits.partition_point(|(invoked_ns, _)| *invoked_ns <= from_ns);
        let is_waiting = next > 0 && latest_end[next - 1] > from_ns;
        if is_waiting { from_ns } else { waits.get(next).map_or(u64::MAX, |(invoked_ns, _)| *invoked_ns) }
    };
    let mut found = Vec::new();
    let mut success_ns = begin_ns;
    for to_ns in successes.into_iter().filter(|success| *success < end_ns).chain([end_ns]) {
        let from_ns = waiting_from(success_ns);
        if from_ns < to_ns {
            found.push(Outage { from_ns, to_ns });
        }
        success_ns = to_ns;
    }
    (found, Duration::from_nanos(end_ns - begin_ns))
}

#[cfg(test)]
mod tests {
    use labrys_history::{Format, ReadOptions, read_bytes};

    use super::*;
    use crate::verdict::Validity::{Invalid, Valid};

    /// A history of operations `(invoked, completed, succeeded)`, in milliseconds, and a recovery that is awaited at the end.
    fn history(operations: &[(u64, u64, bool)], recovery_ms: Option<u64>) -> History {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for (process, (invoked, completed, succeeded)) in operations.iter().enumerate() {
            let kind = if *succeeded { "ok" } else { "info" };
            for (ms, kind) in [(*invoked, "invoke"), (*completed, kind)] {
                let fields = format!(r#""process":{process},"kind":"{kind}","f":"read","value":1"#);
                lines.push((ms, fields));
            }
        }
        if let Some(ms) = recovery_ms {
            let value = r#"{"recovered":true,"what":"","after_ms":1}"#;
            let fields = format!(r#""process":"observer","kind":"info","f":"recovery","value":{value}"#);
            lines.push((ms, fields));
        }
        lines.sort_by_key(|(ms, _)| *ms);
        let text: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(index, (ms, fields))| {
                format!(r#"{{"index":{index},"time_ns":{},{fields}}}"#, ms * 1_000_000)
            })
            .collect();
        let options = ReadOptions { format: Some(Format::JsonLines), ..ReadOptions::default() };
        let text = text.join("\n") + "\n";
        read_bytes(text.as_bytes(), "test.jsonl", options).expect("a history").history
    }

    fn judged(limits: Available, history: &History) -> CheckVerdict {
        limits.check(history, &Context::default()).expect("a verdict")
    }

    fn outages_ms(operations: &[(u64, u64, bool)], recovery_ms: Option<u64>) -> Vec<(u64, u64)> {
        let (found, _) = outages(&history(operations, recovery_ms));
        found.iter().map(|outage| (outage.from_ns / 1_000_000, outage.to_ns / 1_000_000)).collect()
    }

    #[test]
    fn an_outage_begins_when_something_waits_and_ends_with_a_success() {
        // Nobody waits from 10 to 500; the second one times out, the third one succeeds; the last one is where the watch ends.
        let operations = [(0, 10, true), (500, 1500, false), (1500, 1600, true), (1700, 1800, true)];
        assert_eq!(outages_ms(&operations, None), [(0, 10), (500, 1600), (1700, 1800)]);
        // One that goes on waiting makes it an outage from the last success on.
        let operations = [(0, 10, true), (5, 1500, false), (1500, 1600, true), (1700, 1800, true)];
        assert_eq!(outages_ms(&operations, None), [(0, 10), (10, 1600), (1700, 1800)]);
    }

    #[test]
    fn what_happens_once_the_recovery_is_awaited_does_not_count() {
        let operations = [(0, 10, true), (20, 30, true), (5000, 9000, false), (9100, 9200, true)];
        assert_eq!(outages_ms(&operations, Some(4000)), [(0, 10), (20, 30)]);
        assert_eq!(outages_ms(&operations, None), [(0, 10), (20, 30), (5000, 9200)]);
    }

    #[test]
    fn a_system_that_answers_nobody_any_more_is_not_available_though_nothing_new_is_asked() {
        let operations = [(0, 10, true), (20, 20_000, false), (30, 15_000, false)];
        assert_eq!(outages_ms(&operations, None), [(0, 10), (20, 20_000)]);
        // Nobody waits any longer than until the faults are over.
        assert_eq!(outages_ms(&operations, Some(8_001)), [(0, 10), (20, 8_000)]);
    }

    #[test]
    fn limits_are_judged_and_none_judge_nothing() {
        let operations =
            [(0, 10, true), (20, 1020, false), (1020, 2020, false), (2020, 2100, true), (4150, 4160, true)];
        let history = history(&operations, None);
        let within = |longest_ms: u64, percent| Available {
            longest: Some(Duration::from_millis(longest_ms)),
            most_percent: Some(percent),
        };
        let verdict = judged(within(2_080, 50.0), &history);
        assert_eq!((verdict.validity, verdict.reason.as_str()), (Valid, ""));
        assert_eq!(verdict.statistics["longest_outage_ms"], 2_080_u64);
        assert_eq!(verdict.statistics["outage_percent"], 50.0);
        let verdict = judged(within(2_079, 50.0), &history);
        assert_eq!(verdict.validity, Invalid);
        assert!(verdict.reason.contains("no operation succeeded for 2.1 s"), "{}", verdict.reason);
        let verdict = judged(within(2_080, 49.0), &history);
        assert!(
            verdict.validity == Invalid && verdict.reason.contains("50 % of the time"),
            "{}",
            verdict.reason
        );
        assert!(!Available::default().is_limited());
        assert_eq!(judged(Available::default(), &history).validity, Valid);
    }

    #[test]
    fn a_history_without_operations_has_no_outage() {
        let limits = Available { longest: Some(Duration::from_millis(1)), most_percent: Some(0.0) };
        assert_eq!(judged(limits, &history(&[], None)).validity, Valid);
    }
}

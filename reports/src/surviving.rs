//! Words for what is left of all orders before a completion that nothing explains, and for what an explanation lacks; and a
//! linearization in words.

use std::fmt::Write as _;

use labrys_checker::verdict::{Configuration, CutShort, ExplanationPart, Surviving, Verdict};
use labrys_history::History;

use crate::describe::{clean, count, plural, sentence, shortened};
use crate::violations::{find, key_text};

/// Operations of a linearization that are shown, from its beginning and from its end.
const SHOWN: usize = 5;
/// Partitions whose linearization is shown.
const PARTITIONS_SHOWN: usize = 3;
/// Longest words of an operation, in characters.
const TEXT_LIMIT: usize = 60;
/// Crashed operations that are named.
const NAMED: usize = 8;

/// What is linearized in a configuration of the operations that may be or not: `with #3 and #7 linearized`.
pub(crate) fn linearized(configuration: &Configuration) -> String {
    let name = |index: &u64| format!("#{index}");
    let in_flight: Vec<String> = configuration.linearized.iter().map(name).collect();
    let crashed: Vec<String> = configuration.crashed.iter().rev().take(NAMED).rev().map(name).collect();
    let more = configuration.omitted_crashed as usize + configuration.crashed.len() - crashed.len();
    let mut words = if in_flight.is_empty() {
        "nothing in flight linearized".to_owned()
    } else {
        format!("{} linearized", in_flight.join(", "))
    };
    if !crashed.is_empty() {
        let more = if more > 0 { format!(" and {} more", count(more as u64)) } else { String::new() };
        let _ = write!(words, ", crashed {}{more} taking effect", crashed.join(", "));
    }
    words
}

/// How much of what is left is told.
pub(crate) fn extent(surviving: &Surviving) -> &'static str {
    if surviving.is_all { "and whatever follows from these" } else { "of those that were found" }
}

/// What an explanation lacks: `no minimal counterexample: …`.
pub(crate) fn lack(cut_short: &CutShort) -> String {
    let what = match cut_short.part {
        ExplanationPart::ShortestPrefix => "a shorter prefix may have no legal order either",
        ExplanationPart::LongestLinearization => "no order of what came before",
        ExplanationPart::SurvivingConfigurations => "no other configurations",
        ExplanationPart::MinimalHistory => "no minimal counterexample",
    };
    format!("{what}: {}", clean(&cut_short.reason))
}

/// The linearizations of a verdict, each in a few lines: its first operations and its last. Empty if there is none.
#[must_use]
pub fn witnesses(verdict: &Verdict, history: &History) -> String {
    let operations = history.operations();
    let words = |index: &u64| {
        let operation = find(&operations, *index).map(|position| &operations[position]);
        let words = operation.map_or_else(|| "?".to_owned(), sentence);
        format!("    #{index} {}\n", shortened(&clean(&words), TEXT_LIMIT))
    };
    let partitions = verdict.checks.iter().flat_map(|check| &check.partitions);
    let witnesses: Vec<_> = partitions
        .filter_map(|partition| Some((key_text(&partition.key), partition.linearization.as_ref()?)))
        .collect();
    let mut text = String::new();
    for (key, order) in witnesses.iter().take(PARTITIONS_SHOWN) {
        let of_key = key.as_ref().map(|key| format!("of key {} ", shortened(&clean(key), TEXT_LIMIT)));
        let length = plural(order.len() as u64, "operation");
        let _ = writeln!(text, "  a linearization {}with {length}:", of_key.unwrap_or_default());
        let (first, last) =
            (order.len().min(SHOWN), order.len().saturating_sub(SHOWN).max(SHOWN.min(order.len())));
        order[..first].iter().for_each(|index| text.push_str(&words(index)));
        if last > first {
            let _ = writeln!(text, "    … {} more", count((last - first) as u64));
        }
        order[last..].iter().for_each(|index| text.push_str(&words(index)));
    }
    let more = witnesses.len().saturating_sub(PARTITIONS_SHOWN);
    if more > 0 {
        let _ = writeln!(text, "  … and of {}, whole with --json", plural(more as u64, "more key"));
    }
    text
}

#[cfg(test)]
mod tests {
    use labrys_checker::CheckConfig;
    use labrys_history::{Event, EventKind, Process, Value};

    use super::*;

    #[test]
    fn a_long_linearization_is_shown_by_its_ends() {
        let events = (0..40).map(|index| {
            let kind = if index % 2 == 0 { EventKind::Invoke } else { EventKind::Ok };
            Event::new(index, index, Process::Client(0), kind, "write", Value::Int(index as i64 / 2))
        });
        let history = History::from_validated(events.collect());
        let config = CheckConfig::linearizable("register", None).unwrap().with_witness(true);
        let verdict = labrys_checker::check(&history, &config).unwrap();
        assert_eq!(
            witnesses(&verdict, &history),
            "  a linearization with 20 operations:\n    #0 write 0\n    #2 write 1\n    #4 write 2\n    #6 write 3\n    \
             #8 write 4\n    … 10 more\n    #30 write 15\n    #32 write 16\n    #34 write 17\n    #36 write 18\n    \
             #38 write 19\n"
        );
        let without = CheckConfig::linearizable("register", None).unwrap();
        assert_eq!(witnesses(&labrys_checker::check(&history, &without).unwrap(), &history), "");
    }

    #[test]
    fn a_configuration_is_told_by_what_is_linearized() {
        let mut configuration = Configuration {
            state: "register = 1".to_owned(),
            linearized: Vec::new(),
            crashed: Vec::new(),
            omitted_crashed: 0,
            candidates: Vec::new(),
        };
        assert_eq!(linearized(&configuration), "nothing in flight linearized");
        (configuration.linearized, configuration.crashed) = (vec![3, 7], (10..20).collect());
        assert_eq!(
            linearized(&configuration),
            "#3, #7 linearized, crashed #12, #13, #14, #15, #16, #17, #18, #19 and 2 more taking effect"
        );
    }
}

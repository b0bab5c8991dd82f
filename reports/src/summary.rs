//! The verdict as text for a terminal (standard error), and for people who know Knossos and Porcupine: what was found, why
//! nothing can follow, what was exercised, where to look. Nothing in it depends on the machine or on the time.

use std::fmt::Write as _;

use labrys_checker::invariants::KindCoverage;
use labrys_checker::verdict::{Evidence, NonLinearizable, Surviving, Validity};

use crate::Inputs;
use crate::counterexample;
use crate::describe::{Times, clean, count, plural, shortened};
use crate::facts::{Facts, OUTCOMES};
use crate::report::Paths;
use crate::surviving;
use crate::violations::Violation;

/// How many steps of a linearization are shown; the last ones matter.
const STEPS_SHOWN: usize = 8;
/// How many candidates of a partition are shown.
const CANDIDATES_SHOWN: usize = 12;
/// How many configurations besides the first are shown.
const CONFIGURATIONS_SHOWN: usize = 3;
/// How many partitions are explained; the others are named.
const VIOLATIONS_EXPLAINED: usize = 2;
/// Longest line of text that came from outside, in characters.
const TEXT_LIMIT: usize = 160;

/// Whether to write terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Escape sequences for a terminal that shows them.
    Ansi,
    /// Plain text.
    Never,
}

/// The summary. `report` is where the report was written, if it was.
#[must_use]
pub fn text(inputs: &Inputs<'_>, report: Option<&Paths>, colour: Colour) -> String {
    let facts = Facts::of(*inputs);
    let mut out = String::new();
    let paint = Paint(colour);
    headline(&mut out, &facts, paint);
    checks(&mut out, &facts, paint);
    for violation in facts.violations.iter().take(VIOLATIONS_EXPLAINED) {
        explanation(&mut out, &facts, violation, paint);
    }
    others(&mut out, &facts);
    broken(&mut out, &facts, paint);
    exercised(&mut out, &facts);
    links(&mut out, &facts, report, paint);
    out
}

/// The word of a verdict with its sign: `✓ VALID`.
#[must_use]
pub fn word(validity: Validity) -> &'static str {
    match validity {
        Validity::Valid => "✓ VALID",
        Validity::Unknown => "? UNKNOWN",
        Validity::Invalid => "✗ INVALID",
    }
}

#[derive(Clone, Copy)]
struct Paint(Colour);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        match self.0 {
            Colour::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Colour::Never => text.to_owned(),
        }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn validity(self, validity: Validity, text: &str) -> String {
        match validity {
            Validity::Valid => self.with("1;32", text),
            Validity::Unknown => self.with("1;33", text),
            Validity::Invalid => self.with("1;31", text),
        }
    }
}

/// Text from outside on one line, not too long.
fn tame(text: &str) -> String {
    shortened(&clean(text), TEXT_LIMIT)
}

// Writing to a String cannot fail: the results of `writeln!` below are dropped for that reason.

fn headline(out: &mut String, facts: &Facts<'_>, paint: Paint) {
    let verdict = facts.inputs.verdict;
    let run = facts.inputs.run;
    let mut line = paint.validity(verdict.validity, word(verdict.validity));
    if !run.name.is_empty() {
        let _ = write!(line, "  {}", paint.bold(&tame(&run.name)));
    }
    if let Some(seed) = run.seed {
        let _ = write!(line, "  seed {seed}");
    }
    let _ = writeln!(out, "{line}\n  {}", tame(&facts.reason()));
}

fn checks(out: &mut String, facts: &Facts<'_>, paint: Paint) {
    let checks = &facts.inputs.verdict.checks;
    if checks.len() < 2 {
        return;
    }
    out.push('\n');
    let width = checks.iter().map(|check| check.checker.chars().count()).max().unwrap_or(0);
    for check in checks {
        let word = format!("{:<9}", word(check.validity));
        let _ = writeln!(
            out,
            "  {} {:width$}  {}",
            paint.validity(check.validity, &word),
            tame(&check.checker),
            tame(&check.reason)
        );
    }
    trim_line_ends(out);
}

fn trim_line_ends(out: &mut String) {
    let trimmed: Vec<&str> = out.lines().map(str::trim_end).collect();
    *out = trimmed.join("\n") + "\n";
}

fn explanation(out: &mut String, facts: &Facts<'_>, violation: &Violation<'_>, paint: Paint) {
    let proof = violation.proof;
    let steps = &proof.longest_linearization;
    let subject =
        violation.key.as_ref().map_or_else(|| "The history".to_owned(), |key| format!("Key {}", tame(key)));
    let _ = writeln!(out, "\n{}", paint.bold(&format!("{subject} cannot be linearized")));
    if let Some(minimal) = &proof.minimal {
        let few = plural(minimal.operations.len() as u64, "operation");
        let _ = writeln!(
            out,
            "  {few} of it that alone cannot be put in order (only the order of ends is to scale):"
        );
        for line in counterexample::diagram(minimal, facts.inputs.history).lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
    let at = match facts.times {
        Times::Measured => format!(" at {}", facts.times.time(violation.prefix_end_ns)),
        Times::Positions => String::new(),
    };
    if steps.is_empty() && proof.state.is_empty() {
        // Of what came before nothing is known.
        let _ =
            writeln!(out, "  The prefix that ends with event {}{at} has no legal order.", proof.prefix_end);
        return lacks(out, proof);
    }
    let _ = writeln!(
        out,
        "  The shortest prefix without a legal order ends with event {}{}. A longest legal order in it has {}:",
        proof.prefix_end,
        at,
        plural(length(proof), "operation"),
    );
    let shown = &steps[steps.len().saturating_sub(STEPS_SHOWN)..];
    let before = length(proof) - shown.len() as u64;
    if before > 0 {
        let _ = writeln!(out, "    … {} before", plural(before, "operation"));
    }
    let mut table = Table::default();
    for step in shown {
        let who = who(facts, step.operation);
        table.row([
            format!("#{}", step.operation),
            who,
            tame(&step.description),
            format!("⇒ {}", tame(&step.state)),
        ]);
    }
    table.write(out, "    ");
    let _ = writeln!(out, "  Then {}. What could come next:", state(&proof.state));
    let mut table = Table::default();
    for candidate in proof.candidates.iter().take(CANDIDATES_SHOWN) {
        let closes = if candidate.operation == proof.operation { "  ← ends the prefix" } else { "" };
        table.row([
            format!("✗ #{}", candidate.operation),
            who(facts, candidate.operation),
            tame(&candidate.description),
            format!("{}{closes}", tame(&candidate.reason)),
        ]);
    }
    table.write(out, "    ");
    let hidden = proof.candidates.len().saturating_sub(CANDIDATES_SHOWN);
    if hidden > 0 {
        let _ = writeln!(out, "    … and {} more, see the report", count(hidden as u64));
    }
    if proof.candidates.is_empty() {
        let _ = writeln!(out, "    nothing that the history has.");
    }
    configurations(out, &proof.surviving);
    lacks(out, proof);
}

/// The other configurations that are left, each in a line; their candidates are in the report.
fn configurations(out: &mut String, surviving: &Surviving) {
    let others = surviving.configurations.get(1..).unwrap_or_default();
    if others.is_empty() {
        return;
    }
    let number = others.len() as u64 + surviving.omitted;
    let _ = writeln!(
        out,
        "  {} left at that moment ({}), and nothing follows there either:",
        if number == 1 {
            "1 other configuration is".to_owned()
        } else {
            format!("{} other configurations are", count(number))
        },
        surviving::extent(surviving),
    );
    for other in others.iter().take(CONFIGURATIONS_SHOWN) {
        let _ = writeln!(out, "    {}  ({})", tame(&other.state), tame(&surviving::linearized(other)));
    }
    let hidden = number - others.len().min(CONFIGURATIONS_SHOWN) as u64;
    if hidden > 0 {
        let _ = writeln!(out, "    … and {} more", count(hidden));
    }
}

/// What the explanation lacks, and why.
fn lacks(out: &mut String, proof: &NonLinearizable) {
    for cut_short in &proof.cut_short {
        let _ = writeln!(out, "  Not told: {}", tame(&surviving::lack(cut_short)));
    }
}

/// The length of the linearization, with the steps that the verdict leaves out.
pub(crate) fn length(proof: &NonLinearizable) -> u64 {
    proof.omitted_steps + proof.longest_linearization.len() as u64
}

/// The state for the middle of a sentence: `the state is 3`, or what the model's own words say.
pub(crate) fn state(state: &str) -> String {
    if state.contains(' ') { tame(state) } else { format!("the state is {}", tame(state)) }
}

fn who(facts: &Facts<'_>, operation: u64) -> String {
    let Some(position) = crate::violations::find(&facts.operations, operation) else {
        return "not in this history".to_owned();
    };
    let operation = &facts.operations[position];
    format!(
        "process {}  {} – {}",
        operation.process(),
        facts.times.time(operation.invoke_time_ns()),
        facts.times.end(operation.completion())
    )
}

/// Columns that line up. Widths count characters.
#[derive(Default)]
struct Table(Vec<[String; 4]>);

impl Table {
    fn row(&mut self, cells: [String; 4]) {
        self.0.push(cells);
    }

    fn write(&self, out: &mut String, indent: &str) {
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for [a, b, c, d] in &self.0 {
            let [first, second, third] = widths;
            let _ = writeln!(out, "{indent}{a:<first$}  {b:<second$}  {c:<third$}  {d}");
        }
    }
}

fn others(out: &mut String, facts: &Facts<'_>) {
    let rest = facts.violations.get(VIOLATIONS_EXPLAINED..).unwrap_or_default();
    if rest.is_empty() {
        return;
    }
    let keys: Vec<String> =
        rest.iter().filter_map(|violation| violation.key.as_deref()).take(20).map(tame).collect();
    let more = if rest.len() > keys.len() { " …" } else { "" };
    let _ = writeln!(
        out,
        "\n  {} more cannot be linearized: key {}{more} (explained in the report)",
        count(rest.len() as u64),
        keys.join(", ")
    );
}

fn broken(out: &mut String, facts: &Facts<'_>, paint: Paint) {
    for check in &facts.inputs.verdict.checks {
        let of_partitions = check.partitions.iter().flat_map(|partition| &partition.evidence);
        for evidence in check.evidence.iter().chain(of_partitions) {
            if let Evidence::Broken { what, events } = evidence {
                let named: Vec<String> = events.iter().take(10).map(|index| format!("#{index}")).collect();
                let events =
                    if named.is_empty() { String::new() } else { format!("  (events {})", named.join(", ")) };
                let _ = writeln!(
                    out,
                    "\n{}\n  {}{events}",
                    paint.bold(&format!("{} is broken", check.checker)),
                    tame(what)
                );
            }
        }
    }
}

fn exercised(out: &mut String, facts: &Facts<'_>) {
    let _ = writeln!(out, "\nExercised in {}", facts.times.duration(facts.end_ns));
    let kinds = facts.fault_kinds();
    let names = facts.functions.keys().map(String::as_str).chain(kinds.iter().copied());
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, function) in &facts.functions {
        let counts: Vec<String> = OUTCOMES
            .iter()
            .zip(function.outcomes)
            .map(|(outcome, number)| format!("{:>9} {outcome}", count(number)))
            .collect();
        let _ = write!(out, "  {:width$} {}", tame(name), counts.join(" "));
        if function.outcomes[0] > 0 && facts.times == Times::Measured {
            let [median, high] = [0.5, 0.99].map(|quantile| {
                Times::Measured.duration(function.latency_us.value_at_quantile(quantile) * 1_000)
            });
            let _ = write!(out, "   median {median}, 99 % below {high}");
        }
        out.push('\n');
    }
    if facts.functions.is_empty() {
        out.push_str("  no operation\n");
    }
    for kind in kinds {
        let of_kind: Vec<_> = facts.faults.iter().filter(|fault| fault.kind == kind).collect();
        let bit = of_kind.iter().filter(|fault| fault.bit == Some(true)).count();
        let missed = of_kind.iter().filter(|fault| fault.bit == Some(false)).count();
        let number = plural(of_kind.len() as u64, "fault");
        let _ = write!(out, "  {:width$} {number:>12}, {bit} seen to bite", tame(kind));
        if missed > 0 {
            let _ = write!(out, ", {missed} DID NOT BITE");
        }
        if let Some(coverage) = facts.coverage.get(kind) {
            let _ = write!(out, "; {}", coverage_in_words(coverage));
        }
        out.push('\n');
    }
    for (kind, coverage) in facts.coverage.iter().filter(|(_, coverage)| coverage.never_came > 0) {
        let number = plural(coverage.never_came, "fault");
        let _ = writeln!(out, "  {:width$} {number:>12} NEVER CAME: its event did not", tame(kind));
    }
    if let Some(recovery_ms) = facts.recovery_ms.filter(|_| !facts.faults.is_empty()) {
        let _ = writeln!(out, "  recovered {} after the last was undone", milliseconds(recovery_ms));
    }
    if facts.faults.is_empty() {
        out.push_str("  no fault\n");
    }
}

/// `in force for 12.3 s, 4,000 operations meanwhile: 31 not ok, 12 slow`.
fn coverage_in_words(coverage: &KindCoverage) -> String {
    format!(
        "in force for {}, {} meanwhile: {} not ok, {} slow",
        milliseconds(coverage.active_ms),
        plural(coverage.operations, "operation"),
        count(coverage.not_ok),
        count(coverage.slow)
    )
}

fn milliseconds(ms: u64) -> String {
    Times::Measured.duration(ms.saturating_mul(1_000_000))
}

fn links(out: &mut String, facts: &Facts<'_>, report: Option<&Paths>, paint: Paint) {
    let run = facts.inputs.run;
    if report.is_some() || !run.command.is_empty() {
        out.push('\n');
    }
    if let Some(paths) = report {
        let _ = writeln!(out, "report  {}", paint.bold(&paths.index_html.display().to_string()));
    }
    if !run.command.is_empty() {
        let _ = writeln!(out, "repeat  {}", run.command);
    }
}

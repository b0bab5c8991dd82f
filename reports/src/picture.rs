//! `timeline.svg`: the window of the first violation, or the beginning of a run without one, as a picture that needs no
//! script: for a README, for print, for a browser that runs none.
//!
//! Written as SVG by maud (which escapes), not by a plotting library: bars, hatches and fades are what it is made of.
//! Every element has an end tag, since SVG is XML.

use std::collections::BTreeMap;

use labrys_checker::verdict::{Evidence, Validity};
use labrys_history::{Completion, Operation};
use maud::{Markup, PreEscaped, html};

use crate::describe::{self, Times, clean, shortened};
use crate::facts::{Facts, outcome};
use crate::faults::Fault;
use crate::plots::{SHADES, hex, step};
use crate::summary;
use crate::violations::{Violation, event, find};

const WIDTH_PX: f64 = 1100.0;
const GUTTER_PX: f64 = 104.0;
const RIGHT_PX: f64 = 20.0;
const LANE_PX: f64 = 30.0;
const BAR_PX: f64 = 20.0;
/// About the width of a character of the labels.
const CHARACTER_PX: f64 = 6.6;
/// Operations shown of a run without violation.
const OPERATIONS_SHOWN: usize = 120;
/// How many changes of the leader are drawn.
const LEADERS_SHOWN: usize = 40;
/// Reasons of candidates that are written out.
const NOTES_SHOWN: usize = 6;
/// Steps of the linearization that get their number.
const NUMBERED_STEPS: u64 = 40;

/// Why an operation is in the picture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Its completion ends the prefix that cannot be linearized.
    Unplaceable,
    /// It could have come next, and was refused.
    Candidate,
    /// It has this place in the linearization, from 1.
    Step(u64),
    /// None: context.
    Context,
}

/// A horizontal scale.
#[derive(Clone, Copy)]
struct Scale {
    from_ns: u64,
    to_ns: u64,
}

impl Scale {
    fn x(self, time_ns: u64) -> f64 {
        let length = self.to_ns.saturating_sub(self.from_ns).max(1) as f64;
        let offset = time_ns as f64 - self.from_ns as f64;
        GUTTER_PX + (offset / length).clamp(0.0, 1.0) * (WIDTH_PX - GUTTER_PX - RIGHT_PX)
    }
}

/// A bar, in pixels.
struct Bar<'a> {
    operation: &'a Operation<'a>,
    role: Role,
    x: f64,
    y: f64,
    width: f64,
}

impl Bar<'_> {
    fn classes(&self) -> String {
        let outcome = ["lt-ok", "lt-fail", "lt-info"][outcome(self.operation.completion())];
        let role = match self.role {
            Role::Unplaceable => "lt-unplaceable",
            Role::Candidate => "lt-candidate",
            Role::Step(_) => "lt-step",
            Role::Context => "lt-context",
        };
        format!("{outcome} {role}")
    }
}

/// What is in the picture.
struct Scene<'a> {
    facts: &'a Facts<'a>,
    scale: Scale,
    violation: Option<&'a Violation<'a>>,
    /// The first broken invariant, where no violation is to be shown.
    broken: Option<BrokenInvariant<'a>>,
    /// Positions of operations with their roles, by lane.
    lanes: BTreeMap<u32, Vec<(usize, Role)>>,
    faults: Vec<&'a Fault>,
}

/// Evidence that is about no order of operations: two leaders in a term, unequal digests, a panic.
#[derive(Clone, Copy)]
struct BrokenInvariant<'a> {
    what: &'a str,
    /// The event that completes it.
    event: u64,
    at_ns: u64,
}

/// The one that was complete first.
fn first_broken<'a>(facts: &Facts<'a>) -> Option<BrokenInvariant<'a>> {
    let evidence = facts.inputs.verdict.checks.iter().flat_map(|check| &check.evidence);
    let broken = evidence.filter_map(|evidence| {
        let Evidence::Broken { what, events } = evidence else { return None };
        let index = *events.iter().max()?;
        let at_ns = event(facts.inputs.history, index)?.time_ns;
        Some(BrokenInvariant { what, event: index, at_ns })
    });
    broken.min_by_key(|broken| (broken.at_ns, broken.event))
}

/// Some operations before what is broken, and a few after it.
fn around(broken: &BrokenInvariant<'_>, facts: &Facts<'_>) -> Scale {
    let position = facts.operations.partition_point(|operation| operation.invoke_time_ns() <= broken.at_ns);
    let time_of =
        |position: usize| facts.operations.get(position).map(|operation| operation.invoke_time_ns());
    let from_ns = time_of(position.saturating_sub(OPERATIONS_SHOWN / 2)).unwrap_or(0).min(broken.at_ns);
    let after = (broken.at_ns - from_ns) / 4 + 1;
    Scale { from_ns, to_ns: broken.at_ns + after }
}

/// The picture.
pub(crate) fn svg(facts: &Facts<'_>) -> String {
    let violation = facts.violations.first();
    let broken = if violation.is_some() { None } else { first_broken(facts) };
    let scale = match violation {
        Some(violation) => Scale { from_ns: violation.window_ns.0, to_ns: violation.window_ns.1 },
        None => match &broken {
            Some(broken) => around(broken, facts),
            None => Scale { from_ns: 0, to_ns: beginning_ns(facts) },
        },
    };
    let roles = violation.map(|violation| roles(facts, violation)).unwrap_or_default();
    let mut lanes: BTreeMap<u32, Vec<(usize, Role)>> = BTreeMap::new();
    for (position, operation) in facts.operations.iter().enumerate() {
        let role = roles.get(&position).copied().unwrap_or(Role::Context);
        if is_shown(operation, role, violation, scale) {
            lanes.entry(facts.lanes.of_operation[position]).or_default().push((position, role));
        }
    }
    let overlaps =
        |fault: &&Fault| fault.apply_ns <= scale.to_ns && fault.end_ns(facts.end_ns) >= scale.from_ns;
    let faults = facts.faults.iter().filter(overlaps).collect();
    Scene { facts, scale, violation, broken, lanes, faults }.draw()
}

/// The time by which the first operations were invoked.
fn beginning_ns(facts: &Facts<'_>) -> u64 {
    match facts.operations.get(OPERATIONS_SHOWN) {
        Some(operation) => operation.invoke_time_ns(),
        None => facts.end_ns.max(1),
    }
}

fn roles(facts: &Facts<'_>, violation: &Violation<'_>) -> BTreeMap<usize, Role> {
    let mut roles = BTreeMap::new();
    let proof = violation.proof;
    for (number, step) in (proof.omitted_steps + 1..).zip(&proof.longest_linearization) {
        if let Some(position) = find(&facts.operations, step.operation) {
            roles.insert(position, Role::Step(number));
        }
    }
    for candidate in &proof.candidates {
        if let Some(position) = find(&facts.operations, candidate.operation) {
            roles.insert(position, Role::Candidate);
        }
    }
    if let Some(position) = violation.operation {
        roles.insert(position, Role::Unplaceable);
    }
    roles
}

fn is_shown(operation: &Operation, role: Role, violation: Option<&Violation<'_>>, scale: Scale) -> bool {
    if operation.invoke_time_ns() > scale.to_ns {
        return false;
    }
    let gave_up_or_done = operation.completion().time_ns().unwrap_or(u64::MAX);
    let is_open = matches!(operation.completion(), Completion::Info { .. });
    let overlaps = gave_up_or_done >= scale.from_ns || (is_open && role != Role::Context);
    let same_key = match violation.and_then(|violation| violation.key.as_ref()) {
        Some(key) => operation.key().is_some_and(|k| k.to_string() == *key),
        None => true,
    };
    overlaps && same_key
}

impl Scene<'_> {
    fn draw(&self) -> String {
        let title = self.title();
        let reason = wrapped(&clean(&self.facts.reason()), 150, 3);
        let mut y = 30.0;
        let mut body = html! {
            text.lt-title x="16" y=(y) { (title) }
        };
        for line in &reason {
            y += 19.0;
            body = html! { (body) text.lt-text x="16" y=(y) { (line) } };
        }
        y += 14.0;
        let top = y + 20.0;
        let fault_rows = self.faults.len().min(6) as f64 * 22.0;
        let leader_row = if self.facts.leaders.is_empty() { 0.0 } else { 24.0 };
        let lanes_top = top + fault_rows + leader_row + 6.0;
        let lanes_bottom = lanes_top + self.lanes.len().max(1) as f64 * LANE_PX;
        let notes = self.notes(lanes_bottom + 26.0);
        let height = lanes_bottom + 26.0 + notes.1 + 34.0;
        let svg = html! {
            svg.lt xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH_PX} {height:.0}"))
                width=(WIDTH_PX) height=(format!("{height:.0}")) role="img" aria-label=(title) {
                title { (title) }
                style { (PreEscaped(include_str!("assets/picture.css"))) }
                (definitions())
                rect.lt-paper width="100%" height="100%" {}
                (body)
                (self.shades(top, lanes_bottom))
                (self.axis(y + 12.0, lanes_bottom))
                (self.fault_rows(top))
                (self.leaders(top + fault_rows, leader_row))
                (self.lanes(lanes_top))
                (self.prefix_end(top, lanes_bottom))
                (notes.0)
                (legend(height - 16.0, self.violation.is_some()))
            }
        };
        svg.into_string()
    }

    fn title(&self) -> String {
        let validity = self.facts.inputs.verdict.validity;
        let mut parts = vec![summary::word(validity).to_owned()];
        let name = clean(&self.facts.inputs.run.name);
        if !name.is_empty() {
            parts.push(shortened(&name, 60));
        }
        match self.violation {
            Some(violation) if validity == Validity::Invalid => {
                if let Some(key) = &violation.key {
                    parts.push(format!("key {}", shortened(&clean(key), 40)));
                }
            }
            _ if self.broken.is_some() => {}
            _ => parts.push(format!("the first {}", self.facts.times.duration(self.scale.to_ns))),
        }
        parts.join(" · ")
    }

    fn axis(&self, y: f64, bottom: f64) -> Markup {
        let Scale { from_ns, to_ns } = self.scale;
        let step_ns = step(to_ns.saturating_sub(from_ns) as f64, 8.0).max(1.0);
        let digits = (9.0 - step_ns.log10().floor()).clamp(0.0, 9.0) as usize;
        let first = (from_ns as f64 / step_ns).ceil() as u64;
        let last = (to_ns as f64 / step_ns).floor() as u64;
        let label = |time: f64| match self.facts.times {
            Times::Measured => format!("{:.digits$} s", time / 1e9),
            Times::Positions => format!("{time}"),
        };
        html! {
            @for tick in first..=last.min(first + 20) {
                @let time = tick as f64 * step_ns;
                @let x = format!("{:.1}", self.scale.x(time as u64));
                line.lt-grid x1=(x) x2=(x) y1=(y + 4.0) y2=(bottom) {}
                text.lt-tick x=(x) y=(y) { (label(time)) }
            }
        }
    }

    fn kind_of(&self, fault: &Fault) -> usize {
        self.facts.fault_kinds().binary_search(&fault.kind.as_str()).unwrap_or(0) % SHADES.len()
    }

    fn shades(&self, top: f64, bottom: f64) -> Markup {
        html! {
            @for fault in &self.faults {
                @let (x, end) = self.ends(fault);
                rect x=(px(x)) y=(px(top)) width=(px(end - x)) height=(px(bottom - top))
                    fill=(hex(SHADES[self.kind_of(fault)])) fill-opacity="0.09" {}
            }
        }
    }

    fn ends(&self, fault: &Fault) -> (f64, f64) {
        let x = self.scale.x(fault.apply_ns);
        (x, self.scale.x(fault.end_ns(self.facts.end_ns)).max(x + 2.0))
    }

    fn fault_rows(&self, top: f64) -> Markup {
        html! {
            @for (row, fault) in self.faults.iter().take(6).enumerate() {
                @let y = top + row as f64 * 22.0;
                @let (x, end) = self.ends(fault);
                @let missed = if fault.bit == Some(false) { " (did not bite)" } else { "" };
                text.lt-lane x=(px(GUTTER_PX - 10.0)) y=(px(y + 13.0)) { (shortened(&clean(&fault.kind), 14)) }
                rect x=(px(x)) y=(px(y + 2.0)) width=(px(end - x)) height="16" rx="2"
                    fill=(hex(SHADES[self.kind_of(fault)]))
                    fill-opacity=(if missed.is_empty() { "0.85" } else { "0.3" }) {}
                @let words = format!("{}{missed}", shortened(&clean(&fault.what), 90));
                @let inside = end - x > words.chars().count() as f64 * CHARACTER_PX;
                text class=(if inside { "lt-on-fault" } else { "lt-label lt-halo" })
                    x=(px(if inside || x < WIDTH_PX / 2.0 { x + 6.0 } else { x - 6.0 }))
                    text-anchor=(if inside || x < WIDTH_PX / 2.0 { "start" } else { "end" }) y=(px(y + 14.0)) { (words) }
            }
        }
    }

    fn leaders(&self, y: f64, height: f64) -> Markup {
        if height == 0.0 {
            return html! {};
        }
        let leaders = &self.facts.leaders;
        let before = leaders.partition_point(|seen| seen.time_ns < self.scale.from_ns).saturating_sub(1);
        let in_sight = leaders[before..].iter().take_while(|seen| seen.time_ns <= self.scale.to_ns);
        let shown: Vec<_> = in_sight.take(LEADERS_SHOWN).collect();
        html! {
            text.lt-lane x=(px(GUTTER_PX - 10.0)) y=(px(y + 15.0)) { "leader" }
            @for (number, seen) in shown.iter().enumerate() {
                @let x = self.scale.x(seen.time_ns);
                @let earlier = if seen.time_ns < self.scale.from_ns { "← " } else { "" };
                @if earlier.is_empty() {
                    line.lt-leader x1=(px(x)) x2=(px(x)) y1=(px(y + 3.0)) y2=(px(y + 20.0)) {}
                }
                @let term = seen.term.map_or_else(String::new, |term| format!(" · term {term}"));
                @let node = format!("{earlier}{}", shortened(&clean(&seen.node), 16));
                @let room = shown.get(number + 1).map_or(f64::MAX, |next| self.scale.x(next.time_ns) - x - 5.0);
                // What does not fit before the next leader is left out; the page has it all.
                @let fits = |words: &String| words.chars().count() as f64 * CHARACTER_PX < room;
                @if let Some(words) = [format!("{node}{term}"), node].into_iter().find(fits) {
                    text.lt-label.lt-halo x=(px(x + 5.0)) y=(px(y + 15.0)) { (words) }
                }
            }
        }
    }

    fn lanes(&self, top: f64) -> Markup {
        html! {
            @if self.lanes.is_empty() {
                text.lt-text x=(px(GUTTER_PX)) y=(px(top + 20.0)) { "no operation" }
            }
            @for (row, (lane, operations)) in self.lanes.iter().enumerate() {
                @let y = top + row as f64 * LANE_PX;
                text.lt-lane x=(px(GUTTER_PX - 10.0)) y=(px(y + 19.0)) {
                    "process " (self.processes(*lane, operations))
                }
                line.lt-grid x1=(px(GUTTER_PX)) x2=(px(WIDTH_PX - RIGHT_PX)) y1=(px(y + LANE_PX)) y2=(px(y + LANE_PX)) {}
                @let bars = self.bars(operations, y + (LANE_PX - BAR_PX) / 2.0);
                @for bar in &bars { (self.bar(bar)) }
                @for bar in &bars { (self.labels(bar)) }
                (self.came_from_before(operations, y + (LANE_PX - BAR_PX) / 2.0 - 1.5))
            }
        }
    }

    /// The process of a lane in this picture; of several the last, which is the one that matters.
    fn processes(&self, lane: u32, operations: &[(usize, Role)]) -> String {
        let last = operations.last().map(|(position, _)| self.facts.operations[*position].process());
        last.map_or_else(|| self.facts.lanes.name(lane as usize), |process| process.to_string())
    }

    /// Where the bars of a lane are. One of unknown outcome reaches to the next of its lane, or to the right edge.
    fn bars(&self, operations: &[(usize, Role)], y: f64) -> Vec<Bar<'_>> {
        let bar = |(number, (position, role)): (usize, &(usize, Role))| {
            let operation = &self.facts.operations[*position];
            let x = self.scale.x(operation.invoke_time_ns());
            let next = operations
                .get(number + 1)
                .map(|(next, _)| self.scale.x(self.facts.operations[*next].invoke_time_ns()));
            let right = match operation.completion() {
                Completion::Info { .. } => next.map_or(WIDTH_PX - RIGHT_PX, |next| next - 3.0),
                _ => self.scale.x(operation.completion().time_ns().unwrap_or(u64::MAX)),
            };
            Bar { operation, role: *role, x, y, width: (right - x).max(2.5) }
        };
        operations.iter().enumerate().map(bar).collect()
    }

    fn bar(&self, bar: &Bar<'_>) -> Markup {
        html! {
            g class=(bar.classes()) {
                title { (self.tooltip(bar.operation, bar.role)) }
                rect x=(px(bar.x)) y=(px(bar.y)) width=(px(bar.width)) height=(px(BAR_PX)) rx="3" {}
            }
        }
    }

    /// The label in or beside a bar, and above it its number; after all bars, so that none covers them.
    fn labels(&self, bar: &Bar<'_>) -> Markup {
        let label = shortened(&clean(&describe::label(bar.operation)), 40);
        let fits = label.chars().count() as f64 * CHARACTER_PX + 8.0 <= bar.width;
        let total = self.violation.map_or(0, |violation| summary::length(violation.proof));
        let above = px(bar.y - 1.5);
        html! {
            @if fits {
                text.lt-label x=(px(bar.x + 6.0)) y=(px(bar.y + 14.0)) { (label) }
            } @else if matches!(bar.role, Role::Unplaceable) {
                text.lt-label.lt-halo x=(px(bar.x + bar.width + 4.0)) y=(px(bar.y + 14.0)) { (label) }
            }
            @match bar.role {
                Role::Unplaceable => text.lt-badge x=(px(bar.x)) y=(above) { "✗ #" (bar.operation.invoke_index()) },
                Role::Candidate if bar.operation.invoke_time_ns() >= self.scale.from_ns => {
                    text.lt-number x=(px(bar.x + 1.0)) y=(above) { "#" (bar.operation.invoke_index()) }
                },
                Role::Step(number) if number + NUMBERED_STEPS > total && bar.width > 9.0 => {
                    text.lt-number x=(px(bar.x + 1.0)) y=(above) { (number) }
                },
                Role::Candidate | Role::Step(_) | Role::Context => {},
            }
        }
    }

    /// The names of a lane's candidates that began before the window, which may leave nothing of their bars.
    fn came_from_before(&self, operations: &[(usize, Role)], y: f64) -> Markup {
        let of_lane = operations.iter().filter(|(_, role)| *role == Role::Candidate);
        let numbers: Vec<String> = of_lane
            .map(|(position, _)| &self.facts.operations[*position])
            .filter(|operation| operation.invoke_time_ns() < self.scale.from_ns)
            .map(|operation| format!("#{}", operation.invoke_index()))
            .collect();
        html! {
            @if !numbers.is_empty() {
                text.lt-number x=(px(GUTTER_PX + 1.0)) y=(px(y)) { "◂ " (shortened(&numbers.join(" "), 60)) }
            }
        }
    }

    fn tooltip(&self, operation: &Operation, role: Role) -> String {
        let end = self.facts.times.end(operation.completion());
        let role = match role {
            Role::Unplaceable => "; its completion ends the prefix".to_owned(),
            Role::Candidate => "; could have come next".to_owned(),
            Role::Step(number) => format!("; number {number} of the linearization"),
            Role::Context => String::new(),
        };
        let words = shortened(&clean(&describe::sentence(operation)), 120);
        let begin = self.facts.times.time(operation.invoke_time_ns());
        format!(
            "#{} process {}: {words} ({begin} – {end}){role}",
            operation.invoke_index(),
            operation.process()
        )
    }

    fn prefix_end(&self, top: f64, bottom: f64) -> Markup {
        let (at_ns, words) = match (self.violation, &self.broken) {
            (Some(violation), _) => {
                let words = format!("no legal order from here on (event {})", violation.proof.prefix_end);
                (violation.prefix_end_ns, words)
            }
            (None, Some(broken)) => {
                (broken.at_ns, format!("{} (event {})", shortened(&clean(broken.what), 110), broken.event))
            }
            (None, None) => return html! {},
        };
        let x = self.scale.x(at_ns);
        html! {
            line.lt-end x1=(px(x)) x2=(px(x)) y1=(px(top)) y2=(px(bottom + 6.0)) {}
            text.lt-end-text x=(px(x - 5.0)) y=(px(bottom + 14.0)) { (words) }
        }
    }

    /// The state and the reasons in words, and their height.
    fn notes(&self, y: f64) -> (Markup, f64) {
        let Some(violation) = self.violation else { return (html! {}, 0.0) };
        let proof = violation.proof;
        let mut lines = vec![(
            "lt-text",
            format!(
                "After {} in a legal order {}. What could come next, and why it cannot:",
                describe::plural(summary::length(proof), "operation"),
                summary::state(&clean(&proof.state))
            ),
        )];
        for candidate in proof.candidates.iter().take(NOTES_SHOWN) {
            let words =
                format!("✗  #{}  {}:  {}", candidate.operation, candidate.description, candidate.reason);
            lines.push(("lt-note", shortened(&clean(&words), 150)));
        }
        if proof.candidates.len() > NOTES_SHOWN {
            lines.push(("lt-note", format!("… and {} more", proof.candidates.len() - NOTES_SHOWN)));
        }
        let height = lines.len() as f64 * 19.0 + 8.0;
        let markup = html! {
            @for (number, (class, line)) in lines.iter().enumerate() {
                text class=(class) x="16" y=(px(y + 14.0 + number as f64 * 19.0)) { (line) }
            }
        };
        (markup, height)
    }
}

fn definitions() -> Markup {
    html! {
        defs {
            pattern id="lt-hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                rect.lt-hatch-paper width="6" height="6" {}
                line.lt-hatch-line x1="0" y1="0" x2="0" y2="6" {}
            }
            linearGradient id="lt-fade" {
                stop.lt-fade-from offset="0" {}
                stop.lt-fade-from offset="0.3" {}
                stop.lt-fade-to offset="1" {}
            }
        }
    }
}

fn legend(y: f64, with_roles: bool) -> Markup {
    let mut entries =
        vec![("lt-ok", "ok"), ("lt-fail", "fail: did not happen"), ("lt-info", "info: may happen any time")];
    if with_roles {
        entries.push(("lt-step lt-ok", "number: place in the order"));
        entries.push(("lt-candidate lt-ok", "could come next, refused"));
        entries.push(("lt-unplaceable lt-ok", "ends the prefix"));
    }
    let mut x = 16.0;
    html! {
        @for (class, words) in entries {
            g class=(class) {
                rect x=(px(x)) y=(px(y - 11.0)) width="26" height="14" rx="3" {}
                text.lt-label x=(px(x + 32.0)) y=(px(y)) { (words) }
            }
            ({ x += 52.0 + words.chars().count() as f64 * CHARACTER_PX; PreEscaped("") })
        }
    }
}

/// A coordinate, to a tenth of a pixel.
fn px(coordinate: f64) -> String {
    format!("{coordinate:.1}")
}

/// Text cut into lines of at most `limit` characters, at spaces; at most `lines` of them.
fn wrapped(text: &str, limit: usize, lines: usize) -> Vec<String> {
    let mut wrapped: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let word = shortened(word, limit);
        let full = wrapped.len() == lines;
        match wrapped.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= limit => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(line) if full => {
                line.push_str(" …");
                break;
            }
            _ => wrapped.push(word),
        }
    }
    wrapped
}

//! [`svg`]: what passed between the machines of a run, as a picture in the manner of Lamport's (*Time, Clocks, and the Ordering of
//! Events in a Distributed System*, CACM 1978, figure 1): a line for each machine, time runs downwards, messages are arrows.
//!
//! Distances in time are not to scale, since a round of messages takes a millisecond and the pause before it a second: every moment
//! at which something happens gets the room that its words need, a pause between two moments some more, and the moments are written
//! at the edge. What was lost ends in a cross. Routine (heartbeats that change nothing) is counted and not drawn.
//!
//! The same input gives the same bytes; O(n log n) in what is to be drawn. No script, and every text is escaped by maud.

mod rows;

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use self::rows::{Moments, PAUSE_NS, PAUSE_PX, ROW_PX, Rows, TOP_PX};
use crate::describe::{clean, plural};
use crate::plots::{SHADES, hex};

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagram {
    /// What stands above it.
    pub title: String,
    /// The lines, from left to right: machines, and clients if they are to be seen.
    pub lines: Vec<String>,
    /// Messages from line to line.
    pub messages: Vec<Arrow>,
    /// What happened on a line.
    pub marks: Vec<Mark>,
    /// What was so for a while, faults above all.
    pub spans: Vec<Span>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// Position of the sender's line.
    pub from: usize,
    /// Position of the receiver's.
    pub to: usize,
    /// When it was sent, in nanoseconds since any fixed moment.
    pub sent_ns: u64,
    /// When it arrived; `None`: never.
    pub arrived_ns: Option<u64>,
    /// What it says, in a few words.
    pub label: String,
    /// Whether it changes nothing.
    pub is_routine: bool,
}

/// Something that happened on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Position of the line.
    pub line: usize,
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// What, in a few words.
    pub label: String,
}

/// What was so for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Position of the line.
    pub line: usize,
    /// From when, in nanoseconds.
    pub from_ns: u64,
    /// Until when; `None`: to the end.
    pub to_ns: Option<u64>,
    /// What, in a word or two.
    pub label: String,
}

/// Which part of it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From this moment, in nanoseconds,
    pub from_ns: u64,
    /// to this one.
    pub to_ns: u64,
    /// No more messages than these; the last ones are kept, since what went wrong is at the end.
    pub messages: usize,
}

impl Window {
    /// Everything, but for more than `messages` messages.
    #[must_use]
    pub fn whole(messages: usize) -> Window {
        Window { from_ns: 0, to_ns: u64::MAX, messages }
    }
}

/// No narrower than this, however few lines there are,
const WIDTH_PX: f64 = 1000.0;
/// and every line has so much room at least.
const COLUMN_PX: f64 = 144.0;
const TIME_PX: f64 = 74.0;
/// For the words beside the last line.
const RIGHT_PX: f64 = 60.0;
/// About the width of a character of the labels, of the bolder marks, and of the title.
const LABEL_CHARACTER_PX: f64 = 5.7;
const MARK_CHARACTER_PX: f64 = 6.8;
const TITLE_CHARACTER_PX: f64 = 9.6;
/// So far from its receiver's line a lost message ends.
const LOST_PX: f64 = 14.0;
/// An arrow with its place among what has words at the same moment in the same gap between two lines.
struct Placed<'a> {
    arrow: &'a Arrow,
    /// When its head is drawn: a lost one is drawn as soon as it is sent.
    head_ns: u64,
    row: usize,
}

/// The picture of what happened within the window.
#[must_use]
pub fn svg(diagram: &Diagram, window: Window) -> String {
    Scene::of(diagram, window).draw()
}

struct Scene<'a> {
    diagram: &'a Diagram,
    arrows: Vec<Placed<'a>>,
    marks: Vec<(&'a Mark, usize)>,
    spans: Vec<&'a Span>,
    moments: Moments,
    routine: usize,
    beyond: usize,
}

impl<'a> Scene<'a> {
    fn of(diagram: &'a Diagram, window: Window) -> Scene<'a> {
        let lines = diagram.lines.len();
        let in_sight = |at_ns: u64| (window.from_ns..=window.to_ns).contains(&at_ns);
        let mut arrows: Vec<&Arrow> = diagram.messages.iter().collect();
        arrows.retain(|arrow| {
            in_sight(arrow.sent_ns) && arrow.from.max(arrow.to) < lines && arrow.from != arrow.to
        });
        let of_window = arrows.len();
        arrows.retain(|arrow| !arrow.is_routine);
        let routine = of_window - arrows.len();
        let beyond = arrows.len().saturating_sub(window.messages);
        arrows.drain(..beyond);
        let marks = diagram.marks.iter().filter(|mark| in_sight(mark.at_ns) && mark.line < lines);
        let overlaps = |span: &&Span| {
            span.line < lines
                && span.from_ns <= window.to_ns
                && span.to_ns.is_none_or(|to_ns| to_ns >= window.from_ns)
        };
        let spans: Vec<&Span> = diagram.spans.iter().filter(overlaps).collect();
        let mut rows = Rows::default();
        let marks: Vec<(&Mark, usize)> =
            marks.map(|mark| (mark, rows.take(mark.at_ns, mark.line + 1))).collect();
        let arrows = arrows
            .into_iter()
            .map(|arrow| {
                rows.touch(arrow.sent_ns);
                let head_ns = arrow.arrived_ns.unwrap_or(arrow.sent_ns + 1).min(window.to_ns);
                let gap = if arrow.from < arrow.to { arrow.to } else { arrow.to + 1 };
                // What has no words can share the place of something that has.
                let row = if arrow.label.is_empty() { rows.touch(head_ns) } else { rows.take(head_ns, gap) };
                Placed { arrow, head_ns, row }
            })
            .collect();
        for span in &spans {
            rows.touch(span.from_ns.max(window.from_ns));
            if let Some(to_ns) = span.to_ns.filter(|to_ns| in_sight(*to_ns)) {
                rows.touch(to_ns);
            }
        }
        Scene { diagram, arrows, marks, spans, moments: rows.laid_out(), routine, beyond }
    }

    /// The room of a line.
    fn column(&self) -> f64 {
        let equally = (WIDTH_PX - TIME_PX - RIGHT_PX) / self.diagram.lines.len().max(1) as f64;
        equally.max(COLUMN_PX)
    }

    fn width(&self) -> f64 {
        TIME_PX + self.column() * self.diagram.lines.len().max(1) as f64 + RIGHT_PX
    }

    fn x(&self, line: usize) -> f64 {
        TIME_PX + self.column() * (line as f64 + 0.5)
    }

    fn draw(&self) -> String {
        let (width, height) = (self.width(), self.moments.bottom + 34.0);
        let title = fitted(&self.diagram.title, width - 32.0, TITLE_CHARACTER_PX);
        let svg = html! {
            svg.lt xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width:.0} {height:.0}"))
                width=(format!("{width:.0}")) height=(format!("{height:.0}")) role="img" aria-label=(title) {
                title { (title) }
                style { (PreEscaped(include_str!("../assets/picture.css"))) (PreEscaped(include_str!("../assets/lamport.css"))) }
                rect.lt-paper width="100%" height="100%" {}
                text.lt-title.ll-title x="16" y="30" { (title) }
                (self.spans())
                (self.lines())
                (self.words_of_spans())
                (self.times())
                @for placed in &self.arrows { (self.arrow(placed)) }
                @for (mark, row) in &self.marks { (self.mark(mark, *row)) }
                @for placed in &self.arrows { (self.label(placed)) }
                text.lt-lane.ll-note x="16" y=(px(height - 12.0)) { (self.left_out()) }
            }
        };
        svg.into_string()
    }

    fn left_out(&self) -> String {
        let mut parts = vec!["time runs downwards, not to scale".to_owned()];
        if self.routine > 0 {
            let messages = plural(self.routine as u64, "message");
            parts.push(format!("{messages} that changed nothing left out (heartbeats and their answers)"));
        }
        if self.beyond > 0 {
            parts.push(format!("{} before these left out", plural(self.beyond as u64, "message")));
        }
        parts.join(" · ")
    }

    fn lines(&self) -> Markup {
        html! {
            text.lt-tick.ll-time x=(px(TIME_PX - 8.0)) y=(px(TOP_PX - 16.0)) { "ms" }
            @for (line, name) in self.diagram.lines.iter().enumerate() {
                @let x = px(self.x(line));
                text.ll-name x=(x) y=(px(TOP_PX - 16.0)) { (fitted(name, self.column(), 9.0)) }
                line.ll-line x1=(x) x2=(x) y1=(px(TOP_PX - 8.0)) y2=(px(self.moments.bottom)) {}
            }
        }
    }

    /// The moments at the edge, where there is room; a pause before one is said.
    fn times(&self) -> Markup {
        let mut written_y = f64::MIN;
        let mut last_ns = None;
        html! {
            @for (at_ns, (y, _)) in &self.moments.rows {
                @let pause_ns = at_ns - last_ns.unwrap_or(*at_ns);
                @if pause_ns >= PAUSE_NS {
                    line.ll-pause x1=(px(TIME_PX - 4.0)) x2=(px(self.width() - 8.0)) y1=(px(y - PAUSE_PX)) y2=(px(y - PAUSE_PX)) {}
                }
                @if y - written_y >= ROW_PX {
                    text.lt-tick.ll-time x=(px(TIME_PX - 8.0)) y=(px(y + 4.0)) { (milliseconds(*at_ns)) }
                    ({ written_y = *y; PreEscaped("") })
                }
                ({ last_ns = Some(*at_ns); PreEscaped("") })
            }
        }
    }

    fn spans(&self) -> Markup {
        let mut kinds: Vec<&str> = self.diagram.spans.iter().map(|span| span.label.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        html! {
            @for span in &self.spans {
                @let (top, bottom) = self.extent(span);
                @let shade = SHADES[kinds.binary_search(&span.label.as_str()).unwrap_or(0) % SHADES.len()];
                rect x=(px(self.x(span.line) - 9.0)) y=(px(top)) width="18" height=(px(bottom - top)) rx="4"
                    fill=(hex(shade)) fill-opacity="0.35" { title { (clean(&span.label)) } }
            }
        }
    }

    /// From where to where a span goes.
    fn extent(&self, span: &Span) -> (f64, f64) {
        let top = self.moments.y(span.from_ns);
        (top, span.to_ns.map_or(self.moments.bottom, |to_ns| self.moments.y(to_ns)).max(top + ROW_PX))
    }

    /// What the spans are, on their lines; of two that begin at about the same time, one below the other.
    fn words_of_spans(&self) -> Markup {
        let mut written: BTreeMap<usize, f64> = BTreeMap::new();
        html! {
            @for span in &self.spans {
                @let (top, bottom) = self.extent(span);
                @let length = span.label.chars().count() as f64 * LABEL_CHARACTER_PX + 8.0;
                @let top = written.get(&span.line).copied().unwrap_or(0.0).max(top + 4.0);
                @if bottom - top > length {
                    @let (x, y) = (px(self.x(span.line) + 3.5), px(top));
                    text.ll-span.lt-halo x=(x) y=(y) transform=(format!("rotate(-90 {x} {y})")) { (clean(&span.label)) }
                    ({ written.insert(span.line, top + length); PreEscaped("") })
                }
            }
        }
    }

    /// Where an arrow begins and ends.
    fn ends(&self, placed: &Placed<'_>) -> ((f64, f64), (f64, f64)) {
        let (from, to) = (self.x(placed.arrow.from), self.x(placed.arrow.to));
        let head_y = self.moments.y(placed.head_ns) + placed.row as f64 * ROW_PX;
        let short = if placed.arrow.arrived_ns.is_some() { 3.0 } else { LOST_PX };
        let head_x = if from < to { to - short } else { to + short };
        ((from, self.moments.y(placed.arrow.sent_ns)), (head_x, head_y))
    }

    fn arrow(&self, placed: &Placed<'_>) -> Markup {
        let ((x1, y1), (x2, y2)) = self.ends(placed);
        let is_lost = placed.arrow.arrived_ns.is_none();
        html! {
            line class=(if is_lost { "ll-arrow ll-lost" } else { "ll-arrow" }) x1=(px(x1)) y1=(px(y1)) x2=(px(x2)) y2=(px(y2)) {}
            @if is_lost {
                path.ll-cross d=(format!("M{} {}l8 8m0 -8l-8 8", px(x2 - 4.0), px(y2 - 4.0))) {}
            } @else {
                path.ll-head d=(head((x1, y1), (x2, y2))) {}
            }
        }
    }

    /// Beside the head, on the side from which the arrow comes.
    fn label(&self, placed: &Placed<'_>) -> Markup {
        let (_, (x, y)) = self.ends(placed);
        let from_left = placed.arrow.from < placed.arrow.to;
        let taken_px = if placed.arrow.arrived_ns.is_some() { 20.0 } else { LOST_PX + 18.0 };
        let label = fitted(&placed.arrow.label, self.column() - taken_px, LABEL_CHARACTER_PX);
        let (x, anchor) = if from_left { (x - 11.0, "end") } else { (x + 11.0, "start") };
        html! { text.ll-label.lt-halo x=(px(x)) y=(px(y + 3.0)) text-anchor=(anchor) { (label) } }
    }

    fn mark(&self, mark: &Mark, row: usize) -> Markup {
        let (x, y) = (self.x(mark.line), self.moments.y(mark.at_ns) + row as f64 * ROW_PX);
        let room_px = if mark.line + 1 == self.diagram.lines.len() { RIGHT_PX } else { self.column() };
        html! {
            circle.ll-dot cx=(px(x)) cy=(px(y)) r="4" {}
            text.ll-mark.lt-halo x=(px(x + 8.0)) y=(px(y + 4.0)) { (fitted(&mark.label, room_px + self.column() / 2.0 - 16.0, MARK_CHARACTER_PX)) }
        }
    }
}

fn head((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    let length = (x2 - x1).hypot(y2 - y1).max(1.0);
    let (dx, dy) = ((x2 - x1) / length, (y2 - y1) / length);
    let (back_x, back_y) = (x2 - 8.0 * dx, y2 - 8.0 * dy);
    let corner = |sign: f64| format!("{} {}", px(back_x - sign * 3.5 * dy), px(back_y + sign * 3.5 * dx));
    format!("M{} {}L{}L{}Z", px(x2), px(y2), corner(1.0), corner(-1.0))
}

/// The text, or as much of its beginning as there is room for.
fn fitted(text: &str, room_px: f64, character_px: f64) -> String {
    let (text, room) = (clean(text), (room_px / character_px) as usize);
    if text.chars().count() <= room {
        return text;
    }
    let beginning: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{}…", beginning.trim_end())
}

fn milliseconds(at_ns: u64) -> String {
    format!("{:.1}", at_ns as f64 / 1e6)
}

/// A coordinate, to a tenth of a pixel.
fn px(coordinate: f64) -> String {
    format!("{coordinate:.1}")
}

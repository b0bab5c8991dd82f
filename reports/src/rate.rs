//! Operations per second over time, by outcome and by function, with the faults shaded. O(n).

use std::collections::BTreeMap;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::describe::{clean, count, shortened};
use crate::facts::{Facts, OUTCOMES, outcome};
use crate::plots::{
    self, CAPTION_PX, Error, GRID, INK, LABELS_PX, LINES, MARGIN_PX, OUTCOME_COLOURS, PAPER, WIDTH_PX,
    caption, failed, legend_of_faults, seconds, seconds_range, shades, step, text,
};
use crate::report::ReportError;

const PANEL_HEIGHT_PX: u32 = 230;
/// Windows into which the run is cut, at most.
const WINDOWS: f64 = 120.0;
/// Functions that get a line; the rest would not be told apart.
const FUNCTIONS_LIMIT: usize = 6;

/// A name, a colour, a line's style, and operations per second at times in seconds.
struct Line {
    name: String,
    colour: RGBColor,
    dash: Option<(i32, i32)>,
    points: Vec<(f64, f64)>,
}

/// The picture.
pub(crate) fn svg(facts: &Facts<'_>) -> Result<String, ReportError> {
    let mut svg = String::new();
    draw(&mut svg, facts).map_err(failed("rate"))?;
    let description = "by outcome above, by function below, faults shaded";
    Ok(plots::finished(&svg, "rate-plot", "Operations per second over time", description))
}

fn draw<'a>(svg: &'a mut String, facts: &Facts<'_>) -> Result<(), Error<'a>> {
    let area = SVGBackend::with_string(svg, (WIDTH_PX, 2 * PANEL_HEIGHT_PX + 14)).into_drawing_area();
    area.fill(&PAPER)?;
    let (above, below) = area.split_vertically(PANEL_HEIGHT_PX);
    panel(&above, facts, "Completions per second, by outcome", by_outcome(facts), false)?;
    panel(&below, facts, "Successful operations per second, by function", by_function(facts), true)?;
    area.present()
}

/// The length of a window in seconds: round, and long enough that a few operations are in most of them.
fn window(facts: &Facts<'_>) -> f64 {
    let duration = seconds_range(facts).end;
    let busy_windows = (facts.operations.len() as f64 / 10.0).clamp(10.0, WINDOWS);
    step(duration, busy_windows)
}

/// Completions per second of the operations that `wanted` picks, in every window of the run, empty ones included.
fn rate(facts: &Facts<'_>, wanted: impl Fn(&labrys_history::Operation) -> bool) -> Vec<(f64, f64)> {
    let window = window(facts);
    let duration = seconds_range(facts).end;
    let windows = (duration / window).round().max(1.0) as usize;
    let mut numbers: BTreeMap<usize, u64> = BTreeMap::new();
    for operation in facts.operations.iter().filter(|operation| wanted(operation)) {
        if let Some(time_ns) = operation.completion().time_ns() {
            *numbers.entry(((seconds(time_ns) / window) as usize).min(windows - 1)).or_default() += 1;
        }
    }
    // What the end of the run cuts off of a window counts with the one before it.
    let point = |number: usize| {
        let from = number as f64 * window;
        let to = if number + 1 == windows { duration } else { from + window };
        ((from + to) / 2.0, numbers.get(&number).copied().unwrap_or(0) as f64 / (to - from))
    };
    (0..windows).map(point).collect()
}

fn by_outcome(facts: &Facts<'_>) -> Vec<Line> {
    let dashes = [None, Some((7, 3)), Some((2, 3))];
    let totals = facts.outcomes();
    let line = |position: usize| Line {
        name: format!("{} ({})", OUTCOMES[position], count(totals[position])),
        colour: OUTCOME_COLOURS[position],
        dash: dashes[position],
        points: rate(facts, |operation| outcome(operation.completion()) == position),
    };
    (0..OUTCOMES.len()).map(line).collect()
}

fn by_function(facts: &Facts<'_>) -> Vec<Line> {
    let mut functions: Vec<_> = facts.functions.iter().collect();
    functions.sort_by_key(|(_, function)| std::cmp::Reverse(function.outcomes[0]));
    let line = |(position, (name, function)): (usize, (&String, &crate::facts::FunctionFacts))| Line {
        name: format!("{} ({})", shortened(&clean(name), 16), count(function.outcomes[0])),
        colour: LINES[position % LINES.len()],
        dash: None,
        points: rate(facts, |operation| *operation.f() == **name && outcome(operation.completion()) == 0),
    };
    functions.into_iter().take(FUNCTIONS_LIMIT).enumerate().map(line).collect()
}

fn panel<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    facts: &Facts<'_>,
    title: &'static str,
    lines: Vec<Line>,
    name_time: bool,
) -> Result<(), Error<'a>> {
    let highest = lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(1.0, f64::max) * 1.08;
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN_PX)
        .margin_top(MARGIN_PX + CAPTION_PX)
        .x_label_area_size(if name_time { 40 } else { 26 })
        .y_label_area_size(LABELS_PX)
        .build_cartesian_2d(seconds_range(facts), 0.0..highest)?;
    chart.draw_series(
        shades(facts).into_iter().map(|(from, to, colour)| {
            Rectangle::new([(from, 0.0), (to, highest)], colour.mix(0.13).filled())
        }),
    )?;
    mesh(&mut chart, name_time)?;
    caption(area, title)?;
    if name_time {
        legend_of_faults(area, facts, area.dim_in_pixel().1 as i32 - 14)?;
    }
    let legend_width = 130;
    let mut x = WIDTH_PX as i32 - legend_width * lines.len() as i32 - 10;
    for line in lines {
        let style = line.colour.stroke_width(2);
        match line.dash {
            None => chart.draw_series(LineSeries::new(line.points, style))?,
            Some((dash, gap)) => chart.draw_series(DashedLineSeries::new(line.points, dash, gap, style))?,
        };
        let (dash, gap) = line.dash.unwrap_or((20, 0));
        for from in (x..x + 20).step_by((dash + gap) as usize) {
            area.draw(&PathElement::new([(from, 19), ((from + dash).min(x + 20), 19)], style))?;
        }
        area.draw(&Text::new(line.name, (x + 24, 12), text(13)))?;
        x += legend_width;
    }
    Ok(())
}

fn mesh<'a>(
    chart: &mut ChartContext<'_, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
    name_time: bool,
) -> Result<(), Error<'a>> {
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(PAPER.mix(0.0))
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text(12))
        .x_label_formatter(&|seconds| format!("{}", (seconds * 1_000.0).round() / 1_000.0))
        .y_label_formatter(&|rate| count(*rate as u64))
        .x_labels(12)
        .y_labels(6);
    if name_time {
        mesh.x_desc("seconds since the start").axis_desc_style(text(12));
    }
    mesh.draw()
}

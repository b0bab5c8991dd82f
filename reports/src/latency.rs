//! Latency over time: every operation as a point by outcome, and below it the quantiles of what succeeded. Logarithmic,
//! with the faults shaded.
//!
//! Points are thinned, for each outcome, to one for every cell of a grid of pixels, the slowest operation of the cell standing for
//! all; the grid grows coarser until few enough are left. Outliers survive that by construction. O(n) for a grid.

use std::collections::BTreeMap;

use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;

use crate::facts::{Facts, OUTCOMES, histogram, outcome};
use crate::plots::{
    self, CAPTION_PX, Error, GRID, INK, LABELS_PX, LINES, MARGIN_PX, OUTCOME_COLOURS, PAPER, WIDTH_PX,
    caption, failed, legend_of_faults, seconds, seconds_range, shades, text,
};
use crate::report::ReportError;

const SCATTER_HEIGHT_PX: u32 = 330;
const QUANTILES_HEIGHT_PX: u32 = 230;
/// Points that a picture may have of each outcome, about 100 bytes each (a cross is two elements). Of the large signs
/// fewer, or they would hide the small ones.
const POINTS_LIMITS: [usize; 3] = [6_000, 1_000, 800];
/// Windows into which the run is cut for quantiles.
const WINDOWS: u64 = 60;
const QUANTILES: [(f64, &str); 4] = [(0.5, "median"), (0.95, "95 %"), (0.99, "99 %"), (1.0, "slowest")];

/// An operation that was completed: when it was invoked, how long it took, how it ended.
#[derive(Clone, Copy)]
struct Point {
    seconds: f64,
    milliseconds: f64,
    outcome: usize,
}

/// The picture.
pub(crate) fn svg(facts: &Facts<'_>) -> Result<String, ReportError> {
    let points = points(facts);
    let mut svg = String::new();
    draw(&mut svg, facts, &points).map_err(failed("latency"))?;
    let description = "every operation by outcome, quantiles of the successful ones below, faults shaded";
    Ok(plots::finished(&svg, "latency-plot", "Latency over time", description))
}

fn draw<'a>(svg: &'a mut String, facts: &Facts<'_>, points: &[Point]) -> Result<(), Error<'a>> {
    let area =
        SVGBackend::with_string(svg, (WIDTH_PX, SCATTER_HEIGHT_PX + QUANTILES_HEIGHT_PX)).into_drawing_area();
    area.fill(&PAPER)?;
    let (above, below) = area.split_vertically(SCATTER_HEIGHT_PX);
    let range = latency_range(points);
    scatter(&above, facts, points, range.clone())?;
    quantiles(&below, facts, range)?;
    area.present()
}

fn points(facts: &Facts<'_>) -> Vec<Point> {
    let completed = facts.operations.iter().filter_map(|operation| {
        let end_ns = operation.completion().time_ns()?;
        Some(Point {
            seconds: seconds(operation.invoke_time_ns()),
            milliseconds: (end_ns.saturating_sub(operation.invoke_time_ns()) as f64 / 1e6).max(0.001),
            outcome: outcome(operation.completion()),
        })
    });
    completed.collect()
}

/// A little more than the latencies, in milliseconds.
fn latency_range(points: &[Point]) -> std::ops::Range<f64> {
    let widen = |(low, high): (f64, f64), p: &Point| (low.min(p.milliseconds), high.max(p.milliseconds));
    let (low, high) = points.iter().fold((f64::INFINITY, 0.0_f64), widen);
    if points.is_empty() {
        return 0.1..100.0;
    }
    low * 0.7..(high * 1.5).max(low * 20.0)
}

/// The slowest point of each cell of a grid that is as fine as the limit of the outcome allows.
fn thinned(points: &[Point], outcome: usize, facts: &Facts<'_>, range: &std::ops::Range<f64>) -> Vec<Point> {
    let duration = seconds_range(facts).end;
    let height = (range.end / range.start).log10();
    let mut cell_px = 1.5;
    loop {
        let (columns, rows) = (f64::from(WIDTH_PX) / cell_px, f64::from(SCATTER_HEIGHT_PX) / cell_px);
        let mut cells: BTreeMap<(u32, u32), Point> = BTreeMap::new();
        for point in points.iter().filter(|point| point.outcome == outcome) {
            let x = (point.seconds / duration * columns) as u32;
            let y = ((point.milliseconds / range.start).log10() / height * rows) as u32;
            let kept = cells.entry((x, y)).or_insert(*point);
            if kept.milliseconds < point.milliseconds {
                *kept = *point;
            }
        }
        if cells.len() <= POINTS_LIMITS[outcome] {
            return cells.into_values().collect();
        }
        cell_px *= 1.2;
    }
}

/// `5 ms`, `100 µs`, `2 s`.
fn milliseconds_text(milliseconds: &f64) -> String {
    match *milliseconds {
        ms if ms >= 999.9 => format!("{} s", rounded(ms / 1_000.0)),
        ms if ms >= 0.999 => format!("{} ms", rounded(ms)),
        ms => format!("{} µs", rounded(ms * 1_000.0)),
    }
}

/// Without what binary fractions leave behind the third digit.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

fn scatter<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    facts: &Facts<'_>,
    points: &[Point],
    range: std::ops::Range<f64>,
) -> Result<(), Error<'a>> {
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN_PX)
        .margin_top(MARGIN_PX + CAPTION_PX)
        .x_label_area_size(26)
        .y_label_area_size(LABELS_PX)
        .build_cartesian_2d(seconds_range(facts), range.clone().log_scale())?;
    chart.draw_series(shades(facts).into_iter().map(|(from, to, colour)| {
        Rectangle::new([(from, range.start), (to, range.end)], colour.mix(0.13).filled())
    }))?;
    mesh(&mut chart, false)?;
    caption(area, "Latency of each operation")?;
    let of = |outcome: usize| {
        let points = thinned(points, outcome, facts, &range).into_iter();
        points.map(|point| (point.seconds, point.milliseconds))
    };
    let [ok, fail, info] = OUTCOME_COLOURS;
    chart.draw_series(of(1).map(|at| Cross::new(at, 2, fail.mix(0.8).stroke_width(1))))?;
    chart.draw_series(of(0).map(|at| Circle::new(at, 1, ok.mix(0.8).filled())))?;
    chart.draw_series(of(2).map(|at| TriangleMarker::new(at, 4, info.filled())))?;
    legend_of_outcomes(area, points)
}

/// A sign and a word per outcome, above the plot at its right; plotters' own legend would cover points.
fn legend_of_outcomes<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    points: &[Point],
) -> Result<(), Error<'a>> {
    let mut x = WIDTH_PX as i32 - 330;
    for (position, name) in OUTCOMES.iter().enumerate() {
        let number = points.iter().filter(|point| point.outcome == position).count();
        let colour = OUTCOME_COLOURS[position];
        match position {
            0 => area.draw(&Circle::new((x, 18), 3, colour.filled()))?,
            1 => area.draw(&Cross::new((x, 18), 4, colour.stroke_width(1)))?,
            _ => area.draw(&TriangleMarker::new((x, 18), 5, colour.filled()))?,
        }
        let words = format!("{name} ({})", crate::describe::count(number as u64));
        area.draw(&Text::new(words, (x + 9, 12), text(13)))?;
        x += 110;
    }
    Ok(())
}

/// Grid and labels; the time is named under the lower plot only.
fn mesh<'a, 'b>(
    chart: &mut ChartContext<
        'b,
        SVGBackend<'a>,
        Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::combinators::LogCoord<f64>>,
    >,
    name_time: bool,
) -> Result<(), Error<'a>> {
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(PAPER.mix(0.0))
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text(12))
        .x_label_formatter(&|seconds| format!("{}", rounded(*seconds)))
        .y_label_formatter(&milliseconds_text)
        .x_labels(12)
        .y_labels(6);
    if name_time {
        mesh.x_desc("seconds since the start").axis_desc_style(text(12));
    }
    mesh.draw()
}

/// The quantiles of the successful operations in windows of equal length, in milliseconds at the middle of each window.
fn series(facts: &Facts<'_>) -> [Vec<(f64, f64)>; QUANTILES.len()] {
    let window_ns = (facts.end_ns / WINDOWS).max(1);
    let mut windows: BTreeMap<u64, hdrhistogram::Histogram<u64>> = BTreeMap::new();
    for operation in facts.operations.iter().filter(|operation| outcome(operation.completion()) == 0) {
        let Some(end_ns) = operation.completion().time_ns() else { continue };
        let latency_us = end_ns.saturating_sub(operation.invoke_time_ns()) / 1_000;
        let window = windows.entry(operation.invoke_time_ns() / window_ns).or_insert_with(histogram);
        window.saturating_record(latency_us.max(1));
    }
    let middle = |number: u64| seconds(number * window_ns + window_ns / 2).min(seconds(facts.end_ns));
    QUANTILES.map(|(quantile, _)| {
        let value = |window: &hdrhistogram::Histogram<u64>| window.value_at_quantile(quantile) as f64 / 1e3;
        windows.iter().map(|(number, window)| (middle(*number), value(window))).collect()
    })
}

fn quantiles<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    facts: &Facts<'_>,
    range: std::ops::Range<f64>,
) -> Result<(), Error<'a>> {
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN_PX)
        .margin_top(MARGIN_PX + CAPTION_PX)
        .x_label_area_size(40)
        .y_label_area_size(LABELS_PX)
        .build_cartesian_2d(seconds_range(facts), range.clone().log_scale())?;
    chart.draw_series(shades(facts).into_iter().map(|(from, to, colour)| {
        Rectangle::new([(from, range.start), (to, range.end)], colour.mix(0.13).filled())
    }))?;
    mesh(&mut chart, true)?;
    caption(area, "Quantiles of the latency of successful operations")?;
    legend_of_faults(area, facts, QUANTILES_HEIGHT_PX as i32 - 14)?;
    let mut x = WIDTH_PX as i32 - 400;
    for (position, line) in series(facts).into_iter().enumerate() {
        let style = LINES[position].stroke_width(2);
        // One window alone would be a line without length.
        chart.draw_series(line.iter().map(|&at| Circle::new(at, 2, LINES[position].filled())))?;
        chart.draw_series(LineSeries::new(line, style))?;
        area.draw(&PathElement::new([(x, 19), (x + 18, 19)], style))?;
        area.draw(&Text::new(QUANTILES[position].1, (x + 24, 12), text(13)))?;
        x += 96;
    }
    Ok(())
}

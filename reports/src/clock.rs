//! How far the nodes' clocks were from the machine's over time, one line a node, with the faults shaded. O(n).
//!
//! There is such a picture only where the observer saw clocks: in runs with faults of clocks.

use plotters::prelude::*;

use crate::describe::{clean, shortened};
use crate::facts::Facts;
use crate::plots::{
    self, CAPTION_PX, Error, GRID, INK, LABELS_PX, LINES, MARGIN_PX, PAPER, WIDTH_PX, caption, failed,
    legend_of_faults, seconds, seconds_range, shades, text,
};
use crate::report::ReportError;

const HEIGHT_PX: u32 = 280;
/// Nodes that get a colour of their own; the rest share them.
const NAMED_LIMIT: usize = 8;

/// The picture, if there is anything to draw.
pub(crate) fn svg(facts: &Facts<'_>) -> Result<Option<String>, ReportError> {
    if facts.clocks.is_empty() {
        return Ok(None);
    }
    let mut svg = String::new();
    draw(&mut svg, facts).map_err(failed("clock"))?;
    let description = "one line a node, in seconds ahead of the machine's clock, faults shaded";
    Ok(Some(plots::finished(&svg, "clock-plot", "Offsets of the nodes' clocks over time", description)))
}

fn draw<'a>(svg: &'a mut String, facts: &Facts<'_>) -> Result<(), Error<'a>> {
    let area = SVGBackend::with_string(svg, (WIDTH_PX, HEIGHT_PX + 14)).into_drawing_area();
    area.fill(&PAPER)?;
    let offsets = || facts.clocks.values().flatten().map(|(_, offset_us)| *offset_us as f64 / 1e6);
    let lowest = offsets().fold(0.0, f64::min);
    let highest = offsets().fold(0.0, f64::max);
    let room = ((highest - lowest) * 0.06).max(0.001);
    let range = (lowest - room)..(highest + room);
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN_PX)
        .margin_top(MARGIN_PX + CAPTION_PX)
        .margin_bottom(MARGIN_PX + 14)
        .x_label_area_size(40)
        .y_label_area_size(LABELS_PX)
        .build_cartesian_2d(seconds_range(facts), range.clone())?;
    chart.draw_series(shades(facts).into_iter().map(|(from, to, colour)| {
        Rectangle::new([(from, range.start), (to, range.end)], colour.mix(0.13).filled())
    }))?;
    chart
        .configure_mesh()
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(text(12))
        .x_desc("seconds since the beginning")
        .y_label_formatter(&|offset| format!("{offset:+.3} s"))
        .draw()?;
    caption(&area, "Nodes' clocks, ahead of the machine's")?;
    legend_of_faults(&area, facts, area.dim_in_pixel().1 as i32 - 14)?;
    let mut x = WIDTH_PX as i32 - 70 * facts.clocks.len().min(NAMED_LIMIT) as i32 - 10;
    for (position, (node, offsets)) in facts.clocks.iter().enumerate() {
        let colour = LINES[position % LINES.len()];
        let points = offsets.iter().map(|(time_ns, offset_us)| (seconds(*time_ns), *offset_us as f64 / 1e6));
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        if position < NAMED_LIMIT {
            area.draw(&PathElement::new([(x, 16), (x + 18, 16)], colour.stroke_width(2)))?;
            area.draw(&Text::new(shortened(&clean(node), 6), (x + 22, 10), text(12).color(&INK)))?;
            x += 70;
        }
    }
    area.present()
}

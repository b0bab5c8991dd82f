//! What the plots of latency and rate share: colours that follow the reader's light or dark preference, the time
//! axis with faults shaded under it, and the wrapping of what plotters draws.
//!
//! Plotters writes colours as presentation attributes. A style sheet outranks those, so that one rule per colour of the
//! palette turns a light plot dark where the reader prefers that, standing alone or inside the page.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::RGBColor;

use crate::describe::{clean, shortened};
use crate::facts::Facts;
use crate::report::ReportError;

/// Width of a plot in pixels.
pub(crate) const WIDTH_PX: u32 = 1100;
/// Around a panel.
pub(crate) const MARGIN_PX: i32 = 8;
/// Width of the labels at the left of a panel.
pub(crate) const LABELS_PX: i32 = 64;
/// Height of the line above the axes, for the caption and the legend.
pub(crate) const CAPTION_PX: i32 = 24;

pub(crate) const PAPER: RGBColor = RGBColor(255, 255, 255);
pub(crate) const INK: RGBColor = RGBColor(31, 35, 40);
pub(crate) const GRID: RGBColor = RGBColor(228, 231, 235);
pub(crate) const OK: RGBColor = RGBColor(47, 129, 214);
pub(crate) const FAIL: RGBColor = RGBColor(201, 69, 138);
pub(crate) const INFO: RGBColor = RGBColor(201, 124, 8);
/// Lines that are no outcome: quantiles and functions.
pub(crate) const LINES: [RGBColor; 6] = [
    RGBColor(38, 139, 106),
    RGBColor(94, 84, 199),
    RGBColor(186, 104, 34),
    RGBColor(176, 48, 82),
    RGBColor(33, 118, 174),
    RGBColor(110, 110, 30),
];
/// Shades of faults, by kind.
pub(crate) const SHADES: [RGBColor; 5] = [
    RGBColor(226, 88, 75),
    RGBColor(134, 112, 208),
    RGBColor(88, 98, 112),
    RGBColor(60, 150, 150),
    RGBColor(176, 140, 20),
];

/// Light and dark form of the colours whose light form would not be seen on dark paper.
const DARK: [(RGBColor, &str); 12] = [
    (PAPER, "#0f1318"),
    (INK, "#d7dde4"),
    (GRID, "#262d36"),
    (OK, "#5aa9f0"),
    (FAIL, "#ee84bd"),
    (INFO, "#eba63c"),
    (LINES[0], "#4cc79c"),
    (LINES[1], "#a79ff5"),
    (LINES[2], "#e79a60"),
    (LINES[3], "#f07a9c"),
    (LINES[4], "#63b3e6"),
    (LINES[5], "#c9c95a"),
];

/// The colours of outcomes in the order of [`crate::facts::OUTCOMES`].
pub(crate) const OUTCOME_COLOURS: [RGBColor; 3] = [OK, FAIL, INFO];

/// `#rrggbb`.
pub(crate) fn hex(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

/// Turns what plotters wrote into a picture that names itself and has a dark form.
pub(crate) fn finished(svg: &str, class: &str, title: &str, description: &str) -> String {
    let mut style = String::from("@media (prefers-color-scheme:dark){");
    for (light, dark) in DARK {
        let light = hex(light);
        style.push_str(&format!(
            ".{class} [fill=\"{light}\"]{{fill:{dark}}}.{class} [stroke=\"{light}\"]{{stroke:{dark}}}"
        ));
    }
    style.push('}');
    let head = format!("<svg class=\"{class}\" role=\"img\" aria-label=\"{title}: {description}\" ");
    let body = svg.replacen("<svg ", &head, 1);
    let end_of_tag = body.find('>').map_or(0, |position| position + 1);
    let (opening, rest) = body.split_at(end_of_tag);
    format!("{opening}<title>{title}</title><style>{style}</style>{rest}")
}

/// Any error of plotters as one of ours.
pub(crate) fn failed<E: std::fmt::Display>(plot: &'static str) -> impl Fn(E) -> ReportError {
    move |error| ReportError::Plot { plot, detail: error.to_string() }
}

/// The range of the time axis, in seconds.
pub(crate) fn seconds_range(facts: &Facts<'_>) -> std::ops::Range<f64> {
    0.0..seconds(facts.end_ns).max(0.001)
}

pub(crate) fn seconds(time_ns: u64) -> f64 {
    time_ns as f64 / 1e9
}

/// The intervals of the faults with their colours, in seconds.
pub(crate) fn shades(facts: &Facts<'_>) -> Vec<(f64, f64, RGBColor)> {
    let kinds = facts.fault_kinds();
    let shade = |fault: &crate::faults::Fault| {
        let kind = kinds.binary_search(&fault.kind.as_str()).unwrap_or(0);
        (seconds(fault.apply_ns), seconds(fault.end_ns(facts.end_ns)), SHADES[kind % SHADES.len()])
    };
    facts.faults.iter().map(shade).collect()
}

/// Text of a plot. Plotters takes the height of a font's whole line for its size; SVG takes its em.
pub(crate) fn text(size_px: u32) -> TextStyle<'static> {
    ("sans-serif", f64::from(size_px) * 1.24).into_font().color(&INK)
}

/// What draws on an area can fail with.
pub(crate) type Error<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// The title of a panel, at its left above the axes.
pub(crate) fn caption<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    words: &'static str,
) -> Result<(), Error<'a>> {
    area.draw(&Text::new(words, (MARGIN_PX + LABELS_PX, 9), text(14)))
}

/// A square and a name per kind of fault, at the left under the axes.
pub(crate) fn legend_of_faults<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    facts: &Facts<'_>,
    y: i32,
) -> Result<(), Error<'a>> {
    let mut x = MARGIN_PX + LABELS_PX;
    for (position, kind) in facts.fault_kinds().into_iter().take(SHADES.len()).enumerate() {
        let colour = SHADES[position].mix(0.35).filled();
        area.draw(&Rectangle::new([(x, y - 5), (x + 16, y + 6)], colour))?;
        let words = shortened(&clean(kind), 14);
        let width = 34 + 7 * words.chars().count() as i32;
        area.draw(&Text::new(words, (x + 22, y - 6), text(12)))?;
        x += width;
    }
    Ok(())
}

/// A small number of evenly spaced steps: 1, 2 or 5 times a power of ten, so that about `wanted` fit into `length`.
pub(crate) fn step(length: f64, wanted: f64) -> f64 {
    let raw = (length / wanted).max(1e-9);
    let power = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= raw).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_cover_the_length() {
        assert!((step(30.0, 10.0) - 5.0).abs() < 1e-9);
        assert!((step(0.004, 8.0) - 0.0005).abs() < 1e-9);
        assert!(step(0.0, 8.0) > 0.0);
    }
}

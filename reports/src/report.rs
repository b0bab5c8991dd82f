//! The report of a run as files: `index.html`, `timeline.svg`, `latency.svg`, `rate.svg`; and, where clocks were observed, `clock.svg`.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::facts::Facts;
use crate::{Inputs, clock, latency, page, picture, rate};

/// Why a report could not be written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A file or the folder could not be written.
    #[error("the report could not be written to {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The drawing library refused. A bug of ours.
    #[error("the {plot} plot could not be drawn: {detail}")]
    Plot {
        /// Which one.
        plot: &'static str,
        /// What the library said.
        detail: String,
    },
}

/// Where the parts of a report are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The page, with everything in it.
    pub index_html: PathBuf,
    /// The violation, or the beginning of the run, as a picture.
    pub timeline_svg: PathBuf,
    /// Latencies over time.
    pub latency_svg: PathBuf,
    /// Operations per second over time.
    pub rate_svg: PathBuf,
    /// The nodes' clocks over time, if they were observed.
    pub clock_svg: PathBuf,
}

impl Paths {
    /// The paths of a report in `directory`.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Paths {
        Paths {
            index_html: directory.join("index.html"),
            timeline_svg: directory.join("timeline.svg"),
            latency_svg: directory.join("latency.svg"),
            rate_svg: directory.join("rate.svg"),
            clock_svg: directory.join("clock.svg"),
        }
    }
}

/// A report, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The page, with everything in it.
    pub index_html: String,
    /// The violation, or the beginning of the run, as a picture.
    pub timeline_svg: String,
    /// Latencies over time.
    pub latency_svg: String,
    /// Operations per second over time.
    pub rate_svg: String,
    /// The nodes' clocks over time, if they were observed.
    pub clock_svg: Option<String>,
}

/// Draws a report.
pub fn render(inputs: &Inputs<'_>) -> Result<Rendered, ReportError> {
    let facts = Facts::of(*inputs);
    let timeline_svg = picture::svg(&facts);
    let latency_svg = latency::svg(&facts)?;
    let rate_svg = rate::svg(&facts)?;
    let clock_svg = clock::svg(&facts)?;
    let index_html = page::html(&facts, &timeline_svg, &latency_svg, &rate_svg, clock_svg.as_deref());
    Ok(Rendered { index_html, timeline_svg, latency_svg, rate_svg, clock_svg })
}

/// Draws a report and writes it into `directory`, which is made if it is missing; files of an earlier report are replaced.
pub fn write(directory: &Path, inputs: &Inputs<'_>) -> Result<Paths, ReportError> {
    let rendered = render(inputs)?;
    let paths = Paths::in_directory(directory);
    let failed = |path: &Path, source| ReportError::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
    let files = [
        (&paths.index_html, &rendered.index_html),
        (&paths.timeline_svg, &rendered.timeline_svg),
        (&paths.latency_svg, &rendered.latency_svg),
        (&paths.rate_svg, &rendered.rate_svg),
    ];
    for (path, content) in files {
        std::fs::write(path, content).map_err(|source| failed(path, source))?;
    }
    match &rendered.clock_svg {
        Some(svg) => {
            std::fs::write(&paths.clock_svg, svg).map_err(|source| failed(&paths.clock_svg, source))?
        }
        // Of an earlier report.
        None => match std::fs::remove_file(&paths.clock_svg) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&paths.clock_svg, source));
            }
            _ => {}
        },
    }
    Ok(paths)
}

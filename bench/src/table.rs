//! The table: printed row by row, and kept for a page.

use indicatif::ProgressBar;
use labrys_checker::verdict::Validity;

use crate::against::Run;
use crate::measure::Measurement;
use crate::rows::{Axis, Bound, Row, Series};

pub(crate) struct Table {
    /// Stands aside while a line is printed.
    bar: ProgressBar,
    /// Standard output is for JSON.
    to_stderr: bool,
    commands: usize,
    text: String,
}

/// The processor, its cores, the kernel, and what else the machine does.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    format!(
        "{}, {cores} cores, Linux {}, load {}",
        model.map_or("a processor without a name", |(_, name)| name),
        read("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}

impl Table {
    pub fn new(bar: ProgressBar, to_stderr: bool) -> Table {
        Table { bar, to_stderr, commands: 0, text: String::new() }
    }

    /// What all of it was made with.
    pub fn begin(&mut self, machine: &str, seed: u64, commands: &[String]) {
        self.commands = commands.len();
        let version = env!("CARGO_PKG_VERSION");
        let build = if cfg!(debug_assertions) { ", A DEBUG BUILD" } else { "" };
        self.line(&format!("labrys {version}{build}, seed {seed}; {machine}"));
        for (number, command) in commands.iter().enumerate() {
            self.line(&format!("[{number}] {command}"));
        }
    }

    pub fn begin_series(&mut self, series: &Series) {
        self.line("");
        let first = series.rows.first();
        let verdict = first.map_or(String::new(), |row| match row.stale_at_per_cent {
            Some(per_cent) => format!("wrong at {per_cent}%"),
            None => "valid".to_owned(),
        });
        let along = match series.along {
            Axis::Operations => "by length",
            Axis::Clients => "by clients",
            Axis::Crashed => "by crashed writes",
        };
        self.line(&format!("{}, {verdict}, {along}", first.map_or("", |row| row.kind.name())));
        let against = (0..self.commands).map(against_heading).collect::<String>();
        self.line(&format!("{}{:>7}{against}", heading(), "slope"));
    }

    pub fn begin_targets(&mut self) {
        self.line("");
        self.line("promised");
        self.line(&format!("{}  {:<34} met", heading(), "bound"));
    }

    pub fn series_row(&mut self, measurement: &Measurement, slope: Option<f64>) {
        let slope = slope.map_or("-".to_owned(), |slope| format!("{slope:.2}"));
        let against: String =
            measurement.against.iter().enumerate().map(|(number, run)| against(number, run)).collect();
        self.line(&format!("{}{slope:>7}{against}{}", columns(measurement), note(measurement)));
    }

    pub fn target_row(&mut self, measurement: &Measurement, bound: &Bound, met: Option<bool>) {
        let met = match met {
            Some(true) => "met",
            Some(false) => "NOT met",
            None => "-",
        };
        self.line(&format!("{}  {:<34} {met}{}", columns(measurement), bound.to_string(), note(measurement)));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
        let line = line.trim_end();
        self.bar.suspend(|| if self.to_stderr { eprintln!("{line}") } else { println!("{line}") });
    }

    /// All that was printed.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

fn heading() -> String {
    format!(
        "{:<12}{:>8} {:>7} {:>7} {:>6}  {:<22} {:<8}{:>11}{:>11}{:>9}{:>8}{:>10}",
        "kind",
        "ops",
        "clients",
        "crashed",
        "stale",
        "algorithm",
        "verdict",
        "ms",
        "cpu ms",
        "peak MB",
        "own MB",
        "ns/op"
    )
}

fn columns(measurement: &Measurement) -> String {
    let Row { kind, operations, clients, crashed_per_mille, stale_at_per_cent } = measurement.row;
    let crashed = format!("{:.1}%", f64::from(crashed_per_mille) / 10.0);
    let stale = stale_at_per_cent.map_or("-".to_owned(), |per_cent| format!("{per_cent}%"));
    let verdict = measurement.validity.map_or("-", word);
    let mut line = format!("{:<12}{operations:>8} {clients:>7} {crashed:>7} {stale:>6}  ", kind.name());
    line.push_str(&match &measurement.checked {
        Some(checked) => format!(
            "{:<22} {verdict:<8}{:>11}{:>11}{:>9.0}{:>8.1}{:>10.0}",
            checked.algorithm,
            milliseconds(checked.milliseconds),
            milliseconds(checked.cpu_milliseconds),
            checked.peak_bytes as f64 / 1e6,
            checked.own_bytes() as f64 / 1e6,
            checked.milliseconds * 1e6 / operations.max(1) as f64,
        ),
        None => format!("{:<22} {verdict:<8}{:>11}{:>11}{:>9}{:>8}{:>10}", "-", "-", "-", "-", "-", "-"),
    });
    line
}

fn note(measurement: &Measurement) -> String {
    let wrong = if measurement.is_wrong() { "  WRONG VERDICT, please report it" } else { "" };
    let separator = if measurement.note.is_empty() { "" } else { "  " };
    format!("{wrong}{separator}{}", measurement.note)
}

fn against_heading(number: usize) -> String {
    let title = format!("[{number}]");
    if number == 0 {
        format!("  | {title:<8}{:>10}{:>7}", "ms", "MB")
    } else {
        format!("  | {title:<8}{:>10}{:>7}{:>9}", "ms", "MB", "ratio")
    }
}

fn against(number: usize, run: &Run) -> String {
    let verdict = run.validity.map_or(run.note.as_str(), |validity| word(validity));
    let time = run.milliseconds.map_or("-".to_owned(), milliseconds);
    let memory = run.peak_bytes.map_or("-".to_owned(), |bytes| format!("{:.0}", bytes as f64 / 1e6));
    let ratio = match run.ratio {
        _ if number == 0 => String::new(),
        Some(ratio) => format!("{:>9}", format!("×{ratio:.1}")),
        None => format!("{:>9}", "-"),
    };
    format!("  | {verdict:<8}{time:>10}{memory:>7}{ratio}")
}

fn word(validity: Validity) -> &'static str {
    match validity {
        Validity::Valid => "valid",
        Validity::Invalid => "invalid",
        Validity::Unknown => "UNKNOWN",
    }
}

fn milliseconds(milliseconds: f64) -> String {
    if milliseconds < 10.0 { format!("{milliseconds:.3}") } else { format!("{milliseconds:.1}") }
}

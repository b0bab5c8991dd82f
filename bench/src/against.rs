//! Other checkers on the same histories, as files: time, memory and verdict by exit code.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use labrys_checker::verdict::Validity;
use labrys_history::Format;
use serde::Serialize;
use tempfile::TempDir;

use crate::jobs;
use crate::row_process::{Job, Reply};
use crate::rows::Row;

/// The commands; the first is our own.
pub(crate) struct Rivals {
    commands: Vec<String>,
    format: Format,
    /// The files are here, one at a time.
    folder: TempDir,
    time_limit: Duration,
    memory_limit_bytes: usize,
}

/// What a command did with a history.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    /// Nothing if it said none of the three, or was not run.
    pub validity: Option<Validity>,
    /// Why there is no verdict.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    pub milliseconds: Option<f64>,
    /// The most memory of any one process of it.
    pub peak_bytes: Option<u64>,
    /// How many times as long as `labrys check` on the same file.
    pub ratio: Option<f64>,
}

impl Run {
    fn without_verdict(note: impl Into<String>) -> Run {
        Run { validity: None, note: note.into(), milliseconds: None, peak_bytes: None, ratio: None }
    }

    /// Whether there is no use in a larger history.
    pub fn gave_up(&self) -> bool {
        !matches!(self.validity, Some(Validity::Valid | Validity::Invalid))
    }
}

impl Rivals {
    pub fn new(
        commands: &[String],
        format: Format,
        time_limit: Duration,
        memory_limit_bytes: usize,
    ) -> anyhow::Result<Rivals> {
        let program = std::env::current_exe().context("finding this program")?;
        let time_limit_ms = time_limit.as_millis();
        let own = format!(
            "{} check {{}} --model {{model}} --format {format} --time-limit {time_limit_ms}ms",
            quoted(&program)
        );
        Ok(Rivals {
            commands: std::iter::once(own).chain(commands.iter().cloned()).collect(),
            format,
            folder: TempDir::new().context("a folder for histories")?,
            time_limit,
            memory_limit_bytes,
        })
    }

    pub fn commands(&self) -> &[String] {
        &self.commands
    }

    /// Runs all commands on the history of `row`, but not those that are `exhausted`.
    ///
    /// # Errors
    /// The file cannot be written, a process not started, or the user has had enough.
    pub fn run(
        &self,
        row: &Row,
        seed: u64,
        exhausted: &[bool],
        interrupted: &AtomicBool,
    ) -> anyhow::Result<Vec<Run>> {
        let file = self.write(row, seed, interrupted)?;
        let mut runs: Vec<Run> = Vec::with_capacity(self.commands.len());
        for (command, &is_exhausted) in self.commands.iter().zip(exhausted) {
            let mut run = if is_exhausted {
                Run::without_verdict("skipped")
            } else {
                let command = command.replace("{model}", row.kind.model()).replace("{}", &quoted(&file));
                self.run_one(command, interrupted)?
            };
            let own_ms = runs.first().and_then(|own| own.milliseconds);
            run.ratio = own_ms.zip(run.milliseconds).map(|(own_ms, ms)| ms / own_ms);
            runs.push(run);
        }
        std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
        Ok(runs)
    }

    fn write(&self, row: &Row, seed: u64, interrupted: &AtomicBool) -> anyhow::Result<PathBuf> {
        let file = self.folder.path().join(format!("history.{}", self.format));
        let job = Job::Write { row: *row, seed, format: self.format.name().to_owned(), file: file.clone() };
        match jobs::carry_out(&job, Duration::MAX, interrupted)? {
            Ok(Reply::Written) => Ok(file),
            Ok(Reply::Failed(reason)) => anyhow::bail!("writing the history {row}: {reason}"),
            Ok(other) => anyhow::bail!("writing the history {row}: {other:?}"),
            Err(ended) => anyhow::bail!("writing the history {row}: {}", ended.in_words()),
        }
    }

    fn run_one(&self, command: String, interrupted: &AtomicBool) -> anyhow::Result<Run> {
        let job = Job::Run { command, memory_limit_bytes: self.memory_limit_bytes };
        Ok(match jobs::carry_out(&job, self.time_limit, interrupted)? {
            Ok(Reply::Ran { exit_code, milliseconds, peak_bytes }) => {
                let (validity, note) = match exit_code {
                    Some(0) => (Some(Validity::Valid), String::new()),
                    Some(1) => (Some(Validity::Invalid), String::new()),
                    Some(2) => (Some(Validity::Unknown), String::new()),
                    Some(code) => (None, format!("exit {code}")),
                    None => (None, "killed".to_owned()),
                };
                Run {
                    validity,
                    note,
                    milliseconds: Some(milliseconds),
                    peak_bytes: Some(peak_bytes),
                    ratio: None,
                }
            }
            Ok(Reply::Failed(reason)) => Run::without_verdict(reason),
            Ok(other) => Run::without_verdict(format!("{other:?}")),
            Err(jobs::Ended::TooLong(limit)) => Run::without_verdict(format!("> {limit:?}")),
            Err(ended) => Run::without_verdict(ended.in_words()),
        })
    }
}

/// As one word for the shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_the_shell() {
        assert_eq!(quoted(Path::new("/tmp/a-b.c_d")), "/tmp/a-b.c_d");
        assert_eq!(quoted(Path::new("/tmp/it's here")), r"'/tmp/it'\''s here'");
    }
}

//! [`RunDirectory`]: where a run keeps its files.
//!
//! `OUT/NAME/YYYYMMDDTHHMMSSZ-SEED/`, and `OUT/latest` points to the newest. Files that are written once are written beside
//! their place and moved there, so that a reader never sees half of one. What is in it is listed in `ARCHITECTURE.md`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use labrys_checker::verdict::Verdict;
use labrys_seed::Seed;
use thiserror::Error;

use crate::config::{ConfigError, TestConfig, TestOptions};

/// A run directory could not be used.
#[derive(Debug, Error)]
pub enum RunDirectoryError {
    /// A file or folder of it could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder is no run directory.
    #[error("{path} is no run directory: it has no test.toml; {GIVE_ONE}")]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// It is not there, or cannot be looked into.
    #[error("{path}: {source}; {GIVE_ONE}")]
    NotThere {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its configuration is broken.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its verdict is broken.
    #[error("{path}: {source}")]
    Verdict {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
}

const GIVE_ONE: &str = "give the folder of a run, which it names when it ends: labrys-runs/latest is the last one that was begun from here";

/// A run directory. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDirectory {
    path: PathBuf,
}

/// So many runs of a seed may begin in the same second.
const MOST_ALIKE: u32 = 1_000;

impl RunDirectory {
    /// Makes a new one under `out` and lets `out/latest` point to it. Two runs that start in the same second get two.
    ///
    /// # Errors
    /// If a folder cannot be made.
    pub fn create(
        out: &Path,
        name: &str,
        started: SystemTime,
        seed: Seed,
    ) -> Result<RunDirectory, RunDirectoryError> {
        let parent = out.join(name);
        std::fs::create_dir_all(&parent).map_err(|source| failed(&parent, source))?;
        // `latest` and what the nemesis is told must not depend on who reads them from where.
        let out = std::fs::canonicalize(out).map_err(|source| failed(out, source))?;
        let stem = format!("{}-{seed}", compact_utc(started));
        for number in 1..=MOST_ALIKE {
            let folder = if number == 1 { stem.clone() } else { format!("{stem}-{number}") };
            let path = out.join(name).join(&folder);
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    let directory = RunDirectory { path };
                    point_to(&out, &Path::new(name).join(folder))?;
                    return Ok(directory);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => return Err(failed(&path, source)),
            }
        }
        Err(failed(&out.join(name).join(stem), ErrorKind::AlreadyExists.into()))
    }

    /// An existing one.
    ///
    /// # Errors
    /// If it is none.
    pub fn open(path: &Path) -> Result<RunDirectory, RunDirectoryError> {
        let not_there = |source| RunDirectoryError::NotThere { path: path.to_owned(), source };
        let directory = RunDirectory { path: std::fs::canonicalize(path).map_err(not_there)? };
        if !directory.config().is_file() {
            return Err(RunDirectoryError::NoRun { path: path.to_owned() });
        }
        Ok(directory)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `test.toml`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("test.toml")
    }

    /// `history.jsonl`.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.path.join("history.jsonl")
    }

    /// `schedule.jsonl`: the faults as injected.
    #[must_use]
    pub fn schedule(&self) -> PathBuf {
        self.path.join("schedule.jsonl")
    }

    /// `schedule.toml`: the file that was replayed, if the run is one of `labrys sim --schedule`, which `test.toml` tells only a part of.
    #[must_use]
    pub fn replayed(&self) -> PathBuf {
        self.path.join("schedule.toml")
    }

    /// `messages.svg`: of a simulated run that failed, what passed before the violation.
    #[must_use]
    pub fn messages(&self) -> PathBuf {
        self.path.join("messages.svg")
    }

    /// `nemesis-journal.jsonl`: what may be applied.
    #[must_use]
    pub fn nemesis_journal(&self) -> PathBuf {
        self.path.join("nemesis-journal.jsonl")
    }

    /// `nemesis.json`: what the nemesis process was told.
    #[must_use]
    pub fn nemesis_setup(&self) -> PathBuf {
        self.path.join("nemesis.json")
    }

    /// `nemesis.log`.
    #[must_use]
    pub fn nemesis_log(&self) -> PathBuf {
        self.path.join("nemesis.log")
    }

    /// `labrys.log`: the harness's own.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("labrys.log")
    }

    /// `verdict.json`.
    #[must_use]
    pub fn verdict(&self) -> PathBuf {
        self.path.join("verdict.json")
    }

    /// `report/`.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.path.join("report")
    }

    /// `nodes/`: a folder for each node.
    #[must_use]
    pub fn nodes(&self) -> PathBuf {
        self.path.join("nodes")
    }

    /// When the run began, as its name tells: `2026-11-21T03:33:56Z`; empty for a folder that was renamed.
    #[must_use]
    pub fn started(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stamp = name.split('-').next().unwrap_or_default();
        let Some((date, time)) = stamp.strip_suffix('Z').and_then(|stamp| stamp.split_once('T')) else {
            return String::new();
        };
        if date.len() != 8
            || time.len() != 6
            || !(date.to_owned() + time).bytes().all(|byte| byte.is_ascii_digit())
        {
            return String::new();
        }
        let (d, t) = (date, time);
        format!("{}-{}-{}T{}:{}:{}Z", &d[..4], &d[4..6], &d[6..], &t[..2], &t[2..4], &t[4..])
    }

    /// Writes `test.toml`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_config(&self, config: &TestConfig) -> Result<(), RunDirectoryError> {
        write_whole(&self.config(), config.to_toml().as_bytes())
    }

    /// Reads `test.toml`.
    ///
    /// # Errors
    /// If it is not there or broken.
    pub fn read_config(&self) -> Result<TestConfig, RunDirectoryError> {
        Ok(TestOptions::read(&self.config())?.resolve(Seed(0))?)
    }

    /// Writes `verdict.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_verdict(&self, verdict: &Verdict) -> Result<(), RunDirectoryError> {
        let broken = |source| RunDirectoryError::Verdict { path: self.verdict(), source };
        let mut text = serde_json::to_vec_pretty(verdict).map_err(broken)?;
        text.push(b'\n');
        write_whole(&self.verdict(), &text)
    }

    /// Reads `verdict.json`.
    ///
    /// # Errors
    /// If it is not there (the run was killed before it was judged) or broken.
    pub fn read_verdict(&self) -> Result<Verdict, RunDirectoryError> {
        let path = self.verdict();
        let text = std::fs::read(&path).map_err(|source| failed(&path, source))?;
        serde_json::from_slice(&text).map_err(|source| RunDirectoryError::Verdict { path, source })
    }
}

fn failed(path: &Path, source: std::io::Error) -> RunDirectoryError {
    RunDirectoryError::File { path: path.to_owned(), source }
}

/// Writes a file that is there as a whole or not at all.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), RunDirectoryError> {
    let beside = path.with_extension("part");
    let written = std::fs::write(&beside, content).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|source| failed(path, source))
}

/// Lets `out/latest` point to `target`, which is relative to `out`; a link is replaced in one step, for two runs may end up
/// here at the same time.
fn point_to(out: &Path, target: &Path) -> Result<(), RunDirectoryError> {
    let link = out.join("latest");
    let beside = out.join(format!(".latest-{}", target.to_string_lossy().replace('/', "-")));
    let pointed = std::os::unix::fs::symlink(target, &beside).and_then(|()| std::fs::rename(&beside, &link));
    pointed.map_err(|source| failed(&link, source))
}

/// `20261121T033356Z`.
fn compact_utc(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use labrys_checker::verdict::Validity;

    use super::*;

    fn moment() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_795_232_036)
    }

    #[test]
    fn two_runs_of_a_seed_in_one_second_get_two_folders_and_latest_points_to_the_later_one() {
        let out = tempfile::tempdir().expect("a folder");
        let first = RunDirectory::create(out.path(), "register", moment(), Seed(7)).expect("the first");
        let second = RunDirectory::create(out.path(), "register", moment(), Seed(7)).expect("the second");
        assert_ne!(first, second);
        assert!(first.path().ends_with("register/20261121T033356Z-7"), "{first:?}");
        assert_eq!(first.started(), "2026-11-21T03:33:56Z");
        let latest = std::fs::canonicalize(out.path().join("latest")).expect("a link");
        assert_eq!(latest, second.path());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let out = tempfile::tempdir().expect("a folder");
        let directory = RunDirectory::create(out.path(), "x", moment(), Seed(1)).expect("made");
        let config = TestOptions::default().resolve(Seed(5)).expect("valid");
        directory.write_config(&config).expect("written");
        directory.write_verdict(&Verdict::of(Vec::new())).expect("written");
        let again = RunDirectory::open(directory.path()).expect("a run directory");
        assert_eq!(again.read_config().expect("read"), config);
        assert_eq!(again.read_verdict().expect("read").validity, Validity::Unknown);
    }

    #[test]
    fn a_folder_that_is_no_run_directory_is_named_and_so_is_what_to_give_instead() {
        let out = tempfile::tempdir().expect("a folder");
        for (path, what) in [(out.path().to_owned(), "test.toml"), (out.path().join("nowhere"), "nowhere")] {
            let error = RunDirectory::open(&path).expect_err("no run").to_string();
            assert!(error.contains(what) && error.contains("labrys-runs/latest"), "{error}");
        }
    }
}

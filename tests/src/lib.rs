//! What the end-to-end tests share: the built binaries, running them to their end, and looking at what is left on the machine.
//!
//! The tests themselves are in `tests/tests/`, one file per promise to the user. They run the real binaries on the real
//! testbed; what a unit test could say is not here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The path of a built binary: in `$LABRYS_BINARIES` (what `cargo xtask test` sets), else in the target folder, optimised
/// before unoptimised.
///
/// # Panics
/// If it is not there: an end-to-end test without the binaries would test nothing.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let from_environment = std::env::var_os("LABRYS_BINARIES").map(PathBuf::from);
    let target = target_folder();
    let folders = from_environment.into_iter().chain([target.join("release"), target.join("debug")]);
    let mut candidates = folders.map(|folder| folder.join(name));
    candidates.find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("no `{name}`: run `cargo xtask test`, or build it with `cargo build --release -p labrys -p labrys-store`")
    })
}

/// The folder above the one that this test binary is in: `target/debug/deps/x` → `target`.
fn target_folder() -> PathBuf {
    let this = std::env::current_exe().expect("a test knows its own binary");
    let above = this.ancestors().nth(3).expect("a test binary lies in target/PROFILE/deps");
    above.to_owned()
}

/// Holds the machine: campaigns are not run beside one another, for two cores cannot serve two clusters.
pub fn whole_machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a command did.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Fails the test unless the exit code is `code`, and shows what was printed.
    pub fn expect_code(self, code: i32) -> Finished {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless this is how errors are told: one paragraph on standard error that begins with the program's name
    /// and contains every one of `words`, no panic, no stack trace.
    pub fn expect_one_clear_error(self, code: i32, words: &[&str]) -> Finished {
        let finished = self.expect_code(code);
        let stderr = &finished.stderr;
        for bad in [
            "panicked",
            "RUST_BACKTRACE",
            "stack backtrace",
            "Error {",
            "called `Result::",
            "called `Option::",
        ] {
            assert!(!stderr.contains(bad), "`{bad}` in:\n{stderr}");
        }
        for word in words {
            assert!(stderr.contains(word), "no `{word}` in:\n{stderr}");
        }
        let told =
            stderr.lines().filter(|line| line.starts_with("labrys: ") || line.starts_with("error: ")).count();
        assert_eq!(told, 1, "one error is to be told once:\n{stderr}");
        finished
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Finished {
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// `labrys ARGS` in `directory`.
#[must_use]
pub fn labrys(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary("labrys"));
    command.args(args).current_dir(directory).stdin(Stdio::null());
    command.env("LABRYS_STORE_BINARY", binary("labrys-store"));
    command
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be started.
pub fn finish(command: &mut Command) -> Finished {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}")).into()
}

/// The run directory of a `labrys test … --json`.
///
/// # Panics
/// If standard output is not the JSON that `--json` promises.
#[must_use]
pub fn run_directory(finished: &Finished) -> PathBuf {
    let json: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| {
        panic!("--json printed no JSON: {error}\n{}\n{}", finished.stdout, finished.stderr)
    });
    PathBuf::from(json["run_directory"].as_str().expect("the field run_directory"))
}

/// What a test could leave on this machine: processes of ours, namespaces, mounts, packet filter rules, links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Processes whose program is one of ours, as `pid command line`.
    pub processes: BTreeSet<String>,
    /// All namespaces that any process is in.
    pub namespaces: BTreeSet<String>,
    /// The mounts of this mount namespace.
    pub mounts: BTreeSet<String>,
    /// The packet filter of this network namespace.
    pub rules: BTreeSet<String>,
    /// The links of this network namespace.
    pub links: BTreeSet<String>,
}

impl Traces {
    /// Looks.
    #[must_use]
    pub fn look() -> Traces {
        let mut traces = Traces::default();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            if pid.bytes().all(|byte| byte.is_ascii_digit()) {
                traces.add_process(&pid, &entry.path());
            }
        }
        traces.mounts = lines(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default());
        traces.rules = output_lines("iptables-save", &[]);
        traces.links = std::fs::read_dir("/sys/class/net")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        traces
    }

    fn add_process(&mut self, pid: &str, folder: &Path) {
        let program = std::fs::read_link(folder.join("exe")).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "labrys" || name == "labrys-store" {
            let command =
                std::fs::read_to_string(folder.join("cmdline")).unwrap_or_default().replace('\0', " ");
            self.processes.insert(format!("{pid} {command}"));
        }
        for namespace in std::fs::read_dir(folder.join("ns")).into_iter().flatten().flatten() {
            if let Ok(link) = std::fs::read_link(namespace.path()) {
                self.namespaces.insert(link.to_string_lossy().into_owned());
            }
        }
    }

    /// What is here and was not `before`.
    #[must_use]
    pub fn since(&self, before: &Traces) -> Vec<String> {
        let pairs = [
            ("process", &self.processes, &before.processes),
            ("namespace", &self.namespaces, &before.namespaces),
            ("mount", &self.mounts, &before.mounts),
            ("rule", &self.rules, &before.rules),
            ("link", &self.links, &before.links),
        ];
        let new = pairs.into_iter().flat_map(|(what, now, then)| {
            now.difference(then).map(move |trace| format!("{what}: {trace}")).collect::<Vec<_>>()
        });
        new.collect()
    }
}

fn lines(text: &str) -> BTreeSet<String> {
    // Counters and the time of iptables-save's header change without anybody's doing.
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('[').next().unwrap_or(line).to_owned())
        .collect()
}

fn output_lines(program: &str, args: &[&str]) -> BTreeSet<String> {
    let output = Command::new(program).args(args).stderr(Stdio::null()).output();
    output.map(|output| lines(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
}

/// Waits until `condition` holds, looking every few milliseconds; the last look's answer otherwise.
///
/// # Panics
/// If it does not hold within `seconds`.
pub fn eventually<T: std::fmt::Debug>(
    seconds: u64,
    what: &str,
    mut condition: impl FnMut() -> Result<(), T>,
) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        match condition() {
            Ok(()) => return,
            Err(last) if std::time::Instant::now() > deadline => {
                panic!("not within {seconds} s: {what}: {last:?}")
            }
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}

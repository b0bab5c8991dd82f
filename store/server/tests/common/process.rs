//! The binary as a process.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labrys-store"));
    command
        .env_remove("LABRYS_DEFECTS")
        .env_remove("LABRYS_CLOCK_FAULTS")
        .env_remove("LABRYS_FAILPOINTS")
        .env_remove("LABRYS_LOG")
        .stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    binary().args(arguments).output().unwrap()
}

/// The one line on stderr, and the exit code.
pub fn refused(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.trim_end().lines().count(), 1, "one line: {text}");
    (output.status.code().unwrap(), text)
}

pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A node, killed when dropped.
pub struct Node {
    pub child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Node {
    pub fn start(arguments: &[String], defects_allowed: bool) -> Node {
        let mut command = binary();
        if defects_allowed {
            command.env("LABRYS_DEFECTS", "1");
        }
        command.args(arguments);
        Node::spawn(command)
    }

    /// Starts the binary by `script`, a shell script in which `exec "$@"` becomes the node.
    pub fn start_in_shell(prefix: &[&str], script: &str, arguments: &[String]) -> Node {
        let words = [prefix, &["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_labrys-store")]].concat();
        let mut command = Command::new(words[0]);
        command
            .env_remove("LABRYS_DEFECTS")
            .env_remove("LABRYS_CLOCK_FAULTS")
            .env_remove("LABRYS_FAILPOINTS")
            .env_remove("LABRYS_LOG")
            .stdin(Stdio::null());
        command.args(&words[1..]).args(arguments);
        Node::spawn(command)
    }

    pub fn spawn(mut command: Command) -> Node {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Node { child, lines }
    }

    /// Waits for the line with this `event`.
    pub fn event(&self, event: &str) -> serde_json::Value {
        self.event_that(event, |_| true)
    }

    /// Waits for the line with this `event` that is as `wanted`.
    pub fn event_that(&self, event: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, line) = self.line(event, deadline);
            if line["event"] == event && wanted(&line) {
                return line;
            }
        }
    }

    /// All lines up to and including the one with this `event`.
    pub fn lines_until(&self, event: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            let (text, line) = self.line(event, deadline);
            lines.push(text);
            if line["event"] == event {
                return lines;
            }
        }
    }

    /// The next line, in which `awaited` is hoped for.
    fn line(&self, awaited: &str, deadline: Instant) -> (String, serde_json::Value) {
        let left = deadline.saturating_duration_since(Instant::now());
        let text = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no event {awaited}"));
        let line = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
        (text, line)
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn single(address: &str, data_dir: &Path) -> Vec<String> {
    let peers = format!("1={address}");
    let data_dir = data_dir.display().to_string();
    [
        "--id",
        "1",
        "--peers",
        &peers,
        "--data-dir",
        &data_dir,
        "--election-timeout-ms",
        "60",
        "--heartbeat-interval-ms",
        "15",
    ]
    .map(str::to_owned)
    .to_vec()
}

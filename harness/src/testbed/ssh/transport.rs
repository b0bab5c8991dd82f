//! [`SshTransport`]: a channel to an agent by way of `ssh`, over which the programs that the machine needs are sent first.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::command::{SSH, arguments, explain, script};
use super::inventory::Login;
use super::programs::Program;
use crate::agent::protocol::read_line;
use crate::agent::{Channel, Lifeline, NoChannel, Transport};

/// More of what ssh says is not kept: its last words tell.
const KEPT_BYTES: usize = 16 * 1024;

/// What a machine says before it becomes the program, its shell's greeting included; and a line of that.
const GREETING_BYTES: usize = 1 << 20;
const GREETING_LINE_BYTES: u64 = 64 << 10;

/// How long ssh's last words may take once it has ended: what it has started may hold on to its standard error.
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// So much of a program is sent before that is told to be a sign of life.
const SENT_BYTES: usize = 64 << 10;

/// A way to the agent of a node, or to another part of `labrys agent`.
pub(super) struct SshTransport {
    login: Login,
    /// Where Labrys keeps its things on the machine.
    directory: PathBuf,
    /// What the machine needs; it becomes the first.
    programs: Arc<Vec<Program>>,
    /// With which arguments.
    arguments: Vec<String>,
}

impl SshTransport {
    pub fn new(
        login: Login,
        directory: PathBuf,
        programs: Arc<Vec<Program>>,
        arguments: Vec<String>,
    ) -> SshTransport {
        SshTransport { login, directory, programs, arguments }
    }

    fn no_channel(&self, said: &str) -> NoChannel {
        let (reason, is_final) = explain(&self.login, said);
        NoChannel { reason, is_final }
    }

    fn final_problem(&self, problem: &str) -> NoChannel {
        NoChannel { reason: format!("{}: {problem}", self.login.name), is_final: true }
    }

    fn start(&self, script: &str) -> Result<Connection, NoChannel> {
        let mut command = Command::new(SSH);
        command.args(arguments(&self.login, script)).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Not of the terminal's group: Ctrl-C is for the harness, which still needs the machines then.
        let spawned = command.stderr(Stdio::piped()).process_group(0).spawn();
        let mut child = spawned.map_err(|error| {
            self.final_problem(&format!(
                "`ssh` cannot be started ({error}): install it (sudo apt-get install openssh-client)"
            ))
        })?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three were asked to be pipes")
        };
        let (tell, said) = channel();
        // Nobody may want to hear it.
        std::thread::spawn(move || tell.send(last_words(errors)));
        Ok(Connection { child: Arc::new(Mutex::new(child)), input, output: BufReader::new(output), said })
    }

    /// Follows the script until it becomes the program.
    fn furnish(&self, connection: &mut Connection, lifeline: &Lifeline) -> Result<(), NoChannel> {
        let mut told_bytes = 0;
        loop {
            let line = match read_line(&mut connection.output, GREETING_LINE_BYTES) {
                Ok(Some(line)) => line,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(self.final_problem(&format!("what its shell says makes no sense: {error}")));
                }
                Ok(None) | Err(_) => return Err(self.no_channel(&connection.end())),
            };
            lifeline.heard();
            told_bytes += line.len();
            if told_bytes > GREETING_BYTES {
                return Err(self.final_problem(&format!(
                    "its shell has said more than {GREETING_BYTES} bytes and does not begin with what it was told: look at what \
                     `ssh` prints there (~/.bashrc and the like)"
                )));
            }
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
                ["machine", system, processor] => self.check_machine(system, processor)?,
                ["need", name] => self.send(name, connection, lifeline)?,
                ["corrupt", name] => {
                    return Err(self.final_problem(&format!("{name} did not arrive as it was sent")));
                }
                ["ready"] => return Ok(()),
                // What the machine has, or a greeting of its shell.
                _ => {}
            }
        }
    }

    fn check_machine(&self, system: &str, processor: &str) -> Result<(), NoChannel> {
        let ours = std::env::consts::ARCH;
        if system == "Linux" && processor == ours {
            return Ok(());
        }
        Err(self.final_problem(&format!(
            "it is {system} on {processor}, and this labrys is for Linux on {ours}: run a labrys that was built for {processor}, from a machine \
             of that kind"
        )))
    }

    fn send(&self, name: &str, connection: &mut Connection, lifeline: &Lifeline) -> Result<(), NoChannel> {
        let Some(program) = self.programs.iter().find(|program| program.name == name) else {
            return Err(self.final_problem(&format!("it asks for `{name}`, of which nothing is known")));
        };
        tracing::info!(node = self.login.name, bytes = program.length_bytes, "sending {name}");
        let failed = |error: std::io::Error| {
            self.final_problem(&format!("{} cannot be read: {error}", program.path.display()))
        };
        let file = File::open(&program.path).map_err(failed)?;
        let mut file = file.take(program.length_bytes);
        let mut part = vec![0; SENT_BYTES];
        loop {
            let length = file.read(&mut part).map_err(failed)?;
            // If the machine takes no more, its shell says why, and ends.
            if length == 0 || connection.input.write_all(&part[..length]).is_err() {
                return Ok(());
            }
            lifeline.heard();
        }
    }
}

impl Transport for SshTransport {
    /// The machine's programs are looked at each time: what has been damaged since is sent once more.
    fn open(&self, lifeline: &Lifeline) -> Result<Channel, NoChannel> {
        let script = script(&self.directory, &self.programs, self.login.sudo, &self.arguments);
        let mut connection = self.start(&script)?;
        let child = Arc::clone(&connection.child);
        lifeline.is_cut_by(move || end(&child));
        self.furnish(&mut connection, lifeline).inspect_err(|_| end(&connection.child))?;
        let Connection { child, input, output, said } = connection;
        let login = self.login.clone();
        Ok(Channel {
            writer: Box::new(input),
            reader: Box::new(output),
            complaint: Box::new(move || {
                end(&child);
                explain(&login, &said.recv_timeout(SAID_WITHIN).unwrap_or_default()).0
            }),
        })
    }
}

/// An `ssh` at work.
struct Connection {
    child: Arc<Mutex<Child>>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    said: Receiver<String>,
}

impl Connection {
    /// It has closed its output: what it has said on standard error.
    fn end(&mut self) -> String {
        let said = self.said.recv_timeout(SAID_WITHIN).unwrap_or_default();
        end(&self.child);
        said
    }
}

fn end(child: &Mutex<Child>) {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    // Both may have been done before.
    let _ = child.kill();
    let _ = child.wait();
}

fn last_words(mut errors: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = errors.read(&mut buffer)
        && length > 0
    {
        kept.extend_from_slice(&buffer[..length]);
        let surplus = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

//! [`SshTransport`]: a channel to an agent by way of `ssh`, over which the programs that the machine needs are sent first.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::command::{SSH, arguments, become_first, explain, script};
use super::inventory::Login;
use super::programs::Program;
use crate::agent::{Channel, NoChannel, Transport};

/// More of what ssh says is not kept: its last words tell.
const KEPT_BYTES: usize = 16 * 1024;

/// A way to the agent of a node, or to another part of `labrys agent`.
pub(super) struct SshTransport {
    login: Login,
    /// Where Labrys keeps its things on the machine.
    directory: PathBuf,
    /// What the machine needs; it becomes the first.
    programs: Arc<Vec<Program>>,
    /// With which arguments.
    arguments: Vec<String>,
    /// It has them.
    has_programs: AtomicBool,
}

impl SshTransport {
    pub fn new(
        login: Login,
        directory: PathBuf,
        programs: Arc<Vec<Program>>,
        arguments: Vec<String>,
    ) -> SshTransport {
        SshTransport { login, directory, programs, arguments, has_programs: AtomicBool::new(false) }
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
        let said = std::thread::spawn(move || last_words(errors));
        Ok(Connection {
            child: Arc::new(Mutex::new(child)),
            input,
            output: BufReader::new(output),
            said: Some(said),
        })
    }

    /// Follows the script until it becomes the program.
    fn furnish(&self, connection: &mut Connection) -> Result<(), NoChannel> {
        let mut line = String::new();
        loop {
            line.clear();
            let length = connection.output.read_line(&mut line).unwrap_or(0);
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
                _ if length == 0 => return Err(self.no_channel(&connection.end())),
                ["machine", system, processor] => self.check_machine(system, processor)?,
                ["need", name] => self.send(name, connection)?,
                ["corrupt", name] => {
                    return Err(self.final_problem(&format!("{name} did not arrive as it was sent")));
                }
                ["ready"] => {
                    self.has_programs.store(true, Ordering::SeqCst);
                    return Ok(());
                }
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

    fn send(&self, name: &str, connection: &mut Connection) -> Result<(), NoChannel> {
        let Some(program) = self.programs.iter().find(|program| program.name == name) else {
            return Err(self.final_problem(&format!("it asks for `{name}`, of which nothing is known")));
        };
        tracing::info!(node = self.login.name, bytes = program.length_bytes, "sending {name}");
        let failed = |error: std::io::Error| {
            self.final_problem(&format!("{} cannot be read: {error}", program.path.display()))
        };
        let file = File::open(&program.path).map_err(failed)?;
        // If the machine takes no more, its shell says why, and ends.
        let _ = std::io::copy(&mut file.take(program.length_bytes), &mut connection.input);
        let _ = connection.input.flush();
        Ok(())
    }
}

impl Transport for SshTransport {
    fn open(&self) -> Result<Channel, NoChannel> {
        let directory = &self.directory;
        let script = if self.has_programs.load(Ordering::SeqCst) {
            let last = become_first(directory, &self.programs, self.login.sudo, &self.arguments);
            format!("echo ready; {last}")
        } else {
            script(directory, &self.programs, self.login.sudo, &self.arguments)
        };
        let mut connection = self.start(&script)?;
        self.furnish(&mut connection).inspect_err(|_| end(&connection.child))?;
        let Connection { child, input, output, said } = connection;
        let (login, cut) = (self.login.clone(), Arc::clone(&child));
        Ok(Channel {
            writer: Box::new(input),
            reader: Box::new(output),
            cut: Arc::new(move || end(&cut)),
            complaint: Box::new(move || {
                end(&child);
                explain(&login, &said.and_then(|said| said.join().ok()).unwrap_or_default()).0
            }),
        })
    }
}

/// An `ssh` at work.
struct Connection {
    child: Arc<Mutex<Child>>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    said: Option<JoinHandle<String>>,
}

impl Connection {
    /// It has closed its output: what it has said on standard error.
    fn end(&mut self) -> String {
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
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

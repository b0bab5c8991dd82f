//! Starting this program again as a scenario, as root or as an ordinary user.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use labrys_harness::isolation::{Enclosure, Entered, IsolationOptions, enter};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{Pid, geteuid};

/// The first argument of a scenario.
pub const FLAG: &str = "--scenario";

/// Nothing here takes a tenth of this.
pub const DEADLINE: Duration = Duration::from_secs(30);

const NOBODY: u32 = 65_534;

/// Who starts a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    Root,
    OrdinaryUser,
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Identity::Root => "root",
            Identity::OrdinaryUser => "an_ordinary_user",
        })
    }
}

/// Who this process can be.
pub fn identities() -> Vec<Identity> {
    if geteuid().is_root() {
        vec![Identity::Root, Identity::OrdinaryUser]
    } else {
        vec![Identity::OrdinaryUser]
    }
}

/// Why `identity` cannot enter the isolation on this machine, if the machine forbids it.
pub fn refusal(identity: Identity) -> Option<String> {
    let finished = Scenario::new(identity, "exit", &["0"]).run();
    match finished {
        Ok(finished) if finished.stderr.contains("cannot make the namespaces") => Some(finished.stderr),
        // Everything else is for the trials to find.
        _ => None,
    }
}

/// The life of a scenario's processes: outside it is the supervisor, inside the scenario's body.
pub fn main(arguments: &[String]) -> ExitCode {
    match enter(&IsolationOptions::default()) {
        Ok(Entered::Inside(enclosure)) => inside(&enclosure, arguments),
        Ok(Entered::Finished { exit_code, message, .. }) => {
            if let Some(message) = message {
                eprintln!("{message}");
            }
            ExitCode::from(exit_code)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(255)
        }
    }
}

fn inside(enclosure: &Enclosure, arguments: &[String]) -> ExitCode {
    let Some((name, arguments)) = arguments.split_first() else {
        eprintln!("a scenario without a name");
        return ExitCode::from(254);
    };
    let bodies = [
        super::isolation::BODIES,
        super::testbed::BODIES,
        super::store::BODIES,
        super::application::BODIES,
        super::clock::BODIES,
        super::disk::BODIES,
        super::resource::BODIES,
        super::membership::BODIES,
        super::network::BODIES,
        super::sequences::BODIES,
        super::triggers::BODIES,
        super::nemesis::BODIES,
    ];
    let Some((_, body)) = bodies.into_iter().flatten().find(|(candidate, _)| candidate == name) else {
        eprintln!("no scenario is called {name}");
        return ExitCode::from(254);
    };
    match body(enclosure, arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(1)
        }
    }
}

/// What happens inside; an error is exit code 1.
pub type Body = (&'static str, fn(&Enclosure, &[String]) -> Result<u8, String>);

/// The signals by which a user ends a program. Whoever runs the tests may have them ignored, as a shell without job control does
/// in the background; the scenarios begin with none ignored.
const FROM_USERS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// A scenario to be started.
pub struct Scenario {
    command: Command,
    // Holds the program open until it is started: an ordinary user may not reach its path.
    _program: File,
}

/// How a scenario ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Scenario {
    pub fn new(identity: Identity, name: &str, arguments: &[&str]) -> Scenario {
        let program = File::open("/proc/self/exe").expect("this program");
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.arg0("scenario").arg(FLAG).arg(name).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, as a shell with job control gives to a job.
        command.current_dir("/").process_group(0);
        if identity == Identity::OrdinaryUser && geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Scenario { command, _program: program }.with_handler(SigHandler::SigDfl, &FROM_USERS)
    }

    /// What is ignored, or is not, stays so in the programs that are executed.
    #[allow(unsafe_code, reason = "pre_exec has no safe form")]
    fn with_handler(mut self, handler: SigHandler, signals: &'static [Signal]) -> Scenario {
        // SAFETY: system calls that may be made between fork and exec; neither SIG_DFL nor SIG_IGN runs any code.
        unsafe {
            self.command.pre_exec(move || {
                for &number in signals {
                    signal(number, handler)?;
                }
                Ok(())
            });
        }
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Scenario {
        self.command.env(name, value);
        self
    }

    /// As `nohup` does.
    pub fn ignoring_hangup(self) -> Scenario {
        self.with_handler(SigHandler::SigIgn, &[Signal::SIGHUP])
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Result<Finished, String> {
        let child = self.command.spawn().map_err(|error| format!("cannot start the scenario: {error}"))?;
        Running::new(child).finish()
    }

    /// Runs it and fails unless it ends with 0. Returns what it printed.
    pub fn succeed(self) -> Result<String, String> {
        let finished = self.run()?;
        if finished.code == Some(0) { Ok(finished.stdout) } else { Err(format!("{finished:#?}")) }
    }

    /// Starts it.
    pub fn start(mut self) -> Result<Running, String> {
        let child = self.command.spawn().map_err(|error| format!("cannot start the scenario: {error}"))?;
        Ok(Running::new(child))
    }
}

/// A scenario at work; killed when dropped.
pub struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn new(mut child: Child) -> Running {
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Running { child, lines }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).map_err(|error| error.to_string())?;
        if length == 0 {
            let mut stderr = String::new();
            let pipe = self.child.stderr.take();
            pipe.map(|mut pipe| pipe.read_to_string(&mut stderr));
            return Err(format!("it ended without a further line: {stderr}"));
        }
        Ok(line.trim().to_owned())
    }

    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        kill(Pid::from_raw(self.pid()), signal).map_err(|errno| errno.to_string())
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Result<Finished, String> {
        let mut stdout = String::new();
        let mut stderr = String::new();
        // Nothing here prints more than a pipe holds.
        self.lines.read_to_string(&mut stdout).map_err(|error| error.to_string())?;
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut stderr).map_err(|error| error.to_string())?;
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        Ok(Finished { code: status.code(), stdout, stderr })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until the answer is yes, and gives up loudly.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        if Instant::now() > deadline {
            return Err(format!("not within {} s: {what}", DEADLINE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Fails with both sides if they differ.
pub fn same<T: PartialEq + fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: found {found:?}, wanted {wanted:?}")) }
}

/// Fails unless `text` contains `part`.
pub fn contains(text: &str, part: &str) -> Result<(), String> {
    if text.contains(part) { Ok(()) } else { Err(format!("no {part:?} in {text:?}")) }
}

/// A folder in which everybody may write.
pub fn open_folder() -> Result<tempfile::TempDir, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), everybody).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// For `?` on anything inside a scenario.
pub fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

//! [`attach`]: the end of a connection on the machine. Finds the agent of a folder, or starts it, and copies bytes between it and
//! the connection until either goes.
//!
//! The agent gets the listening socket as its standard input, so that there is no moment in which it could be missed: who connects
//! waits in the socket's queue until the agent takes him.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::{AgentError, log_file, socket_file};

/// How long somebody may take to take the agent's last words.
const LAST_WORDS_GO_WITHIN: Duration = Duration::from_secs(2);

/// Copies bytes between standard input and output and the agent of `directory`, until one of them ends. `serve` are the arguments
/// with which this very program is an agent whose listening socket is its standard input.
///
/// # Errors
/// If there is no agent and none can be started.
pub fn attach(directory: &Path, serve: &[String]) -> Result<(), AgentError> {
    let stream = find_or_start(directory, serve)?;
    let owned = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
    let (input, output) = (owned(std::io::stdin().as_fd()), owned(std::io::stdout().as_fd()));
    let carried = input.and_then(|input| carry(stream, input, output?));
    carried.map_err(|source| AgentError::System { what: "copying the connection", source })
}

/// Copies until the agent has ended the connection and its last words are written; these may be lost if nobody takes them: whoever
/// started us may hold our output open and read nothing, and we must not stay for that.
fn carry(
    stream: UnixStream,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> std::io::Result<()> {
    let (to_agent, from_agent) = (stream.try_clone()?, stream.try_clone()?);
    let (done, is_done) = channel();
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
    };
    spawn(
        "to-agent",
        Box::new(move || {
            copy(input, &to_agent);
            // The connection is gone. The agent waits for another one; we end with its answer to this.
            let _ = to_agent.shutdown(std::net::Shutdown::Both);
        }),
    )?;
    let all_written = done.clone();
    spawn(
        "from-agent",
        Box::new(move || {
            copy(&from_agent, output);
            let _ = all_written.send(Carried::Written);
        }),
    )?;
    spawn(
        "hang-up",
        Box::new(move || {
            // Of a hang-up one is always told. Interrupted by a signal: looked at again.
            while poll(&mut [PollFd::new(&stream, PollFlags::empty())], None).unwrap_or(0) == 0 {}
            let _ = done.send(Carried::HungUp);
        }),
    )?;
    if let Ok(Carried::HungUp) = is_done.recv() {
        // Either they are written then, or nobody takes them.
        let _ = is_done.recv_timeout(LAST_WORDS_GO_WITHIN);
    }
    Ok(())
}

/// What has come to its end.
enum Carried {
    /// All that the agent has said is written, or cannot be.
    Written,
    /// The agent has ended the connection, or we have.
    HungUp,
}

/// Until either end is gone, whose reason does not matter.
fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn find_or_start(directory: &Path, serve: &[String]) -> Result<UnixStream, AgentError> {
    let failed = |path: &Path, source| AgentError::File { path: path.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
    // Two connections must not start two agents.
    let lock = File::open(directory).map_err(|source| failed(directory, source))?;
    lock.lock().map_err(|source| failed(directory, source))?;
    if let Some(stream) = connect(directory)? {
        return Ok(stream);
    }
    let socket = socket_file(directory);
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&socket, error)),
        _ => {}
    }
    let listener = UnixListener::bind(short(&lock)).map_err(|source| failed(&socket, source))?;
    let log = log_file(directory);
    let opened = OpenOptions::new().create(true).append(true).open(&log);
    let opened = opened.map_err(|source| failed(&log, source))?;
    let output = opened.try_clone().map_err(|source| failed(&log, source))?;
    let mut command = Command::new("/proc/self/exe");
    command.args(serve).current_dir("/").stdin(OwnedFd::from(listener)).stdout(output).stderr(opened);
    let child =
        command.spawn().map_err(|source| AgentError::System { what: "starting the agent", source })?;
    // It is not ours to wait for: it outlives us, and is init's then.
    drop(child);
    connect(directory)?.ok_or_else(|| failed(&socket, ErrorKind::ConnectionRefused.into()))
}

/// The agent of a folder, if one listens.
pub(super) fn connect(directory: &Path) -> Result<Option<UnixStream>, AgentError> {
    let socket = socket_file(directory);
    let failed = |source| AgentError::File { path: socket.clone(), source };
    let folder = match File::open(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    match UnixStream::connect(short(&folder)) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// The path of the socket, of which the kernel takes no more than 107 bytes however deep the folder lies.
fn short(folder: &File) -> std::path::PathBuf {
    socket_file(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())))
}

/// The listening socket that [`attach`] has made standard input.
///
/// # Errors
/// If it is none.
pub fn take_listener() -> Result<UnixListener, AgentError> {
    let taken = std::io::stdin().as_fd().try_clone_to_owned().map(UnixListener::from);
    let listener = taken.and_then(|listener| listener.local_addr().map(|_| listener));
    listener.map_err(|source| AgentError::System { what: "taking the socket from standard input", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing, for ever.
    struct Stuck;

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            loop {
                std::thread::park();
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_connection_whose_output_nobody_takes_ends_with_its_agent_all_the_same() {
        let (ours, agents) = UnixStream::pair().expect("a pair");
        let (input, _held_open) = UnixStream::pair().expect("a pair");
        let (done, is_done) = channel();
        std::thread::spawn(move || done.send(carry(ours, input, Stuck).is_ok()));
        (&agents).write_all(b"last words").expect("written");
        drop(agents);
        assert_eq!(is_done.recv_timeout(Duration::from_secs(20)), Ok(true));
    }

    #[test]
    fn what_the_agent_says_last_is_written_before_the_connection_ends() {
        let (ours, agents) = UnixStream::pair().expect("a pair");
        let (input, mut harness) = UnixStream::pair().expect("a pair");
        let output = input.try_clone().expect("the same");
        let carrying = std::thread::spawn(move || carry(ours, input, output));
        harness.write_all(b"question\n").expect("written");
        let mut heard = [0; 9];
        (&agents).read_exact(&mut heard).expect("read");
        assert_eq!(&heard, b"question\n");
        (&agents).write_all(b"answer").expect("written");
        drop(agents);
        carrying.join().expect("no panic").expect("carried");
        let mut said = [0; 6];
        harness.read_exact(&mut said).expect("read");
        assert_eq!(&said, b"answer");
    }
}

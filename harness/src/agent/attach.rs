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

use super::{AgentError, log_file, socket_file};

/// Copies bytes between standard input and output and the agent of `directory`, until one of them ends. `serve` are the arguments
/// with which this very program is an agent whose listening socket is its standard input.
///
/// # Errors
/// If there is no agent and none can be started.
pub fn attach(directory: &Path, serve: &[String]) -> Result<(), AgentError> {
    let stream = find_or_start(directory, serve)?;
    let failed = |source| AgentError::System { what: "copying the connection", source };
    let owned = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
    let (input, output) = (owned(std::io::stdin().as_fd()), owned(std::io::stdout().as_fd()));
    let to_agent = stream.try_clone().map_err(failed)?;
    let input = input.map_err(failed)?;
    std::thread::Builder::new()
        .name("to-agent".to_owned())
        .spawn(move || {
            copy(input, &to_agent);
            // The connection is gone. The agent waits for another one; we end with its answer to this.
            let _ = to_agent.shutdown(std::net::Shutdown::Both);
        })
        .map_err(failed)?;
    copy(&stream, output.map_err(failed)?);
    Ok(())
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

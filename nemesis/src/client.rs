//! The harness's end of the pipe to the nemesis process. Blocking: requests are few and their answers quick.
//!
//! Dropping the client closes the pipe, if it owned the writer; the nemesis then undoes everything.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use thiserror::Error;

use crate::fault::Resolved;
use crate::host::DaemonSpec;
use crate::lines;
use crate::protocol::{Failure, FaultReport, Outcome, Reply, Request, RequestBody, Response, Status};

/// A request was not carried out.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The nemesis says so, with what and where.
    #[error("{0}")]
    Refused(Failure),
    /// The pipe is broken.
    #[error("the connection to the nemesis failed: {0}")]
    Connection(#[from] std::io::Error),
    /// The nemesis has ended. Its journal says what may be left.
    #[error("the nemesis has ended before it answered")]
    Ended,
    /// What it said is no answer to what it was asked.
    #[error("the nemesis gave no proper answer: {detail}")]
    Confused {
        /// In which way.
        detail: String,
    },
}

/// A connection to a nemesis process.
#[derive(Debug)]
pub struct NemesisClient<R, W> {
    reader: R,
    writer: W,
    last_id: u64,
}

impl<R: BufRead, W: Write> NemesisClient<R, W> {
    /// Over the nemesis's standard output and standard input.
    pub fn new(reader: R, writer: W) -> Self {
        NemesisClient { reader, writer, last_id: 0 }
    }

    /// Applies a fault.
    ///
    /// # Errors
    /// See [`ClientError`]; a [`Failure`] says in `left_behind` whether the fault may be there nevertheless.
    pub fn apply(&mut self, fault_id: u64, resolved: Resolved) -> Result<FaultReport, ClientError> {
        match self.call(RequestBody::Apply { fault_id, resolved })? {
            Reply::Applied(report) => Ok(report),
            other => Err(confused(&other)),
        }
    }

    /// Undoes a fault.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn undo(&mut self, fault_id: u64) -> Result<FaultReport, ClientError> {
        match self.call(RequestBody::Undo { fault_id })? {
            Reply::Undone(report) => Ok(report),
            other => Err(confused(&other)),
        }
    }

    /// Undoes everything.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn undo_all(&mut self) -> Result<Vec<FaultReport>, ClientError> {
        match self.call(RequestBody::UndoAll)? {
            Reply::UndoneAll(reports) => Ok(reports),
            other => Err(confused(&other)),
        }
    }

    /// What is applied. The first answer also says that the nemesis is up.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.call(RequestBody::Status)? {
            Reply::Status(status) => Ok(status),
            other => Err(confused(&other)),
        }
    }

    /// Says how daemons are started, by node.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_daemons(&mut self, daemons: BTreeMap<String, DaemonSpec>) -> Result<(), ClientError> {
        match self.call(RequestBody::SetDaemons { daemons })? {
            Reply::DaemonsSet => Ok(()),
            other => Err(confused(&other)),
        }
    }

    /// Any request.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn call(&mut self, body: RequestBody) -> Result<Reply, ClientError> {
        self.last_id += 1;
        let line = lines::render(&Request { id: self.last_id, body })?;
        self.writer.write_all(line.as_bytes())?;
        self.writer.flush()?;
        let mut answer = String::new();
        if self.reader.read_line(&mut answer)? == 0 {
            return Err(ClientError::Ended);
        }
        let response: Response = serde_json::from_str(&answer)
            .map_err(|error| ClientError::Confused { detail: format!("{error} in {answer:?}") })?;
        if response.id != self.last_id {
            let detail = format!("it answers request {}, not {}", response.id, self.last_id);
            return Err(ClientError::Confused { detail });
        }
        match response.outcome {
            Outcome::Result(reply) => Ok(reply),
            Outcome::Error(failure) => Err(ClientError::Refused(failure)),
        }
    }
}

fn confused(reply: &Reply) -> ClientError {
    ClientError::Confused { detail: format!("{reply:?}") }
}

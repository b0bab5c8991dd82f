//! The lines that the harness and the nemesis process exchange: JSON Lines, a request, then its response.
//!
//! ```text
//! {"id":1,"request":{"apply":{"fault_id":0,"resolved":{"kind":"pause","nodes":["n2"]}}}}
//! {"id":1,"result":{"applied":{"fault_id":0,"evidence":{"bit":true,"details":[…]},"failures":[]}}}
//! {"id":2,"request":"status"}
//! ```
//!
//! Requests are carried out one after another, in the order of the lines. Types only; [`crate::serve`] and
//! [`crate::NemesisClient`] are the two ends.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::evidence::{Evidence, NodeFailure};
use crate::fault::Resolved;
use crate::host::DaemonSpec;

/// A line to the nemesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the harness; comes back in the response.
    pub id: u64,
    /// What to do.
    #[serde(rename = "request")]
    pub body: RequestBody,
}

/// What the nemesis can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestBody {
    /// Apply a fault and verify that it is there. If it fails on some node, what was applied is undone.
    Apply {
        /// Unique in the run, also after the fault has been undone.
        fault_id: u64,
        /// The fault.
        resolved: Resolved,
    },
    /// Undo a fault and verify that it is gone. Undoing what is undone already succeeds.
    Undo {
        /// Which.
        fault_id: u64,
    },
    /// Undo everything.
    UndoAll,
    /// Say what is applied.
    Status,
    /// How to start the daemons of these nodes from now on. A kill is refused on nodes whose daemon is not known.
    SetDaemons {
        /// By node; other nodes keep theirs.
        daemons: BTreeMap<String, DaemonSpec>,
    },
}

/// A line from the nemesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// That of the request.
    pub id: u64,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a request went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Result(Reply),
    /// It was not, or not wholly.
    Error(Failure),
}

/// The answer to a request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The fault is there.
    Applied(FaultReport),
    /// The fault is gone.
    Undone(FaultReport),
    /// Everything is gone: the faults that were still there, with all their evidence.
    UndoneAll(Vec<FaultReport>),
    /// What is applied.
    Status(Status),
    /// The daemons are known and journalled.
    DaemonsSet,
}

/// What is known of a fault: all its evidence so far, and all that went wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    /// Which.
    pub fault_id: u64,
    /// What was seen, from the beginning.
    pub evidence: Evidence,
    /// What went wrong, from the beginning; in a successful answer these are mishaps that were overcome.
    pub failures: Vec<NodeFailure>,
}

/// What the nemesis is up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The tag of its run.
    pub run_tag: String,
    /// What is applied, or may be after a failure.
    pub active: Vec<ActiveFault>,
}

/// A fault that is applied, or may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveFault {
    /// The fault.
    pub resolved: Resolved,
    /// What is known of it.
    pub report: FaultReport,
}

/// Why a request was not carried out, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For people, in one line.
    pub message: String,
    /// What is known of the faults concerned.
    pub faults: Vec<FaultReport>,
    /// The faults concerned that are, or may be, still there. They stay in the journal and are tried again by `undo`,
    /// `undo-all`, at the end of the nemesis, and by `labrys heal`.
    pub left_behind: Vec<u64>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        for failure in self.faults.iter().flat_map(|report| &report.failures) {
            write!(formatter, "; {failure}")?;
        }
        if !self.left_behind.is_empty() {
            write!(formatter, "; faults that may be left behind: {:?}", self.left_behind)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_responses_are_the_documented_lines() {
        let apply = Request {
            id: 1,
            body: RequestBody::Apply {
                fault_id: 0,
                resolved: Resolved::Pause { nodes: vec!["n2".to_owned()] },
            },
        };
        let status = Request { id: 2, body: RequestBody::Status };
        let lines = [
            (
                apply,
                r#"{"id":1,"request":{"apply":{"fault_id":0,"resolved":{"kind":"pause","nodes":["n2"]}}}}"#,
            ),
            (status, r#"{"id":2,"request":"status"}"#),
        ];
        for (request, line) in lines {
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        }
        let report = FaultReport { fault_id: 3, ..FaultReport::default() };
        let applied = Response { id: 1, outcome: Outcome::Result(Reply::Applied(report.clone())) };
        let failure = Failure { message: "no".to_owned(), faults: vec![report], left_behind: vec![3] };
        let failed = Response { id: 9, outcome: Outcome::Error(failure) };
        let lines = [
            (
                applied,
                r#"{"id":1,"result":{"applied":{"fault_id":3,"evidence":{"bit":false,"details":[]},"failures":[]}}}"#,
            ),
            (
                failed,
                r#"{"id":9,"error":{"message":"no","faults":[{"fault_id":3,"evidence":{"bit":false,"details":[]},"failures":[]}],"left_behind":[3]}}"#,
            ),
        ];
        for (response, line) in lines {
            assert_eq!(serde_json::to_string(&response).unwrap(), line);
            assert_eq!(serde_json::from_str::<Response>(line).unwrap(), response);
        }
    }
}

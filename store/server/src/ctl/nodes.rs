//! What is asked of each node by itself: how it is, its files, and a hash of its keys.
//!
//! The nodes are the members of the cluster, as the endpoints tell of them; the endpoints themselves if none can, or if only they are
//! asked for. A node that does not
//! answer does not keep the others from being asked; then the exit code is 1.

use std::collections::BTreeSet;
use std::io::IsTerminal;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{CtlError, Session};
use crate::client::{AdminSession, FailpointOrder, HashOutcome, MaintenanceClient, NodeStatus, StatusClient};
use crate::server::failpoints::{Action, Point};

/// Verbs about each node.
#[derive(Debug, Subcommand)]
pub enum NodesVerb {
    /// How each node is: a table on a terminal, one JSON object otherwise.
    Status {
        /// JSON also on a terminal.
        #[arg(long)]
        json: bool,
    },
    /// Have each node take a snapshot now.
    Snapshot,
    /// Have each node take a snapshot and remove the parts of its log that it does not need any more.
    Defrag,
    /// Compare the keys of all nodes in one revision by their hashes.
    HashAtRevision {
        /// The revision.
        revision: u64,
    },
    /// Have each node pause, fail or end at a named place, for testing testers. Only nodes that were started with --failpoints do.
    #[command(
        subcommand,
        after_help = "Examples, with --only, so that the other members go on:
  labrys-store ctl --endpoints 10.0.0.1:7000 --only failpoint set before-wal-sync 'pause 3000' --times 1
  labrys-store ctl --endpoints 10.0.0.1:7000 --only failpoint set after-wal-sync exit
  labrys-store ctl --endpoints 10.0.0.1:7000 --only failpoint list
  labrys-store ctl --endpoints 10.0.0.1:7000 --only failpoint clear"
    )]
    Failpoint(FailpointVerb),
}

/// What can be done with failpoints.
#[derive(Debug, Subcommand)]
pub enum FailpointVerb {
    /// From now on, something happens to whoever passes there: `pause MS`, `exit` (with exit code 14) or `error`.
    Set {
        /// Where.
        #[arg(value_parser = str::parse::<Point>)]
        name: Point,
        /// What.
        #[arg(value_parser = str::parse::<Action>)]
        action: Action,
        /// How often [default: until it is cleared].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        times: Option<u64>,
    },
    /// List them: what happens there, how often each was passed, and how often the latest order took effect.
    List,
    /// Nothing happens there any more; who pauses there goes on.
    Clear {
        /// Where [default: anywhere].
        #[arg(value_parser = str::parse::<Point>)]
        name: Option<Point>,
    },
}

impl From<FailpointVerb> for FailpointOrder {
    fn from(verb: FailpointVerb) -> FailpointOrder {
        match verb {
            FailpointVerb::Set { name, action, times } => FailpointOrder::Set { point: name, action, times },
            FailpointVerb::List => FailpointOrder::List,
            FailpointVerb::Clear { name } => FailpointOrder::Clear { point: name },
        }
    }
}

/// What each node answered, by address.
type Answers<T> = Vec<(String, Result<T, String>)>;

impl NodesVerb {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), CtlError> {
        let nodes = addresses(session).await?;
        match self {
            NodesVerb::Failpoint(verb) => {
                let order = FailpointOrder::from(verb);
                let ask = async |node: MaintenanceClient, timeout| node.failpoints(order, timeout).await;
                let answers = each(session, &nodes, ask).await?;
                session.print(&json!({ "nodes": listed(&answers) }))?;
                all_answered(&answers)
            }
            NodesVerb::Status { json } => status(session, &nodes, json).await,
            NodesVerb::Snapshot => {
                let answers =
                    each(session, &nodes, async |node, timeout| node.take_snapshot(timeout).await).await?;
                session.print(&json!({ "nodes": listed(&answers) }))?;
                all_answered(&answers)
            }
            NodesVerb::Defrag => {
                let answers =
                    each(session, &nodes, async |node, timeout| node.defragment(timeout).await).await?;
                session.print(&json!({ "nodes": listed(&answers) }))?;
                all_answered(&answers)
            }
            NodesVerb::HashAtRevision { revision } => {
                let ask =
                    async |node: MaintenanceClient, timeout| node.hash_at_revision(revision, timeout).await;
                let answers = each(session, &nodes, ask).await?;
                session.print(&json!({ "revision": revision, "nodes": listed(&answers) }))?;
                compare(revision, &answers)
            }
        }
    }
}

async fn addresses(session: &Session<'_>) -> Result<Vec<String>, CtlError> {
    if session.only {
        return Ok(session.endpoints.to_vec());
    }
    let admin = AdminSession::new(session.endpoints.to_vec(), session.security.clone())?;
    let members = admin.members(session.timeout).await.map(|members| members.members).unwrap_or_default();
    let mut addresses: Vec<String> =
        members.into_iter().map(|member| member.address).filter(|address| !address.is_empty()).collect();
    if addresses.is_empty() {
        addresses = session.endpoints.to_vec();
    }
    Ok(addresses)
}

/// Asks one node after the other, so that not all of them are busy with it at once.
async fn each<T, E: std::fmt::Display>(
    session: &Session<'_>,
    nodes: &[String],
    ask: impl AsyncFn(MaintenanceClient, std::time::Duration) -> Result<T, E>,
) -> Result<Answers<T>, CtlError> {
    let mut answers = Vec::new();
    for address in nodes {
        let node = MaintenanceClient::new(address, &session.security)?;
        let answer = ask(node, session.timeout).await.map_err(|error| error.to_string());
        answers.push((address.clone(), answer));
    }
    Ok(answers)
}

fn listed<T: serde::Serialize>(answers: &Answers<T>) -> Vec<Value> {
    let item = |(address, answer): &(String, Result<T, String>)| match answer {
        Ok(answer) => json!({ "address": address, "answer": answer }),
        Err(error) => json!({ "address": address, "error": error }),
    };
    answers.iter().map(item).collect()
}

fn all_answered<T>(answers: &Answers<T>) -> Result<(), CtlError> {
    let errors: Vec<&str> =
        answers.iter().filter_map(|(_, answer)| answer.as_ref().err()).map(String::as_str).collect();
    if errors.is_empty() { Ok(()) } else { Err(CtlError::Nodes(errors.join("; "))) }
}

/// Two hashes that differ are the worst; else all nodes must have told one.
fn compare(revision: u64, answers: &Answers<HashOutcome>) -> Result<(), CtlError> {
    let hashes: BTreeSet<_> = answers
        .iter()
        .filter_map(|(_, answer)| match answer {
            Ok(HashOutcome::Hash { hash, key_count }) => Some((hash, key_count)),
            _ => None,
        })
        .collect();
    if hashes.len() > 1 {
        return Err(CtlError::Differ(format!(
            "the nodes have diverged: their keys differ in revision {revision}"
        )));
    }
    all_answered(answers)?;
    let without = |(address, answer): &(String, Result<HashOutcome, String>)| match answer {
        Ok(HashOutcome::Compacted { first }) => {
            Some(format!("{address} has forgotten revisions before {first}"))
        }
        Ok(HashOutcome::Future { latest }) => Some(format!("{address} has got to revision {latest} only")),
        Ok(HashOutcome::Hash { .. }) | Err(_) => None,
    };
    let without: Vec<String> = answers.iter().filter_map(without).collect();
    if without.is_empty() { Ok(()) } else { Err(CtlError::Nodes(without.join("; "))) }
}

async fn status(session: &mut Session<'_>, nodes: &[String], json: bool) -> Result<(), CtlError> {
    let first = statuses(session, nodes, None).await?;
    // What all of them have applied, they must have applied alike.
    let common =
        first.iter().filter_map(|(_, answer)| answer.as_ref().ok()).map(|status| status.applied_index);
    let answers = statuses(session, nodes, common.min()).await?;
    if json || !std::io::stdout().is_terminal() {
        session.print(&json!({ "common_index": common_index(&first), "nodes": listed(&answers) }))?;
    } else {
        session.out.write_all(table(&answers).as_bytes())?;
    }
    let digests: BTreeSet<u64> = answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().ok().and_then(|status| status.digest_at_index))
        .collect();
    if digests.len() > 1 {
        return Err(CtlError::Differ(
            "the nodes have diverged: their digests at one index differ".to_owned(),
        ));
    }
    all_answered(&answers)
}

fn common_index(answers: &Answers<NodeStatus>) -> Option<u64> {
    answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).map(|status| status.applied_index).min()
}

async fn statuses(
    session: &Session<'_>,
    nodes: &[String],
    digest_at_index: Option<u64>,
) -> Result<Answers<NodeStatus>, CtlError> {
    let mut answers = Vec::new();
    for address in nodes {
        let mut client = StatusClient::with_security(address, &session.security)?;
        let answer = client.status(digest_at_index, session.timeout).await;
        answers.push((address.clone(), answer.map_err(|error| error.to_string())));
    }
    Ok(answers)
}

/// For people. `LAG` is how many entries the node has to apply yet of what any node knows to be committed.
fn table(answers: &Answers<NodeStatus>) -> String {
    let committed =
        answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).map(|status| status.commit_index);
    let committed = committed.max().unwrap_or_default();
    let heads = [
        "NODE", "ADDRESS", "ROLE", "TERM", "LEADER", "COMMIT", "APPLIED", "LAG", "DIGEST", "SNAPSHOT", "LOG",
        "READS", "VERSION",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for (address, answer) in answers {
        rows.push(match answer {
            Err(error) => vec!["?".to_owned(), address.clone(), error.clone()],
            Ok(status) => vec![
                status.node.to_string(),
                address.clone(),
                format!("{:?}", status.role).to_lowercase(),
                status.term.to_string(),
                status.leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string()),
                status.commit_index.to_string(),
                status.applied_index.to_string(),
                committed.saturating_sub(status.applied_index).to_string(),
                status.digest_at_index.map_or_else(|| "-".to_owned(), |digest| format!("{digest:016x}")),
                format!("{} ({} KiB)", status.storage.snapshot_index, status.storage.snapshot_bytes / 1024),
                format!("{} KiB", status.storage.log_bytes / 1024),
                status.storage.read_modes.join(","),
                status.version.clone(),
            ],
        });
    }
    let width = |column: usize| {
        let full = rows.iter().filter(|row| row.len() == heads.len());
        full.map(|row| row[column].len()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::StorageStatus;
    use labrys_raft::Role;

    fn node(id: u64, applied_index: u64) -> NodeStatus {
        NodeStatus {
            node: id,
            role: if id == 1 { Role::Leader } else { Role::Follower },
            term: 7,
            leader: Some(1),
            leader_address: None,
            last_index: 90,
            commit_index: 90,
            applied_index,
            digest: 0,
            digest_at_index: Some(0xab),
            first_digest_index: 0,
            uptime_ms: 0,
            defects: Vec::new(),
            leader_changes: Vec::new(),
            key_count: 0,
            session_count: 0,
            version: "1.2.3".to_owned(),
            storage: StorageStatus {
                snapshot_index: 64,
                snapshot_bytes: 2048,
                log_bytes: 4096,
                read_modes: vec!["log".to_owned(), "local".to_owned()],
                ..StorageStatus::default()
            },
        }
    }

    fn hash(text: &str) -> Result<HashOutcome, String> {
        Ok(HashOutcome::Hash { hash: text.to_owned(), key_count: 3 })
    }

    #[test]
    fn a_table_has_a_line_for_each_node_and_says_how_far_it_is_behind() {
        let answers = vec![
            ("a:1".to_owned(), Ok(node(1, 90))),
            ("b:1".to_owned(), Ok(node(2, 85))),
            ("c:1".to_owned(), Err("no status from c:1: connection refused".to_owned())),
        ];
        let expected = "\
NODE  ADDRESS  ROLE      TERM  LEADER  COMMIT  APPLIED  LAG  DIGEST            SNAPSHOT    LOG    READS      VERSION
1     a:1      leader    7     1       90      90       0    00000000000000ab  64 (2 KiB)  4 KiB  log,local  1.2.3
2     b:1      follower  7     1       90      85       5    00000000000000ab  64 (2 KiB)  4 KiB  log,local  1.2.3
?     c:1      no status from c:1: connection refused
";
        assert_eq!(table(&answers), expected);
    }

    #[test]
    fn hashes_that_differ_are_told_from_nodes_that_have_none() {
        let answers = |second| vec![("a:1".to_owned(), hash("x")), ("b:1".to_owned(), second)];
        assert!(compare(5, &answers(hash("x"))).is_ok());
        assert!(matches!(compare(5, &answers(hash("y"))), Err(CtlError::Differ(_))));
        let behind = compare(5, &answers(Ok(HashOutcome::Future { latest: 4 }))).unwrap_err();
        assert!(
            matches!(&behind, CtlError::Nodes(text) if text == "b:1 has got to revision 4 only"),
            "{behind}"
        );
        let forgot = compare(5, &answers(Ok(HashOutcome::Compacted { first: 9 }))).unwrap_err();
        assert!(forgot.to_string().contains("forgotten revisions before 9"), "{forgot}");
        assert!(matches!(compare(5, &answers(Err("b:1: gone".to_owned()))), Err(CtlError::Nodes(_))));
    }
}

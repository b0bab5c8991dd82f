//! Flags and configuration file of `labrys-store`. Every flag but `--config` is also a key of the TOML file, by the same
//! name without the dashes in front; a flag wins over the file. In the file, `peers` is a table and `defect` a list:
//!
//! ```toml
//! id = 1
//! listen = "10.0.0.1:7000"
//! data-dir = "/var/lib/labrys"
//!
//! [peers]
//! 1 = "10.0.0.1:7000"
//! 2 = "10.0.0.2:7000"
//! 3 = "10.0.0.3:7000"
//! ```

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use labrys_raft::{Defect, Defects};
use serde::Deserialize;
use thiserror::Error;

use crate::ctl::CtlArguments;
use crate::logging::LogFormat;
use crate::security::{Security, SecurityError, SecurityFiles};
use crate::server::{Limits, ServerOptions};

/// Must be `1` in the environment before a defect can be switched on.
pub const DEFECTS_VARIABLE: &str = "LABRYS_DEFECTS";

/// Must be `1` in the environment before a node takes orders about how wrong its clock is to run.
pub const CLOCK_FAULTS_VARIABLE: &str = "LABRYS_CLOCK_FAULTS";

/// Must be `1` in the environment before a node takes orders for its failpoints.
pub const FAILPOINTS_VARIABLE: &str = "LABRYS_FAILPOINTS";

/// What the environment allows, of which a node in earnest needs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// To switch defects on ([`DEFECTS_VARIABLE`]).
    pub defects: bool,
    /// To make the clock run wrong ([`CLOCK_FAULTS_VARIABLE`]).
    pub clock_faults: bool,
    /// To take orders for failpoints ([`FAILPOINTS_VARIABLE`]).
    pub failpoints: bool,
}

/// A node of the reference store: a Raft-replicated key-value store.
#[derive(Debug, Parser)]
#[command(name = "labrys-store", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of a node.
    #[command(flatten)]
    pub flags: Flags,
    /// A TOML file with any of the flags; flags on the command line win.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the defects that can be switched on for testing testers, and what each does wrong.
    Defects,
    /// Ask a cluster: read, write, watch, change its members, move its leadership.
    Ctl(Box<CtlArguments>),
}

/// What a node can be told, on the command line or in the file.
#[derive(Debug, Default, Parser, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Flags {
    /// This node's id, from 1.
    #[arg(long, value_name = "ID")]
    pub id: Option<u64>,
    /// The address to listen on [default: this node's in --peers].
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// The addresses of all nodes, this one included.
    #[arg(long, value_name = "ID=HOST:PORT,…", value_parser = parse_peers)]
    pub peers: Option<Peers>,
    /// Wait, with an empty data directory, to be added to a cluster; --peers needs this node's own address only. Has no effect
    /// once the log says who the members are.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub join: Option<bool>,
    /// Where this node keeps its log.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A follower that hears nothing for once to twice this time campaigns [default: 300].
    #[arg(long, value_name = "MS")]
    pub election_timeout_ms: Option<u64>,
    /// A leader sends something at least this often [default: 50].
    #[arg(long, value_name = "MS")]
    pub heartbeat_interval_ms: Option<u64>,
    /// Ask for votes only after a trial round that changes no term [default: true].
    #[arg(long, value_name = "BOOL")]
    pub pre_vote: Option<bool>,
    /// A leader that has not heard from a majority for an election timeout steps down [default: true].
    #[arg(long, value_name = "BOOL")]
    pub check_quorum: Option<bool>,
    /// Answer reads under a lease so; the same on all nodes. Otherwise they are confirmed by a majority [default: true].
    #[arg(long, value_name = "BOOL")]
    pub lease_reads: Option<bool>,
    /// No node's clock runs faster than another's by more than this: what leases rest on [default: 10].
    #[arg(long, value_name = "PERCENT")]
    pub max_clock_drift_percent: Option<u64>,
    /// Election timeouts that this node waits longer than others before it campaigns, so that it leads last [default: 0].
    #[arg(long, value_name = "NUMBER")]
    pub election_handicap: Option<u64>,
    /// A new segment of the log is begun at this size [default: 67108864].
    #[arg(long, value_name = "BYTES")]
    pub segment_bytes: Option<u64>,
    /// A snapshot is taken after so many entries [default: 1000000].
    #[arg(long, value_name = "NUMBER")]
    pub snapshot_entries: Option<u64>,
    /// A snapshot is taken after entries of so many bytes, but of no fewer than the last snapshot has [default: 67108864].
    #[arg(long, value_name = "BYTES")]
    pub snapshot_bytes: Option<u64>,
    /// So many entries that a snapshot contains stay in the log, for followers that are a little behind [default: 5000].
    #[arg(long, value_name = "NUMBER")]
    pub kept_entries: Option<u64>,
    /// Seed of the randomised election timeouts [default: drawn from the system].
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Switch a bug on, for testing testers; may be repeated. Refused unless LABRYS_DEFECTS=1.
    #[arg(long, value_name = "NAME")]
    #[serde(rename = "defect")]
    pub defect: Vec<String>,
    /// Let the clock run as wrong as this file says, for testing testers. Refused unless LABRYS_CLOCK_FAULTS=1.
    #[arg(long, value_name = "FILE")]
    pub clock_file: Option<PathBuf>,
    /// Count by the machine's wall clock, which can be set, for testing testers. Refused unless LABRYS_CLOCK_FAULTS=1 [default: false].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub wall_clock: Option<bool>,
    /// Take orders to pause, fail or end at named places (ctl failpoint), for testing testers. Refused unless LABRYS_FAILPOINTS=1.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub failpoints: Option<bool>,
    /// The certificate for clients and peers, in PEM; its intermediates follow it. Switches TLS on.
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Who must have signed the certificates of clients and peers, in PEM. Without it clients need none.
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// A file with a secret that every call of clients and peers must carry (authorization: Bearer …).
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Most bytes in one request; larger ones are refused unread [default: 4194304].
    #[arg(long, value_name = "BYTES")]
    pub max_request_bytes: Option<usize>,
    /// Most requests that wait for their answer at a time; further ones are refused [default: 8192].
    #[arg(long, value_name = "COUNT")]
    pub max_inflight_requests: Option<usize>,
    /// Most bytes in the keys and values of these requests; what goes beyond is refused [default: 67108864].
    #[arg(long, value_name = "BYTES")]
    pub max_inflight_bytes: Option<usize>,
    /// Most connections at a time, those of peers included; further ones are closed at once [default: 4096].
    #[arg(long, value_name = "COUNT")]
    pub max_connections: Option<usize>,
    /// Serve /metrics and /health over plain HTTP at this address [default: not at all].
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics_listen: Option<String>,
    /// The form of the log lines on stderr [default: json].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// The addresses of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Peers(pub BTreeMap<u64, String>);

impl TryFrom<BTreeMap<String, String>> for Peers {
    type Error = String;

    fn try_from(table: BTreeMap<String, String>) -> Result<Self, Self::Error> {
        collect_peers(table.iter().map(|(id, address)| (id.as_str(), address.as_str())))
    }
}

fn collect_peers<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Peers, String> {
    let mut peers = BTreeMap::new();
    for (id, address) in pairs {
        let id: u64 = id.trim().parse().map_err(|_| format!("`{id}` is not a node id"))?;
        let address = address.trim();
        if id == 0 {
            return Err("node ids begin at 1".to_owned());
        }
        if !address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        {
            return Err(format!("`{address}` is not of the form host:port"));
        }
        if peers.insert(id, address.to_owned()).is_some() {
            return Err(format!("node {id} is there twice"));
        }
    }
    Ok(Peers(peers))
}

fn parse_peers(text: &str) -> Result<Peers, String> {
    let pairs: Result<Vec<(&str, &str)>, String> = text
        .split(',')
        .map(|pair| pair.split_once('=').ok_or_else(|| format!("`{pair}` is not of the form id=host:port")))
        .collect();
    collect_peers(pairs?.into_iter())
}

/// The options make no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OptionsError {
    /// Something is missing.
    #[error("--{flag} is required (or `{flag}` in the --config file)")]
    Missing {
        /// What.
        flag: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read {file}: {detail}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        detail: String,
    },
    /// The file makes no sense.
    #[error("{file}: {detail}")]
    BadFile {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The node is not one of the nodes.
    #[error("node {id} is not in --peers")]
    NotAPeer {
        /// The node.
        id: u64,
    },
    /// There is no such defect.
    #[error(transparent)]
    UnknownDefect(#[from] labrys_raft::UnknownDefect),
    /// The files for TLS or the token are of no use.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// Defects are not allowed here.
    #[error(
        "--defect breaks the store on purpose and is refused unless the environment says {DEFECTS_VARIABLE}=1"
    )]
    DefectsNotAllowed,
    /// Clock faults are not allowed here.
    #[error(
        "--clock-file and --wall-clock let the clock run wrong and are refused unless the environment says {CLOCK_FAULTS_VARIABLE}=1"
    )]
    ClockFaultsNotAllowed,
    /// Two clocks at once.
    #[error("--clock-file and --wall-clock are two clocks: give one of them")]
    TwoClocks,
    /// Failpoints are not to be there by accident.
    #[error(
        "--failpoints has the node pause, fail and end by order and is refused unless the environment says {FAILPOINTS_VARIABLE}=1"
    )]
    FailpointsNotAllowed,
}

/// What a process needs to serve.
#[derive(Debug)]
pub struct Resolved {
    /// The node's part.
    pub server: ServerOptions,
    /// Where to listen.
    pub listen: String,
    /// The form of the log lines.
    pub log_format: LogFormat,
}

/// Joins the flags with the file, if one is named, and fills in the rest.
pub fn resolve(
    flags: Flags,
    config: Option<&Path>,
    permissions: Permissions,
) -> Result<Resolved, OptionsError> {
    let flags = match config {
        Some(file) => merge(flags, read(file)?),
        None => flags,
    };
    let missing = |flag| OptionsError::Missing { flag };
    let id = flags.id.ok_or_else(|| missing("id"))?;
    let Peers(peers) = flags.peers.ok_or_else(|| missing("peers"))?;
    let data_dir = flags.data_dir.ok_or_else(|| missing("data-dir"))?;
    let own_address = peers.get(&id).ok_or(OptionsError::NotAPeer { id })?.clone();
    if !flags.defect.is_empty() && !permissions.defects {
        return Err(OptionsError::DefectsNotAllowed);
    }
    let wall_clock = flags.wall_clock.unwrap_or(false);
    if (flags.clock_file.is_some() || wall_clock) && !permissions.clock_faults {
        return Err(OptionsError::ClockFaultsNotAllowed);
    }
    if flags.clock_file.is_some() && wall_clock {
        return Err(OptionsError::TwoClocks);
    }
    let takes_failpoints = flags.failpoints.unwrap_or(false);
    if takes_failpoints && !permissions.failpoints {
        return Err(OptionsError::FailpointsNotAllowed);
    }
    let defects: Result<Defects, _> = flags.defect.iter().map(|name| name.parse::<Defect>()).collect();
    let mut server = ServerOptions::new(id, peers, data_dir);
    server.defects = defects?;
    server.clock_file = flags.clock_file;
    server.wall_clock = wall_clock;
    server.failpoints = takes_failpoints;
    server.election_timeout_ms = flags.election_timeout_ms.unwrap_or(server.election_timeout_ms);
    server.heartbeat_interval_ms = flags.heartbeat_interval_ms.unwrap_or(server.heartbeat_interval_ms);
    server.pre_vote = flags.pre_vote.unwrap_or(server.pre_vote);
    server.check_quorum = flags.check_quorum.unwrap_or(server.check_quorum);
    server.join = flags.join.unwrap_or(server.join);
    server.lease_reads = flags.lease_reads.unwrap_or(server.lease_reads);
    let drift_percent = flags.max_clock_drift_percent;
    server.max_clock_drift_percent = drift_percent.unwrap_or(server.max_clock_drift_percent);
    server.election_handicap = flags.election_handicap.unwrap_or(server.election_handicap);
    server.wal.segment_bytes = flags.segment_bytes.unwrap_or(server.wal.segment_bytes);
    server.snapshots.entries = flags.snapshot_entries.unwrap_or(server.snapshots.entries).max(1);
    server.snapshots.bytes = flags.snapshot_bytes.unwrap_or(server.snapshots.bytes).max(1);
    server.kept_entries = flags.kept_entries.unwrap_or(server.kept_entries);
    server.seed = flags.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let limits = server.limits;
    server.limits = Limits {
        request_bytes: flags.max_request_bytes.unwrap_or(limits.request_bytes),
        inflight_requests: flags.max_inflight_requests.unwrap_or(limits.inflight_requests),
        inflight_bytes: flags.max_inflight_bytes.unwrap_or(limits.inflight_bytes),
        connections: flags.max_connections.unwrap_or(limits.connections),
    };
    server.metrics_listen = flags.metrics_listen;
    server.security = Security::load(&SecurityFiles {
        tls_certificate: flags.tls_certificate,
        tls_key: flags.tls_key,
        tls_ca: flags.tls_ca,
        token_file: flags.token_file,
    })?;
    server.security.check_node(server.peers.len() > 1)?;
    let listen = flags.listen.unwrap_or(own_address);
    Ok(Resolved { server, listen, log_format: flags.log_format.unwrap_or_default() })
}

fn read(file: &Path) -> Result<Flags, OptionsError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| OptionsError::Unreadable { file: file.to_owned(), detail: error.to_string() })?;
    toml::from_str(&text).map_err(|error| {
        let line =
            error.span().map(|span| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        OptionsError::BadFile { file: file.to_owned(), detail: format!("{place}{}", error.message()) }
    })
}

fn merge(flags: Flags, file: Flags) -> Flags {
    Flags {
        id: flags.id.or(file.id),
        listen: flags.listen.or(file.listen),
        peers: flags.peers.or(file.peers),
        data_dir: flags.data_dir.or(file.data_dir),
        election_timeout_ms: flags.election_timeout_ms.or(file.election_timeout_ms),
        heartbeat_interval_ms: flags.heartbeat_interval_ms.or(file.heartbeat_interval_ms),
        pre_vote: flags.pre_vote.or(file.pre_vote),
        check_quorum: flags.check_quorum.or(file.check_quorum),
        join: flags.join.or(file.join),
        lease_reads: flags.lease_reads.or(file.lease_reads),
        max_clock_drift_percent: flags.max_clock_drift_percent.or(file.max_clock_drift_percent),
        election_handicap: flags.election_handicap.or(file.election_handicap),
        segment_bytes: flags.segment_bytes.or(file.segment_bytes),
        snapshot_entries: flags.snapshot_entries.or(file.snapshot_entries),
        snapshot_bytes: flags.snapshot_bytes.or(file.snapshot_bytes),
        kept_entries: flags.kept_entries.or(file.kept_entries),
        seed: flags.seed.or(file.seed),
        defect: if flags.defect.is_empty() { file.defect } else { flags.defect },
        clock_file: flags.clock_file.or(file.clock_file),
        wall_clock: flags.wall_clock.or(file.wall_clock),
        failpoints: flags.failpoints.or(file.failpoints),
        tls_certificate: flags.tls_certificate.or(file.tls_certificate),
        tls_key: flags.tls_key.or(file.tls_key),
        tls_ca: flags.tls_ca.or(file.tls_ca),
        token_file: flags.token_file.or(file.token_file),
        max_request_bytes: flags.max_request_bytes.or(file.max_request_bytes),
        max_inflight_requests: flags.max_inflight_requests.or(file.max_inflight_requests),
        max_inflight_bytes: flags.max_inflight_bytes.or(file.max_inflight_bytes),
        max_connections: flags.max_connections.or(file.max_connections),
        metrics_listen: flags.metrics_listen.or(file.metrics_listen),
        log_format: flags.log_format.or(file.log_format),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "id = 2\nheartbeat-interval-ms = 7\ndata-dir = \"/tmp/x\"\nlog-format = \"text\"\n\
                        [peers]\n1 = \"a:1\"\n2 = \"b:2\"\n";

    const NOTHING: Permissions = Permissions { defects: false, clock_faults: false, failpoints: false };

    fn flags(arguments: &[&str]) -> Flags {
        let command = std::iter::once("labrys-store").chain(arguments.iter().copied());
        Arguments::try_parse_from(command).unwrap().flags
    }

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = file(FILE);
        let resolved =
            resolve(flags(&["--id", "1", "--election-timeout-ms", "99"]), Some(file.path()), NOTHING)
                .unwrap();
        assert_eq!(resolved.server.id, 1);
        assert_eq!(resolved.listen, "a:1");
        assert_eq!((resolved.server.election_timeout_ms, resolved.server.heartbeat_interval_ms), (99, 7));
        assert_eq!(resolved.log_format, LogFormat::Text);
    }

    #[test]
    fn pre_vote_and_check_quorum_are_on_unless_they_are_switched_off() {
        let base = ["--id", "1", "--peers", "1=a:1", "--data-dir", "d"];
        let server = resolve(flags(&base), None, NOTHING).unwrap().server;
        assert!(server.pre_vote && server.check_quorum);
        let off = [&base[..], &["--check-quorum", "false", "--pre-vote", "false"]].concat();
        let server = resolve(flags(&off), None, NOTHING).unwrap().server;
        assert!(!server.pre_vote && !server.check_quorum);
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error_with_its_line() {
        let file = file("id = 1\nhartbeat = 3\n");
        let error = resolve(flags(&[]), Some(file.path()), NOTHING).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("hartbeat"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = resolve(flags(&["--id", "1"]), None, NOTHING).unwrap_err();
        assert_eq!(error, OptionsError::Missing { flag: "peers" });
    }

    #[test]
    fn nonsense_peers_are_refused() {
        for text in ["", "1", "1=", "x=a:1", "1=a", "0=a:1", "1=a:1,1=b:1", "1=a:1,"] {
            assert!(parse_peers(text).is_err(), "{text}");
        }
        assert_eq!(parse_peers("1=a:1,2=b:2").unwrap().0.len(), 2);
    }

    #[test]
    fn defects_need_permission_and_a_name_that_exists() {
        let base = ["--id", "1", "--peers", "1=a:1", "--data-dir", "d", "--defect"];
        let with = |name| flags(&[&base[..], &[name]].concat());
        assert_eq!(
            resolve(with("follower-read"), None, NOTHING).unwrap_err(),
            OptionsError::DefectsNotAllowed
        );
        assert!(matches!(
            resolve(with("nonsense"), None, Permissions { defects: true, ..NOTHING }),
            Err(OptionsError::UnknownDefect(_))
        ));
        assert!(
            resolve(with("follower-read"), None, Permissions { defects: true, ..NOTHING })
                .unwrap()
                .server
                .defects
                .has(Defect::FollowerRead)
        );
    }

    #[test]
    fn failpoints_need_a_permission_of_their_own_and_are_off_unless_asked_for() {
        let base = ["--id", "1", "--peers", "1=a:1", "--data-dir", "d"];
        let asked = || flags(&[&base[..], &["--failpoints"]].concat());
        let others = Permissions { defects: true, clock_faults: true, ..NOTHING };
        assert_eq!(resolve(asked(), None, others).unwrap_err(), OptionsError::FailpointsNotAllowed);
        let allowed = Permissions { failpoints: true, ..NOTHING };
        assert!(resolve(asked(), None, allowed).unwrap().server.failpoints);
        let file = file("failpoints = true\n");
        assert!(resolve(flags(&base), Some(file.path()), allowed).unwrap().server.failpoints);
        let off = flags(&[&base[..], &["--failpoints=false"]].concat());
        assert!(!resolve(off, Some(file.path()), NOTHING).unwrap().server.failpoints);
        assert!(!resolve(flags(&base), None, allowed).unwrap().server.failpoints);
    }

    #[test]
    fn a_clock_file_needs_a_permission_of_its_own_wherever_it_is_named() {
        let base = ["--id", "1", "--peers", "1=a:1", "--data-dir", "d"];
        let flagged = || flags(&[&base[..], &["--clock-file", "clock"]].concat());
        let file = file("clock-file = \"clock\"\n");
        let others = Permissions { defects: true, ..NOTHING };
        for refused in [resolve(flagged(), None, others), resolve(flags(&base), Some(file.path()), others)] {
            assert_eq!(refused.unwrap_err(), OptionsError::ClockFaultsNotAllowed);
        }
        let allowed = Permissions { clock_faults: true, ..NOTHING };
        let server = resolve(flagged(), None, allowed).unwrap().server;
        assert_eq!(server.clock_file.as_deref(), Some(Path::new("clock")));
    }

    #[test]
    fn the_wall_clock_needs_the_same_permission_and_is_one_clock_of_two() {
        let base = ["--id", "1", "--peers", "1=a:1", "--data-dir", "d"];
        let allowed = Permissions { clock_faults: true, ..NOTHING };
        let wall = || flags(&[&base[..], &["--wall-clock"]].concat());
        let refused = |flags, permissions| resolve(flags, None, permissions).unwrap_err();
        assert_eq!(refused(wall(), NOTHING), OptionsError::ClockFaultsNotAllowed);
        assert!(resolve(wall(), None, allowed).unwrap().server.wall_clock);
        let both = flags(&[&base[..], &["--wall-clock", "--clock-file", "clock"]].concat());
        assert_eq!(refused(both, allowed), OptionsError::TwoClocks);
        let off = flags(&[&base[..], &["--wall-clock=false"]].concat());
        assert!(!resolve(off, None, NOTHING).unwrap().server.wall_clock);
    }
}

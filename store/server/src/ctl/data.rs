//! The verbs of the data model.

use bytes::Bytes;
use clap::{Args, Subcommand};
use labrys_raft::ReadMode;
use serde_json::json;

use super::{CtlError, Session, show, txn};
use crate::client::{Watch, WatchEvent, prefix};
use crate::machine::{LeaseId, LockToken, Operation, Query, RangeQuery, Revision, Step};

/// What can be done with keys, leases and locks.
#[derive(Debug, Subcommand)]
pub enum DataVerb {
    /// Read a key.
    Get {
        /// The key.
        key: String,
        /// The state to read [default: the latest].
        #[arg(long)]
        revision: Option<u64>,
        /// How: log, read-index, follower, lease or local (which may be out of date) [default: read-index].
        #[arg(long, value_name = "MODE")]
        read_mode: Option<ReadMode>,
    },
    /// Read keys in order.
    Range {
        /// Which.
        #[command(flatten)]
        keys: Keys,
        /// Most keys; 0 leaves it to the store.
        #[arg(long, default_value_t = 0)]
        limit: u32,
        /// The state to read [default: the latest].
        #[arg(long)]
        revision: Option<u64>,
        /// How: log, read-index, follower, lease or local (which may be out of date) [default: read-index].
        #[arg(long, value_name = "MODE")]
        read_mode: Option<ReadMode>,
    },
    /// Set a key.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The lease that the key ends with.
        #[arg(long, value_name = "ID")]
        lease: Option<u64>,
    },
    /// Set a key if it has a certain value, or if it does not exist.
    Cas {
        /// The key.
        key: String,
        /// Its new value.
        value: String,
        /// The value that it must have [default: it must not exist].
        #[arg(long, value_name = "VALUE")]
        expected: Option<String>,
    },
    /// Remove a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Add to the end of a value.
    Append {
        /// The key.
        key: String,
        /// What is added.
        suffix: String,
    },
    /// Add to a number.
    Increment {
        /// The key.
        key: String,
        /// How much.
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
    },
    /// If all conditions hold, one list of steps, and else the other; at one moment, all or nothing.
    ///
    /// A condition is `value KEY OP TEXT`, `version KEY OP NUMBER`, `created KEY OP REVISION`, `modified KEY OP REVISION` (OP is one of
    /// = != < >) or `locked NAME TOKEN`. A step is `get KEY`, `put KEY VALUE`, `delete KEY`, `append KEY SUFFIX`, `increment KEY
    /// NUMBER`, `cas KEY EXPECTED VALUE` or `prefix PREFIX`. The last word may contain spaces.
    Txn {
        /// A condition; may be repeated.
        #[arg(long = "if", value_name = "CONDITION")]
        conditions: Vec<String>,
        /// A step for when all conditions hold; may be repeated.
        #[arg(long, value_name = "STEP")]
        then: Vec<String>,
        /// A step for when one does not; may be repeated.
        #[arg(long = "else", value_name = "STEP")]
        otherwise: Vec<String>,
    },
    /// Print what changes, a line for each revision, until killed or told enough.
    Watch {
        /// Which.
        #[command(flatten)]
        keys: Keys,
        /// The first revision that is wanted [default: the next].
        #[arg(long, value_name = "REVISION")]
        from: Option<u64>,
        /// End after this many revisions.
        #[arg(long, value_name = "NUMBER")]
        count: Option<u64>,
    },
    /// Forget the states before a revision.
    Compact {
        /// The first state that can still be read.
        #[arg(required_unless_present = "keep")]
        revision: Option<u64>,
        /// Instead of a revision: how many states before the latest can still be read.
        #[arg(long, value_name = "NUMBER", conflicts_with = "revision")]
        keep: Option<u64>,
    },
    /// Leases: a time to live, and the keys and locks that end with it.
    #[command(subcommand)]
    Lease(LeaseVerb),
    /// Locks: each is held by a lease, each acquisition has a token.
    #[command(subcommand)]
    Lock(LockVerb),
}

/// Which keys.
#[derive(Debug, Args)]
pub struct Keys {
    /// The first key; empty is the first of all.
    #[arg(long, value_name = "KEY", default_value = "")]
    start: String,
    /// The first key that is not wanted any more [default: none].
    #[arg(long, value_name = "KEY")]
    end: Option<String>,
    /// The keys that begin so.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["start", "end"])]
    prefix: Option<String>,
}

impl Keys {
    fn query(self, limit: u32) -> RangeQuery {
        match self.prefix {
            Some(text) => RangeQuery { limit, ..prefix(text) },
            None => RangeQuery { start: self.start.into(), end: self.end.map(Bytes::from), limit },
        }
    }
}

/// What can be done with leases.
#[derive(Debug, Subcommand)]
pub enum LeaseVerb {
    /// A new one.
    Grant {
        /// How long it lasts without a renewal.
        ttl_ms: u64,
    },
    /// Let it last its whole time again.
    Renew {
        /// Which.
        lease: u64,
    },
    /// End it, with its keys and locks.
    Revoke {
        /// Which.
        lease: u64,
    },
    /// Look at it.
    Show {
        /// Which.
        lease: u64,
    },
}

/// What can be done with locks.
#[derive(Debug, Subcommand)]
pub enum LockVerb {
    /// Take it, if it is free.
    Acquire {
        /// The lock.
        name: String,
        /// Whose it is to be.
        #[arg(long, value_name = "ID")]
        lease: u64,
    },
    /// Give it back.
    Release {
        /// The lock.
        name: String,
        /// What its acquisition brought.
        #[arg(long)]
        token: u64,
    },
    /// Look who has it.
    Show {
        /// The lock.
        name: String,
    },
}

/// What a verb asks of the store.
enum Asked {
    Read(Query, Option<ReadMode>),
    Write(Operation),
    /// All states but the latest and so many before it.
    Compact {
        keep: u64,
    },
    Watch {
        range: RangeQuery,
        from: Option<Revision>,
        count: Option<u64>,
    },
}

impl DataVerb {
    fn asked(self) -> Result<Asked, CtlError> {
        let revision = |revision: Option<u64>| revision.map(Revision);
        let step = |step| Asked::Write(Operation::Step(step));
        Ok(match self {
            DataVerb::Get { key, revision: at, read_mode } => {
                Asked::Read(Query::Get { key: key.into(), revision: revision(at) }, read_mode)
            }
            DataVerb::Range { keys, limit, revision: at, read_mode } => {
                Asked::Read(Query::Range { range: keys.query(limit), revision: revision(at) }, read_mode)
            }
            DataVerb::Put { key, value, lease } => {
                step(Step::Put { key: key.into(), value: value.into(), lease: lease.map(LeaseId) })
            }
            DataVerb::Cas { key, value, expected } => {
                Asked::Write(Operation::compare_and_set(key, expected.map(Bytes::from), value))
            }
            DataVerb::Delete { key } => Asked::Write(Operation::delete(key)),
            DataVerb::Append { key, suffix } => step(Step::Append { key: key.into(), suffix: suffix.into() }),
            DataVerb::Increment { key, by } => step(Step::Increment { key: key.into(), by }),
            DataVerb::Txn { conditions, then, otherwise } => {
                Asked::Write(txn::parse(&conditions, &then, &otherwise).map_err(CtlError::Usage)?)
            }
            DataVerb::Watch { keys, from, count } => {
                Asked::Watch { range: keys.query(0), from: revision(from), count }
            }
            DataVerb::Compact { revision: Some(revision), .. } => {
                Asked::Write(Operation::Compact { revision: Revision(revision) })
            }
            DataVerb::Compact { revision: None, keep } => Asked::Compact { keep: keep.unwrap_or(0) },
            DataVerb::Lease(verb) => verb.asked(),
            DataVerb::Lock(verb) => verb.asked(),
        })
    }

    /// Carries it out.
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), CtlError> {
        match self.asked()? {
            Asked::Read(query, read_mode) => {
                let reading =
                    session.client(read_mode.unwrap_or_default())?.read(query, session.timeout).await?;
                session.print(&show::reading(&reading))
            }
            Asked::Write(operation) => {
                let written = session.client(ReadMode::default())?.write(operation, session.timeout).await?;
                session.print(&show::written(&written))
            }
            Asked::Compact { keep } => {
                let mut client = session.client(ReadMode::default())?;
                let latest = client.read(Query::Revision, session.timeout).await?.revision;
                let revision = Revision(latest.0.saturating_sub(keep));
                let written = client.write(Operation::Compact { revision }, session.timeout).await?;
                session.print(&show::written(&written))
            }
            Asked::Watch { range, from, count } => watch(session, range, from, count).await,
        }
    }
}

impl LeaseVerb {
    fn asked(self) -> Asked {
        match self {
            LeaseVerb::Grant { ttl_ms } => Asked::Write(Operation::GrantLease { ttl_ms }),
            LeaseVerb::Renew { lease } => Asked::Write(Operation::RenewLease { lease: LeaseId(lease) }),
            LeaseVerb::Revoke { lease } => Asked::Write(Operation::RevokeLease { lease: LeaseId(lease) }),
            LeaseVerb::Show { lease } => Asked::Read(Query::Lease { lease: LeaseId(lease) }, None),
        }
    }
}

impl LockVerb {
    fn asked(self) -> Asked {
        match self {
            LockVerb::Acquire { name, lease } => {
                Asked::Write(Operation::AcquireLock { name: name.into(), lease: LeaseId(lease) })
            }
            LockVerb::Release { name, token } => {
                Asked::Write(Operation::ReleaseLock { name: name.into(), token: LockToken(token) })
            }
            LockVerb::Show { name } => Asked::Read(Query::Lock { name: name.into() }, None),
        }
    }
}

/// Nothing having changed for the time limit is no reason to end a watch, but nobody having answered is.
async fn watch(
    session: &mut Session<'_>,
    range: RangeQuery,
    from: Option<Revision>,
    count: Option<u64>,
) -> Result<(), CtlError> {
    let mut watch = Watch::with_security(session.endpoints, 0, range, from, &session.security)?;
    let mut left = count;
    while left != Some(0) {
        match watch.next(session.timeout).await {
            Ok(WatchEvent::Changes(changes)) => {
                session.print(&show::changes(&changes))?;
                left = left.map(|left| left - 1);
            }
            // Where it has begun, and how far it has got.
            Ok(WatchEvent::Through(through)) => session.print(&json!({ "through": through.0 }))?,
            Err(end) if watch.is_connected() => drop(end),
            Err(end) => return Err(end.into()),
        }
    }
    Ok(())
}

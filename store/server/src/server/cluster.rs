//! Which cluster a node belongs to, and that it talks to no other.
//!
//! Two clusters that reach each other's ports (a copied configuration, an address that was used again) would exchange votes and
//! entries as if they were one. So each stream of messages names its sender's cluster, and a node refuses one of another.
//!
//! The id of a cluster is derived from what all its first nodes are told alike: the ids and addresses in `--peers`. Nothing has to be
//! agreed on before the first election, and two clusters that began with different members differ. Two that began with the very
//! same ids and addresses cannot be told apart; they cannot run at the same time either. It is recorded once
//! ([`super::data_dir`]) and stays, whatever becomes of members and addresses. A node that joins knows none: it takes over that
//! of the first peer that speaks to it, which is durable before anything else of that peer is heard.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Names a cluster for its whole life. As text 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ClusterId(u64);

impl ClusterId {
    /// That of the cluster which these nodes begin.
    #[must_use]
    pub fn of(members: &BTreeMap<u64, String>) -> ClusterId {
        let text: String = members.iter().map(|(id, address)| format!("{id}={address}\n")).collect();
        ClusterId(xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for ClusterId {
    type Error = String;

    fn try_from(text: String) -> Result<ClusterId, String> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(&text, 16).ok().filter(|_| is_hex);
        number.map(ClusterId).ok_or_else(|| format!("`{text}` is not a cluster id (16 hexadecimal digits)"))
    }
}

/// What a peer says of its cluster when it introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing yet: it waits to be added to one.
    Joining,
    /// This one.
    Member(ClusterId),
}

const JOINING: &str = "joining";

impl fmt::Display for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Joining => formatter.write_str(JOINING),
            Claim::Member(id) => id.fmt(formatter),
        }
    }
}

impl Claim {
    /// Reads what [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Claim> {
        if text == JOINING {
            return Some(Claim::Joining);
        }
        ClusterId::try_from(text.to_owned()).ok().map(Claim::Member)
    }
}

/// A peer is not to be talked to.
#[derive(Debug, Error)]
pub enum Stranger {
    /// It belongs to another cluster.
    #[error(
        "the caller belongs to cluster {theirs}, the node that it called to cluster {ours}: they began with other --peers. \
         Mend the address that led there, or else the --peers of the node that does not belong, and begin it with an \
         empty data directory"
    )]
    OtherCluster {
        /// Its cluster.
        theirs: ClusterId,
        /// The one of this node.
        ours: ClusterId,
    },
    /// It has not said anything of the kind.
    #[error(
        "the caller does not say to which cluster it belongs: it is not a node of this version of labrys-store"
    )]
    Unnamed,
    /// What it said cannot be recorded.
    #[error("the cluster that this node joins cannot be recorded: {0}")]
    NotRecorded(io::Error),
}

/// Makes the id of the cluster that this node has joined durable.
pub type Record = Box<dyn Fn(ClusterId) -> io::Result<()> + Send + Sync>;

/// The cluster of this node, as soon as it knows it.
pub struct Belonging {
    own: Mutex<Option<ClusterId>>,
    record: Record,
    /// Who was refused last, and why.
    refused: Mutex<(Option<u64>, String)>,
}

impl Belonging {
    /// Of a node that belongs to `own`, or will learn where it belongs and `record` that.
    #[must_use]
    pub fn new(own: Option<ClusterId>, record: Record) -> Belonging {
        Belonging { own: Mutex::new(own), record, refused: Mutex::default() }
    }

    /// What this node says of itself.
    #[must_use]
    pub fn claim(&self) -> Claim {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.map_or(Claim::Joining, Claim::Member)
    }

    /// Whether the last peer that was refused was another, or for another reason.
    #[must_use]
    pub fn is_news(&self, peer: Option<u64>, reason: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (peer, reason.to_owned());
        std::mem::replace(&mut *refused, now.clone()) != now
    }

    /// Whether a peer that claims this may speak to this node. Gives the cluster that this node has joined by it.
    ///
    /// # Errors
    ///
    /// See [`Stranger`].
    pub fn admit(&self, claim: Option<Claim>) -> Result<Option<ClusterId>, Stranger> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        match (claim, *own) {
            (None, _) => Err(Stranger::Unnamed),
            (Some(Claim::Joining), _) => Ok(None),
            (Some(Claim::Member(theirs)), Some(ours)) if theirs == ours => Ok(None),
            (Some(Claim::Member(theirs)), Some(ours)) => Err(Stranger::OtherCluster { theirs, ours }),
            (Some(Claim::Member(theirs)), None) => {
                (self.record)(theirs).map_err(Stranger::NotRecorded)?;
                *own = Some(theirs);
                Ok(Some(theirs))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn cluster(address: &str) -> ClusterId {
        ClusterId::of(&BTreeMap::from([(1, address.to_owned()), (2, "b:1".to_owned())]))
    }

    #[test]
    fn clusters_that_began_with_other_members_differ_and_their_ids_survive_being_text() {
        let ids = [cluster("a:1"), cluster("c:1")];
        assert_ne!(ids[0], ids[1]);
        for claim in [Claim::Joining, Claim::Member(ids[0])] {
            assert_eq!(Claim::parse(&claim.to_string()), Some(claim));
        }
        for nonsense in ["", "x", "+123456789abcdef", "123456789abcdef", "0123456789abcdef0"] {
            assert_eq!(Claim::parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_stranger_is_refused_and_so_is_who_says_nothing() {
        let belonging = Belonging::new(Some(cluster("a:1")), Box::new(|_| panic!("it is known")));
        assert!(matches!(belonging.admit(Some(Claim::Member(cluster("a:1")))), Ok(None)));
        assert!(matches!(belonging.admit(Some(Claim::Joining)), Ok(None)));
        assert!(matches!(belonging.admit(None), Err(Stranger::Unnamed)));
        let refused = belonging.admit(Some(Claim::Member(cluster("c:1"))));
        assert!(matches!(refused, Err(Stranger::OtherCluster { .. })));
    }

    #[test]
    fn a_node_that_joins_belongs_where_the_first_member_that_speaks_does_once_that_is_recorded() {
        let recorded = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&recorded);
        let record = move |ClusterId(id)| match seen.fetch_add(1, Ordering::Relaxed) {
            0 => Err(io::Error::other("the disk is full")),
            _ => {
                seen.store(id, Ordering::Relaxed);
                Ok(())
            }
        };
        let belonging = Belonging::new(None, Box::new(record));
        assert!(matches!(belonging.admit(Some(Claim::Joining)), Ok(None)));
        let first = Claim::Member(cluster("a:1"));
        assert!(matches!(belonging.admit(Some(first)), Err(Stranger::NotRecorded(_))));
        assert_eq!(belonging.claim(), Claim::Joining);
        assert!(matches!(belonging.admit(Some(first)), Ok(Some(joined)) if joined == cluster("a:1")));
        assert_eq!((belonging.claim(), recorded.load(Ordering::Relaxed)), (first, cluster("a:1").0));
        assert!(belonging.admit(Some(Claim::Member(cluster("c:1")))).is_err());
    }
}

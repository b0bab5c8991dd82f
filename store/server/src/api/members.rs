//! Members, their changes and the modes of reads, between the interface and the Raft core.

use labrys_raft::{Change, Membership, NodeId};

use super::change_members_request::Change as Asked;
use super::limits::malformed;
use super::{ChangeMembersRequest, JointChange, Member, MemberRole, NewMember, ReadMode, Refused};

/// Most bytes of an address.
const MAX_ADDRESS_BYTES: usize = 256;
/// Most members that one change may name in one list.
const MAX_NAMED: usize = 100;

impl From<labrys_raft::ReadMode> for ReadMode {
    fn from(mode: labrys_raft::ReadMode) -> ReadMode {
        use labrys_raft::ReadMode as Mode;
        match mode {
            Mode::Log => ReadMode::Log,
            Mode::ReadIndex => ReadMode::ReadIndex,
            Mode::Follower => ReadMode::Follower,
            Mode::Lease => ReadMode::Lease,
            Mode::Local => ReadMode::Local,
        }
    }
}

/// The mode that a request asks for.
///
/// # Errors
///
/// If this version does not know it: what is meant may be stronger than anything that it has.
pub fn read_mode(number: i32) -> Result<labrys_raft::ReadMode, Refused> {
    use labrys_raft::ReadMode as Mode;
    Ok(match ReadMode::try_from(number) {
        Ok(ReadMode::Unspecified | ReadMode::ReadIndex) => Mode::ReadIndex,
        Ok(ReadMode::Log) => Mode::Log,
        Ok(ReadMode::Follower) => Mode::Follower,
        Ok(ReadMode::Lease) => Mode::Lease,
        Ok(ReadMode::Local) => Mode::Local,
        Err(_) => return Err(malformed(format!("read mode {number} is unknown"))),
    })
}

/// The members of a configuration, by ascending id.
#[must_use]
pub fn members(membership: &Membership) -> Vec<Member> {
    let member = |id: NodeId| {
        let role = if membership.voters.contains(&id) {
            MemberRole::Voter
        } else if membership.outgoing.contains(&id) {
            MemberRole::OutgoingVoter
        } else {
            MemberRole::Learner
        };
        let address = membership.addresses.get(&id).cloned().unwrap_or_default();
        Member { id: id.0, address, role: role.into() }
    };
    membership.members().into_iter().map(member).collect()
}

fn ids(ids: Vec<u64>) -> Result<Vec<NodeId>, Refused> {
    if ids.len() > MAX_NAMED {
        return Err(malformed(format!("a change names at most {MAX_NAMED} members of a kind")));
    }
    Ok(ids.into_iter().map(NodeId).collect())
}

impl TryFrom<ChangeMembersRequest> for Change {
    type Error = Refused;

    fn try_from(request: ChangeMembersRequest) -> Result<Change, Refused> {
        Ok(match request.change.ok_or_else(|| malformed("the request names no change"))? {
            Asked::AddLearner(NewMember { id, address }) => {
                let has_port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
                if address.len() > MAX_ADDRESS_BYTES || !address.rsplit_once(':').is_some_and(has_port) {
                    return Err(malformed("an address is of the form host:port"));
                }
                Change::AddLearner { id: NodeId(id), address }
            }
            Asked::Promote(id) => Change::Promote { id: NodeId(id) },
            Asked::Remove(id) => Change::Remove { id: NodeId(id) },
            Asked::Joint(JointChange { promote, remove, demote }) => {
                Change::Joint { promote: ids(promote)?, remove: ids(remove)?, demote: ids(demote)? }
            }
        })
    }
}

impl From<Change> for ChangeMembersRequest {
    fn from(change: Change) -> ChangeMembersRequest {
        let numbers = |ids: Vec<NodeId>| ids.into_iter().map(|id| id.0).collect();
        let change = match change {
            Change::AddLearner { id, address } => Asked::AddLearner(NewMember { id: id.0, address }),
            Change::Promote { id } => Asked::Promote(id.0),
            Change::Remove { id } => Asked::Remove(id.0),
            Change::Joint { promote, remove, demote } => Asked::Joint(JointChange {
                promote: numbers(promote),
                remove: numbers(remove),
                demote: numbers(demote),
            }),
        };
        ChangeMembersRequest { change: Some(change) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_survives_the_wire_and_nonsense_does_not() {
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let changes = [
            Change::AddLearner { id: NodeId(4), address: "host:1".to_owned() },
            Change::Promote { id: NodeId(4) },
            Change::Remove { id: NodeId(1) },
            Change::Joint { promote: ids(&[4, 5]), remove: ids(&[1]), demote: ids(&[2]) },
        ];
        for change in changes {
            assert_eq!(Change::try_from(ChangeMembersRequest::from(change.clone())), Ok(change));
        }
        let too_many =
            Change::Joint { promote: vec![NodeId(1); 101], remove: Vec::new(), demote: Vec::new() };
        assert!(Change::try_from(ChangeMembersRequest::from(too_many)).is_err());
        assert!(Change::try_from(ChangeMembersRequest { change: None }).is_err());
        for address in ["", "host", "host:", ":1", "host:99999"] {
            let change = Change::AddLearner { id: NodeId(4), address: address.to_owned() };
            assert!(Change::try_from(ChangeMembersRequest::from(change)).is_err(), "{address}");
        }
    }

    #[test]
    fn an_unknown_read_mode_is_refused_and_none_is_read_index() {
        assert_eq!(read_mode(0), Ok(labrys_raft::ReadMode::ReadIndex));
        assert!(read_mode(6).is_err() && read_mode(-1).is_err());
        for mode in labrys_raft::ReadMode::ALL {
            assert_eq!(read_mode(ReadMode::from(*mode).into()), Ok(*mode));
        }
    }
}

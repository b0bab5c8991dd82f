//! Members and leadership.

use clap::Subcommand;
use labrys_raft::{Change, NodeId};
use serde_json::json;

use super::{CtlError, Session};
use crate::client::AdminSession;

/// Verbs about the cluster itself.
#[derive(Debug, Subcommand)]
pub enum ClusterVerb {
    /// List the members, or change who they are.
    #[command(
        subcommand,
        after_help = "Examples:
  labrys-store ctl --endpoints 10.0.0.1:7000 members list
  labrys-store --join --id 4 --peers 4=10.0.0.4:7000 --data-dir /var/lib/labrys   (on the new machine)
  labrys-store ctl --endpoints 10.0.0.1:7000 members add 4 10.0.0.4:7000
  labrys-store ctl --endpoints 10.0.0.1:7000 members promote 4
  labrys-store ctl --endpoints 10.0.0.1:7000 members replace --promote 5 --remove 2"
    )]
    Members(MembersVerb),
    /// Have another node lead.
    TransferLeader {
        /// Which; without it, the voter whose log has come furthest.
        id: Option<u64>,
    },
}

/// What can be done with members.
#[derive(Debug, Subcommand)]
pub enum MembersVerb {
    /// List the members as the leader sees them; with --only, as the endpoint does.
    List,
    /// Add a member that receives the log and has no vote yet. Its node is started with --join.
    Add {
        /// Its id, above every id that ever was a member's (`last_id` of `list`).
        id: u64,
        /// Where it is reached.
        #[arg(value_name = "HOST:PORT")]
        address: String,
    },
    /// Give a member a vote, as soon as it has caught up.
    Promote {
        /// Which.
        id: u64,
    },
    /// Remove a member. Stop its process afterwards; its id is never used again.
    Remove {
        /// Which.
        id: u64,
    },
    /// Several of these at once, by way of a joint configuration.
    Replace {
        /// Members that get a vote.
        #[arg(long, value_name = "ID,…", value_delimiter = ',')]
        promote: Vec<u64>,
        /// Members that are none any more.
        #[arg(long, value_name = "ID,…", value_delimiter = ',')]
        remove: Vec<u64>,
        /// Members that lose their vote.
        #[arg(long, value_name = "ID,…", value_delimiter = ',')]
        demote: Vec<u64>,
    },
}

impl ClusterVerb {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), CtlError> {
        let admin = AdminSession::new(session.endpoints.to_vec(), session.security.clone())?;
        let answer = match self {
            ClusterVerb::TransferLeader { id } => {
                json!({ "leader": admin.transfer(id.map(NodeId), session.timeout).await? })
            }
            ClusterVerb::Members(verb) => match verb.change() {
                None if session.only => json!(admin.members_as_known(session.timeout).await?),
                None => json!(admin.members(session.timeout).await?),
                Some(change) => json!({ "index": admin.change(change, session.timeout).await? }),
            },
        };
        session.print(&answer)
    }
}

impl MembersVerb {
    /// The change that it asks for; a list asks for none.
    fn change(self) -> Option<Change> {
        let ids = |ids: Vec<u64>| ids.into_iter().map(NodeId).collect();
        Some(match self {
            MembersVerb::List => return None,
            MembersVerb::Add { id, address } => Change::AddLearner { id: NodeId(id), address },
            MembersVerb::Promote { id } => Change::Promote { id: NodeId(id) },
            MembersVerb::Remove { id } => Change::Remove { id: NodeId(id) },
            MembersVerb::Replace { promote, remove, demote } => {
                Change::Joint { promote: ids(promote), remove: ids(remove), demote: ids(demote) }
            }
        })
    }
}

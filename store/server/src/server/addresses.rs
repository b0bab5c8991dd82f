//! Where the nodes are reached: what the command line says, what the configuration in the log says, and, for a node that knows
//! no configuration yet, what whoever spoke to it has said about itself. What was said first is believed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use labrys_raft::{Membership, NodeId};

/// Most addresses kept: far more than a cluster ever has nodes.
const MAX_ADDRESSES: usize = 1024;

/// The addresses, shared by the node loop and the services.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    known: Arc<Mutex<BTreeMap<NodeId, String>>>,
}

impl Addresses {
    /// With these to begin with.
    #[must_use]
    pub fn new(known: BTreeMap<NodeId, String>) -> Addresses {
        Addresses { known: Arc::new(Mutex::new(known)) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where `node` is reached, if that is known.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Option<String> {
        self.lock().get(&node).cloned()
    }

    /// All that are known, by ascending id.
    #[must_use]
    pub fn all(&self) -> BTreeMap<NodeId, String> {
        self.lock().clone()
    }

    /// `node` is reached at `address`, unless another address is known already. Without a node or an address nothing is learnt.
    pub fn learn(&self, node: NodeId, address: &str) {
        let mut known = self.lock();
        if node.0 != 0 && !address.is_empty() && known.len() < MAX_ADDRESSES {
            known.entry(node).or_insert_with(|| address.to_owned());
        }
    }

    /// Learns the addresses of all members.
    pub fn learn_members(&self, membership: &Membership) {
        membership.addresses.iter().for_each(|(node, address)| self.learn(*node, address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_first_is_believed() {
        let addresses = Addresses::new(BTreeMap::from([(NodeId(1), "a:1".to_owned())]));
        addresses.learn(NodeId(1), "b:1");
        addresses.learn(NodeId(2), "c:1");
        addresses.learn(NodeId(3), "");
        let known: Vec<_> = (1..=3).map(|id| addresses.of(NodeId(id))).collect();
        assert_eq!(known, [Some("a:1".to_owned()), Some("c:1".to_owned()), None]);
    }
}

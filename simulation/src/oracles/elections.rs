//! Election safety: at most one leader per term (Raft paper, section 5.2).

use std::collections::BTreeMap;

use labrys_store::raft::{Role, Status};

/// Who led which term.
#[derive(Debug, Default)]
pub struct Elections {
    leaders: BTreeMap<u64, usize>,
}

impl Elections {
    pub(super) fn stepped(&mut self, node: usize, status: &Status) -> Option<String> {
        if status.role != Role::Leader {
            return None;
        }
        let first = *self.leaders.entry(status.term.0).or_insert(node);
        (first != node).then(|| format!("n{} and n{} both lead term {}", first + 1, node + 1, status.term))
    }
}

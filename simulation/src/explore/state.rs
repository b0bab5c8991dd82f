//! [`State`]: a cluster at a moment, in as few bytes as possible, since there are millions of them.

/// No more nodes than these.
pub(super) const MOST_NODES: usize = 3;
/// No more terms than these, and so no more entries: a leader appends one.
pub(super) const MOST_TERMS: usize = 7;

/// A cluster at a moment. States of nodes and messages are numbers that [`super::cluster::Cluster`] gives out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The state of each node.
    pub nodes: [u32; MOST_NODES],
    /// The message on each link, plus 1; 0: none.
    links: [u32; MOST_NODES * MOST_NODES],
    /// Of each term, from 1: who has led it, plus 1; 0: nobody.
    pub leaders: [u8; MOST_TERMS],
    /// Of each index, from 1: the term of the entry that was committed, and the term in which it was; 0: none was.
    pub committed: [(u8, u8); MOST_TERMS],
    /// How many restarts there were.
    pub restarts: u8,
    /// How many election timeouts there were, if they are limited; 0 otherwise.
    pub timeouts: u8,
}

impl State {
    /// The first one: nothing is on its way.
    pub fn of(nodes: [u32; MOST_NODES]) -> State {
        State {
            nodes,
            links: [0; MOST_NODES * MOST_NODES],
            leaders: [0; MOST_TERMS],
            committed: [(0, 0); MOST_TERMS],
            restarts: 0,
            timeouts: 0,
        }
    }

    /// What is on its way from a node to another.
    pub fn link(&self, from: usize, to: usize) -> Option<u32> {
        self.links[from * MOST_NODES + to].checked_sub(1)
    }

    pub fn take_from_link(&mut self, from: usize, to: usize) -> Option<u32> {
        let message = self.link(from, to);
        self.links[from * MOST_NODES + to] = 0;
        message
    }

    /// What was there is lost.
    pub fn put_on_link(&mut self, from: usize, to: usize, message: u32) {
        self.links[from * MOST_NODES + to] = message + 1;
    }
}

/// Something that may happen, to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Its election timeout passes.
    Timeout(u8),
    /// The message on a link arrives.
    Deliver {
        /// From here,
        from: u8,
        /// at this one.
        to: u8,
    },
    /// It is ended, and starts again.
    Restart(u8),
}

impl Action {
    /// To which one.
    pub fn node(self) -> usize {
        match self {
            Action::Timeout(node) | Action::Restart(node) | Action::Deliver { to: node, .. } => {
                usize::from(node)
            }
        }
    }
}

//! [`ClientThread`]: a client thread of the run: the store's own client logic, and who it is at the moment.

use labrys_history::Event;
use labrys_seed::Seed;
use labrys_store::client::logic::{Action, ClientLogic, ClientOptions};
use labrys_store::machine::SessionId;
use labrys_store::raft::ReadMode;
use labrys_workloads::Op;
use labrys_workloads::clients::labrys_store::session_of;

/// A client thread.
pub struct ClientThread {
    /// Its number; it prefers the node of that number, modulo their count.
    number: usize,
    /// Which client it has, one after the other: one for each process.
    pub generation: u64,
    /// The client, once it has been asked for something.
    pub logic: Option<ClientLogic>,
    /// What is under way, with its invocation as recorded.
    pub under_way: Option<(Op, Event)>,
    /// When the logic is to be woken next, as planned.
    pub wakes_ms: Option<u64>,
}

impl ClientThread {
    /// One that has no client yet.
    #[must_use]
    pub fn new(number: usize) -> ClientThread {
        ClientThread { number, generation: 0, logic: None, under_way: None, wakes_ms: None }
    }

    /// The client of `process`, which has a session of its own.
    pub fn logic_of(
        &mut self,
        process: u64,
        nodes: &[String],
        read_mode: ReadMode,
        seed: Seed,
    ) -> &mut ClientLogic {
        let (number, sessions) = (self.number, seed.fork("labrys-store-sessions"));
        self.logic.get_or_insert_with(|| {
            let session = SessionId(session_of(sessions, process, 0));
            let options = ClientOptions { read_mode, ..ClientOptions::default() };
            ClientLogic::new(nodes.to_vec(), number, session, options)
        })
    }

    /// From its next client on it prefers the node at this position.
    pub(crate) fn prefer(&mut self, node: usize) {
        self.number = node;
    }

    /// The process is retired: the next operation gets a new client.
    pub fn retire(&mut self) {
        self.generation += 1;
        self.logic = None;
        self.wakes_ms = None;
    }
}

/// What the logic wants done.
pub type Actions = Vec<Action>;

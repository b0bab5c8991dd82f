//! Network faults on real nodes of the reference store: those in trouble miss their peers, and their clients reach them all the same.

use labrys_harness::db::{Db, Readiness};
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::hosts_from;
use labrys_nemesis::{CLIENTS, LinkTrouble, Resolved, read_journal};
use labrys_store::client::StatusClient;

use super::Case;
use super::clients;
use super::nemesis::{Stage, WITHIN, nemesis};
use super::scenario::{Body, eventually, same, text};
use super::store::in_folder;

pub const CASES: &[Case] = &[
    ("a_node_whose_messages_are_too_late_misses_its_leader_and_is_reached_by_clients", |identity| {
        in_folder(identity, "late_messages")
    }),
    ("a_node_whose_messages_are_lost_misses_its_leader_and_is_reached_by_clients", |identity| {
        in_folder(identity, "lost_messages")
    }),
];

pub const BODIES: &[Body] = &[
    clients::LOST_REQUESTS,
    clients::LOST_REPLIES,
    ("late_messages", |enclosure, arguments| {
        // Longer than any wait here.
        in_trouble(enclosure, arguments, LinkTrouble { delay_ms: 600_000, ..LinkTrouble::default() })
    }),
    ("lost_messages", |enclosure, arguments| {
        in_trouble(enclosure, arguments, LinkTrouble { loss_permille: 1000, ..LinkTrouble::default() })
    }),
];

fn in_trouble(enclosure: &Enclosure, arguments: &[String], trouble: LinkTrouble) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    let in_trouble = Resolved::Network { nodes: vec!["n2".to_owned()], trouble };
    client.apply(0, in_trouble).map_err(text)?;
    eventually("n2 knows no leader, and says so to a client", || {
        stage.leader_known_by(1).is_ok_and(|leader| leader.is_none())
    })?;
    eventually("the others have one", || stage.leader_known_by(0).is_ok_and(|leader| leader.is_some()))?;
    let recovery = stage.runtime.block_on(stage.db.recovery()).map_err(text)?;
    same("recovered", recovery == Readiness::Ready, false)?;
    let report = client.undo(0).map_err(text)?;
    same("it bit", report.evidence.bit, true)?;
    stage.recovers()?;

    let hosts = hosts_from(&stage.setting.testbed).map_err(text)?;
    for host in hosts.iter().filter(|host| host.name() != CLIENTS) {
        for table in ["filter", "mangle"] {
            let saved = host.run("iptables-save", &["-t", table]).map_err(text)?.stdout;
            same("rules are left", saved.contains("LABRYS"), false)?;
        }
        let queues = host.run("cat", &["/proc/self/net/netfilter/nfnetlink_queue"]).map_err(text)?.stdout;
        same("queues are left", queues.as_str(), "")?;
    }
    drop(client);
    process.wait().map_err(text)?;
    let journal = read_journal(&stage.setting.serve.journal).map_err(text)?;
    same("outstanding faults", journal.outstanding.len(), 0)?;
    Ok(0)
}

impl Stage {
    /// The leader that a node tells a client of.
    fn leader_known_by(&self, node: usize) -> Result<Option<u64>, String> {
        let address = self.db.client_address(node);
        let ask = async {
            let mut client = StatusClient::new(&address).map_err(text)?;
            client.status(None, WITHIN).await.map(|status| status.leader).map_err(text)
        };
        self.runtime.block_on(ask)
    }
}

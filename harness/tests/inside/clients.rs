//! Faults of clients' links on real nodes of the reference store: clients do not reach a node that its peers and the observer reach.

use std::net::IpAddr;
use std::time::Duration;

use labrys_harness::db::Db;
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::{OBSERVER_ADDRESS, hosts_from};
use labrys_nemesis::{CLIENTS, Effect, Link, Resolved, read_journal};
use labrys_store::client::StatusClient;

use super::Case;
use super::nemesis::{Stage, WITHIN, nemesis};
use super::scenario::{Body, eventually, same, text};
use super::store::in_folder;

pub const CASES: &[Case] = &[
    ("a_node_whose_requests_of_clients_are_lost_is_reached_by_its_peers_and_the_observer", |identity| {
        in_folder(identity, "lost_requests")
    }),
    ("a_node_whose_replies_to_clients_are_lost_is_reached_by_its_peers_and_the_observer", |identity| {
        in_folder(identity, "lost_replies")
    }),
];

pub const LOST_REQUESTS: Body = ("lost_requests", |enclosure, arguments| {
    cut(enclosure, arguments, &Link { from: CLIENTS.to_owned(), to: "n2".to_owned() })
});

pub const LOST_REPLIES: Body = ("lost_replies", |enclosure, arguments| {
    cut(enclosure, arguments, &Link { from: "n2".to_owned(), to: CLIENTS.to_owned() })
});

/// Long enough for many answers, short enough to wait for none.
const NO_ANSWER_FOR: Duration = Duration::from_millis(400);

fn cut(enclosure: &Enclosure, arguments: &[String], link: &Link) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    let address = stage.db.client_address(1);
    let mut as_client = StatusClient::new(&address).map_err(text)?;
    let new_as_client = || StatusClient::new(&address).map_err(text);
    let mut as_observer = new_as_client()?.from_address(IpAddr::V4(OBSERVER_ADDRESS));
    let answers =
        |asker: &mut StatusClient, within| stage.runtime.block_on(asker.status(None, within)).is_ok();
    same("a client is answered before", answers(&mut as_client, WITHIN), true)?;
    same("the observer is answered before", answers(&mut as_observer, WITHIN), true)?;

    let cut = Resolved::Partition {
        description: "of a client".to_owned(),
        links: vec![link.clone()],
        content_only: false,
    };
    client.apply(0, cut).map_err(text)?;
    same("answered over the established connection", answers(&mut as_client, NO_ANSWER_FOR), false)?;
    same("answered over a new one", answers(&mut new_as_client()?, NO_ANSWER_FOR), false)?;
    same("the observer is answered", answers(&mut as_observer, WITHIN), true)?;
    eventually("n2 follows a leader", || {
        let status = stage.runtime.block_on(as_observer.status(None, WITHIN));
        status.is_ok_and(|status| status.leader.is_some())
    })?;
    let report = client.undo(0).map_err(text)?;
    let has_bitten = report.evidence.details.iter().any(|seen| {
        seen.node == link.to
            && matches!(&seen.effect, Effect::PacketsDropped { from, packets, .. } if *from == link.from && *packets > 0)
    });
    same("packets of the link were seen to be dropped", has_bitten, true)?;
    same("a client is answered afterwards", answers(&mut new_as_client()?, WITHIN), true)?;
    stage.recovers()?;

    let hosts = hosts_from(&stage.setting.testbed).map_err(text)?;
    same("hosts with the clients' one", hosts.len(), 4)?;
    for host in hosts {
        let saved = host.run("iptables-save", &["-t", "filter"]).map_err(text)?.stdout;
        same("rules are left", saved.contains("LABRYS"), false)?;
    }
    drop(client);
    process.wait().map_err(text)?;
    let journal = read_journal(&stage.setting.serve.journal).map_err(text)?;
    same("outstanding faults", journal.outstanding.len(), 0)?;
    Ok(0)
}

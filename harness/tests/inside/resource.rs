//! Real nodes that run short of what the machine gives them. What they still do is asked as clients ask.

use std::net::TcpStream;
use std::time::Duration;

use labrys_harness::db::Db;
use labrys_harness::isolation::Enclosure;
use labrys_nemesis::{Effect, Resolved, ResourceTrouble, read_journal};
use labrys_store::client::StatusClient;

use super::Case;
use super::nemesis::{Stage, nemesis};
use super::scenario::{Body, eventually, same, text};
use super::store::in_folder;

pub const CASES: &[Case] =
    &[("a_node_without_descriptors_takes_no_new_connection_until_it_has_some_again", |identity| {
        in_folder(identity, "no_descriptors")
    })];

pub const BODIES: &[Body] = &[("no_descriptors", no_descriptors)];

/// Of n2.
fn descriptors() -> Resolved {
    Resolved::Resource { nodes: vec!["n2".to_owned()], trouble: ResourceTrouble::Descriptors }
}

impl Stage {
    /// Whether `n2` answers on a new connection.
    fn answers(&self) -> bool {
        let address = self.db.client_address(1);
        let ask = async {
            let mut client = StatusClient::new(&address).ok()?;
            client.status(None, Duration::from_millis(500)).await.ok()
        };
        self.runtime.block_on(ask).is_some()
    }
}

fn no_descriptors(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    same("it answers", stage.answers(), true)?;
    let report = client.apply(0, descriptors()).map_err(text)?;
    same("it bit", report.evidence.bit, true)?;
    let limits = report.evidence.details.iter().find_map(|seen| match seen.effect {
        Effect::DescriptorsLimited { limit, usual, .. } => Some((limit, usual)),
        _ => None,
    });
    let (limit, usual) = limits.ok_or("nobody read its limits")?;
    same("it may have fewer open", limit < usual, true)?;
    // Descriptors below the highest that were free are used up by connections that say nothing.
    let address = stage.db.client_address(1);
    let mut silent = Vec::new();
    for _ in 0..=limit {
        silent.extend(TcpStream::connect(&address).ok());
    }
    eventually("it answers nobody any more", || !stage.answers())?;
    client.apply(1, descriptors()).map_err(text)?;
    client.undo(0).map_err(text)?;
    same("the other fault holds it", stage.answers(), false)?;
    client.undo(1).map_err(text)?;
    eventually("it answers again", || stage.answers())?;
    drop((silent, client));
    process.wait().map_err(text)?;
    stage.recovers()?;
    let journal = read_journal(&stage.setting.serve.journal).map_err(text)?;
    same("outstanding faults", journal.outstanding.len(), 0)?;
    Ok(0)
}

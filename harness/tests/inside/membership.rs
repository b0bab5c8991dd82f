//! Members of a real cluster that go, come back, and lead. What they are is asked as operators ask.

use std::collections::BTreeSet;

use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::hosts_from;
use labrys_nemesis::{Effect, FaultReport, MembershipChange, Patience, Resolved, heal, read_journal};

use super::Case;
use super::nemesis::{Stage, nemesis};
use super::scenario::{Body, contains, eventually, same, text};
use super::store::in_folder;

pub const CASES: &[Case] = &[
    ("a_member_goes_and_comes_back_as_another_one", |identity| in_folder(identity, "member_removed")),
    ("members_lose_their_votes_are_replaced_and_lead", |identity| in_folder(identity, "members_changed")),
    ("a_member_that_was_removed_is_brought_back_from_the_journal_alone", |identity| {
        in_folder(identity, "member_healed")
    }),
];

pub const BODIES: &[Body] = &[
    ("member_removed", member_removed),
    ("members_changed", members_changed),
    ("member_healed", member_healed),
];

fn of(nodes: &[&str], change: MembershipChange) -> Resolved {
    Resolved::Membership { nodes: nodes.iter().map(|node| (*node).to_owned()).collect(), change }
}

impl Stage {
    /// The members that the leader lists, as `voter 3 10.0.0.3:7000`.
    fn members(&self) -> Result<BTreeSet<String>, String> {
        let listed = self.ctl(0, &["members", "list"])?;
        let members = listed["members"].as_array().ok_or("no members")?.iter();
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(members
            .map(|member| format!("{} {} {}", word(&member["role"]), member["id"], word(&member["address"])))
            .collect())
    }

    fn same_members(&self, expected: &[&str]) -> Result<(), String> {
        let expected: BTreeSet<String> = expected.iter().map(|member| (*member).to_owned()).collect();
        same("members", self.members()?, expected)
    }

    fn assert_no_outstanding(&self) -> Result<(), String> {
        let journal = read_journal(&self.setting.serve.journal).map_err(text)?;
        same("outstanding faults", journal.outstanding.len(), 0)
    }
}

fn changes(report: &FaultReport) -> Vec<String> {
    let words = report.evidence.details.iter().filter_map(|seen| match &seen.effect {
        Effect::MemberChanged { before, after } => Some(format!("{}: {before}, {after}", seen.node)),
        _ => None,
    });
    words.collect()
}

fn member_removed(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    stage.ctl(0, &["put", "x", "1"])?;
    let report = client.apply(0, of(&["n2"], MembershipChange::Remove)).map_err(text)?;
    same("what was seen", changes(&report), vec!["n2: voter 2, no member".to_owned()])?;
    same("it bit", report.evidence.bit, true)?;
    stage.same_members(&["voter 1 10.0.0.1:7000", "voter 3 10.0.0.3:7000"])?;
    same("it runs on", stage.status_of(1)?.node, 2)?;

    let report = client.apply(1, of(&["n3"], MembershipChange::Remove)).map_err(text)?;
    let refused = &report.evidence.details.first().ok_or("nothing seen")?.effect;
    contains(&format!("{refused:?}"), "only 1 of 3 nodes would have a vote")?;
    same("it did not bite", report.evidence.bit, false)?;
    client.undo(1).map_err(text)?;
    same("members", stage.members()?.len(), 2)?;

    client.undo(0).map_err(text)?;
    stage.same_members(&["voter 1 10.0.0.1:7000", "voter 3 10.0.0.3:7000", "voter 4 10.0.0.2:7000"])?;
    eventually("it has what it missed", || stage.status_of(1).is_ok_and(|status| status.key_count == 1))?;
    same("it is the new member", stage.status_of(1)?.node, 4)?;

    // Whoever starts it again knows that.
    client.apply(2, Resolved::Kill { nodes: vec!["n2".to_owned()] }).map_err(text)?;
    client.undo(2).map_err(text)?;
    stage.recovers()?;
    same("it is the new member still", stage.status_of(1)?.node, 4)?;
    drop(client);
    process.wait().map_err(text)?;
    stage.assert_no_outstanding()?;
    Ok(0)
}

fn members_changed(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    client.apply(0, of(&["n3"], MembershipChange::Demote)).map_err(text)?;
    stage.same_members(&["voter 1 10.0.0.1:7000", "voter 2 10.0.0.2:7000", "learner 3 10.0.0.3:7000"])?;
    client.undo(0).map_err(text)?;
    stage.same_members(&["voter 1 10.0.0.1:7000", "voter 2 10.0.0.2:7000", "voter 3 10.0.0.3:7000"])?;

    let report = client.apply(1, of(&["n1"], MembershipChange::Replace)).map_err(text)?;
    same("what was seen", changes(&report), vec!["n1: voter 1, voter 4".to_owned()])?;
    stage.same_members(&["voter 4 10.0.0.1:7000", "voter 2 10.0.0.2:7000", "voter 3 10.0.0.3:7000"])?;
    let report = client.undo(1).map_err(text)?;
    same("nothing is left to be undone", changes(&report), vec!["n1: voter 1, voter 4".to_owned()])?;
    stage.recovers()?;

    for (fault, node) in [(2, "n2"), (3, "n3"), (4, "n3")] {
        let before = stage.status_of(0)?.leader;
        let report = client.apply(fault, of(&[node], MembershipChange::Transfer)).map_err(text)?;
        let moved = report.evidence.details.iter().find_map(|seen| match &seen.effect {
            Effect::LeadershipMoved { from, to } => Some((from.clone(), to.clone())),
            _ => None,
        });
        let (from, to) = moved.ok_or_else(|| format!("nobody saw who leads: {report:?}"))?;
        // The leader itself cannot be handed leadership: somebody else gets it.
        same(&format!("{node} leads after {from}: {to}"), to == node, from != node)?;
        same("it bit", report.evidence.bit, true)?;
        eventually("others know it", || stage.status_of(0).is_ok_and(|status| status.leader != before))?;
        client.undo(fault).map_err(text)?;
    }
    drop(client);
    process.wait().map_err(text)?;
    stage.recovers()?;
    stage.assert_no_outstanding()?;
    Ok(0)
}

fn member_healed(enclosure: &Enclosure, arguments: &[String]) -> Result<u8, String> {
    let stage = Stage::set(enclosure, arguments)?;
    let (mut process, mut client) = nemesis(&stage.setting)?;
    client.apply(0, of(&["n2"], MembershipChange::Remove)).map_err(text)?;
    // It cannot undo anything.
    process.kill().map_err(text)?;
    process.wait().map_err(text)?;
    same("members", stage.members()?.len(), 2)?;
    let healed = || {
        let hosts = hosts_from(&stage.setting.testbed).map_err(text)?;
        heal(hosts, &stage.setting.serve.journal, Patience::default()).map_err(text)
    };
    same("faults undone", healed()?.len(), 1)?;
    stage.same_members(&["voter 1 10.0.0.1:7000", "voter 3 10.0.0.3:7000", "voter 4 10.0.0.2:7000"])?;
    same("faults undone, the second time", healed()?.len(), 0)?;
    stage.recovers()?;
    stage.assert_no_outstanding()?;
    Ok(0)
}

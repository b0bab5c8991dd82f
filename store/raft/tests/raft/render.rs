//! One line of text for each thing that a node does: for scenario files and for traces of failing schedules.
//!
//! An entry is written `index/term`, a command after it if it is text.

use labrys_raft::{
    Effect, Entry, HardState, Message, MessageBody, NodeId, Payload, PersistBatch, RefusalReason, Role,
    Snapshot, Status, Wanted,
};

/// `5/2` or `5/2=text`.
pub fn entry(entry: &Entry) -> String {
    let position = format!("{}/{}", entry.index, entry.term);
    match &entry.payload {
        Payload::Command(command) if command.iter().all(u8::is_ascii_graphic) => {
            format!("{position}={}", String::from_utf8_lossy(command))
        }
        Payload::Membership(membership) => format!("{position}=({membership})"),
        _ => position,
    }
}

/// The entries, with spaces between them.
pub fn entries<'a>(list: impl IntoIterator<Item = &'a Entry>) -> String {
    list.into_iter().map(entry).collect::<Vec<_>>().join(" ")
}

/// `1 -> 2 [t3] append …`.
pub fn message(message: &Message) -> String {
    let Message { from, to, term, body } = message;
    let body = match body {
        MessageBody::PreVote { last_index, last_term } => format!("pre-vote last={last_index}/{last_term}"),
        MessageBody::PreVoteReply { granted } => format!("pre-vote-reply {}", yes_or_no(*granted)),
        MessageBody::Vote { last_index, last_term, is_transfer } => {
            format!("vote last={last_index}/{last_term}{}", if *is_transfer { " transfer" } else { "" })
        }
        MessageBody::TimeoutNow => "timeout-now".to_owned(),
        MessageBody::Removed => "you were removed".to_owned(),
        MessageBody::ReadIndex { request, .. } => format!("read-index request={request}"),
        MessageBody::ReadIndexReply { request, index, .. } => {
            format!("read-index-reply request={request} index={index}")
        }
        MessageBody::VoteReply { granted } => format!("vote-reply {}", yes_or_no(*granted)),
        MessageBody::Append { prev_index, prev_term, entries: list, commit, round } => {
            format!("append prev={prev_index}/{prev_term} [{}] commit={commit} round={round}", entries(list))
        }
        MessageBody::AppendReply { round, outcome: Ok(matched) } => {
            format!("append-reply ok match={matched} round={round}")
        }
        MessageBody::AppendReply { round, outcome: Err(rejection) } => format!(
            "append-reply no prev={} hint={}/{} round={round}",
            rejection.rejected, rejection.hint_index, rejection.hint_term
        ),
        MessageBody::InstallSnapshot { snapshot: sent, offset, data, round } => {
            let part = if data.is_empty() {
                format!("how much from {offset}?")
            } else {
                format!("bytes {offset}..{}", offset + data.len() as u64)
            };
            format!("install {} {part} round={round}", snapshot(sent))
        }
        MessageBody::SnapshotReply { round, index, wanted } => {
            let wanted = match wanted {
                Wanted::From(offset) => format!("from {offset}"),
                Wanted::Nothing => "nothing yet".to_owned(),
            };
            format!("snapshot-reply of={index} wants {wanted} round={round}")
        }
    };
    format!("{from} -> {to} [t{term}] {body}")
}

/// The word that begins a message's description.
pub fn kind(message: &Message) -> &'static str {
    match message.body {
        MessageBody::PreVote { .. } => "pre-vote",
        MessageBody::PreVoteReply { .. } => "pre-vote-reply",
        MessageBody::TimeoutNow => "timeout-now",
        MessageBody::Removed => "removed",
        MessageBody::ReadIndex { .. } => "read-index",
        MessageBody::ReadIndexReply { .. } => "read-index-reply",
        MessageBody::Vote { .. } => "vote",
        MessageBody::VoteReply { .. } => "vote-reply",
        MessageBody::Append { .. } => "append",
        MessageBody::AppendReply { .. } => "append-reply",
        MessageBody::InstallSnapshot { .. } => "install",
        MessageBody::SnapshotReply { .. } => "snapshot-reply",
    }
}

/// `snapshot 5/2 of 40 bytes`.
pub fn snapshot(snapshot: &Snapshot) -> String {
    format!("snapshot {}/{} of {} bytes", snapshot.index(), snapshot.term(), snapshot.length_bytes)
}

/// `term 3, voted for 1`.
pub fn hard_state(hard_state: &HardState) -> String {
    let HardState { term, voted_for } = hard_state;
    voted_for
        .map_or(format!("term {term}, no vote"), |candidate| format!("term {term}, vote for {candidate}"))
}

/// What goes to the disk.
pub fn batch(batch: &PersistBatch) -> String {
    let mut parts = Vec::new();
    parts.extend(batch.reset_after.map(|index| format!("begin anew after {index}")));
    parts.extend(batch.truncate_from.map(|from| format!("drop from {from}")));
    parts.extend((!batch.entries.is_empty()).then(|| format!("append {}", entries(&batch.entries))));
    parts.extend(batch.hard_state.as_ref().map(hard_state));
    format!("#{}: {}", batch.sequence, parts.join("; "))
}

/// What `node` does.
pub fn effect(node: NodeId, effect: &Effect) -> String {
    match effect {
        Effect::Persist(written) => format!("{node} writes {}", batch(written)),
        Effect::Send(sent) => message(sent),
        Effect::Apply { entries: list } => {
            format!("{node} hands over {}", entries(list.iter().map(|(entry, _)| entry)))
        }
        Effect::RestoreSnapshot { snapshot: restored } => {
            format!("{node} restores {}", snapshot(restored))
        }
        Effect::ReadSnapshotChunk { to, index, offset, length } => {
            format!("{node} reads bytes {offset}..{} of snapshot {index} for {to}", offset + length)
        }
        Effect::WriteSnapshotChunk { snapshot: received, offset, data } => {
            let end = offset + data.len() as u64;
            format!("{node} keeps bytes {offset}..{end} of {}", snapshot(received))
        }
        Effect::CompactLog { up_to } => format!("{node} needs no log up to {up_to}"),
        Effect::DropSnapshots { below } => format!("{node} needs no snapshots below {below}"),
        Effect::ReadReady { token, index, valid_until_ms } => {
            let until = valid_until_ms.map(|ms| format!(", until {ms} ms")).unwrap_or_default();
            format!("{node} read {token} is ready at {index}{until}")
        }
        Effect::TransferDone { token, leader } => format!("{node} transfer {token} is done: {leader} leads"),
        Effect::Refused { token, reason } => format!("{node} refuses {token}: {}", refusal(*reason)),
        Effect::RoleChanged { term, role: new_role, leader } => {
            let leader = leader.map_or("unknown".to_owned(), |leader| leader.to_string());
            format!("{node} is {} in term {term}, leader {leader}", role(*new_role))
        }
        Effect::RemovedFromCluster => format!("{node} is told that it was removed"),
        Effect::FollowerLostLog { follower, acknowledged } => {
            format!("{node} sees that {follower} has lost its log, acknowledged up to {acknowledged}")
        }
        Effect::MembershipChanged { index, membership } => {
            format!("{node} is in the configuration of {index}: {membership}")
        }
        Effect::InvariantBroken { what } => format!("{node} INVARIANT BROKEN: {what}"),
    }
}

/// A node at a glance.
pub fn status(status: &Status) -> String {
    let leader = status.leader.map_or("?".to_owned(), |leader| leader.to_string());
    format!(
        "{}: {} term={} leader={leader} last={} commit={} applied={}",
        status.id,
        role(status.role),
        status.term,
        status.last_index,
        status.commit,
        status.applied
    )
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn refusal(reason: RefusalReason) -> String {
    match reason {
        RefusalReason::NotLeader { leader: Some(leader) } => format!("not the leader, {leader} is"),
        RefusalReason::NotLeader { leader: None } => "not the leader".to_owned(),
        RefusalReason::ChangeRefused(refusal) => refusal.to_string(),
        RefusalReason::Transferring { to } => format!("handing over to {to}"),
        RefusalReason::TransferGivenUp => "transfer given up".to_owned(),
        RefusalReason::Overloaded => "overloaded".to_owned(),
        RefusalReason::Superseded => "superseded".to_owned(),
        RefusalReason::LeadershipLost => "leadership lost".to_owned(),
    }
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

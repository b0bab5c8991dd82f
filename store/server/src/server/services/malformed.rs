//! Whatever is asked of a node that leads, the reply has an outcome, nothing is left in its counts, and it goes on.

use std::sync::atomic::Ordering;

use labrys_raft::Change;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;
use tokio_stream::StreamExt;
use tonic::Request;

use super::tests::single_node;
use super::*;
use crate::api::admin_server::Admin;
use crate::api::data_server::Data;
use crate::api::kv_server::Kv;
use crate::machine::SessionId;
use crate::machine::tests::properties::{cases, operation};

/// The bytes of a request that is right, with a few of them changed.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (operation(), any::<u128>(), any::<u64>(), flips).prop_map(|(operation, session, sequence, flips)| {
        let placement = Placement { session: SessionId(session), sequence, established: sequence % 2 == 0 };
        let mut bytes = api::WriteRequest::new(1, placement, operation).encode_to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes
    })
}

/// What the bytes are as any request, answered.
async fn ask(services: &Services, bytes: &[u8]) {
    if let Ok(request) = api::WriteRequest::decode(bytes) {
        let reply = Data::write(services, Request::new(request)).await.unwrap().into_inner();
        assert!(reply.outcome.is_some(), "{bytes:?}");
    }
    if let Ok(request) = api::ReadRequest::decode(bytes) {
        let reply = Data::read(services, Request::new(request)).await.unwrap().into_inner();
        assert!(reply.outcome.is_some(), "{bytes:?}");
    }
    if let Ok(request) = api::WatchRequest::decode(bytes) {
        let mut replies = services.watch(Request::new(request)).await.unwrap().into_inner();
        let first = replies.next().await.expect("a watch says something at once").unwrap();
        assert!(first.outcome.is_some(), "{bytes:?}");
    }
    if let Ok(request) = api::GetRequest::decode(bytes) {
        assert!(Kv::get(services, Request::new(request)).await.unwrap().into_inner().outcome.is_some());
    }
    if let Ok(request) = api::PutRequest::decode(bytes) {
        assert!(Kv::put(services, Request::new(request)).await.unwrap().into_inner().outcome.is_some());
    }
    if let Ok(request) = api::CompareAndSetRequest::decode(bytes) {
        let reply = services.compare_and_set(Request::new(request)).await.unwrap();
        assert!(reply.into_inner().outcome.is_some());
    }
    if let Ok(request) = api::DeleteRequest::decode(bytes) {
        assert!(Kv::delete(services, Request::new(request)).await.unwrap().into_inner().outcome.is_some());
    }
}

/// What the bytes are as a request of an administrator, answered. None of them costs the node its leadership: it is the only voter,
/// nobody else answers, and so nobody else gets a vote.
async fn ask_admin(services: &Services, bytes: &[u8]) {
    if let Ok(request) = api::ChangeMembersRequest::decode(bytes) {
        let reply = Admin::change_members(services, Request::new(request)).await.unwrap().into_inner();
        assert!(reply.outcome.is_some(), "{bytes:?}");
    }
    if let Ok(request) = api::TransferLeadershipRequest::decode(bytes) {
        let reply = Admin::transfer_leadership(services, Request::new(request)).await.unwrap().into_inner();
        assert!(reply.outcome.is_some(), "{bytes:?}");
    }
    if let Ok(request) = api::StatusRequest::decode(bytes) {
        assert_eq!(services.status(Request::new(request)).await.unwrap().into_inner().node_id, 1);
    }
    if let Ok(request) = api::MembersRequest::decode(bytes) {
        let reply = Admin::members(services, Request::new(request)).await.unwrap().into_inner();
        assert!(reply.members.iter().any(|member| member.id == 1), "{bytes:?}");
    }
}

/// The bytes of a change of members, of which some are members and some are not, with a few of them changed.
fn damaged_change() -> impl Strategy<Value = Vec<u8>> {
    let id = || prop_oneof![3 => 0..6u64, 1 => any::<u64>()];
    let ids = || prop::collection::vec(id().prop_map(NodeId), 0..4);
    let address = prop_oneof![Just("127.0.0.1:1".to_owned()), any::<String>()];
    let change = prop_oneof![
        (id(), address).prop_map(|(id, address)| Change::AddLearner { id: NodeId(id), address }),
        id().prop_map(|id| Change::Promote { id: NodeId(id) }),
        id().prop_map(|id| Change::Remove { id: NodeId(id) }),
        (ids(), ids(), ids()).prop_map(|(promote, remove, demote)| Change::Joint { promote, remove, demote }),
    ];
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (change, flips).prop_map(|(change, flips)| {
        let mut bytes = api::ChangeMembersRequest::from(change).encode_to_vec();
        if !bytes.is_empty() {
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        bytes
    })
}

#[tokio::test]
async fn any_request_of_an_administrator_is_answered_and_the_node_goes_on_leading() {
    let services = single_node();
    let status =
        || async { services.status(Request::new(api::StatusRequest::default())).await.unwrap().into_inner() };
    while status().await.role != i32::from(NodeRole::Leader) {
        tokio::task::yield_now().await;
    }
    let mut runner = TestRunner::deterministic();
    let any_bytes = prop_oneof![3 => damaged_change(), 1 => prop::collection::vec(any::<u8>(), 0..60)];
    for _ in 0..cases() {
        let bytes = any_bytes.new_tree(&mut runner).expect("no filter rejects").current();
        ask_admin(&services, &bytes).await;
    }
    let members = Admin::members(&services, Request::new(api::MembersRequest {})).await.unwrap().into_inner();
    let voters = members.members.iter().filter(|member| member.role() == api::MemberRole::Voter);
    assert_eq!(voters.map(|member| member.id).collect::<Vec<_>>(), [1]);
    assert!(members.last_id > 1, "some of it made sense");
    assert_eq!(services.shared.node.admission.under_way(), (0, 0));
}

#[tokio::test]
async fn any_request_is_answered_and_leaves_nothing_behind() {
    let services = single_node();
    let status =
        || async { services.status(Request::new(api::StatusRequest::default())).await.unwrap().into_inner() };
    while status().await.role != i32::from(NodeRole::Leader) {
        tokio::task::yield_now().await;
    }
    let mut runner = TestRunner::deterministic();
    let any_bytes = prop_oneof![3 => damaged(), 1 => prop::collection::vec(any::<u8>(), 0..100)];
    let before = status().await.last_index;
    for _ in 0..cases() {
        let bytes = any_bytes.new_tree(&mut runner).expect("no filter rejects").current();
        ask(&services, &bytes).await;
    }
    assert!(status().await.last_index > before, "some of it made sense");
    assert_eq!(services.shared.node.admission.under_way(), (0, 0));
    // A watch ends when its task sees that nobody listens.
    while services.shared.watches.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
}

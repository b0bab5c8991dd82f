//! gRPC in, gRPC out: checks requests, hands them to the node loop, translates answers.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use labrys_raft::{Defects, LogIndex, NodeId, ReadMode, Role};
use tokio_stream::StreamExt;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::addresses::Addresses;
use super::answers::{self, Answered, Declined, foreign_answer};
use super::cluster::{Belonging, Claim};
use super::disk_thread::DiskQueue;
use super::failpoints::Failpoints;
use super::limits::Admission;
use super::links;
use super::metrics::Refusals;
use super::node_loop::NodeHandle;
use super::replica::ClientRequest;
use crate::api::limits::{check_operation, check_query};
use crate::api::{self, NodeRole};
use crate::machine::{Command, Done, Found, Operation, Placement, Query, Reading, Revision};

mod data;
mod failpoints;
mod kv;
mod maintenance;
mod members;
mod watch;

/// What all services share.
#[derive(Clone)]
pub struct Services {
    shared: Arc<Shared>,
}

/// What the services of a node stand on.
pub struct ServiceParts {
    /// The node.
    pub id: NodeId,
    /// What decides.
    pub handle: NodeHandle,
    /// Where the nodes are reached.
    pub addresses: Addresses,
    /// Where the log is written.
    pub disk: Arc<DiskQueue>,
    /// Whether reads are answered under a lease if they ask for it.
    pub lease_reads: bool,
    /// Whose messages are taken.
    pub belonging: Arc<Belonging>,
    /// Bugs switched on.
    pub defects: Defects,
    /// How much is taken on at a time.
    pub admission: Arc<Admission>,
    /// What takes orders, if this node does.
    pub failpoints: Option<Arc<Failpoints>>,
}

struct Shared {
    node: ServiceParts,
    refusals: Arc<Refusals>,
    watches: AtomicUsize,
}

/// The deadline of a request, from the `grpc-timeout` header: up to eight digits and a unit. A header that is none is taken
/// for none, as gRPC libraries do.
fn deadline(metadata: &MetadataMap, arrived: Instant) -> Option<Instant> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    arrived.checked_add(timeout)
}

impl Services {
    /// Those of a node.
    #[must_use]
    pub fn new(node: ServiceParts) -> Services {
        let (refusals, watches) = (Arc::default(), AtomicUsize::new(0));
        Services { shared: Arc::new(Shared { node, refusals, watches }) }
    }

    /// How often each refusal was the answer.
    #[must_use]
    pub fn refusals(&self) -> Arc<Refusals> {
        Arc::clone(&self.shared.refusals)
    }

    /// Counts what is refused on the way.
    fn counted<T>(&self, result: Result<T, api::Refused>) -> Result<T, api::Refused> {
        result.inspect_err(|refused| self.shared.refusals.count(refused.code()))
    }

    fn address(&self, node: NodeId) -> String {
        self.shared.node.addresses.of(node).unwrap_or_default()
    }

    async fn read(
        &self,
        query: Query,
        read_mode: i32,
        deadline: Option<Instant>,
    ) -> Result<Reading, Declined> {
        let bytes = self.counted(check_query(&query))?;
        let mode = self.counted(api::members::read_mode(read_mode))?;
        let (mut query, mut mode) = (query, mode);
        loop {
            match self.ask(ClientRequest::Read(query.clone(), mode), bytes, deadline).await? {
                Answered::Reading(Reading { found: Found::NoneBefore { next }, .. }) => {
                    // A state that is there does not change, and this node has it: from here on any of its answers will do. Between
                    // them it does what else is to be done.
                    let Query::Range { range, .. } = &mut query else { return Err(foreign_answer()) };
                    range.start = next;
                    mode = ReadMode::Local;
                }
                Answered::Reading(reading) => return Ok(reading),
                _ => return Err(foreign_answer()),
            }
        }
    }

    async fn write(
        &self,
        session: Option<api::SessionRequest>,
        operation: Operation,
        deadline: Option<Instant>,
    ) -> Result<(LogIndex, Revision, Done), Declined> {
        let placement = self.counted(Placement::try_from(session))?;
        let bytes = self.counted(check_operation(&operation))?;
        let is_swap = answers::is_swap(&operation);
        let answered =
            self.ask(ClientRequest::Write(Command { placement, operation }), bytes, deadline).await?;
        match answered.of_write(is_swap) {
            Answered::Done { index, revision, done } => Ok((index, revision, done)),
            _ => Err(foreign_answer()),
        }
    }

    async fn ask(
        &self,
        request: ClientRequest,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> Result<Answered, Declined> {
        let admitted = self.counted(self.shared.node.admission.admit(bytes))?;
        let answer = self.shared.node.handle.request(request, deadline, admitted).await;
        let translated = answers::translate(answer, |node| self.address(node));
        translated.inspect_err(|declined| {
            if let Declined::Refused(refused) = declined {
                self.shared.refusals.count(refused.code());
            }
        })
    }
}

/// Makes the outcome of one method's reply of how it ended; what cannot be an answer to it is a fault of ours and is refused.
macro_rules! outcome {
    ($ended:expr, $outcome:ident, { $($pattern:pat => $ok:expr),+ $(,)? }) => {
        match $ended {
            $(Ok($pattern) => crate::api::$outcome::Outcome::Ok($ok),)+
            Err($crate::server::answers::Declined::NotLeader(not_leader)) => {
                crate::api::$outcome::Outcome::NotLeader(not_leader)
            }
            Err($crate::server::answers::Declined::Refused(refused)) => {
                crate::api::$outcome::Outcome::Refused(refused)
            }
            #[allow(unreachable_patterns, reason = "some methods take every answer")]
            Ok(_) => crate::api::$outcome::Outcome::Refused(crate::api::Refused {
                definite: false,
                code: crate::api::RefusalCode::Unspecified.into(),
                message: "the answer belongs to another kind of request".to_owned(),
            }),
        }
    };
}
use outcome;

impl Services {
    /// A peer begins a stream of messages: whether it belongs to this node's cluster. A node that knows no configuration yet learns
    /// from this where to answer.
    fn meet(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let ServiceParts { id, addresses, belonging, .. } = &self.shared.node;
        let (peer, address) = links::introduction(metadata).unzip();
        let number = peer.map(|peer| peer.0);
        match belonging.admit(links::claim(metadata)) {
            Ok(None) => {}
            Ok(Some(cluster)) => {
                info!(event = "cluster_joined", node = id.0, %cluster, peer = number, "a peer's cluster is this node's now");
            }
            Err(stranger) => {
                let error = stranger.to_string();
                // It will call again and again.
                if belonging.is_news(number, &error) {
                    let event = "peer_refused";
                    warn!(event, peer = number, address, error, "this node refuses to talk to a peer");
                }
                return Err(Status::failed_precondition(stranger.to_string()));
            }
        }
        if let (Some(peer), Some(address)) = (peer, address) {
            addresses.learn(peer, &address);
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl api::peer_server::Peer for Services {
    async fn deliver(
        &self,
        request: Request<Streaming<api::MessageBatch>>,
    ) -> Result<Response<api::DeliverReply>, Status> {
        self.meet(request.metadata())?;
        let mut batches = request.into_inner();
        while let Some(batch) = batches.next().await {
            let messages = links::decode(&batch?).map_err(|error| {
                warn!(%error, "a peer sent bytes that are no messages");
                Status::invalid_argument(format!("not a batch of messages: {error}"))
            })?;
            if !self.shared.node.handle.deliver(messages) {
                return Err(Status::unavailable("the node is shutting down"));
            }
        }
        Ok(Response::new(api::DeliverReply {}))
    }
}

fn role(role: Role) -> NodeRole {
    match role {
        Role::Follower => NodeRole::Follower,
        Role::PreCandidate => NodeRole::PreCandidate,
        Role::Candidate => NodeRole::Candidate,
        Role::Leader => NodeRole::Leader,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl api::admin_server::Admin for Services {
    async fn members(
        &self,
        request: Request<api::MembersRequest>,
    ) -> Result<Response<api::MembersReply>, Status> {
        Services::members(self, request).await
    }

    async fn change_members(
        &self,
        request: Request<api::ChangeMembersRequest>,
    ) -> Result<Response<api::ChangeMembersReply>, Status> {
        Services::change_members(self, request).await
    }

    async fn transfer_leadership(
        &self,
        request: Request<api::TransferLeadershipRequest>,
    ) -> Result<Response<api::TransferLeadershipReply>, Status> {
        Services::transfer_leadership(self, request).await
    }

    async fn take_snapshot(
        &self,
        request: Request<api::TakeSnapshotRequest>,
    ) -> Result<Response<api::TakeSnapshotReply>, Status> {
        Services::take_snapshot(self, request).await
    }

    async fn defragment(
        &self,
        request: Request<api::DefragmentRequest>,
    ) -> Result<Response<api::DefragmentReply>, Status> {
        Services::defragment(self, request).await
    }

    async fn hash_at_revision(
        &self,
        request: Request<api::HashAtRevisionRequest>,
    ) -> Result<Response<api::HashAtRevisionReply>, Status> {
        Services::hash_at_revision(self, request).await
    }

    async fn failpoints(
        &self,
        request: Request<api::FailpointsRequest>,
    ) -> Result<Response<api::FailpointsReply>, Status> {
        Services::failpoints(self, request.into_inner())
    }

    async fn status(
        &self,
        request: Request<api::StatusRequest>,
    ) -> Result<Response<api::StatusReply>, Status> {
        let asked = request.into_inner().digest_at_index.map(LogIndex);
        let status = self.shared.node.handle.status(asked).await;
        let status = status.ok_or_else(|| Status::unavailable("the node is too busy or shutting down"))?;
        let raft = &status.replica.raft;
        let digest_at_index = asked.zip(status.replica.digest_at_index);
        let changes = status.leader_changes.iter().map(|change| api::LeaderChange {
            term: change.term.0,
            leader_id: change.leader.map_or(0, |leader| leader.0),
            uptime_ms: milliseconds(change.uptime),
        });
        Ok(Response::new(api::StatusReply {
            node_id: self.shared.node.id.0,
            role: role(raft.role).into(),
            term: raft.term.0,
            leader_id: raft.leader.map_or(0, |leader| leader.0),
            leader_address: raft.leader.map(|leader| self.address(leader)).unwrap_or_default(),
            last_index: raft.last_index.0,
            commit_index: raft.commit.0,
            applied_index: raft.applied.0,
            digest: Some(api::Digest { index: raft.applied.0, digest: status.replica.digest }),
            digest_at_index: digest_at_index.map(|(index, digest)| api::Digest { index: index.0, digest }),
            first_digest_index: status.replica.first_digest.0,
            uptime_ms: milliseconds(status.uptime),
            defects: self.shared.node.defects.iter().map(|defect| defect.name().to_owned()).collect(),
            leader_changes: changes.collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key_count: status.replica.key_count as u64,
            session_count: status.replica.session_count as u64,
            snapshot_index: raft.snapshot.0,
            snapshot_bytes: status.replica.snapshot_bytes,
            log_bytes: status.log_bytes,
            first_index: raft.first_index.0,
            read_modes: ReadMode::ALL
                .iter()
                .filter(|mode| **mode != ReadMode::Lease || self.shared.node.lease_reads)
                .map(|mode| api::ReadMode::from(*mode).into())
                .collect(),
            cluster_id: match self.shared.node.belonging.claim() {
                Claim::Member(cluster) => cluster.to_string(),
                Claim::Joining => String::new(),
            },
        }))
    }
}

#[cfg(test)]
mod malformed;

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::super::disk_thread::{self, DiskQueue};
    use super::super::node_loop::{NodeLoop, NodeLoopParts};
    use super::super::replica::Replica;
    use bytes::Bytes;

    use super::*;
    use crate::api::RefusalCode;
    use crate::api::admin_server::Admin;
    use crate::api::kv_server::Kv;
    use crate::api::put_reply::Outcome as PutOutcome;
    use crate::disk::SimulatedDisk;
    use crate::machine::MachineOptions;
    use crate::server::limits::Limits;
    use crate::wal::{Wal, WalOptions};
    use labrys_raft::Membership;

    fn timeout_of(text: &str) -> Option<Duration> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().unwrap());
        let arrived = Instant::now();
        deadline(&metadata, arrived).map(|deadline| deadline - arrived)
    }

    #[test]
    fn deadlines_are_read_in_every_unit_and_nonsense_is_none() {
        assert_eq!(timeout_of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout_of("3S"), Some(Duration::from_secs(3)));
        assert_eq!(timeout_of("2M"), Some(Duration::from_secs(120)));
        assert_eq!(timeout_of("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(timeout_of("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(timeout_of("5n"), Some(Duration::from_nanos(5)));
        for nonsense in ["", "m", "5", "5x", "-5m", "+5m", "123456789m", "5 m"] {
            assert_eq!(timeout_of(nonsense), None, "{nonsense}");
        }
    }

    /// A single node whose disk is always quick, behind its services; its loop and its disk run on threads of their own and
    /// end with it.
    pub(super) fn single_node() -> Services {
        single_node_and_its_disk().0
    }

    /// And what ends its disk: nothing is written after that.
    fn single_node_and_its_disk() -> (Services, impl FnOnce()) {
        let config = labrys_raft::Config {
            id: NodeId(1),
            initial: Membership::of_voters([NodeId(1)]),
            election_timeout_ms: 20,
            heartbeat_interval_ms: 5,
            max_batch_entries: 64,
            max_batch_bytes: 1 << 20,
            max_inflight_batches: 8,
            kept_entries: 0,
            snapshot_chunk_bytes: 1024,
            max_pending: 64,
            pre_vote: true,
            check_quorum: true,
            election_handicap: 0,
            lease_reads: false,
            max_clock_drift_percent: 10,
            incarnation: 0,
            seed: 5,
            defects: Defects::NONE,
        };
        let disk = DiskQueue::new();
        let wal = Wal::open(Box::new(SimulatedDisk::new()), NodeId(1), WalOptions::default()).unwrap().wal;
        let recovered = labrys_raft::Recovered::default();
        let (node_loop, handle) = NodeLoop::new(NodeLoopParts {
            id: NodeId(1),
            replica: Replica::new(config, recovered, MachineOptions::default(), 0).unwrap(),
            disk: Arc::clone(&disk),
            snapshots: std::sync::mpsc::channel().0,
            addresses: Addresses::default(),
            connect: Box::new(|_, _| None),
            tick_interval: Duration::from_millis(1),
            defects: Defects::NONE,
            clock: Clock::start(),
            failpoints: None,
        });
        let waker = handle.clone();
        let (queue, disk_of_services) = (Arc::clone(&disk), Arc::clone(&disk));
        let thread = std::thread::spawn(move || disk_thread::run(wal, &queue, || waker.wake()));
        let end_disk = move || {
            disk.abandon();
            thread.join().unwrap().unwrap();
        };
        std::thread::spawn(move || node_loop.run());
        let admission = Admission::new(Limits::default());
        let belonging = Arc::new(Belonging::new(None, Box::new(|_| Ok(()))));
        let (id, addresses, defects) = (NodeId(1), Addresses::default(), Defects::NONE);
        let lease_reads = false;
        let services = Services::new(ServiceParts {
            id,
            handle,
            addresses,
            disk: disk_of_services,
            lease_reads,
            belonging,
            defects,
            admission,
            failpoints: None,
        });
        (services, end_disk)
    }

    async fn put(services: &Services, sequence: u64, timeout: Option<&'static str>) -> PutOutcome {
        let session_id = Bytes::from(vec![1; 16]);
        let session = Some(api::SessionRequest { session_id, sequence, established: false });
        let (key, value) = (Bytes::from_static(b"x"), Bytes::from_static(b"1"));
        let mut request = Request::new(api::PutRequest { request_id: 1, session, key, value });
        if let Some(timeout) = timeout {
            request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
        }
        services.put(request).await.unwrap().into_inner().outcome.unwrap()
    }

    /// Asked without tonic around it, whose own timer would answer first and hang up.
    #[tokio::test]
    async fn an_expired_request_is_not_proposed() {
        let services = single_node();
        let leads = |status: api::StatusReply| status.role == i32::from(NodeRole::Leader);
        let status = || async {
            services.status(Request::new(api::StatusRequest::default())).await.unwrap().into_inner()
        };
        while !leads(status().await) {
            tokio::task::yield_now().await;
        }
        let PutOutcome::Ok(first) = put(&services, 1, None).await else { panic!("the node leads") };
        for timeout in ["0m", "0n", "0H"] {
            match put(&services, 2, Some(timeout)).await {
                PutOutcome::Refused(refused) => {
                    assert_eq!((refused.code(), refused.definite), (RefusalCode::DeadlineExpired, true));
                }
                other => panic!("{timeout}: {other:?}"),
            }
        }
        assert_eq!(status().await.last_index, first.index);
        // The same write in time takes the very next place, by its first proposal.
        let second = put(&services, 2, Some("60S")).await;
        assert_eq!(second, PutOutcome::Ok(api::PutOk { index: first.index + 1 }));
    }

    #[tokio::test]
    async fn what_a_client_that_hung_up_has_asked_for_counts_as_long_as_it_waits() {
        let (services, end_disk) = single_node_and_its_disk();
        let status = || async {
            services.status(Request::new(api::StatusRequest::default())).await.unwrap().into_inner()
        };
        while status().await.role != i32::from(NodeRole::Leader) {
            tokio::task::yield_now().await;
        }
        assert!(matches!(put(&services, 1, None).await, PutOutcome::Ok(_)));
        let before = status().await.last_index;
        end_disk();
        let caller = services.clone();
        let call = tokio::spawn(async move { put(&caller, 2, None).await });
        while status().await.last_index == before {
            tokio::task::yield_now().await;
        }
        call.abort();
        assert!(call.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(services.shared.node.admission.under_way(), (1, 2), "the write waits for the disk");
        services.shared.node.handle.stop();
        while services.shared.node.admission.under_way() != (0, 0) {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_write_without_a_proper_session_is_refused() {
        let session = |bytes: usize, sequence| {
            Some(api::SessionRequest {
                session_id: Bytes::from(vec![1; bytes]),
                sequence,
                established: false,
            })
        };
        assert!(Placement::try_from(None).is_err());
        assert!(Placement::try_from(session(15, 1)).is_err());
        assert!(Placement::try_from(session(16, 0)).is_err());
        assert!(Placement::try_from(session(16, 1)).is_ok());
    }
}

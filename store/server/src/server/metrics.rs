//! What a node counts and measures, in Prometheus' text form, and `/health`, over HTTP at an address of their own.
//!
//! What the node's loop knows is asked of it at each scrape, so it costs nothing in between. What only shows while it happens
//! (how long a write of the log takes, how long a request) is measured only if there is such an address. All metrics, with their
//! units and meaning, are in `OPERATING.md`; a test compares it with what a node says.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use labrys_raft::{Payload, PersistBatch, Role};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::health::{LeaderKnown, serves};
use super::limits::Admission;
use super::node_loop::{LoopStatus, NodeHandle};
use crate::api::RefusalCode;

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How many refusal codes there are, and room for some more.
const CODES: usize = 32;

/// How often each refusal was the answer. Counted always: refusals are rare, and then it is one addition.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; CODES]);

impl Refusals {
    /// One more.
    pub fn count(&self, code: RefusalCode) {
        if let Some(counter) = usize::try_from(i32::from(code)).ok().and_then(|code| self.0.get(code)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The name of each code that has occurred, in lower case, and how often.
    fn counts(&self) -> impl Iterator<Item = (String, u64)> {
        self.0.iter().zip(0..).filter_map(|(counter, code)| {
            let name = RefusalCode::try_from(code).ok()?.as_str_name();
            let count = counter.load(Ordering::Relaxed);
            let name = name.strip_prefix("REFUSAL_CODE_").unwrap_or(name).to_lowercase();
            (count > 0).then_some((name, count))
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: String,
}

/// What is measured while it happens.
#[derive(Clone, Debug)]
pub struct Metrics {
    log_write: Histogram,
    log_write_bytes: Histogram,
    log_write_entries: Histogram,
    requests: Family<MethodLabels, Histogram, fn() -> Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            log_write: seconds(),
            log_write_bytes: Histogram::new(exponential_buckets(64.0, 4.0, 10)),
            log_write_entries: Histogram::new(exponential_buckets(1.0, 4.0, 7)),
            requests: Family::new_with_constructor(seconds),
        }
    }
}

/// From 50 microseconds to 26 seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

#[allow(clippy::cast_precision_loss)] // A bucket is much wider.
fn size(number: usize) -> f64 {
    number as f64
}

fn command_bytes(payload: &Payload) -> usize {
    match payload {
        Payload::Command(bytes) => bytes.len(),
        Payload::Noop | Payload::Membership(_) => 0,
    }
}

impl Metrics {
    /// Carries out the write of a group of batches to the log, and measures it.
    pub fn log_write<R>(&self, group: &[PersistBatch], write: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = write();
        self.log_write.observe(begun.elapsed().as_secs_f64());
        let entries = || group.iter().flat_map(|batch| &batch.entries);
        self.log_write_entries.observe(size(entries().count()));
        self.log_write_bytes.observe(size(entries().map(|entry| command_bytes(&entry.payload)).sum()));
        result
    }
}

/// What a scrape tells, and of whom.
#[derive(Clone)]
pub(super) struct Exporter {
    pub(super) metrics: Arc<Metrics>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) admission: Arc<Admission>,
    pub(super) handle: NodeHandle,
    pub(super) leader_known: LeaderKnown,
}

/// Serves `/metrics` and `/health` until it is dropped.
pub(super) async fn serve(listener: tokio::net::TcpListener, exporter: Exporter) -> std::io::Result<()> {
    let router = axum::Router::new().route("/metrics", get(scrape)).route("/health", get(health));
    axum::serve(listener, router.with_state(exporter)).await
}

async fn health(State(exporter): State<Exporter>) -> impl IntoResponse {
    if serves(&exporter.leader_known) {
        (StatusCode::OK, "{\"serving\":true}\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "{\"serving\":false}\n")
    }
}

async fn scrape(State(exporter): State<Exporter>) -> impl IntoResponse {
    let Some(status) = exporter.handle.status(None).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the node is too busy or shutting down\n".to_owned())
            .into_response();
    };
    let mut text = String::new();
    match encode(&mut text, &exporter.registry(&status)) {
        Ok(()) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn gauge(registry: &mut Registry, name: &str, meaning: &str, value: u64) {
    let metric: Gauge = Gauge::default();
    metric.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, meaning, metric);
}

fn gauge_of_bytes(registry: &mut Registry, name: &str, meaning: &str, bytes: u64) {
    let metric: Gauge = Gauge::default();
    metric.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    registry.register_with_unit(name, meaning, Unit::Bytes, metric);
}

fn counter(registry: &mut Registry, name: &str, meaning: &str, value: u64) {
    let metric: Counter = Counter::default();
    metric.inc_by(value);
    registry.register(name, meaning, metric);
}

type Labelled<M> = Family<Vec<(String, String)>, M>;

impl Exporter {
    /// All metrics, as of now.
    fn registry(&self, status: &LoopStatus) -> Registry {
        let mut registry = Registry::with_prefix("labrys_store");
        self.register_raft(&mut registry, status);
        self.register_work(&mut registry, status);
        self.register_measured(&mut registry);
        registry
    }

    fn register_raft(&self, registry: &mut Registry, status: &LoopStatus) {
        let raft = &status.replica.raft;
        gauge(registry, "term", "Raft's current term", raft.term.0);
        let roles: Labelled<Gauge> = Family::default();
        for (role, name) in [
            (Role::Follower, "follower"),
            (Role::PreCandidate, "pre-candidate"),
            (Role::Candidate, "candidate"),
            (Role::Leader, "leader"),
        ] {
            let labels = vec![("role".to_owned(), name.to_owned())];
            roles.get_or_create(&labels).set(i64::from(raft.role == role));
        }
        registry.register("role", "1 for the role that the node has, 0 for the others", roles);
        gauge(
            registry,
            "leader_id",
            "The leader of the term; 0 if none is known",
            raft.leader.map_or(0, |id| id.0),
        );
        let serving = u64::from(serves(&self.leader_known));
        gauge(registry, "serving", "1 if the node knows a leader", serving);
        counter(
            registry,
            "leader_changes",
            "Changes of the leader that the node saw",
            status.counters.leader_changes,
        );
        gauge(registry, "last_index", "Last index of the log", raft.last_index.0);
        gauge(registry, "commit_index", "Last index known to be committed", raft.commit.0);
        gauge(registry, "applied_index", "Last index applied to the state machine", raft.applied.0);
        gauge(
            registry,
            "snapshot_index",
            "The index of the latest snapshot; 0 if there is none",
            raft.snapshot.0,
        );
    }

    fn register_work(&self, registry: &mut Registry, status: &LoopStatus) {
        let count = |number: usize| number as u64;
        let counters = &status.counters;
        counter(registry, "writes", "Writes handed to Raft", counters.writes);
        counter(registry, "reads", "Reads handed to Raft", counters.reads);
        let refusals: Labelled<Counter> = Family::default();
        for (code, number) in self.refusals.counts() {
            refusals.get_or_create(&vec![("code".to_owned(), code)]).inc_by(number);
        }
        registry.register("refusals", "Requests that were refused, by refusal code", refusals);
        let (requests, bytes) = self.admission.under_way();
        gauge(registry, "inflight_requests", "Requests that wait for their answer", count(requests));
        gauge_of_bytes(registry, "inflight", "Keys and values of the requests that wait", count(bytes));
        gauge(
            registry,
            "waiting_answers",
            "Requests that the node's loop has taken and not answered",
            count(counters.waiting),
        );
        gauge(registry, "disk_queue_batches", "Batches that wait for the disk", count(counters.disk_queue));
        let links: Labelled<Gauge> = Family::default();
        for (peer, waiting) in &counters.link_queues {
            let labels = vec![("peer".to_owned(), peer.0.to_string())];
            links.get_or_create(&labels).set(i64::try_from(*waiting).unwrap_or(i64::MAX));
        }
        registry.register("link_queue_messages", "Messages that wait for a peer's link", links);
        gauge(registry, "keys", "Keys that exist", count(status.replica.key_count));
        gauge(
            registry,
            "sessions",
            "Client sessions that are remembered",
            count(status.replica.session_count),
        );
        let meaning =
            "What the latest state takes, of at most 2 GiB: beyond, what would make it larger is refused";
        gauge_of_bytes(registry, "state", meaning, status.replica.state_bytes);
        let meaning =
            "What is kept of the states before it, of at most 256 MiB: beyond, the oldest are compacted";
        gauge_of_bytes(registry, "history", meaning, status.replica.history_bytes);
        let (uptime, meaning) = (Gauge::<f64, AtomicU64>::default(), "Time since the node started");
        uptime.set(status.uptime.as_secs_f64());
        registry.register_with_unit("uptime", meaning, Unit::Seconds, uptime);
    }

    fn register_measured(&self, registry: &mut Registry) {
        let Metrics { log_write, log_write_bytes, log_write_entries, requests } = &*self.metrics;
        let meaning = "Appending a group of batches to the log, fdatasync included";
        registry.register_with_unit("log_write", meaning, Unit::Seconds, log_write.clone());
        let meaning = "Commands in such a group";
        registry.register_with_unit("log_write", meaning, Unit::Bytes, log_write_bytes.clone());
        registry.register("log_write_entries", "Entries in such a group", log_write_entries.clone());
        let meaning =
            "From a request's headers to those of its reply, by gRPC method; `other` has no such method";
        registry.register_with_unit("request", meaning, Unit::Seconds, requests.clone());
    }
}

/// Measures each gRPC call.
#[derive(Clone, Debug)]
pub struct MeasureLayer {
    /// Where to.
    pub metrics: Arc<Metrics>,
}

impl<S> Layer<S> for MeasureLayer {
    type Service = Measure<S>;

    fn layer(&self, inner: S) -> Measure<S> {
        Measure { metrics: Arc::clone(&self.metrics), inner }
    }
}

/// See [`MeasureLayer`].
#[derive(Clone, Debug)]
pub struct Measure<S> {
    metrics: Arc<Metrics>,
    inner: S,
}

impl<S, B> Service<http::Request<B>> for Measure<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let begun = Instant::now();
        let path = request.uri().path().to_owned();
        let metrics = Arc::clone(&self.metrics);
        let reply = self.inner.call(request);
        Box::pin(async move {
            let reply = reply.await?;
            metrics.request(&path, &reply, begun.elapsed().as_secs_f64());
            Ok(reply)
        })
    }
}

impl Metrics {
    fn request(&self, path: &str, reply: &http::Response<Body>, seconds: f64) {
        // A peer's stream lasts as long as its connection.
        if path.ends_with("/Deliver") {
            return;
        }
        // What a caller makes up must not become a label: there is no end to it. Such a call has no method, or no token.
        let status = Status::from_header_map(reply.headers());
        let made_up =
            status.is_some_and(|status| matches!(status.code(), Code::Unimplemented | Code::Unauthenticated));
        let method = if made_up { "other" } else { path.trim_start_matches('/') };
        self.requests.get_or_create(&MethodLabels { method: method.to_owned() }).observe(seconds);
    }
}

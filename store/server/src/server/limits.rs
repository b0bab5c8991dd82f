//! What a node takes on at a time: how large a request may be, how many may be under way, and how many bytes they may hold.
//! What is too much is refused before anything is proposed, so such a refusal is definite; what was admitted is carried out as
//! if there were no limit. Peers have bounds of their own: see `api/limits.rs` and [`super::links`].
//!
//! A request larger than the limit is not even decoded, so its reply cannot be of its method's type: the call ends with
//! `RESOURCE_EXHAUSTED` and the metadata entry [`REFUSAL`], which makes it as definite as a reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::api::{MAX_REQUEST_MESSAGE_BYTES, RefusalCode, Refused};

/// The metadata entry of a status that is a definite refusal.
pub const REFUSAL: &str = "labrys-refusal";
/// Its value if the request is too large.
pub const TOO_LARGE: &str = "too-large";

/// How much is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes in one request as it comes over the wire.
    pub request_bytes: usize,
    /// Most requests that wait for their answer at a time.
    pub inflight_requests: usize,
    /// Most bytes in the keys and values of all these.
    pub inflight_bytes: usize,
    /// Most connections at a time, those of peers included; further ones are closed at once.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_bytes: MAX_REQUEST_MESSAGE_BYTES,
            inflight_requests: 8192,
            inflight_bytes: 64 << 20,
            connections: 4096,
        }
    }
}

/// What has been taken on and is not answered yet.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// One request that was taken on; dropped when it ends, however it ends.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.requests.fetch_sub(1, Ordering::Relaxed);
        self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Admission {
    /// With nothing under way.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Admission> {
        Arc::new(Admission { limits, requests: AtomicUsize::new(0), bytes: AtomicUsize::new(0) })
    }

    /// How many requests are under way, and how many bytes they hold.
    #[must_use]
    pub fn under_way(&self) -> (usize, usize) {
        (self.requests.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Takes a request of so many bytes on, or refuses it. Of requests that come at the same instant, all may be refused where
    /// one would have fitted; never are more taken on than the limits allow.
    ///
    /// # Errors
    ///
    /// A definite refusal: nothing has been done.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Result<Admitted, Refused> {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Takes both back if it is dropped here.
        let admitted = Admitted { admission: Arc::clone(self), bytes };
        let Limits { inflight_requests, inflight_bytes, .. } = self.limits;
        if requests >= inflight_requests {
            return Err(overloaded(format!(
                "the node has its limit of {inflight_requests} requests under way"
            )));
        }
        if held.saturating_add(bytes) > inflight_bytes {
            let message =
                format!("the requests under way hold {held} of {inflight_bytes} bytes, this one {bytes}");
            return Err(overloaded(message));
        }
        Ok(admitted)
    }
}

fn overloaded(message: String) -> Refused {
    Refused { definite: true, code: RefusalCode::Overloaded.into(), message }
}

/// The status of a request that is refused for its size: definite, by its metadata.
#[must_use]
pub fn too_large(message: String) -> Status {
    let mut status = Status::resource_exhausted(message);
    status.metadata_mut().insert(REFUSAL, tonic::metadata::MetadataValue::from_static(TOO_LARGE));
    status
}

/// Makes a reply that says `OUT_OF_RANGE` say what it means. No method of ours ends so: it comes from the decoder alone, which
/// has read the length of the request and no more.
pub fn explain_too_large(reply: http::Response<Body>) -> http::Response<Body> {
    match Status::from_header_map(reply.headers()) {
        Some(status) if status.code() == Code::OutOfRange => {
            let message = "the request is larger than this node takes (--max-request-bytes)";
            too_large(format!("{message}: {}", status.message())).into_http()
        }
        _ => reply,
    }
}

/// Whether a status is a refusal for its size.
#[must_use]
pub fn is_too_large(status: &Status) -> bool {
    let refusal = status.metadata().get(REFUSAL).map(tonic::metadata::MetadataValue::as_encoded_bytes);
    refusal == Some(HeaderValue::from_static(TOO_LARGE).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_reached_exactly_and_given_back() {
        let limits = Limits { inflight_requests: 3, inflight_bytes: 100, ..Limits::default() };
        let admission = Admission::new(limits);
        let first = admission.admit(60).unwrap();
        let refusal = admission.admit(41).unwrap_err();
        assert_eq!((refusal.definite, refusal.code()), (true, RefusalCode::Overloaded), "{refusal:?}");
        assert_eq!(admission.under_way(), (1, 60));
        let second = admission.admit(40).unwrap();
        let third = admission.admit(0).unwrap();
        assert!(admission.admit(0).unwrap_err().message.contains("3 requests"));
        drop((first, third));
        assert_eq!(admission.under_way(), (1, 40));
        assert!(admission.admit(60).is_ok());
        drop(second);
        assert_eq!(admission.under_way(), (0, 0));
        // No size makes the sum turn over into a small one.
        let _some = admission.admit(1).unwrap();
        assert!(admission.admit(usize::MAX - 1).is_err());
    }
}

//! Leases: a time to live by log time, and the keys and locks that end with it.
//!
//! Log time moves only with commands in the log, so all replicas see a lease end at the same entry. It never runs faster than
//! real time (`server/log_clock.rs`): whoever has had the answer to a grant or a renewal may rely on the lease until its time to
//! live after he *sent* the request, by his own clock.

use imbl::{OrdMap, OrdSet};

use bytes::Bytes;

use super::LeaseId;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) ttl_ms: u64,
    pub(super) expires_ms: u64,
    pub(super) keys: OrdSet<Bytes>,
    pub(super) locks: OrdSet<Bytes>,
}

/// All leases. Costs: O(log leases) each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leases {
    by_id: OrdMap<LeaseId, Lease>,
    by_expiry: OrdSet<(u64, LeaseId)>,
    last: LeaseId,
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, lease: LeaseId) -> Option<&Lease> {
        self.by_id.get(&lease)
    }

    pub(super) fn get_mut(&mut self, lease: LeaseId) -> Option<&mut Lease> {
        self.by_id.get_mut(&lease)
    }

    pub(super) fn grant(&mut self, ttl_ms: u64, now_ms: u64) -> LeaseId {
        self.last = self.last.next();
        self.restore(self.last, ttl_ms, now_ms.saturating_add(ttl_ms));
        self.last
    }

    /// Takes over a lease without keys and locks.
    pub(super) fn restore(&mut self, id: LeaseId, ttl_ms: u64, expires_ms: u64) {
        self.by_id.insert(id, Lease { ttl_ms, expires_ms, keys: OrdSet::new(), locks: OrdSet::new() });
        self.by_expiry.insert((expires_ms, id));
    }

    /// The lease granted last.
    pub(super) fn last(&self) -> LeaseId {
        self.last
    }

    pub(super) fn restore_last(&mut self, last: LeaseId) {
        self.last = last;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&LeaseId, &Lease)> {
        self.by_id.iter()
    }

    /// Its time to live, which begins anew; `None`: there is no such lease.
    pub(super) fn renew(&mut self, id: LeaseId, now_ms: u64) -> Option<u64> {
        let lease = self.by_id.get_mut(&id)?;
        self.by_expiry.remove(&(lease.expires_ms, id));
        lease.expires_ms = now_ms.saturating_add(lease.ttl_ms);
        self.by_expiry.insert((lease.expires_ms, id));
        Some(lease.ttl_ms)
    }

    /// Takes it out.
    pub(super) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.by_id.remove(&id)?;
        self.by_expiry.remove(&(lease.expires_ms, id));
        Some(lease)
    }

    /// The one that expires first, and when.
    pub(super) fn first_to_expire(&self) -> Option<(u64, LeaseId)> {
        self.by_expiry.get_min().copied()
    }

    /// The first to have expired at `now_ms`.
    pub(super) fn expired(&self, now_ms: u64) -> Option<LeaseId> {
        self.first_to_expire().filter(|(expires_ms, _)| *expires_ms <= now_ms).map(|(_, id)| id)
    }

    /// A key's lease is another one now.
    pub(super) fn reattach(&mut self, key: &Bytes, from: Option<LeaseId>, to: Option<LeaseId>) {
        if from == to {
            return;
        }
        if let Some(lease) = from.and_then(|id| self.by_id.get_mut(&id)) {
            lease.keys.remove(key);
        }
        if let Some(lease) = to.and_then(|id| self.by_id.get_mut(&id)) {
            lease.keys.insert(key.clone());
        }
    }
}

//! Locks: each is held by a lease, so that it is free when its holder is gone, and each acquisition has a fencing token.
//!
//! That a lease has not ended yet is known here only, not where its holder is: a holder that was paused may believe that it
//! still has the lock. So a lock by itself excludes nobody. What does is the token: a write of the holder is a transaction
//! with the condition [`super::Condition::LockHeld`], which is judged where the write takes effect; another system that the
//! holder writes to must refuse a token that is lower than the highest one it has seen.
//!
//! There is no queue: a lock is taken or it is busy. Who wants to wait tries again, or watches a key that the holder deletes.

use bytes::Bytes;
use imbl::OrdMap;

use super::keys::KEY_OVERHEAD_BYTES;
use super::{LeaseId, LockHolder, LockToken};

/// The locks that are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Locks {
    held: OrdMap<Bytes, LockHolder>,
    last_token: LockToken,
    /// About what they take.
    bytes: u64,
}

/// About what a held lock takes.
fn lock_bytes(name: &[u8]) -> u64 {
    name.len() as u64 + KEY_OVERHEAD_BYTES
}

impl Locks {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// About how many bytes they take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// About how many bytes they would take if this one were held.
    pub(super) fn bytes_with(&self, name: &[u8]) -> u64 {
        self.bytes + if self.held.contains_key(name) { 0 } else { lock_bytes(name) }
    }

    pub(super) fn holder(&self, name: &[u8]) -> Option<LockHolder> {
        self.held.get(name).copied()
    }

    /// Gives a lock to a lease; the error is who has it.
    pub(super) fn acquire(&mut self, name: &Bytes, lease: LeaseId) -> Result<LockToken, LockHolder> {
        match self.holder(name) {
            Some(holder) if holder.lease == lease => Ok(holder.token),
            Some(holder) => Err(holder),
            None => {
                self.last_token = self.last_token.next();
                self.restore(name.clone(), LockHolder { lease, token: self.last_token });
                Ok(self.last_token)
            }
        }
    }

    /// Frees a lock that this acquisition holds; who had it then.
    pub(super) fn release(&mut self, name: &[u8], token: LockToken) -> Option<LockHolder> {
        let holder = self.holder(name).filter(|holder| holder.token == token)?;
        self.free(name);
        Some(holder)
    }

    /// The token given out last.
    pub(super) fn last(&self) -> LockToken {
        self.last_token
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &LockHolder)> {
        self.held.iter()
    }

    /// Takes over a lock that is not held yet.
    pub(super) fn restore(&mut self, name: Bytes, holder: LockHolder) {
        self.bytes += lock_bytes(&name);
        self.held.insert(name, holder);
    }

    pub(super) fn restore_last(&mut self, last: LockToken) {
        self.last_token = last;
    }

    /// Frees a lock, whoever has it.
    pub(super) fn free(&mut self, name: &[u8]) {
        if self.held.remove(name).is_some() {
            self.bytes -= lock_bytes(name);
        }
    }
}

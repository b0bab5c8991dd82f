//! Interactive transactions: read the state of one revision for as long as you like, then commit what you want to write. The
//! level is chosen at the end; what the levels are is in `machine/transaction.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::errors::ClientError;
use super::logic::Written;
use super::transport::StoreClient;
use crate::machine::{
    Commit, Isolation, Query, RangeQuery, RangeResult, ReadItem, Record, Revision, RevisionProblem,
};

/// A transaction that has begun. Dropping it gives it up: the store knows nothing of it before its commit.
pub struct InteractiveTransaction<'a> {
    client: &'a mut StoreClient,
    snapshot: Revision,
    reads: Vec<ReadItem>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
}

impl StoreClient {
    /// Begins an interactive transaction on the latest state, which a read in the client's mode finds out: with the mode `local`
    /// it may be an earlier one, and a transaction that only reads is then not strict.
    pub async fn begin(&mut self, timeout: Duration) -> Result<InteractiveTransaction<'_>, ClientError> {
        let snapshot = self.read(Query::Revision, timeout).await?.revision;
        Ok(InteractiveTransaction { client: self, snapshot, reads: Vec::new(), writes: BTreeMap::new() })
    }
}

impl InteractiveTransaction<'_> {
    /// The state that it reads.
    #[must_use]
    pub fn snapshot(&self) -> Revision {
        self.snapshot
    }

    /// The value of a key: what the transaction itself has written, or else what its snapshot has.
    pub async fn get(
        &mut self,
        key: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Result<Option<Bytes>, RevisionProblem>, ClientError> {
        let key = key.into();
        if let Some(written) = self.writes.get(&key) {
            return Ok(Ok(written.clone()));
        }
        let found = self.client.get_at(key.clone(), Some(self.snapshot), timeout).await?;
        self.note(ReadItem::Key(key));
        Ok(found.map(|record: Option<Arc<Record>>| record.map(|record| record.value.clone())))
    }

    /// The keys of a range as its snapshot has them, without what the transaction has written. At serializable, the whole range
    /// counts as read, whatever its limit.
    pub async fn range(
        &mut self,
        range: RangeQuery,
        timeout: Duration,
    ) -> Result<Result<RangeResult, RevisionProblem>, ClientError> {
        let found = self.client.range(range.clone(), Some(self.snapshot), timeout).await?;
        self.note(ReadItem::Range(range));
        Ok(found)
    }

    fn note(&mut self, item: ReadItem) {
        if !self.reads.contains(&item) {
            self.reads.push(item);
        }
    }

    /// Will set a key.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.writes.insert(key.into(), Some(value.into()));
    }

    /// Will delete a key.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.writes.insert(key.into(), None);
    }

    /// Writes everything, or nothing. One that writes nothing needs no commit: all that it has read was the state of its snapshot.
    pub async fn commit(self, isolation: Isolation, timeout: Duration) -> Result<Written, ClientError> {
        let writes = self.writes.into_iter().collect();
        let commit = Commit { snapshot: self.snapshot, isolation, reads: self.reads, writes };
        self.client.commit(commit, timeout).await
    }
}

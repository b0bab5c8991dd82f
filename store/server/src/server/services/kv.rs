//! Single keys.

use std::time::Instant;

use bytes::Bytes;
use labrys_raft::LogIndex;
use tonic::{Request, Response, Status};

use super::{Declined, Services, deadline, foreign_answer, outcome};
use crate::api;
use crate::machine::{Done, Found, Operation, Query, StepResult};

impl Services {
    /// A write that is one step.
    async fn step(
        &self,
        session: Option<api::SessionRequest>,
        operation: Operation,
        deadline: Option<Instant>,
    ) -> Result<(LogIndex, StepResult), Declined> {
        match self.write(session, operation, deadline).await? {
            (index, _, Done::Step(result)) => Ok((index, result)),
            _ => Err(foreign_answer()),
        }
    }
}

#[tonic::async_trait]
impl api::kv_server::Kv for Services {
    async fn get(&self, request: Request<api::GetRequest>) -> Result<Response<api::GetReply>, Status> {
        let deadline = deadline(request.metadata(), Instant::now());
        let api::GetRequest { request_id, key, read_mode } = request.into_inner();
        let ended = self.read(Query::Get { key, revision: None }, read_mode, deadline).await;
        let ended = ended.map(|reading| (reading.applied, reading.found));
        let value = |record: Option<std::sync::Arc<crate::machine::Record>>| -> Option<Bytes> {
            record.map(|record| record.value.clone())
        };
        let outcome = outcome!(ended, get_reply, {
            (applied, Found::Value(record)) => api::GetOk { value: value(record), applied_index: applied.0 },
        });
        Ok(Response::new(api::GetReply { request_id, outcome: Some(outcome) }))
    }

    async fn put(&self, request: Request<api::PutRequest>) -> Result<Response<api::PutReply>, Status> {
        let deadline = deadline(request.metadata(), Instant::now());
        let api::PutRequest { request_id, session, key, value } = request.into_inner();
        let ended = self.step(session, Operation::put(key, value), deadline).await;
        let outcome =
            outcome!(ended, put_reply, { (index, StepResult::Put) => api::PutOk { index: index.0 } });
        Ok(Response::new(api::PutReply { request_id, outcome: Some(outcome) }))
    }

    async fn compare_and_set(
        &self,
        request: Request<api::CompareAndSetRequest>,
    ) -> Result<Response<api::CompareAndSetReply>, Status> {
        let deadline = deadline(request.metadata(), Instant::now());
        let api::CompareAndSetRequest { request_id, session, key, expected, value } = request.into_inner();
        let ended = self.step(session, Operation::compare_and_set(key, expected, value), deadline).await;
        let done =
            |swapped, actual, index: LogIndex| api::CompareAndSetOk { swapped, actual, index: index.0 };
        let outcome = outcome!(ended, compare_and_set_reply, {
            (index, StepResult::Swapped) => done(true, None, index),
            (index, StepResult::NotSwapped { actual }) => done(false, actual, index),
        });
        Ok(Response::new(api::CompareAndSetReply { request_id, outcome: Some(outcome) }))
    }

    async fn delete(
        &self,
        request: Request<api::DeleteRequest>,
    ) -> Result<Response<api::DeleteReply>, Status> {
        let deadline = deadline(request.metadata(), Instant::now());
        let api::DeleteRequest { request_id, session, key } = request.into_inner();
        let ended = self.step(session, Operation::delete(key), deadline).await;
        let outcome = outcome!(ended, delete_reply, {
            (index, StepResult::Deleted { existed }) => api::DeleteOk { existed, index: index.0 },
        });
        Ok(Response::new(api::DeleteReply { request_id, outcome: Some(outcome) }))
    }
}

//! Everything else that can be read and written, and watches.

use std::time::Instant;

use tonic::{Request, Response, Status};

use super::watch::WatchStream;
use super::{Services, deadline, outcome};
use crate::api::limits::malformed;
use crate::api::{self, WriteOk};
use crate::machine::{Operation, Query};

#[tonic::async_trait]
impl api::data_server::Data for Services {
    async fn read(&self, request: Request<api::ReadRequest>) -> Result<Response<api::ReadReply>, Status> {
        let deadline = deadline(request.metadata(), Instant::now());
        let request = request.into_inner();
        let (request_id, read_mode) = (request.request_id, request.read_mode);
        let ended = match self.counted(Query::try_from(request)) {
            Ok(query) => Services::read(self, query, read_mode, deadline).await,
            Err(refused) => Err(refused.into()),
        };
        let outcome = outcome!(ended, read_reply, { reading => reading.into() });
        Ok(Response::new(api::ReadReply { request_id, outcome: Some(outcome) }))
    }

    async fn write(&self, request: Request<api::WriteRequest>) -> Result<Response<api::WriteReply>, Status> {
        let deadline = deadline(request.metadata(), Instant::now());
        let api::WriteRequest { request_id, session, operation } = request.into_inner();
        let operation = operation.ok_or_else(|| malformed("a write needs an operation"));
        let ended = match self.counted(operation.and_then(Operation::try_from)) {
            Ok(operation) => Services::write(self, session, operation, deadline).await,
            Err(refused) => Err(refused.into()),
        };
        let outcome = outcome!(ended, write_reply, {
            (index, revision, done) => WriteOk::new(index, revision, done),
        });
        Ok(Response::new(api::WriteReply { request_id, outcome: Some(outcome) }))
    }

    type WatchStream = WatchStream;

    async fn watch(&self, request: Request<api::WatchRequest>) -> Result<Response<WatchStream>, Status> {
        Ok(Response::new(self.start_watch(request.into_inner())))
    }
}

//! Panics of code that is not ours (clients, nemesis drivers) as values.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

/// What a panic said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Panicked(pub String);

fn message(payload: &(dyn Any + Send)) -> Panicked {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    Panicked(text.unwrap_or_else(|| "a panic without a message".to_owned()))
}

/// The result of `future`, or its panic. What the future borrowed must not be used again after a panic but to be dropped.
pub(super) async fn catch<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(payload) => std::task::Poll::Ready(Err(message(&*payload))),
        }
    })
    .await
}

/// Drops `value`, whatever its destructor does.
pub(super) fn drop_quietly<T>(value: T) {
    // What a client that is being thrown away has to say is of no interest any more.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

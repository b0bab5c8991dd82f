//! The codec of all methods: prost's, but that a request is looked at before it is decoded. Two bytes of a message can be an empty
//! step, which takes some hundred bytes as a value, so that a request of 4 MiB would take hundreds; what a transaction may have is
//! therefore counted in the bytes, where a step costs nothing.

use std::any::TypeId;
use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::WriteRequest;
use super::limits::{MAX_COMMIT_ITEMS, MAX_STEPS};
use crate::server::limits::too_large;

/// Most fields in a transaction or a commit: each item is one, and a few numbers.
const MAX_FIELDS: usize = 2 * MAX_COMMIT_ITEMS + 16;
const _: () = assert!(3 * MAX_STEPS <= MAX_FIELDS);
/// The fields of a [`WriteRequest`] that hold lists: a transaction and a commit (`proto/data.proto`).
const LISTS: [u64; 2] = [4, 5];

/// See the module.
#[derive(Clone, Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        BoundedCodec(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> BoundedDecoder<U> {
        BoundedDecoder(ProstDecoder::default())
    }
}

/// Looks at a message, then decodes it.
#[derive(Clone, Debug)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + 'static> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if TypeId::of::<U>() == TypeId::of::<WriteRequest>() && count_items(buffer.chunk()) > MAX_FIELDS {
            let message =
                "the transaction has more steps and conditions, or reads and writes, than there may be";
            return Err(too_large(message.to_owned()));
        }
        self.0.decode(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// How many fields the transactions and commits of an encoded [`WriteRequest`] have together, for what comes more than once is
/// merged. Of bytes that are none, anything: they will not be decoded. O(fields), without any memory.
fn count_items(bytes: &[u8]) -> usize {
    let lists = Fields(bytes).filter(|(tag, _)| LISTS.contains(tag));
    lists.map(|(_, content)| Fields(content).count()).sum()
}

/// The fields of an encoded message, with their numbers and, of those that have a length, their contents. The beginning and the
/// end of a group are taken for fields of their own, and what is within for fields of the message: never fewer than there are.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<(u64, &'a [u8])> {
        let key = self.varint()?;
        let length = match key & 7 {
            0 => {
                self.varint()?;
                0
            }
            1 => 8,
            2 => usize::try_from(self.varint()?).ok()?,
            5 => 4,
            3 | 4 => 0,
            _ => return None,
        };
        let (content, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((key >> 3, content))
    }
}

impl Fields<'_> {
    /// The next number: seven bits a byte, the lowest first, the eighth says that there are more.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for position in 0..10 {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Commit, Condition, Step, Transaction, WriteItem, write_request};
    use super::*;
    use crate::machine::{self, Operation, Placement, SessionId};

    fn encoded(operation: write_request::Operation) -> Vec<u8> {
        WriteRequest { operation: Some(operation), ..WriteRequest::default() }.encode_to_vec()
    }

    #[test]
    fn empty_steps_are_counted_without_being_made() {
        let of = |conditions, then, otherwise| Transaction {
            conditions: vec![Condition::default(); conditions],
            then: vec![Step::default(); then],
            otherwise: vec![Step::default(); otherwise],
        };
        let bytes = encoded(write_request::Operation::Transaction(of(3, 1000, 500)));
        assert_eq!(count_items(&bytes), 1503);
        assert_eq!(count_items(&[&bytes[..], &bytes].concat()), 3006, "what comes twice is merged");
        let writes = vec![WriteItem { key: b"k".as_slice().into(), value: None }; MAX_COMMIT_ITEMS];
        let commit = Commit { snapshot_revision: 1, writes, ..Commit::default() };
        assert_eq!(count_items(&encoded(write_request::Operation::Commit(commit))), MAX_COMMIT_ITEMS + 1);
    }

    #[test]
    fn values_are_not_taken_for_steps() {
        let put = Operation::put("k", vec![0x22; 100_000]);
        let then = vec![machine::Step::Get { key: vec![0x22; 1000].into() }; 3];
        let transaction = Operation::Transaction(machine::Transaction { then, ..Default::default() });
        for (operation, count) in [(put, 0), (transaction, 3)] {
            let placement = Placement { session: SessionId(4), sequence: 5, established: true };
            let bytes = WriteRequest::new(1, placement, operation).encode_to_vec();
            assert_eq!(count_items(&bytes), count);
        }
    }

    proptest! {
        /// Of whatever prost takes for a transaction, no fewer items are counted than it makes.
        #[test]
        fn never_fewer_are_counted_than_are_made(bytes in prop::collection::vec(
            prop_oneof![3 => prop::sample::select(vec![0x22, 0x12, 0x1a, 0x0a, 0, 2, 4, 6, 0x23, 0x24]), 1 => any::<u8>()],
            0..60,
        )) {
            if let Ok(request) = WriteRequest::decode(&bytes[..])
                && let Some(write_request::Operation::Transaction(transaction)) = request.operation
            {
                let Transaction { conditions, then, otherwise } = transaction;
                prop_assert!(count_items(&bytes) >= conditions.len() + then.len() + otherwise.len());
            }
        }
    }
}

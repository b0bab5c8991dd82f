//! Holding packets back: the process that takes them from a queue of the kernel and lets them go on later.
//!
//! It runs in the network of the node that receives them, one per fault and node, started by the injector of network faults and ended by it:
//! it lives as long as the file with its orders, looks for that every [`LOOK_EVERY`], and lets everything go on before it ends.
//!
//! Each packet is on its own, so packets that are late by random times overtake each other, as with netem's jitter.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use labrys_seed::{Rng, Seed};
use nfq::{Message, Queue, Verdict};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a process that holds packets is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketOrder {
    /// The number of the queue.
    pub queue: u16,
    /// Everything is late by so much, and by a random time up to as much again. 0: what is in the queue is there to be overtaken.
    pub delay_ms: u64,
    /// How many in a thousand are held back until others have overtaken them, if all are late.
    pub overtaken_permille: u16,
    /// Of the random times.
    pub seed: u64,
}

/// Packets could not be held back.
#[derive(Debug, Error)]
pub enum PacketError {
    /// The orders could not be read.
    #[error("{path}: {detail}")]
    Order {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The kernel refused.
    #[error("queue {queue}: {source}")]
    Queue {
        /// Its number.
        queue: u16,
        /// Why.
        source: std::io::Error,
    },
}

/// So long is a packet held back, at least, that others are to overtake: longer than a message to another node and its answer take.
const OVERTAKEN_MS: u64 = 20;

/// So many packets wait at most; further ones are lost, as in a router.
const MOST_PACKETS: u32 = 65_536;

/// The order file is looked for so often.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How precise times are.
const NAP: Duration = Duration::from_millis(1);

impl PacketOrder {
    /// For how long a packet is held, in milliseconds.
    fn hold_ms(&self, rng: &mut Rng) -> u64 {
        let by_chance = |rng: &mut Rng, ms: u64| ms.saturating_add(rng.random_range(0..=ms));
        let late_ms = by_chance(rng, self.delay_ms);
        let is_overtaken = self.delay_ms == 0 || rng.random_range(0..1000) < self.overtaken_permille;
        if is_overtaken {
            late_ms.saturating_add(by_chance(rng, OVERTAKEN_MS.max(self.delay_ms)))
        } else {
            late_ms
        }
    }
}

/// Holds the packets of a queue as the file says, until it is removed; then lets all go on.
///
/// # Errors
/// The orders make no sense, or there is no such queue to be had.
#[allow(clippy::disallowed_methods, reason = "making packets late is what this process is for")]
pub fn hold_packets(order_file: &Path) -> Result<(), PacketError> {
    let unusable = |detail: String| PacketError::Order { path: order_file.to_owned(), detail };
    let text = std::fs::read(order_file).map_err(|error| unusable(error.to_string()))?;
    let order: PacketOrder = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
    let failed = |source| PacketError::Queue { queue: order.queue, source };

    let mut queue = open(order.queue).map_err(failed)?;
    let mut rng = Seed(order.seed).fork("packets").rng();
    let mut held: BTreeMap<(Instant, u64), Message> = BTreeMap::new();
    let mut number = 0_u64;
    let mut looked_at = Instant::now();
    loop {
        let mut is_ending = false;
        if looked_at.elapsed() >= LOOK_EVERY {
            looked_at = Instant::now();
            is_ending = !order_file.exists();
        }
        while let Some(packet) = next(&mut queue).map_err(failed)? {
            number += 1;
            let due = Instant::now() + Duration::from_millis(order.hold_ms(&mut rng));
            held.insert((due, number), packet);
        }
        while let Some(first) = held.first_entry() {
            if !is_ending && first.key().0 > Instant::now() {
                break;
            }
            let mut packet = first.remove();
            packet.set_verdict(Verdict::Accept);
            queue.verdict(packet).map_err(failed)?;
        }
        if is_ending {
            return queue.unbind(order.queue).map_err(failed);
        }
        std::thread::sleep(NAP);
    }
}

fn open(number: u16) -> std::io::Result<Queue> {
    let mut queue = Queue::open()?;
    queue.bind(number)?;
    // What is in the packets does not matter.
    queue.set_copy_range(number, 0)?;
    queue.set_queue_max_len(number, MOST_PACKETS)?;
    queue.set_nonblocking(true);
    Ok(queue)
}

/// The next packet, if there is one now.
fn next(queue: &mut Queue) -> std::io::Result<Option<Message>> {
    match queue.recv() {
        Ok(packet) => Ok(Some(packet)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(delay_ms: u64, overtaken_permille: u16) -> Vec<u64> {
        let order = PacketOrder { queue: 1, delay_ms, overtaken_permille, seed: 3 };
        let mut rng = Seed(1).rng();
        (0..1000).map(|_| order.hold_ms(&mut rng)).collect()
    }

    #[test]
    fn late_is_from_once_to_twice_the_delay_and_what_is_overtaken_is_later_still() {
        let late = holds(100, 0);
        assert!(late.iter().all(|ms| (100..=200).contains(ms)));
        assert!(late.iter().any(|ms| *ms < 110) && late.iter().any(|ms| *ms > 190), "{late:?}");
        let overtaken = holds(100, 300).iter().filter(|ms| **ms > 200).count();
        assert!(
            (200..=300).contains(&overtaken),
            "{overtaken} of 300 expected, less those that are hardly later"
        );
    }

    #[test]
    fn without_a_delay_whatever_is_in_the_queue_is_there_to_be_overtaken() {
        assert!(holds(0, 1).iter().all(|ms| (OVERTAKEN_MS..=2 * OVERTAKEN_MS).contains(ms)));
    }

    #[test]
    fn orders_that_are_not_there_or_make_no_sense_are_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("orders.json");
        for content in [None, Some("{}"), Some("[")] {
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let error = hold_packets(&file).unwrap_err().to_string();
            assert!(error.contains("orders.json"), "{error}");
        }
    }
}

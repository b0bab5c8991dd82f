//! Holding packets back: the process that takes them from a queue of the kernel and lets them go on later, or not as they were.
//!
//! It runs in the network of the node that receives them, one per fault and node, started by the injector of network faults and ended by it:
//! it lives as long as the file with its orders, looks for that every [`LOOK_EVERY`], and lets everything go on before it ends.
//!
//! Each packet is on its own, so packets that are late by random times overtake each other, as with netem's jitter.
//!
//! The kernel completes the checksum of a packet before it hands it over whole, and does not mend it afterwards; so a packet with a bit
//! flipped is one that the receiver's kernel drops, and counts (`InCsumErrors` in `/proc/net/snmp`), as after noise on a real line.

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
    /// The number of the queue. 0: there is none.
    pub queue: u16,
    /// Everything is late by so much, and by a random time up to as much again. 0: what is in the queue is there to be overtaken.
    pub delay_ms: u64,
    /// How many in a thousand are held back until others have overtaken them, if all are late.
    pub overtaken_permille: u16,
    /// So many thousand bits go on in a second; 0: as many as come.
    #[serde(default)]
    pub bandwidth_kbit: u64,
    /// The number of another queue: what is in it gets a bit flipped, besides. 0: there is none.
    #[serde(default)]
    pub corrupt_queue: u16,
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

/// Packets that would wait for longer, because the line is narrow, are lost, in milliseconds.
pub const MOST_BACKLOG_MS: u64 = 500;

/// The head of an IP packet of version 6, without extensions.
const IPV6_HEAD_BYTES: usize = 40;

/// So much is copied of a packet that stays as it is.
const SOME_BYTES: u16 = 64;

/// The order file is looked for so often.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How precise times are.
const NAP: Duration = Duration::from_millis(1);

impl PacketOrder {
    /// Which queues the packets come from.
    fn queues(&self) -> impl Iterator<Item = u16> {
        [self.queue, self.corrupt_queue].into_iter().filter(|number| *number != 0)
    }

    /// For how long a packet is held, in milliseconds.
    fn hold_ms(&self, rng: &mut Rng) -> u64 {
        let by_chance = |rng: &mut Rng, ms: u64| ms.saturating_add(rng.random_range(0..=ms));
        let late_ms = by_chance(rng, self.delay_ms);
        let all_pass = self.delay_ms > 0 || self.bandwidth_kbit > 0;
        let is_overtaken = !all_pass || rng.random_range(0..1000) < self.overtaken_permille;
        if is_overtaken {
            late_ms.saturating_add(by_chance(rng, OVERTAKEN_MS.max(self.delay_ms)))
        } else {
            late_ms
        }
    }
}

/// A line of so many bits a second.
#[derive(Debug)]
struct Line {
    bandwidth_kbit: u64,
    /// When what was let on last has passed.
    free_at: Instant,
}

impl Line {
    /// When a packet has passed that comes now; `None`: it waits for too long, and is lost.
    fn pass(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        if self.bandwidth_kbit == 0 {
            return Some(now);
        }
        let begins = self.free_at.max(now);
        if begins - now > Duration::from_millis(MOST_BACKLOG_MS) {
            return None;
        }
        // Thousand bits a second are bits a millisecond.
        let takes_us = (bytes as u64).saturating_mul(8_000) / self.bandwidth_kbit;
        self.free_at = begins + Duration::from_micros(takes_us);
        Some(self.free_at)
    }
}

/// Flips a bit beyond the head of the IP packet, so that the checksum of what it carries is wrong, and that alone.
fn corrupt(packet: &mut [u8], rng: &mut Rng) {
    let head_bytes = match packet.first() {
        Some(first) if first >> 4 == 4 => usize::from(first & 0x0f) * 4,
        _ => IPV6_HEAD_BYTES,
    };
    if head_bytes < packet.len() {
        let position = rng.random_range(head_bytes..packet.len());
        packet[position] ^= 1 << rng.random_range(0..8_u32);
    }
}

/// Holds, and changes, the packets of its queues as the file says, until it is removed; then lets all go on.
///
/// # Errors
/// The orders make no sense, or there is no such queue to be had.
#[allow(clippy::disallowed_methods, reason = "making packets late is what this process is for")]
pub fn hold_packets(order_file: &Path) -> Result<(), PacketError> {
    let unusable = |detail: String| PacketError::Order { path: order_file.to_owned(), detail };
    let text = std::fs::read(order_file).map_err(|error| unusable(error.to_string()))?;
    let order: PacketOrder = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
    let number = order.queues().next().ok_or_else(|| unusable("it names no queue".to_owned()))?;
    let failed = |source| PacketError::Queue { queue: number, source };
    let mut holder = Holder::new(order).map_err(failed)?;
    let mut looked_at = Instant::now();
    loop {
        let mut is_ending = false;
        if looked_at.elapsed() >= LOOK_EVERY {
            looked_at = Instant::now();
            is_ending = !order_file.exists();
        }
        holder.take().map_err(failed)?;
        holder.let_go(is_ending).map_err(failed)?;
        if is_ending {
            return holder.end().map_err(failed);
        }
        std::thread::sleep(NAP);
    }
}

/// What is held.
struct Holder {
    order: PacketOrder,
    queue: Queue,
    rng: Rng,
    line: Line,
    held: BTreeMap<(Instant, u64), Message>,
    taken: u64,
}

#[allow(clippy::disallowed_methods, reason = "making packets late is what this process is for")]
impl Holder {
    fn new(order: PacketOrder) -> std::io::Result<Holder> {
        Ok(Holder {
            queue: open(&order)?,
            rng: Seed(order.seed).fork("packets").rng(),
            line: Line { bandwidth_kbit: order.bandwidth_kbit, free_at: Instant::now() },
            order,
            held: BTreeMap::new(),
            taken: 0,
        })
    }

    /// Takes whatever is there.
    fn take(&mut self) -> std::io::Result<()> {
        while let Some(mut packet) = next(&mut self.queue)? {
            self.taken += 1;
            let is_corrupted = packet.get_queue_num() == self.order.corrupt_queue;
            if is_corrupted {
                corrupt(packet.get_payload_mut(), &mut self.rng);
            }
            let Some(passed) = self.line.pass(Instant::now(), packet.get_original_len()) else {
                packet.set_verdict(Verdict::Drop);
                self.queue.verdict(packet)?;
                continue;
            };
            let hold_ms = if is_corrupted { 0 } else { self.order.hold_ms(&mut self.rng) };
            self.held.insert((passed + Duration::from_millis(hold_ms), self.taken), packet);
        }
        Ok(())
    }

    /// Lets go on what is due, or all.
    fn let_go(&mut self, all: bool) -> std::io::Result<()> {
        while let Some(first) = self.held.first_entry() {
            if !all && first.key().0 > Instant::now() {
                break;
            }
            let mut packet = first.remove();
            packet.set_verdict(Verdict::Accept);
            self.queue.verdict(packet)?;
        }
        Ok(())
    }

    fn end(mut self) -> std::io::Result<()> {
        self.order.queues().try_for_each(|number| self.queue.unbind(number))
    }
}

fn open(order: &PacketOrder) -> std::io::Result<Queue> {
    let mut queue = Queue::open()?;
    for number in order.queues() {
        queue.bind(number)?;
        // What is in a packet matters only where it is to be changed; but how long it is, the kernel says only of one that it copies a
        // part of. The last call says how much room a packet needs here, and is that of the queue with whole packets.
        queue.set_copy_range(number, if number == order.corrupt_queue { u16::MAX } else { SOME_BYTES })?;
        queue.set_queue_max_len(number, MOST_PACKETS)?;
    }
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
        let order = PacketOrder {
            queue: 1,
            delay_ms,
            overtaken_permille,
            bandwidth_kbit: 0,
            corrupt_queue: 0,
            seed: 3,
        };
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
    #[allow(clippy::disallowed_methods, reason = "an instant to count from; nothing waits")]
    fn a_narrow_line_lets_packets_pass_one_after_another_and_loses_what_would_wait_for_too_long() {
        let begin = Instant::now();
        let mut line = Line { bandwidth_kbit: 80, free_at: begin };
        // 1,000 bytes are 8,000 bits: a tenth of a second.
        let passed: Vec<u64> = std::iter::repeat_with(|| line.pass(begin, 1_000))
            .map_while(|passed| Some((passed? - begin).as_millis() as u64))
            .collect();
        assert_eq!(passed, [100, 200, 300, 400, 500, 600]);
        let later = begin + Duration::from_millis(600);
        assert_eq!(line.pass(later, 10), Some(later + Duration::from_millis(1)));
        let mut wide = Line { bandwidth_kbit: 0, free_at: begin };
        assert_eq!(wide.pass(begin, 1_000_000), Some(begin));
    }

    #[test]
    fn one_bit_is_flipped_and_none_of_the_head() {
        let mut rng = Seed(1).rng();
        for (first, head_bytes) in [(0x45, 20), (0x46, 24), (0x60, 40)] {
            for _ in 0..200 {
                let mut packet = vec![0_u8; 60];
                packet[0] = first;
                corrupt(&mut packet, &mut rng);
                assert_eq!(packet[0], first);
                assert!(packet[1..head_bytes].iter().all(|byte| *byte == 0), "{packet:?}");
                assert_eq!(packet[head_bytes..].iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
            }
        }
        corrupt(&mut [], &mut rng);
        let mut short = [0x45, 0, 0];
        corrupt(&mut short, &mut rng);
        assert_eq!(short, [0x45, 0, 0]);
    }

    #[test]
    fn orders_that_are_not_there_or_make_no_sense_are_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("orders.json");
        let no_queue = r#"{"queue":0,"delay_ms":1,"overtaken_permille":0,"seed":1}"#;
        for content in [None, Some("{}"), Some("["), Some(no_queue)] {
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let error = hold_packets(&file).unwrap_err().to_string();
            assert!(error.contains("orders.json"), "{error}");
        }
    }
}

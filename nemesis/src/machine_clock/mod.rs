//! The clock of a machine, the real one: moved, made to run fast or slow, and put right again.
//!
//! For machines that a run has to itself (`real-clock = true` in `hosts.toml`), and systems that have no clock of their own to be moved. What
//! is done is done by a command on the machine ([`carry_out`]), so that it can be done by whoever heals, too.
//!
//! Before anything else a *note* is written to the node's folder: how far the machine's clock was ahead of `CLOCK_MONOTONIC_RAW`, which
//! nothing here and no NTP service changes, how long its tick was, and which services keep it right. These are stopped then. Restoring sets the clock to
//! `CLOCK_MONOTONIC_RAW` and what the note says, gives it its tick back, starts the services and removes the note: from the note alone, as often as
//! it takes. (`CLOCK_MONOTONIC` would not do: it runs at the rate that `adjtimex` gives it, as the machine's clock does.) Over a fault of a minute
//! the raw clock itself is off by some milliseconds; the services see to these.
//!
//! A rate is a tick of `adjtimex(2)`: of 10 000 microseconds, a hundred more or less for each percent, at most ten percent. A leap is its
//! `ADJ_SETOFFSET`, which adds to the clock as it is at that moment.
//!
//! What is done to the machine is behind the trait [`Machine`], which the harness implements for real ones. No test of this repository moves a
//! clock: they use a fake.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The kernel takes no tick that is further from the usual one.
pub const MOST_DRIFT_PERCENT: i32 = 10;

/// A clock that was put right is so near to where it should be.
const RIGHT_WITHIN_NS: i64 = 10_000_000;

/// Two clocks, read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// `CLOCK_REALTIME`, in nanoseconds.
    pub real_ns: i64,
    /// `CLOCK_MONOTONIC_RAW`, in nanoseconds.
    pub raw_ns: i64,
}

impl Reading {
    fn offset_ns(self) -> i64 {
        self.real_ns.saturating_sub(self.raw_ns)
    }
}

/// The clock of a machine, and the services that keep it right.
pub trait Machine {
    /// Tells one boot from another.
    ///
    /// # Errors
    /// If the system does not say.
    fn boot_id(&self) -> io::Result<String>;
    /// Both clocks.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read(&self) -> io::Result<Reading>;
    /// Adds to the clock.
    ///
    /// # Errors
    /// If the system refuses.
    fn shift(&mut self, by_ns: i64) -> io::Result<()>;
    /// How long a tick is, in microseconds: 10 000 for a clock that runs right.
    ///
    /// # Errors
    /// If the system does not say.
    fn tick_us(&self) -> io::Result<i64>;
    /// Makes it so long.
    ///
    /// # Errors
    /// If the system refuses.
    fn set_tick_us(&mut self, tick_us: i64) -> io::Result<()>;
    /// The services that keep the clock right and are running now.
    ///
    /// # Errors
    /// If nobody can say.
    fn keepers(&self) -> io::Result<Vec<String>>;
    /// Starts or stops one of them.
    ///
    /// # Errors
    /// If that cannot be done.
    fn keep(&mut self, service: &str, runs: bool) -> io::Result<()>;
}

/// How a clock is to be: what the faults on a node ask for together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// So far ahead of where it would be, by leaps.
    pub ahead_ms: u64,
    /// So much faster.
    pub drift_percent: i32,
}

/// What is known of a clock that is held wrong, or was until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Now.
    #[serde(flatten)]
    pub reading: Reading,
    /// How far it is from where it would be, in nanoseconds; `None` if nobody holds it.
    pub off_ns: Option<i64>,
}

/// What is needed to put the clock right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    boot_id: String,
    offset_ns: i64,
    tick_us: i64,
    stopped: Vec<String>,
    /// By how much leaps have taken it ahead.
    ahead_ms: u64,
}

fn note_file(directory: &Path) -> PathBuf {
    directory.join("machine-clock.json")
}

/// The note of a folder, if its node's clock is held.
fn read_note(directory: &Path) -> io::Result<Option<Note>> {
    match std::fs::read(note_file(directory)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// On the disk when it returns, as a whole or not at all.
fn write_note(directory: &Path, note: &Note) -> io::Result<()> {
    let draft = directory.join("machine-clock.json.draft");
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec(note)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, note_file(directory))?;
    File::open(directory)?.sync_all()
}

/// Makes the clock as the order says, and says what it reads just before and just after.
///
/// # Errors
/// If the note cannot be written, before anything is done; if the system refuses, with whatever was done until then noted.
pub fn hold(directory: &Path, machine: &mut dyn Machine, order: Order) -> io::Result<(Seen, Seen)> {
    if order.drift_percent.abs() > MOST_DRIFT_PERCENT {
        let detail = format!("a machine's clock can run {MOST_DRIFT_PERCENT} percent fast or slow at most");
        return Err(io::Error::new(ErrorKind::InvalidInput, detail));
    }
    let mut note = match read_note(directory)? {
        Some(note) => note,
        None => {
            let note = Note {
                boot_id: machine.boot_id()?,
                offset_ns: machine.read()?.offset_ns(),
                tick_us: machine.tick_us()?,
                stopped: machine.keepers()?,
                ahead_ms: 0,
            };
            write_note(directory, &note)?;
            note
        }
    };
    if note.boot_id != machine.boot_id()? {
        return Err(io::Error::other(
            "the machine was started anew since its clock was moved: heal it first",
        ));
    }
    // All of them, also if that was done before: somebody may have started one.
    for service in &note.stopped {
        machine.keep(service, false)?;
    }
    let before = seen(machine, Some(&note))?;
    if order.ahead_ms != note.ahead_ms {
        let by_ms = i128::from(order.ahead_ms) - i128::from(note.ahead_ms);
        machine.shift(i64::try_from(by_ms * 1_000_000).map_err(io::Error::other)?)?;
        note.ahead_ms = order.ahead_ms;
        write_note(directory, &note)?;
    }
    let usual_us = note.tick_us;
    machine.set_tick_us(usual_us + usual_us * i64::from(order.drift_percent) / 100)?;
    Ok((before, seen(machine, Some(&note))?))
}

/// What the clock reads now.
///
/// # Errors
/// If it cannot be read.
pub fn look(directory: &Path, machine: &dyn Machine) -> io::Result<Seen> {
    seen(machine, read_note(directory)?.as_ref())
}

fn seen(machine: &dyn Machine, note: Option<&Note>) -> io::Result<Seen> {
    let reading = machine.read()?;
    Ok(Seen { reading, off_ns: note.map(|note| reading.offset_ns().saturating_sub(note.offset_ns)) })
}

/// Puts the clock right from the note of the folder, and removes that; how far it was off before, in nanoseconds. `None` if there is none: nothing
/// is touched then. Idempotent, and goes on where it was interrupted.
///
/// # Errors
/// If the system refuses, or the clock does not read what it should afterwards; the note stays then.
pub fn restore(directory: &Path, machine: &mut dyn Machine) -> io::Result<Option<i64>> {
    let Some(note) = read_note(directory)? else { return Ok(None) };
    let mut was_off_ns = 0;
    // After a boot the clock is what the machine's battery says, and its tick the usual one.
    if machine.boot_id()? == note.boot_id {
        machine.set_tick_us(note.tick_us)?;
        was_off_ns = machine.read()?.offset_ns().saturating_sub(note.offset_ns);
        machine.shift(was_off_ns.saturating_neg())?;
        let still_off_ns = machine.read()?.offset_ns().saturating_sub(note.offset_ns);
        if still_off_ns.abs() > RIGHT_WITHIN_NS || machine.tick_us()? != note.tick_us {
            return Err(io::Error::other(format!(
                "the machine's clock was put right, and is still off by {still_off_ns} ns, with a tick of {} us",
                machine.tick_us()?
            )));
        }
    }
    for service in &note.stopped {
        machine.keep(service, true)?;
    }
    std::fs::remove_file(note_file(directory))?;
    Ok(Some(was_off_ns))
}

/// What a node's folder and machine are to be told, in words of a command line, and what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// [`hold`].
    Hold(Order),
    /// [`look`].
    Look,
    /// [`restore`].
    Restore,
}

impl Work {
    pub fn words(self) -> Vec<String> {
        match self {
            Work::Hold(order) => {
                vec!["hold".to_owned(), order.ahead_ms.to_string(), order.drift_percent.to_string()]
            }
            Work::Look => vec!["look".to_owned()],
            Work::Restore => vec!["restore".to_owned()],
        }
    }

    fn read(words: &[String]) -> Option<Work> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Some(match words[..] {
            ["hold", ahead_ms, drift_percent] => Work::Hold(Order {
                ahead_ms: ahead_ms.parse().ok()?,
                drift_percent: drift_percent.parse().ok()?,
            }),
            ["look"] => Work::Look,
            ["restore"] => Work::Restore,
            _ => return None,
        })
    }
}

/// Does what the words say (`hold AHEAD_MS DRIFT_PERCENT`, `look` or `restore`); what came of it, as JSON.
///
/// # Errors
/// As of what they say, and if they say nothing.
pub fn carry_out(directory: &Path, machine: &mut dyn Machine, words: &[String]) -> io::Result<String> {
    let unknown = || io::Error::new(ErrorKind::InvalidInput, format!("nobody knows what {words:?} means"));
    let answer = match Work::read(words).ok_or_else(unknown)? {
        Work::Hold(order) => serde_json::to_string(&hold(directory, machine, order)?),
        Work::Look => serde_json::to_string(&look(directory, machine)?),
        Work::Restore => serde_json::to_string(&restore(directory, machine)?),
    };
    Ok(answer?)
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

//! libfaketime: the wall clock of a dynamically linked program, whatever it is, made to run wrong and right again from outside.
//!
//! The library (`LD_PRELOAD`) stands between a program and the clock functions of its C library, and reads before each answer what clock
//! is wanted from a file, which whoever injects faults replaces as a whole. What a program is started with for that is
//! [`Libfaketime::environment`] and [`Libfaketime::prepare`]; a program that is linked statically, is setuid, or asks the kernel
//! by itself (Go's do) goes past it.
//!
//! What libfaketime 0.9.10 does, from its source, and what follows from it:
//! - In the file, `+A xR` means that the clock reads *S* + A + R·(c − *S'*) when the machine's reads c; *S* is when the process began by
//!   `CLOCK_REALTIME` and *S'* by the clock that is asked for. So a rate that is changed in mid-run would make the clock leap, by an amount that
//!   only the process knows. But the beginnings are shared among processes in a piece of memory that `FAKETIME_SHARED` names, and whoever
//!   finds it there takes it as it is: here it is made beforehand, and says [`EPOCH_NS`] for all of them. With that the clock is a
//!   function of the file and of the machine's clock alone, the same one for every process under the same file: another process can read
//!   it ([`Course`]).
//! - A date (of `FAKETIME_FMT`: `%s`, seconds) without a sign is a clock that stands still. `x0` would do it, too, but the library divides by the rate what a
//!   program wants to wait for: nobody would wake.
//! - A rate that was read once is used until another one is: all that is written here has one.
//! - Decimal points are those of the program's locale: so numbers are whole and have exponents, and where that cannot be, `LC_NUMERIC` is `C`.
//! - The monotonic clocks stay right (`FAKETIME_DONT_FAKE_MONOTONIC`). The kernel knows nothing of the library: a program that waits on a futex until a
//!   moment of a monotonic clock that is not the kernel's (Rust's `recv_timeout`, C++'s `wait_for`) would wait for years. It is also what happens to real
//!   machines: it is their wall clocks that are set.
//! - Waiting for a time (`sleep`, `poll`, `epoll_wait`) takes that time by the clock's rate. Waiting until a moment of the *monotonic* clock by
//!   `clock_nanosleep` or `pthread_cond_timedwait` (Python's `time.sleep`, Java's timed waits) the library gets wrong as soon as the clock is: after a
//!   leap such waits end early, while it runs slow or stands still they fail or end at once, while it runs fast they do not end. Give such programs leaps
//!   only. (As long as the clock is right they are right, too, because [`EPOCH_NS`] is the same for all clocks.)

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The moment at which processes under libfaketime are told that they began, by all their clocks: any would do.
const EPOCH_NS: i64 = 1_700_000_000_000_000_000;

/// Where Debian, others on 64 bits, and its own Makefile put the library; the one for programs with threads, which serves those without, too.
const PLACES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

/// How the library comes to where it is missing.
pub const LIBFAKETIME_MEND: &str =
    "install the library with `cargo xtask setup` or `sudo apt-get install faketime`";

const SHARED_MEMORY: &str = "/dev/shm";

/// Where the library is on this machine; or where it was looked for.
///
/// # Errors
/// If it is in none of the usual places, which are the error.
pub fn find_libfaketime() -> Result<PathBuf, Vec<PathBuf>> {
    let places: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    // As it is called in the list of what a process has mapped.
    places.iter().find_map(|place| place.canonicalize().ok()).ok_or(places)
}

/// By what the clock of a daemon can be made to run wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClockMeans {
    /// It takes orders about its clock from this file: `labrys-store --clock-file`.
    Orders(PathBuf),
    /// It is started under libfaketime, as any dynamically linked program can be.
    Libfaketime(Box<Libfaketime>),
}

/// What a daemon under libfaketime is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Libfaketime {
    /// The library, by its real name.
    pub library: PathBuf,
    /// What says how the clock runs: of this daemon alone.
    pub file: PathBuf,
    /// What is shared among the daemon's processes, a file in `/dev/shm`: unique among those that share that folder.
    pub shared: String,
}

impl Libfaketime {
    /// What the daemon has in its environment, beside what it would have anyway.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let shared = format!("/{0} /{0}", self.shared);
        let pairs = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_SHARED", shared),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_FMT", "%s".to_owned()),
            // The times of files are the machine's.
            ("NO_FAKE_STAT", "1".to_owned()),
            ("LC_NUMERIC", "C".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// Makes what a process finds when it begins, on this machine; called before each start of `program`. A clock that was made to run wrong
    /// stays so.
    ///
    /// # Errors
    /// If the library is not there, the program goes past it, or something cannot be written.
    pub fn prepare(&self, program: &Path) -> std::io::Result<()> {
        if !self.library.is_file() {
            let library = self.library.display();
            let detail = format!("there is no libfaketime at {library}: {LIBFAKETIME_MEND}");
            return Err(Error::new(ErrorKind::NotFound, detail));
        }
        if is_statically_linked(program)? {
            let program = program.display();
            let detail =
                format!("{program} is linked statically: libfaketime is for dynamically linked programs");
            return Err(Error::new(ErrorKind::Unsupported, detail));
        }
        // New ones each time: a process that was killed may have left the old semaphore locked.
        let [memory, semaphore] = self.shared_files();
        replace(&memory, &shared_memory())?;
        replace(&semaphore, &semaphore_content())?;
        if !self.file.exists() {
            replace(&self.file, Course::right(0).text().as_bytes())?;
        }
        Ok(())
    }

    /// What is in `/dev/shm` of it.
    #[must_use]
    pub fn shared_files(&self) -> [PathBuf; 2] {
        let in_memory = |name: String| Path::new(SHARED_MEMORY).join(name);
        [in_memory(self.shared.clone()), in_memory(format!("sem.{}", self.shared))]
    }
}

fn replace(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".draft");
    let at = |error: Error| Error::new(error.kind(), format!("{}: {error}", file.display()));
    file.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(at)?;
    std::fs::write(&draft, content).and_then(|()| std::fs::rename(&draft, file)).map_err(at)
}

/// Two counters, and the beginning by each of four clocks: seconds, nanoseconds.
fn shared_memory() -> Vec<u8> {
    let beginning = [EPOCH_NS / 1_000_000_000, EPOCH_NS % 1_000_000_000];
    let numbers = [0_i64, 0].into_iter().chain(beginning.repeat(4));
    numbers.flat_map(i64::to_ne_bytes).collect()
}

/// A free semaphore as glibc has it in a file, where a word has 64 bits: its value, nobody who waits; the mark of one between processes.
fn semaphore_content() -> Vec<u8> {
    [1_u64, 128, 0, 0].into_iter().flat_map(u64::to_ne_bytes).collect()
}

/// Whether no loader is named in a program, so that nothing can be loaded with it. A script is not: its interpreter may have one.
fn is_statically_linked(program: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    match std::fs::File::open(program) {
        Ok(file) => file.take(4096).read_to_end(&mut head)?,
        // A name to be looked for; or none, of which the start itself will tell.
        Err(_) => return Ok(false),
    };
    Ok(has_no_interpreter(&head))
}

/// Looks for a program header of the kind `PT_INTERP` in the head of a little-endian file of 64 bits.
fn has_no_interpreter(head: &[u8]) -> bool {
    const MAGIC: &[u8] = b"\x7fELF\x02\x01";
    const PT_INTERP: u32 = 3;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(bytes)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let kinds = || -> Option<Vec<u64>> {
        let first = usize::try_from(number(32, 8)?).ok()?;
        let (size, count) = (usize::try_from(number(54, 2)?).ok()?, usize::try_from(number(56, 2)?).ok()?);
        (0..count).map(|index| number(first.checked_add(index * size)?, 4)).collect()
    };
    // One whose headers are elsewhere is given the benefit of the doubt: it is looked at when it runs.
    head.starts_with(MAGIC) && kinds().is_some_and(|kinds| !kinds.contains(&u64::from(PT_INTERP)))
}

/// How a clock runs: a straight line over the machine's clock. Pure.
///
/// The first line of its [text](Course::text) is for the library, the second one for whoever changes it next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Course {
    /// When the machine's wall clock reads this,
    pub at_ns: i64,
    /// this one is so far ahead,
    pub ahead_ns: i64,
    /// and gains so many thousandths of what that gains.
    pub rate_permille: u64,
    /// The leaps that it has made, by the faults that asked for them.
    pub leaps: BTreeMap<u64, Leap>,
}

/// What a leap was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leap {
    /// How far the clock was ahead before it.
    pub from_ns: i64,
    /// And after it.
    pub to_ns: i64,
}

/// Within so long after the machine's clock was read is a course the valid one; if it takes longer, the clock may run back by as much.
const CHANGED_WITHIN_NS: i64 = 50_000_000;

impl Course {
    /// As the machine's.
    pub fn right(at_ns: i64) -> Course {
        Course { at_ns, ahead_ns: 0, rate_permille: 1000, leaps: BTreeMap::new() }
    }

    /// What the clock reads when the machine's reads this.
    pub fn reading_ns(&self, machine_ns: i64) -> i64 {
        let passed_ns = i128::from(machine_ns) - i128::from(self.at_ns);
        let gained_ns = (passed_ns * i128::from(self.rate_permille)).div_euclid(1000);
        let reading_ns = i128::from(self.at_ns) + i128::from(self.ahead_ns) + gained_ns;
        i64::try_from(reading_ns).unwrap_or(i64::MAX)
    }

    /// How far it is ahead then.
    pub fn ahead_ns(&self, machine_ns: i64) -> i64 {
        self.reading_ns(machine_ns).saturating_sub(machine_ns)
    }

    /// The course from now on, at another rate and without a leap. Whenever it begins within the next [`CHANGED_WITHIN_NS`], the clock does not run back;
    /// it leaps ahead by what the two rates come to in that time, at most.
    pub fn at_rate(&self, now_ns: i64, rate_permille: u64) -> Course {
        let meet_ns = if rate_permille < self.rate_permille { now_ns + CHANGED_WITHIN_NS } else { now_ns };
        Course { at_ns: meet_ns, ahead_ns: self.ahead_ns(meet_ns), rate_permille, leaps: self.leaps.clone() }
    }

    /// The course after a leap, which is remembered under the number of its fault and not made a second time.
    pub fn leapt(mut self, fault: u64, by_ms: u64) -> Course {
        if !self.leaps.contains_key(&fault) {
            let from_ns = self.ahead_ns;
            let by_ns = i64::try_from(by_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            self.ahead_ns = from_ns.saturating_add(by_ns);
            self.leaps.insert(fault, Leap { from_ns, to_ns: self.ahead_ns });
        }
        self
    }

    /// The content of the file.
    pub fn text(&self) -> String {
        // Plain numbers with text as keys: they are always JSON.
        let notes = serde_json::to_string(self).unwrap_or_default();
        format!("{}\n# {notes}\n", self.order())
    }

    /// What the library is told; never longer than the 255 bytes that it reads.
    fn order(&self) -> String {
        if self.rate_permille == 0 {
            let stands_at_ns = self.reading_ns(self.at_ns).max(0);
            let (seconds, nanoseconds) = (stands_at_ns / 1_000_000_000, stands_at_ns % 1_000_000_000);
            return format!("{seconds}.{nanoseconds:09} x1");
        }
        // S + offset + R·(at − S) = at + ahead.
        let since_ns = i128::from(self.at_ns) - i128::from(EPOCH_NS);
        let gained_ns = (since_ns * i128::from(self.rate_permille)).div_euclid(1000);
        let offset_ns = since_ns + i128::from(self.ahead_ns) - gained_ns;
        format!("{offset_ns:+}e-9 x{}e-3", self.rate_permille)
    }

    /// From the content of the file.
    pub fn read(text: &str) -> Option<Course> {
        serde_json::from_str(text.lines().nth(1)?.strip_prefix("# ")?).ok()
    }
}

#[cfg(test)]
mod tests;

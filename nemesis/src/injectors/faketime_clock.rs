//! The clocks of daemons that were started under libfaketime ([`crate::faketime`]).
//!
//! What is verified: that the daemon has the library in its memory and the file's name in its environment, and that the clock reads what it
//! should. The latter is seen by another process, a `date` under the same library and file, whose clock is by construction the daemon's: between two
//! readings of the machine's clock it must read what the course says of some moment between them. A rate is watched for so long that
//! the right one could not have passed for it.
//!
//! Overlapping faults and what undoing leaves are as [`super::clock`] says, with one difference: this clock is as a machine's, and goes on
//! while no process lives. So a process that is started again finds the leaps of its predecessors in it.

use super::clock::{RIGHT_PERMILLE, change, jump_ms, own_rate_permille, rate_permille, unexpected};
use super::{InjectError, Scope, living_daemon};
use crate::evidence::Effect;
use crate::faketime::{Course, Libfaketime};
use crate::host::{Host, HostError, ProcessState};

/// A rate is watched for so long at least, by the machine's clock.
const WATCHED_NS: i64 = 100_000_000;

/// The library rounds, and counts in floating point.
const PRECISION_NS: i64 = 1_000;

/// Reads the machine's clock, that of the library, and the machine's again; several times, as a busy machine may take long between two of them.
const SANDWICHES: &str =
    "for again in 1 2 3; do date +%s%N && env \"$@\" date +%s%N && date +%s%N || exit; done";

pub(super) fn apply(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    means: &Libfaketime,
) -> Result<Vec<Effect>, InjectError> {
    let clock = Clock { host, means };
    // Nothing is done to one that would not notice.
    let _: bool = clock.is_read(scope)?;
    let change = change(scope.resolved);
    let (course, now_ns) = clock.now()?;
    let mut next = course.at_rate(now_ns, rate_permille(scope, node, change));
    if let Some(by_ms) = change.and_then(jump_ms) {
        next = next.leapt(scope.fault_id, by_ms);
    }
    clock.take(&next)?;
    Ok(Vec::new())
}

pub(super) fn verify(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    means: &Libfaketime,
) -> Result<Vec<Effect>, InjectError> {
    let clock = Clock { host, means };
    let change = change(scope.resolved);
    let expected = rate_permille(scope, node, change);
    let (from_ns, to_ns, within_ns) = match change.and_then(jump_ms) {
        Some(_) => {
            let course = clock.course()?;
            let leap = course.leaps.get(&scope.fault_id);
            let leap = leap.ok_or_else(|| unexpected("its clock was not told to leap".to_owned()))?;
            let _: Sample = clock.sample(&course)?;
            (leap.from_ns, leap.to_ns, 0)
        }
        None => match clock.watch(scope, expected)? {
            Some(watched) => watched,
            None => return Ok(vec![Effect::ClockUnread]),
        },
    };
    if !clock.is_read(scope)? {
        return Ok(vec![Effect::ClockUnread]);
    }
    let is_anothers = change.is_some_and(|change| {
        // Another fault takes the clock further from right: what it does is no bite of this one.
        jump_ms(change).is_none() && own_rate_permille(change) != expected
    });
    Ok(vec![if is_anothers {
        Effect::ClockStillWrong { offset_us: to_ns / 1_000 }
    } else {
        let from_us = from_ns / 1_000;
        // So that a leap of milliseconds is one of as many thousand microseconds.
        let to_us = from_us.saturating_add(to_ns.saturating_sub(from_ns) / 1_000);
        Effect::ClockWrong { from_us, to_us, within_us: within_ns.unsigned_abs() / 1_000 }
    }])
}

pub(super) fn undo(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    means: &Libfaketime,
) -> Result<Vec<Effect>, InjectError> {
    let clock = Clock { host, means };
    let (course, now_ns) = clock.now()?;
    let mut next = course.at_rate(now_ns, rate_permille(scope, node, None));
    next.leaps.remove(&scope.fault_id);
    clock.take(&next)?;
    Ok(Vec::new())
}

pub(super) fn verify_undone(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    means: &Libfaketime,
) -> Result<Vec<Effect>, InjectError> {
    let clock = Clock { host, means };
    let expected = rate_permille(scope, node, None);
    if clock.course()?.leaps.contains_key(&scope.fault_id) {
        return Err(unexpected("the leap of the fault is still among those of its clock".to_owned()));
    }
    let Some((_, offset_ns, _)) = clock.watch(scope, expected)? else { return Ok(Vec::new()) };
    let offset_us = offset_ns / 1_000;
    Ok(vec![match expected {
        RIGHT_PERMILLE => Effect::ClockRight { offset_us },
        _ => Effect::ClockStillWrong { offset_us },
    }])
}

/// The clock of a daemon, at arm's length.
struct Clock<'a> {
    host: &'a dyn Host,
    means: &'a Libfaketime,
}

/// What the clock read between two readings of the machine's.
#[derive(Clone, Copy)]
struct Sample {
    before_ns: i64,
    reading_ns: i64,
    after_ns: i64,
}

impl Clock<'_> {
    /// How it runs; right if there is no file.
    fn course(&self) -> Result<Course, InjectError> {
        match self.host.read_file(&self.means.file) {
            Ok(content) => Course::read(&String::from_utf8_lossy(&content)).ok_or_else(|| {
                let file = self.means.file.display();
                unexpected(format!(
                    "{file} does not say how the clock runs: remove it, and the clock is right"
                ))
            }),
            Err(HostError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Course::right(0))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The same, and what the machine's clock reads.
    fn now(&self) -> Result<(Course, i64), InjectError> {
        let course = self.course()?;
        let output = self.host.run("date", &["+%s%N"])?;
        Ok((course, number(&output.stdout)?))
    }

    fn take(&self, course: &Course) -> Result<(), InjectError> {
        let file = &self.means.file;
        let mut draft = file.clone().into_os_string();
        draft.push(".order");
        let draft = std::path::PathBuf::from(draft);
        self.host.write_file(&draft, course.text().as_bytes())?;
        self.host.run("mv", &["-f", "--", &draft.to_string_lossy(), &file.to_string_lossy()])?;
        Ok(())
    }

    /// Whether somebody lives and runs who reads it. An error if who lives does not, because the library is not loaded.
    fn is_read(&self, scope: &Scope<'_>) -> Result<bool, InjectError> {
        let library = self.means.library.to_string_lossy();
        let variable = format!("FAKETIME_TIMESTAMP_FILE={}", self.means.file.display());
        let mut last = None;
        // One that has just been started has nothing loaded yet.
        let seen = scope.patience.wait_for(|| {
            let Some((process, state)) = living_daemon(self.host)? else { return Ok(Some(false)) };
            last = Some(process.pid);
            let has = |what: &str, wanted: &str, separators: &[u8]| {
                let content = self.host.read_file(format!("/proc/{}/{what}", process.pid).as_ref());
                // That of one that has died meanwhile cannot be read, which the next look will say.
                content.is_ok_and(|content| {
                    content
                        .split(|byte| separators.contains(byte))
                        .any(|part| String::from_utf8_lossy(part) == wanted)
                })
            };
            let is_loaded = has("maps", &library, b" \n") && has("environ", &variable, b"\0");
            Ok::<_, HostError>(is_loaded.then_some(state == ProcessState::Running))
        })?;
        seen.ok_or_else(|| {
            let pid = last.unwrap_or_default();
            unexpected(format!(
                "libfaketime ({library}) is not loaded in process {pid}, so its clock cannot be moved: is the program linked statically, setuid, or a \
                 script that sets its environment anew?"
            ))
        })
    }

    /// Reads it, and sees that it reads what it should.
    fn sample(&self, course: &Course) -> Result<Sample, InjectError> {
        let pairs = self.means.environment().into_iter().map(|(name, value)| format!("{name}={value}"));
        let pairs: Vec<String> = pairs.collect();
        let arguments = ["-c", SANDWICHES, "sh"].into_iter().chain(pairs.iter().map(String::as_str));
        let output = self.host.run("sh", &arguments.collect::<Vec<_>>())?;
        let numbers = output.stdout.lines().map(number).collect::<Result<Vec<_>, _>>()?;
        let samples = numbers.chunks_exact(3).map(|one| Sample {
            before_ns: one[0],
            reading_ns: one[1],
            after_ns: one[2],
        });
        let samples: Vec<Sample> = samples.collect();
        samples.iter().try_for_each(|sample| sample.check(course))?;
        let narrowest = samples.into_iter().min_by_key(Sample::blur_ns);
        narrowest.ok_or_else(|| unexpected("`date` says nothing".to_owned()))
    }

    /// Sees that it runs at `expected`; how far it was ahead at first, then, and the time between. `None` if the machine is too busy to tell.
    fn watch(&self, scope: &Scope<'_>, expected: u64) -> Result<Option<(i64, i64, i64)>, InjectError> {
        let course = self.course()?;
        if course.rate_permille != expected {
            return Err(unexpected(format!(
                "its clock is told to run at {} thousandths of the machine's rate instead of {expected}",
                course.rate_permille
            )));
        }
        let off_permille = i64::try_from(expected.abs_diff(RIGHT_PERMILLE)).unwrap_or(i64::MAX);
        let mut samples = vec![self.sample(&course)?];
        let watched = scope.patience.wait_for(|| {
            let later = self.sample(&course)?;
            let shows = |first: &&Sample| {
                let passed_ns = later.before_ns - first.after_ns;
                // As much as the readings may be off together.
                let blur_ns = first.blur_ns() + later.blur_ns();
                let is_enough = passed_ns.saturating_mul(off_permille) / 1000 > blur_ns || off_permille == 0;
                passed_ns >= WATCHED_NS && is_enough
            };
            let pair = samples.iter().find(shows).map(|first| (*first, later));
            samples.push(later);
            Ok::<_, InjectError>(pair)
        })?;
        // Nothing that was read speaks against the course, but on so busy a machine nothing tells it from a right one either.
        let Some((first, later)) = watched else { return Ok(None) };
        let (from_ns, to_ns) = (course.ahead_ns(first.after_ns), course.ahead_ns(later.before_ns));
        Ok(Some((from_ns, to_ns, later.before_ns - first.after_ns)))
    }
}

impl Sample {
    fn blur_ns(&self) -> i64 {
        self.after_ns - self.before_ns
    }

    /// Sees that the clock reads what it should.
    fn check(&self, course: &Course) -> Result<(), InjectError> {
        let reading_ns = self.reading_ns;
        let earliest_ns = course.reading_ns(self.before_ns).saturating_sub(PRECISION_NS);
        let latest_ns = course.reading_ns(self.after_ns).saturating_add(PRECISION_NS);
        if (earliest_ns..=latest_ns).contains(&reading_ns) {
            return Ok(());
        }
        Err(unexpected(format!(
            "under libfaketime the clock reads {reading_ns} ns, which is not between {earliest_ns} and {latest_ns}, as it should at {} \
             thousandths of the machine's rate",
            course.rate_permille
        )))
    }
}

fn number(text: &str) -> Result<i64, InjectError> {
    let text = text.trim();
    text.parse().map_err(|_| {
        unexpected(format!("`date +%s%N` says `{text}`: GNU's, which knows nanoseconds, is needed"))
    })
}

//! A machine in memory: its raw clock goes on by a millisecond with each reading.

use super::{Machine, Reading, io};
use std::cell::Cell;

const BETWEEN_READINGS_NS: i64 = 1_000_000;

pub(crate) struct FakeMachine {
    pub boot: String,
    pub raw_ns: Cell<i64>,
    pub real_ns: Cell<i64>,
    pub tick_us: i64,
    pub running: Vec<String>,
    /// The steps that were taken, and after how many of them everything fails.
    pub done: Vec<String>,
    pub fails_after: usize,
    /// Its tick has no effect.
    pub is_steered: bool,
}

impl FakeMachine {
    pub fn new() -> FakeMachine {
        FakeMachine {
            boot: "first".to_owned(),
            raw_ns: Cell::new(5_000_000_000),
            real_ns: Cell::new(1_700_000_000_000_000_000),
            tick_us: 10_000,
            running: vec!["chrony".to_owned(), "systemd-timesyncd".to_owned()],
            done: Vec::new(),
            fails_after: usize::MAX,
            is_steered: false,
        }
    }

    /// Time passes.
    pub fn pass(&self, ns: i64) {
        self.raw_ns.set(self.raw_ns.get() + ns);
        let tick_us = if self.is_steered { 10_000 } else { self.tick_us };
        self.real_ns.set(self.real_ns.get() + ns / 10_000 * tick_us);
    }

    /// How far its clock is ahead of its raw one.
    pub fn offset_ns(&self) -> i64 {
        self.real_ns.get() - self.raw_ns.get()
    }

    fn take(&mut self, step: String) -> io::Result<()> {
        if self.done.len() >= self.fails_after {
            return Err(io::Error::other(format!("{step}: made to fail")));
        }
        self.done.push(step);
        Ok(())
    }
}

impl Machine for FakeMachine {
    fn boot_id(&self) -> io::Result<String> {
        Ok(self.boot.clone())
    }

    fn read(&self) -> io::Result<Reading> {
        self.pass(BETWEEN_READINGS_NS);
        Ok(Reading { real_ns: self.real_ns.get(), raw_ns: self.raw_ns.get() })
    }

    fn shift(&mut self, by_ns: i64) -> io::Result<()> {
        self.take(format!("shift {by_ns}"))?;
        self.real_ns.set(self.real_ns.get() + by_ns);
        Ok(())
    }

    fn tick_us(&self) -> io::Result<i64> {
        Ok(self.tick_us)
    }

    fn set_tick_us(&mut self, tick_us: i64) -> io::Result<()> {
        self.take(format!("tick {tick_us}"))?;
        self.tick_us = tick_us;
        Ok(())
    }

    fn keepers(&self) -> io::Result<Vec<String>> {
        Ok(self.running.clone())
    }

    fn keep(&mut self, service: &str, runs: bool) -> io::Result<()> {
        self.take(format!("{service} {runs}"))?;
        self.running.retain(|running| running != service);
        if runs {
            self.running.push(service.to_owned());
        }
        Ok(())
    }
}

//! What the program prints: machine output to standard output, everything for people to standard error.
//!
//! The standard macros panic if they cannot write (a full disk behind a redirection, a reader that went away). A verdict must
//! not be lost for that, so in this crate [`eprintln!`] and [`eprint!`] are the ones below, which go on, and standard output
//! is written by [`print_json`], which says so.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

use crate::exit::Failure;

/// The standard macro, but it never panics: that nobody can read what is said is no reason to stop.
macro_rules! eprint {
    ($($argument:tt)*) => { $crate::output::tell(format_args!($($argument)*)) };
}

/// The same, and a new line.
macro_rules! eprintln {
    ($($argument:tt)*) => { $crate::output::tell(format_args!("{}\n", format_args!($($argument)*))) };
}

/// Writes to standard error, if that can be done.
pub fn tell(text: std::fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

/// Prints `value` on standard output. A reader that has gone away has read enough.
///
/// # Errors
/// If it cannot be written.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(Failure::environment)?;
    text.push('\n');
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("standard output").map_err(Failure::environment)
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

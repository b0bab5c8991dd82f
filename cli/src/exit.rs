//! Exit codes: Jepsen's, so that CI can read them.

use std::io::IsTerminal;
use std::process::ExitCode;

use labrys_checker::verdict::Validity;
use labrys_reports::summary::Colour;

/// Wrong usage or configuration.
pub const USAGE: u8 = 254;
/// The harness or the environment failed.
pub const ENVIRONMENT: u8 = 255;

/// The code of a verdict: 0 valid, 1 invalid, 2 unknown.
pub fn of(validity: Validity) -> u8 {
    match validity {
        Validity::Valid => 0,
        Validity::Invalid => 1,
        Validity::Unknown => 2,
    }
}

/// An error that ends a command, with the code that it ends with.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What, where, how to mend it.
    pub error: anyhow::Error,
}

impl Failure {
    /// The user asked for something that cannot be.
    pub fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: USAGE, error: error.into() }
    }

    /// The machine, a file or the system under test did not do its part.
    pub fn environment(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: ENVIRONMENT, error: error.into() }
    }

    /// Says it on standard error, in one paragraph, and gives the code.
    pub fn report(&self) -> ExitCode {
        eprintln!("labrys: {}", in_words(&self.error));
        ExitCode::from(self.code)
    }
}

/// An error and its causes, `what: why: why`. Many errors name their cause in their own text; it is not said again.
pub fn in_words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !words.is_empty() && words.contains(&cause) {
            continue;
        }
        if !words.is_empty() {
            words.push_str(": ");
        }
        words.push_str(&cause);
    }
    words
}

/// What a command ends with.
pub type Outcome = Result<u8, Failure>;

/// Whether what is written to standard error may have colours: only on a terminal, and not if `NO_COLOR` is set.
pub fn colour() -> Colour {
    let wanted =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { Colour::Ansi } else { Colour::Never }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_cause_that_an_error_names_itself_is_told_once() {
        let own = anyhow!("Is a directory").context("/tmp: Is a directory").context("reading the history");
        assert_eq!(in_words(&own), "reading the history: /tmp: Is a directory");
        let plain: anyhow::Error = Err::<(), _>(anyhow!("no space")).context("verdict.json").unwrap_err();
        assert_eq!(in_words(&plain), "verdict.json: no space");
    }
}

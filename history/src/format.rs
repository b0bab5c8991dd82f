//! [`Format`]: the formats of history files. `docs/formats.md` has an example of each.

use std::fmt;

/// The formats of history files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Our own: JSON Lines.
    JsonLines,
    /// Jepsen's operation maps in EDN; Porcupine's logs of a key-value store are in it too.
    Edn,
    /// Jepsen's operations as JSON, as elle-cli reads them.
    Json,
    /// Jepsen's plain log.
    JepsenLog,
}

impl Format {
    /// All formats.
    pub const ALL: &'static [Format] = &[Format::JsonLines, Format::Edn, Format::Json, Format::JepsenLog];

    /// The name on the command line and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::JsonLines => "jsonl",
            Format::Edn => "edn",
            Format::Json => "json",
            Format::JepsenLog => "jepsen-log",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Format> {
        Format::ALL.iter().copied().find(|format| format.name() == name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The names of the formats that can be read, in words.
pub(crate) fn readable_names() -> String {
    Format::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
}

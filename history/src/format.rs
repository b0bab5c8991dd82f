//! [`Format`]: the formats of history files. `docs/formats.md` has an example of each.

use std::fmt;
use std::path::Path;

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
    /// Porcupine's operations as JSON.
    Porcupine,
    /// Parquet, one row an event.
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Format {
    /// All formats; all of them can be read.
    pub const ALL: &'static [Format] = &[
        Format::JsonLines,
        Format::Edn,
        Format::Json,
        Format::Porcupine,
        Format::JepsenLog,
        #[cfg(feature = "parquet")]
        Format::Parquet,
    ];

    /// The formats that can be written.
    pub const WRITABLE: &'static [Format] = &[
        Format::JsonLines,
        Format::Edn,
        Format::Porcupine,
        #[cfg(feature = "parquet")]
        Format::Parquet,
    ];

    /// The name on the command line and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::JsonLines => "jsonl",
            Format::Edn => "edn",
            Format::Json => "json",
            Format::JepsenLog => "jepsen-log",
            Format::Porcupine => "porcupine",
            #[cfg(feature = "parquet")]
            Format::Parquet => "parquet",
        }
    }

    /// The format that a file with such a name is to be written in, if its extension says one: `.json` is Porcupine's.
    #[must_use]
    pub fn written_by_extension(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Format::JsonLines),
            "edn" => Some(Format::Edn),
            "json" => Some(Format::Porcupine),
            #[cfg(feature = "parquet")]
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }

    /// The names of some formats, in a row.
    #[must_use]
    pub fn names(formats: &[Format]) -> String {
        formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
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

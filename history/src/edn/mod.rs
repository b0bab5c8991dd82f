//! EDN, the notation of Jepsen, Knossos and Elle: values, and histories of operation maps.
//!
//! Own code, because no library keeps the place of an error *and* tagged literals *and* the speed that millions of
//! operations need. The specification is <https://github.com/edn-format/edn>; the reader takes the following of what
//! Clojure's printer adds to it: ratios, decimals (`1.5M`) and radix integers (kept as symbols of the same text),
//! namespace maps (`#:a{:b 1}`), `##Inf`, `##-Inf`, `##NaN`. It refuses regular expressions, metadata, quotes and
//! unreadable objects (`#<…>`).
//!
//! What EDN cannot say is written with tags of our own, so that any [`Value`](crate::Value) can be read back: a keyword or
//! symbol with blanks in its name as `#labrys/keyword "a b"` or `#labrys/symbol "a b"`, a tag that is no symbol as
//! `#labrys/tagged ["a b" value]`. Lost are only the payload of a NaN and a suffix `N` that is not needed.
//!
//! Linear in the length of the text; recursion is bounded by [`MAX_DEPTH`](crate::MAX_DEPTH).

mod atom;
mod operations;
mod parser;
mod write;

pub(crate) use atom::is_keyword;
pub(crate) use operations::Operations;
pub(crate) use parser::Parser;
pub(crate) use write::{write_event, write_value};

/// Tags of ours.
mod tag {
    pub(super) const PREFIX: &str = "labrys/";
    pub(super) const KEYWORD: &str = "labrys/keyword";
    pub(super) const SYMBOL: &str = "labrys/symbol";
    pub(super) const TAGGED: &str = "labrys/tagged";
}

/// Fields of ours in operation maps.
mod field {
    /// The fields extra that cannot be fields of an EDN operation: `[["name" value] …]`.
    pub(super) const EXTRA: &str = "labrys/extra";
    /// `true` if the value is `[key value]`.
    pub(super) const INDEPENDENT: &str = "labrys/independent";
}

//! Systems under test: under construction.

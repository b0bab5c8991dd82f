//! The run directory: under construction.

//! Testbeds: under construction.

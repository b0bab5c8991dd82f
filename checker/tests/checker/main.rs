//! The checker's integration tests, one binary.

mod agreement;
mod budgets;
mod containers;
mod examples;
mod explanation;
mod leases;
mod manifest;
mod minimal;
mod models;
mod nodes;
mod online;
mod own_models;
mod registers;
mod sets_and_counters;
mod statistics;
mod support;
mod synthetic;
mod unique_values;

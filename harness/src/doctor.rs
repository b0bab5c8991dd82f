//! What this machine can do: under construction.

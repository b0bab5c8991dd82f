//! Re-execution in namespaces: under construction.

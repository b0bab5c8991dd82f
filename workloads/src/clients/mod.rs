//! Clients of systems, by name. Adding one takes one file and one line of [`SYSTEMS`].

pub mod in_memory;
pub mod labrys_store;
pub mod no_op;

use std::sync::Arc;

use crate::ClientFactory;
use crate::workload::{WorkloadError, WorkloadOptions};

/// A line of the table of systems.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// Its name: that of the database on the command line.
    pub name: &'static str,
    /// One line for a person.
    pub summary: &'static str,
    /// Its clients.
    pub factory: fn(&WorkloadOptions) -> Result<Arc<dyn ClientFactory>, WorkloadError>,
}

/// The systems that we have clients of.
pub const SYSTEMS: &[System] = &[
    System {
        name: labrys_store::NAME,
        summary: "the reference Raft store of this project",
        factory: labrys_store::factory,
    },
    System {
        name: in_memory::NAME,
        summary: "a map in the harness's own memory: linearizable, for trying the harness out",
        factory: in_memory::factory,
    },
    System {
        name: no_op::NAME,
        summary: "nothing: every operation succeeds at once, for measuring the harness",
        factory: no_op::factory,
    },
];

/// The clients of the system called `name`.
pub fn factory(name: &str, options: &WorkloadOptions) -> Result<Arc<dyn ClientFactory>, WorkloadError> {
    let system = SYSTEMS.iter().find(|system| system.name == name).ok_or_else(|| {
        let known = SYSTEMS.iter().map(|system| system.name).collect();
        WorkloadError::UnknownSystem { name: name.to_owned(), known }
    })?;
    (system.factory)(options)
}

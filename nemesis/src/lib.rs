//! Faults as data, plans that choose them from a seed, injectors that apply and undo them, and the process that undoes
//! them when everything else has died.
//!
//! A [`Fault`] names its targets symbolically ("the leader"). It is *resolved* to nodes and links at the moment it is
//! applied, journalled, applied, verified to have bitten, and later undone and verified to be gone.
//!
//! The map, in the order in which a fault passes through it:
//! [`FaultKind`] (what a user can name) → [`plan`] (when) → [`resolve`] (whom) → [`NemesisClient`] in the harness → a pipe →
//! [`serve`] in the nemesis process → the engine (journal first, then the host) → the injectors, over [`Host`] → evidence,
//! back up the pipe → [`InjectedFault`] in `schedule.jsonl`. [`heal`] does the engine's undoing from the journal alone.
//!
//! Invariants: nothing is done to a host before its intent is on the disk; a fault leaves the journal only after its
//! undoing was verified on every node; the planner, the resolver and the formats are pure (`clippy.toml`).

#![warn(missing_docs)]

mod client;
mod commands;
mod disk;
mod engine;
mod evidence;
#[cfg(test)]
mod fake;
mod faketime;
mod fault;
mod heal;
mod host;
mod injectors;
mod journal;
mod kinds;
mod lines;
pub mod machine_clock;
mod packets;
mod planner;
mod poll;
mod process;
mod protocol;
mod ranges;
mod record;
mod replay;
mod resolve;
mod sequences;
mod starver;
mod target;
mod trigger;

pub use client::{ClientError, NemesisClient};
pub use commands::{
    CommandLine, Commands, Failpoint, FailpointCommands, Look, MembershipCommands, Order, OrderName,
};
pub use disk::{
    DiskAct, DiskAnswer, DiskDeed, DiskError, DiskFailure, DiskKind, DiskOrder, Lost, MetTrouble,
    errors_file, run_disk, start_disk, stop_disk,
};
pub use engine::Engine;
pub use evidence::{Effect, Evidence, LimitMechanism, Mechanism, NodeFailure, Observation, Step};
pub use faketime::{ClockMeans, LIBFAKETIME_MEND, Libfaketime, find_libfaketime};
pub use fault::{
    CLIENTS, ClockChange, DiskTrouble, Fault, Link, LinkTrouble, MembershipChange, PartitionShape, PowerLoss,
    Resolved, ResourceTrouble, RestartData, Schedule, Scheduled, Target,
};
pub use heal::{HealError, heal, remove_control_groups};
pub use host::{CommandOutput, DaemonSpec, Host, HostError, ProcessIdentity, ProcessState, Signal};
pub use injectors::{
    CountedIn, PressedProcess, machine_clock_objection, may_end_of_memory, pressed_file,
    try_muffled_partition, try_partition,
};
pub use journal::{
    BadRunTag, Entry, JOURNAL_VERSION, Journal, JournalError, JournalState, Outstanding, RunIdentity, RunTag,
    read_journal,
};
pub use kinds::{Family, FaultKind, UnknownFaultKind, parse_fault_kinds};
pub use packets::{MOST_BACKLOG_MS, PacketError, PacketOrder, hold_packets};
pub use planner::{MINIMUM_INTERVAL_MS, NoFaults, PlanConfig, kinds_without_faults, plan};
pub use poll::Patience;
pub use process::{ServeConfig, ServeError, outlive_the_terminal, serve};
pub use protocol::{
    ActiveFault, Failure, FaultReport, Outcome, Reply, Request, RequestBody, Response, Status,
};
pub use record::{InjectedFault, RecordError, ScheduleWriter, read_schedule};
pub use replay::{FaultList, FaultListError, TimedFault};
pub use resolve::{View, resolve};
pub use sequences::{MOST_IN_A_WINDOW, Part, Window};
pub use starver::{StarveError, starve};
pub use target::{NoTarget, Operator, Quantity, is_reserved};
pub use trigger::{Condition, Happening, NoTrigger, Trigger};

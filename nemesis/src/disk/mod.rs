//! A disk that can lose power, fill up, fail and rot: a file system in this process (FUSE) over a node's folder, which knows what of it
//! would survive a loss of power and what would not; or a real one, which can only lose power (`ext4`).
//!
//! The model is that of POSIX, as strict as it is (Pillai et al., *All File Systems Are Not Created Equal*, OSDI 2014): what was written
//! to a file is durable when a sync of that file has returned, and a name that was made, moved or removed when a sync of its directory
//! has; a sync of the one says nothing about the other. What programs *see* is in the folder underneath, as ever; in memory is only what
//! it takes to go back: so a sync forgets a list, and writes nothing.
//!
//! - `order`: what a disk is told to do, and what it answers: data;
//! - `unsynced`: what was written to a file since its last sync, and what a loss of power leaves of it;
//! - `names`: the same for the names in directories;
//! - `volume`: both, over a folder; `rot`: its bytes go wrong by themselves;
//! - `troubles`: which operations fail or are slow, and who met that;
//! - `ext4`: the real file system;
//! - `device`: what the disk does; `mount`: the file system; `fuse`: both, mounted; `process`: the process that mounts it and takes orders; `remote`: that process from afar.
//!
//! What is kept after the process has died: what programs saw, as if only they had died. What it cannot do: hard links, symbolic links
//! and special files are refused, so that every file has one name; changes of modes and times are durable at once.

mod device;
mod ext4;
mod fuse;
mod mount;
mod names;
mod order;
mod process;
mod remote;
mod rot;
mod troubles;
mod unsynced;
mod volume;

#[cfg(test)]
mod tests;

pub use order::{
    DiskAct, DiskAnswer, DiskDeed, DiskError, DiskKind, DiskOrder, Lost, MetTrouble, errors_file,
};
pub use process::{DiskFailure, run_disk};
pub(crate) use remote::Remote;
pub use remote::{start_disk, stop_disk};

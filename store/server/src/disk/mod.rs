//! What the store asks of a disk: one flat directory of files that are only appended to.
//!
//! The trait is small so that a simulated disk can give it the semantics that POSIX really promises (Pillai et al., *All
//! File Systems Are Not Created Equal*, OSDI 2014): what was appended may be lost or torn until [`Disk::sync`] has
//! returned, and a name that was created, renamed or removed may be lost until [`Disk::sync_directory`] has returned. What
//! is read may be neither: the page cache outlives the process that wrote it.

mod error;
mod real;
mod simulated;

use std::io;

pub use error::DiskError;
pub use real::RealDisk;
pub use simulated::{FailureKind, PowerLoss, Rotten, SimulatedDisk};

/// A directory of append-only files.
pub trait Disk: Send {
    /// The names of all files, in ascending order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// The whole content of a file. That it can be read does not mean that it is durable.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// The length of a file in bytes.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// `length` bytes of a file from `offset` on; fails with `UnexpectedEof` if it does not have them.
    fn read_range(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>>;

    /// Creates an empty file; fails with `AlreadyExists` if there is one.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Appends to an existing file. On an error any part of `bytes` may have been written.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file to `length_bytes`.
    fn truncate(&mut self, name: &str, length_bytes: u64) -> io::Result<()>;

    /// Makes the content and length of a file durable (`fdatasync`). After an error nothing is known about what was
    /// written since the last success, and a second call proves nothing: the kernel may have dropped the pages.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Renames a file, over another one if there is one.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Makes creations, renamings and removals durable (`fsync` of the directory).
    fn sync_directory(&mut self) -> io::Result<()>;
}

//! The process that is a disk: mounts it, carries out orders, and goes when the file with its orders does.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::ext4::Ext4;
use super::fuse::Fuse;
use super::order::{DiskAnswer, DiskKind, DiskOrder, answer_file, beside, errors_file};

/// The file with the orders is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// A disk could not be had, or ended.
#[derive(Debug, Error)]
pub enum DiskFailure {
    /// The orders could not be read.
    #[error("{path}: {detail}")]
    Order {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// A file could not be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused to mount it.
    #[error("cannot mount a file system in user space (FUSE) over {directory}: {source}")]
    Mount {
        /// The folder.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A real file system could not be made or mounted.
    #[error(
        "cannot mount an ext4 over {directory}: {source} (it takes root outside of a user namespace, mkfs.ext4 and loop devices: `labrys doctor` tries it; power cuts work without `--disk ext4`, too)"
    )]
    Ext4 {
        /// The folder.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DiskFailure {
    /// Whether there are no such orders as were named, rather than that they could not be carried out.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, DiskFailure::Order { .. })
    }
}

/// A mounted disk.
struct Running {
    medium: Medium,
    answer: DiskAnswer,
    order_file: PathBuf,
}

/// What is mounted.
enum Medium {
    Fuse(Fuse),
    Ext4(Ext4),
}

/// Is the disk that the file says, until it is removed; unmounts it then, if it is one of ours.
///
/// # Errors
/// The orders make no sense, the disk cannot be mounted, or an answer cannot be written.
#[allow(clippy::disallowed_methods, reason = "looking for orders is what this process is for")]
pub fn run_disk(order_file: &Path) -> Result<(), DiskFailure> {
    let Some(first) = read_order(order_file)? else {
        return Err(unusable(order_file, "there is no such file"));
    };
    let mut running = Running::mount(order_file, &first)?;
    running.carry_out(&first)?;
    loop {
        std::thread::sleep(LOOK_EVERY);
        match read_order(order_file)? {
            Some(order) if order.serial > running.answer.serial => running.carry_out(&order)?,
            Some(_) if running.medium.is_gone() => return Ok(()),
            Some(_) => {}
            None => return running.medium.leave(),
        }
    }
}

fn unusable(path: &Path, detail: impl ToString) -> DiskFailure {
    DiskFailure::Order { path: path.to_owned(), detail: detail.to_string() }
}

/// `None`: it is gone. It is replaced as a whole, so what makes no sense is nobody's draft.
fn read_order(path: &Path) -> Result<Option<DiskOrder>, DiskFailure> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| unusable(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, error)),
    }
}

impl Medium {
    fn carry_out(&mut self, order: &DiskOrder, answer: &mut DiskAnswer) {
        match self {
            Medium::Fuse(disk) => disk.carry_out(order, answer),
            Medium::Ext4(disk) => disk.carry_out(order, answer),
        }
    }

    fn is_gone(&self) -> bool {
        match self {
            Medium::Fuse(disk) => disk.is_gone(),
            Medium::Ext4(_) => false,
        }
    }

    /// A real file system needs no process, and is unmounted by who has removed the orders.
    fn leave(self) -> Result<(), DiskFailure> {
        match self {
            Medium::Fuse(disk) => disk.unmount(),
            Medium::Ext4(_) => Ok(()),
        }
    }
}

impl Running {
    fn mount(order_file: &Path, order: &DiskOrder) -> Result<Running, DiskFailure> {
        let errors = errors_file(order_file);
        let opened = OpenOptions::new().create(true).append(true).open(&errors);
        let opened: File = opened.map_err(|source| DiskFailure::File { path: errors, source })?;
        let medium = match order.kind {
            DiskKind::Fuse => Medium::Fuse(Fuse::mount(&order.directory, opened)?),
            DiskKind::Ext4 => {
                let failed = |source| DiskFailure::Ext4 { directory: order.directory.clone(), source };
                Medium::Ext4(Ext4::mount(order_file, &order.directory).map_err(failed)?)
            }
        };
        let answer = DiskAnswer { pid: std::process::id().cast_signed(), ..DiskAnswer::default() };
        Ok(Running { medium, answer, order_file: order_file.to_owned() })
    }

    /// Carries an order out, and answers.
    fn carry_out(&mut self, order: &DiskOrder) -> Result<(), DiskFailure> {
        self.medium.carry_out(order, &mut self.answer);
        self.answer.serial = order.serial;
        self.tell()
    }

    fn tell(&self) -> Result<(), DiskFailure> {
        let file = answer_file(&self.order_file);
        let draft = beside(&file, ".draft");
        let text = serde_json::to_vec(&self.answer).map_err(io::Error::from);
        let written =
            text.and_then(|text| std::fs::write(&draft, text)).and_then(|()| std::fs::rename(&draft, &file));
        written.map_err(|source| DiskFailure::File { path: file, source })
    }
}

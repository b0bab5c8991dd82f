//! Namespaces by the inode numbers of `/proc/PID/ns/*`, and the few fields of `/proc` that the isolation reads.
//!
//! An inode number names a namespace as long as that namespace lives; the kernel uses it again afterwards. Whoever keeps
//! one for later must keep something besides that never comes again, such as the start time of a process in it.

use std::os::linux::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::IsolationError;

/// The namespaces of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Network.
    pub network: u64,
    /// Mounts.
    pub mount: u64,
    /// Process numbers.
    pub pid: u64,
    /// Users.
    pub user: u64,
}

impl Namespaces {
    /// Those of this process.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn of_this_process() -> Result<Namespaces, IsolationError> {
        Self::of(Path::new("/proc/self"))
            .map_err(|source| IsolationError::Proc { path: "/proc/self/ns".into(), source })
    }

    /// Those of the process whose folder in `/proc` this is.
    ///
    /// # Errors
    /// If it cannot be read: the process is gone, or is another user's.
    pub fn of(process: &Path) -> std::io::Result<Namespaces> {
        let inode = |name: &str| namespace_inode(&process.join("ns").join(name));
        Ok(Namespaces {
            network: inode("net")?,
            mount: inode("mnt")?,
            pid: inode("pid")?,
            user: inode("user")?,
        })
    }
}

/// The inode number of a namespace, by a path such as `/proc/self/ns/net` or `/run/netns/n1`.
///
/// # Errors
/// If there is no such file.
pub fn namespace_inode(path: &Path) -> std::io::Result<u64> {
    std::fs::metadata(path).map(|metadata| metadata.st_ino())
}

/// A hexadecimal mask (`CapEff`, `SigIgn`) of a `/proc/PID/status` file; 0 if the kernel does not write it.
pub(super) fn status_mask(path: &Path, field: &str) -> Result<u64, IsolationError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| IsolationError::Proc { path: path.into(), source })?;
    Ok(mask_in(&text, field))
}

fn mask_in(status: &str, field: &str) -> u64 {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let value = lines.find(|(name, _)| *name == field).map(|(_, value)| value.trim());
    value.and_then(|value| u64::from_str_radix(value, 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_found_by_the_whole_name_of_its_field() {
        let status = "Name:\tx\nSigIgn:\t0000000000001001\nCapEff:\t000001ffffffffff\n";
        assert_eq!(mask_in(status, "SigIgn"), 0x1001);
        assert_eq!(mask_in(status, "CapEff"), 0x1ff_ffff_ffff);
        assert_eq!(mask_in(status, "Cap"), 0);
    }

    #[test]
    fn the_inode_of_a_namespace_is_that_of_the_link() {
        let link = std::fs::read_link("/proc/self/ns/net").expect("linux");
        let inode = namespace_inode(Path::new("/proc/self/ns/net")).expect("linux");
        assert_eq!(link.to_string_lossy(), format!("net:[{inode}]"));
    }
}

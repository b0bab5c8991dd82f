//! A directory of the operating system.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Disk;

/// A real directory. Files that were written to stay open.
pub struct RealDisk {
    directory: PathBuf,
    open: BTreeMap<String, File>,
}

impl RealDisk {
    /// The directory at `directory`, which is created if it is missing. Its name is durable then, also if a process that
    /// died had created it, or one above it, and not synced the name.
    pub fn open(directory: &Path) -> io::Result<RealDisk> {
        create_durably(directory)?;
        Ok(RealDisk { directory: directory.to_owned(), open: BTreeMap::new() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        if !self.open.contains_key(name) {
            let file = OpenOptions::new().append(true).open(self.path(name))?;
            self.open.insert(name.to_owned(), file);
        }
        self.open.get_mut(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

/// Creates what is missing on the way to `directory`, and syncs the name of everything created and of the deepest directory
/// that was there: all above it were synced before it was created, if they were created here at all.
fn create_durably(directory: &Path) -> io::Result<()> {
    let parent = match directory.parent() {
        None => return Ok(()), // the root
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    if directory.is_dir() {
        return match File::open(parent) {
            Ok(parent) => parent.sync_all(),
            // Who may not read it has not created anything in it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        };
    }
    create_durably(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // A name that is not text is none of ours.
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name))
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(name))?.len())
    }

    fn read_range(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        File::open(self.path(name))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.path(name))?;
        self.open.insert(name.to_owned(), file);
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all(bytes)
    }

    fn truncate(&mut self, name: &str, length_bytes: u64) -> io::Result<()> {
        self.file(name)?.set_len(length_bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open.remove(from);
        self.open.remove(to);
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        fs::remove_file(self.path(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_read_back_after_renaming_and_cutting() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::open(&directory.path().join("deep/er")).unwrap();
        disk.create("a").unwrap();
        disk.append("a", b"hello ").unwrap();
        disk.append("a", b"world").unwrap();
        disk.sync("a").unwrap();
        disk.rename("a", "b").unwrap();
        disk.sync_directory().unwrap();
        disk.truncate("b", 7).unwrap();
        disk.append("b", b"!").unwrap();
        assert_eq!(disk.read("b").unwrap(), b"hello w!");
        assert_eq!((disk.length("b").unwrap(), disk.read_range("b", 4, 3).unwrap()), (8, b"o w".to_vec()));
        assert_eq!(disk.read_range("b", 6, 3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(disk.list().unwrap(), ["b"]);
        assert_eq!(disk.create("b").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        disk.remove("b").unwrap();
        assert!(disk.list().unwrap().is_empty());
    }
}

//! A folder as a disk: files and directories, what of them is durable, and what a loss of power makes of them.
//!
//! The folder underneath has what programs see, under the same names. A file that has lost its name and may get it back is held open,
//! and is copied if it does. Errors are those of the system, so that they can be handed on.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use labrys_seed::Rng;
use nix::errno::Errno;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::names::{Ino, Names, ROOT};
use super::unsynced::Unsynced;
use crate::fault::PowerLoss;

/// What a loss of power took, and what survived though it had not been synced. A real file system does not tell the latter: 0 there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Of how many files something was lost.
    pub files: u64,
    /// Un-synced bytes that are gone.
    pub bytes: u64,
    /// Un-synced bytes that are there all the same.
    pub kept_bytes: u64,
    /// Un-synced changes of directories that are gone.
    pub names: u64,
    /// Un-synced changes of directories that are there all the same.
    pub kept_names: u64,
}

#[derive(Debug, Default)]
pub(super) struct FileState {
    /// Open as long as somebody has it open, or it cannot be opened again by a name.
    handle: Option<File>,
    opens: u64,
    pub unsynced: Unsynced,
}

/// A file or a directory, and under which name programs see it.
#[derive(Debug)]
struct Node {
    place: Option<(Ino, OsString)>,
    /// `None`: a directory.
    file: Option<FileState>,
}

#[derive(Debug)]
pub(super) struct Volume {
    root: PathBuf,
    names: Names,
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
}

fn error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno as i32)
}

impl Volume {
    /// Takes a folder over: all that is in it is durable.
    pub fn open(root: &Path) -> io::Result<Volume> {
        let top = Node { place: None, file: None };
        let mut volume = Volume {
            root: root.to_owned(),
            names: Names::new(),
            nodes: BTreeMap::from([(ROOT, top)]),
            next: ROOT,
        };
        volume.load(ROOT, root)?;
        volume.names.settle();
        Ok(volume)
    }

    fn load(&mut self, directory: Ino, path: &Path) -> io::Result<()> {
        let mut found = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        found.sort_by_key(fs::DirEntry::file_name);
        for entry in found {
            let kind = entry.file_type()?;
            if kind.is_dir() || kind.is_file() {
                let ino = self.add(directory, &entry.file_name(), kind.is_file());
                if let Some(file) = self.file_state(ino) {
                    file.unsynced = Unsynced::found();
                }
                if kind.is_dir() {
                    self.load(ino, &entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, directory: Ino, name: &OsStr, is_file: bool) -> Ino {
        self.next += 1;
        let file = is_file.then(FileState::default);
        if !is_file {
            self.names.add_directory(self.next);
        }
        self.nodes.insert(self.next, Node { place: Some((directory, name.to_owned())), file });
        self.names.change(vec![(directory, name.to_owned(), Some(self.next))]);
        self.next
    }

    /// Where it is underneath; `None` if it has no name.
    fn path(&self, ino: Ino) -> Option<PathBuf> {
        if ino == ROOT {
            return Some(self.root.clone());
        }
        let (directory, name) = self.nodes.get(&ino)?.place.as_ref()?;
        Some(self.path(*directory)?.join(name))
    }

    /// Where it is underneath.
    pub fn underneath(&self, ino: Ino) -> io::Result<PathBuf> {
        self.path(ino).ok_or_else(|| error(Errno::ENOENT))
    }

    /// The folder that this is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path_of(&self, directory: Ino, name: &OsStr) -> io::Result<PathBuf> {
        if self.names.entries(directory).is_none() {
            return Err(error(Errno::ENOENT));
        }
        Ok(self.path(directory).ok_or_else(|| error(Errno::ENOENT))?.join(name))
    }

    /// The files and directories in a directory, by name; `true`: a file.
    pub fn list(&self, directory: Ino) -> io::Result<Vec<(OsString, Ino, bool)>> {
        let entries = self.names.entries(directory).ok_or_else(|| error(Errno::ENOTDIR))?;
        Ok(entries.iter().map(|(name, ino)| (name.clone(), *ino, self.is_file(*ino))).collect())
    }

    pub fn is_file(&self, ino: Ino) -> bool {
        self.nodes.get(&ino).is_some_and(|node| node.file.is_some())
    }

    pub fn lookup(&self, directory: Ino, name: &OsStr) -> io::Result<Ino> {
        self.names.get(directory, name).ok_or_else(|| error(Errno::ENOENT))
    }

    /// The directory above; the root is above itself.
    pub fn parent(&self, ino: Ino) -> Ino {
        self.nodes.get(&ino).and_then(|node| node.place.as_ref()).map_or(ROOT, |(directory, _)| *directory)
    }

    /// Its name from the root on, for people.
    pub fn name(&self, ino: Ino) -> String {
        let path = self.path(ino).unwrap_or_default();
        path.strip_prefix(&self.root).unwrap_or(&path).display().to_string()
    }

    pub fn metadata(&self, ino: Ino) -> io::Result<Metadata> {
        let held =
            self.nodes.get(&ino).and_then(|node| node.file.as_ref()).and_then(|file| file.handle.as_ref());
        match held {
            Some(handle) => handle.metadata(),
            None => fs::symlink_metadata(self.underneath(ino)?),
        }
    }

    /// The files that have a name, each with its length, in order.
    pub fn files(&self) -> Vec<(Ino, u64)> {
        let named = self.nodes.iter().filter(|(_, node)| node.file.is_some() && node.place.is_some());
        named.filter_map(|(ino, _)| Some((*ino, self.metadata(*ino).ok()?.len()))).collect()
    }

    /// What of a file is not durable.
    pub fn unsynced(&self, ino: Ino) -> Option<&Unsynced> {
        self.nodes.get(&ino)?.file.as_ref().map(|file| &file.unsynced)
    }

    pub fn create(&mut self, directory: Ino, name: &OsStr, mode: u32) -> io::Result<Ino> {
        let path = self.path_of(directory, name)?;
        let mut options = OpenOptions::new();
        let handle = options.read(true).write(true).create_new(true).mode(mode | 0o600).open(path)?;
        let ino = self.add(directory, name, true);
        if let Some(file) = self.file_state(ino) {
            file.handle = Some(handle);
        }
        Ok(ino)
    }

    pub fn make_directory(&mut self, directory: Ino, name: &OsStr) -> io::Result<Ino> {
        fs::create_dir(self.path_of(directory, name)?)?;
        Ok(self.add(directory, name, false))
    }

    pub fn remove_file(&mut self, directory: Ino, name: &OsStr) -> io::Result<()> {
        let ino = self.lookup(directory, name)?;
        let path = self.path_of(directory, name)?;
        self.hold(ino)?;
        fs::remove_file(path)?;
        self.unname(ino);
        self.names.change(vec![(directory, name.to_owned(), None)]);
        self.forget_nameless();
        Ok(())
    }

    pub fn remove_directory(&mut self, directory: Ino, name: &OsStr) -> io::Result<()> {
        let ino = self.lookup(directory, name)?;
        fs::remove_dir(self.path_of(directory, name)?)?;
        self.unname(ino);
        self.names.remove_directory(ino);
        self.names.change(vec![(directory, name.to_owned(), None)]);
        Ok(())
    }

    /// Renames, over another file or an empty directory if there is one.
    pub fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr)) -> io::Result<()> {
        let ino = self.lookup(from.0, from.1)?;
        let (old, new) = (self.path_of(from.0, from.1)?, self.path_of(to.0, to.1)?);
        let replaced = self.names.get(to.0, to.1);
        if replaced == Some(ino) {
            return Ok(());
        }
        if let Some(replaced) = replaced {
            self.hold(replaced)?;
        }
        fs::rename(old, new)?;
        if let Some(replaced) = replaced {
            self.unname(replaced);
            self.names.remove_directory(replaced);
        }
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.place = Some((to.0, to.1.to_owned()));
        }
        self.names.change(vec![(from.0, from.1.to_owned(), None), (to.0, to.1.to_owned(), Some(ino))]);
        self.forget_nameless();
        Ok(())
    }

    fn unname(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.place = None;
        }
    }

    fn file_state(&mut self, ino: Ino) -> Option<&mut FileState> {
        self.nodes.get_mut(&ino)?.file.as_mut()
    }

    /// Opens a file, if it is one and is not open.
    fn hold(&mut self, ino: Ino) -> io::Result<()> {
        let path = self.path(ino);
        let Some(file) = self.file_state(ino) else { return Ok(()) };
        if file.handle.is_none() {
            let path = path.ok_or_else(|| error(Errno::ENOENT))?;
            file.handle = Some(OpenOptions::new().read(true).write(true).open(path)?);
        }
        Ok(())
    }

    /// The file, open, and what of it is not durable.
    pub fn file(&mut self, ino: Ino) -> io::Result<(&File, &mut Unsynced)> {
        self.hold(ino)?;
        match self.file_state(ino) {
            Some(FileState { handle: Some(handle), unsynced, .. }) => Ok((handle, unsynced)),
            _ => Err(error(Errno::ENOENT)),
        }
    }

    /// Somebody opens a file.
    pub fn open_file(&mut self, ino: Ino) -> io::Result<()> {
        self.hold(ino)?;
        let file = self.file_state(ino).ok_or_else(|| error(Errno::ENOENT))?;
        file.opens += 1;
        Ok(())
    }

    /// Somebody who has opened it does not have it open any more.
    pub fn close_file(&mut self, ino: Ino) {
        let has_name = self.nodes.get(&ino).is_some_and(|node| node.place.is_some());
        if let Some(file) = self.file_state(ino) {
            file.opens = file.opens.saturating_sub(1);
            if file.opens == 0 && has_name && file.unsynced.is_empty() {
                file.handle = None;
            }
        }
        if !has_name {
            self.forget_nameless();
        }
    }

    /// What is in the file from `offset` on, at most so much.
    pub fn read(&mut self, ino: Ino, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let (file, _) = self.file(ino)?;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Makes the names in a directory durable.
    pub fn sync_directory(&mut self, directory: Ino) -> io::Result<()> {
        if self.names.entries(directory).is_none() {
            return Err(error(Errno::ENOENT));
        }
        self.names.sync(directory);
        self.forget_nameless();
        Ok(())
    }

    /// Lets go of files that nobody has open, that have no name and cannot get one back.
    fn forget_nameless(&mut self) {
        let is_nameless = |ino: &Ino, node: &Node| *ino != ROOT && node.place.is_none();
        if !self.nodes.iter().any(|(ino, node)| is_nameless(ino, node)) {
            return;
        }
        let referenced = self.names.referenced();
        self.names.forget_directories(&referenced);
        self.nodes.retain(|ino, node| {
            let is_open = node.file.as_ref().is_some_and(|file| file.opens > 0);
            !is_nameless(ino, node) || is_open || referenced.contains(ino)
        });
    }

    /// The power is lost: what was not synced is gone, but for what survives. All that is left is durable.
    pub fn lose_power(&mut self, loss: PowerLoss, rng: &mut Rng) -> io::Result<Lost> {
        let unsynced = self.names.unsynced();
        let kept = match loss {
            PowerLoss::Everything => 0,
            PowerLoss::Torn | PowerLoss::Reordered => rng.random_range(0..=unsynced),
        };
        let mut lost = Lost { names: (unsynced - kept) as u64, kept_names: kept as u64, ..Lost::default() };
        let before: BTreeMap<Ino, PathBuf> =
            self.nodes.keys().filter_map(|ino| Some((*ino, self.path(*ino)?))).collect();
        self.names.lose_power(kept);
        let places: BTreeMap<Ino, (Ino, OsString)> =
            self.names.all().map(|(directory, name, ino)| (ino, (directory, name.clone()))).collect();
        for (ino, node) in &mut self.nodes {
            node.place = places.get(ino).cloned();
        }
        // Names underneath first: a file must be held before its name goes.
        self.move_to_places(&before)?;
        let named: Vec<Ino> = self.nodes.keys().filter(|ino| places.contains_key(ino)).copied().collect();
        for ino in named {
            let dirty = self.unsynced(ino).is_some_and(|unsynced| !unsynced.is_empty());
            if dirty {
                let (file, unsynced) = self.file(ino)?;
                let left = unsynced.lose_power(file, loss, rng)?;
                lost.files += u64::from(left.lost_bytes > 0);
                lost.bytes += left.lost_bytes;
                lost.kept_bytes += left.kept_bytes;
            }
        }
        self.nodes.retain(|ino, node| *ino == ROOT || node.place.is_some());
        for file in self.nodes.values_mut().filter_map(|node| node.file.as_mut()) {
            if file.opens == 0 {
                file.handle = None;
            }
        }
        Ok(lost)
    }

    /// Moves what has another path than before, or none: in two phases, as names may have changed round and round.
    fn move_to_places(&mut self, before: &BTreeMap<Ino, PathBuf>) -> io::Result<()> {
        let after: BTreeMap<Ino, PathBuf> =
            self.nodes.keys().filter_map(|ino| Some((*ino, self.path(*ino)?))).collect();
        let moved: Vec<Ino> =
            self.nodes.keys().copied().filter(|ino| before.get(ino) != after.get(ino)).collect();
        let (files, directories): (Vec<Ino>, Vec<Ino>) =
            moved.into_iter().partition(|ino| self.is_file(*ino));
        for ino in &files {
            let Some(path) = before.get(ino) else { continue };
            if let Some(file) = self.file_state(*ino)
                && file.handle.is_none()
            {
                file.handle = Some(OpenOptions::new().read(true).write(true).open(path)?);
            }
            fs::remove_file(path)?;
        }
        let mut gone: Vec<&PathBuf> = directories.iter().filter_map(|ino| before.get(ino)).collect();
        gone.sort();
        gone.iter().rev().try_for_each(fs::remove_dir)?;
        let mut made: Vec<&PathBuf> = directories.iter().filter_map(|ino| after.get(ino)).collect();
        made.sort();
        made.iter().try_for_each(fs::create_dir)?;
        for ino in &files {
            if let (Some(path), Some(file)) = (after.get(ino), self.file_state(*ino)) {
                file.handle = Some(copy_to(file.handle.as_ref(), path)?);
            }
        }
        Ok(())
    }
}

/// A copy of a file that has no name, under one.
fn copy_to(file: Option<&File>, path: &Path) -> io::Result<File> {
    let file = file.ok_or_else(|| error(Errno::ESTALE))?;
    let copy = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    copy.set_permissions(file.metadata()?.permissions())?;
    let mut piece = vec![0; 64 * 1024];
    let mut offset = 0;
    loop {
        let read = file.read_at(&mut piece, offset)?;
        if read == 0 {
            return Ok(copy);
        }
        copy.write_all_at(&piece[..read], offset)?;
        offset += read as u64;
    }
}

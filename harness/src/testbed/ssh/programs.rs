//! [`Program`]: what a machine needs to have, told apart by its checksum.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A program of this machine, which others get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// What it is called.
    pub name: String,
    /// Where it is here.
    pub path: PathBuf,
    /// SHA-256, in hexadecimal digits.
    pub sum: String,
    pub length_bytes: u64,
}

impl Program {
    /// That at `path`. O(length).
    pub fn read(name: &str, path: &Path) -> std::io::Result<Program> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut length_bytes = 0;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            hasher.update(&buffer[..length]);
            length_bytes += length as u64;
        }
        let sum = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Program { name: name.to_owned(), path: path.to_owned(), sum, length_bytes })
    }

    pub fn file_name(name: &str, sum: &str) -> String {
        format!("{name}-{}", &sum[..16])
    }

    /// Where it is on a machine whose folder this is.
    pub fn on(&self, directory: &Path) -> PathBuf {
        directory.join("bin").join(Program::file_name(&self.name, &self.sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_by_what_sha256sum_says_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p");
        std::fs::write(&path, "abc").expect("written");
        let program = Program::read("p", &path).expect("read");
        // FIPS 180-2, appendix B.1.
        assert_eq!(program.sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(program.on(Path::new("/d")), Path::new("/d/bin/p-ba7816bf8f01cfea"));
    }
}

//! Small things about processes and files that several modules need.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use labrys_nemesis::ProcessIdentity;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;

/// When a process started, in clock ticks since boot: with the number, its identity. `None` if there is no such process.
/// A zombie still has it.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat_field(&stat, START_TIME)?.parse().ok()
}

/// The state letter of a process (`R`, `S`, `T`, `Z`, …) and its start, read at once. `None` if there is no such process.
pub(crate) fn state_and_start(pid: i32) -> Option<(char, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some((stat_field(&stat, STATE)?.chars().next()?, stat_field(&stat, START_TIME)?.parse().ok()?))
}

/// Whether threads of a process, besides its first one, are still there. Of a dying process the first one can be a zombie already, while
/// others give back its memory and, after that, its files and ports: with a gigabyte that takes most of a second.
pub(crate) fn has_other_threads(pid: i32) -> bool {
    let first = pid.to_string();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    threads.is_ok_and(|threads| threads.flatten().any(|thread| thread.file_name().to_str() != Some(&first)))
}

/// Kills a process, and never another one that has its number. Whether it goes is for the caller to see.
pub(crate) fn kill(process: ProcessIdentity) {
    let handle = Pid::from_raw(process.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    if let Some(handle) = handle
        && start_ticks(process.pid) == Some(process.start_ticks)
    {
        // Gone meanwhile is as good.
        let _ = pidfd_send_signal(&handle, Signal::KILL);
    }
}

/// Numbers of fields as in proc(5), from 1.
const STATE: usize = 3;
const START_TIME: usize = 22;

/// A field from the third on. The second is the program's name in brackets, which may itself contain blanks and brackets.
fn stat_field(stat: &str, number: usize) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(number.checked_sub(3)?)
}

/// `ip` and `iptables` are in the system folders, which an ordinary user's path may lack.
pub(crate) fn path_with_system_folders() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// Appends one line with one write, so that lines of several processes do not mix.
pub(crate) fn append_json_line(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    OpenOptions::new().append(true).create(true).open(path)?.write_all(&line)
}

/// Replaces a file as a whole: whoever reads it sees the old content or the new one.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = std::fs::write(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // Half a file helps nobody, least of all on a full disk.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_behind_a_program_name_with_brackets_and_blanks() {
        let stat = "17 (a b) (c) S 1 17 17 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0";
        assert_eq!(stat_field(stat, STATE), Some("S"));
        assert_eq!(stat_field(stat, START_TIME), Some("4711"));
        assert_eq!(stat_field("nonsense", STATE), None);
    }

    #[test]
    fn this_process_has_a_start_and_number_zero_has_none() {
        let pid = std::process::id().cast_signed();
        assert_eq!(state_and_start(pid).map(|(_, start)| start), start_ticks(pid));
        assert!(start_ticks(pid).is_some());
        assert_eq!(start_ticks(0), None);
    }

    #[test]
    fn a_process_has_other_threads_if_it_has() {
        // The test runs in a thread of its own, beside the first one.
        assert!(has_other_threads(std::process::id().cast_signed()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let pid = child.id().cast_signed();
        assert!(!has_other_threads(pid));
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(!has_other_threads(pid), "nor one that is gone");
    }

    #[test]
    fn a_replaced_file_leaves_no_temporary_one() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("verdict.json");
        write_atomically(&path, b"one").expect("first");
        write_atomically(&path, b"two").expect("second");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 1);
    }
}

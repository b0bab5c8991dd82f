//! Restarts on a data directory that has been emptied, or on an old one: what an operator does who loses a disk, or restores a snapshot
//! of a machine, and goes on under the old name.
//!
//! - *wiped*: the daemon is killed and its data directory is emptied when the fault begins; it is started when the fault ends. Until then
//!   the fault holds the node down, as a kill does.
//! - *old*: when the fault begins the daemon is stopped for as long as it takes to copy its data directory, and goes on. When the fault ends
//!   it is killed, the copy takes the place of what has become of the directory, and it is started on that.
//!
//! The copy is beside the data directory, under a name that has the run's tag and the fault's number, and is gone when the fault is. What
//! is emptied is not kept: the record says how much it was. The bite is that there was something, or that what was put back differs.
//! Whatever is changed is synced, so that no power cut takes it back; but what is changed while another fault has the disk in trouble is
//! not, as a sync may be what fails, and a power cut may take that back. A copy may take [`copying_within`] a time that grows with its size.
//!
//! An old directory is put back only when the fault's time is over. One that is undone before (it could not be applied to another node, the
//! run ends, or another process takes it over from a journal: `labrys heal`, an agent that was started again) has nothing to test any more: the copy is removed and the directory left as it is. Unless it was
//! being put back: then that is brought to its end, as half of a directory is neither. The name of the copy tells which.
//!
//! Where both overlap on a node, it has nothing: what is emptied is not copied, and nothing is put back into it for as long as it is to be
//! empty. The record of the fault that was to put something back says so.
//!
//! A directory that is not plainly one of a program's data (no absolute path, less than two levels below `/`) is refused.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::kill::{is_to_live, send_kill, start_again, wait_until_gone};
use super::pause::is_held_by_another as is_paused;
use super::resource::{hold_starvers, release_starvers};
use super::{InjectError, Injector, Scope, StepReport, disk, living_daemon, signal_unless_gone};
use crate::evidence::{Effect, NodeFailure, Step};
use crate::fault::{Resolved, RestartData};
use crate::host::{Host, ProcessIdentity, ProcessState, Signal};

pub(super) struct Restart;

impl Injector for Restart {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        let nodes = scope.resolved.nodes().into_iter();
        let failures = nodes.filter_map(|node| {
            let detail = places(scope, node).err()?.to_string();
            Some(NodeFailure { node: node.to_owned(), step: Step::Apply, detail })
        });
        failures.collect()
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Apply, |node, host| {
            let places = places(scope, node)?;
            match data(scope)? {
                RestartData::Wiped => {
                    if let Some(process) = send_kill(host)? {
                        wait_until_gone(scope, host, process)?;
                    }
                    let (files, bytes) = measure(host, &places.data)?;
                    empty(host, &places.data)?;
                    if !disk::is_troubled(scope, node) {
                        sync_all(host, &places.data)?;
                    }
                    Ok(vec![Effect::DataWiped { files, bytes }])
                }
                RestartData::Old if is_to_be_empty(scope, node) => Ok(vec![not_put_back(EMPTIED)]),
                RestartData::Old => {
                    let (files, bytes) = {
                        let is_synced = !disk::is_troubled(scope, node);
                        standing_still(scope, node, host, || places.copy(host, is_synced))?
                    };
                    Ok(vec![Effect::DataCopied { files, bytes }])
                }
            }
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |node, host| {
            let places = places(scope, node)?;
            match data(scope)? {
                RestartData::Wiped => {
                    if let Some((process, _)) = living_daemon(host)? {
                        let detail =
                            format!("somebody has started the daemon again, as process {}", process.pid);
                        return Err(InjectError::Unexpected(detail));
                    }
                    if measure(host, &places.data)?.0 > 0 {
                        return Err(unexpected("its data directory is not empty"));
                    }
                }
                RestartData::Old if scope.seen_on(node).any(is_without_copy) => {}
                RestartData::Old if !exists(host, &places.image) => {
                    return Err(unexpected("there is no copy of its data directory"));
                }
                RestartData::Old => {}
            }
            Ok(Vec::new())
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_nodes_part_by_part(Step::Undo, &scope.resolved.nodes(), |node, host, seen| {
            if data(scope)? == RestartData::Old {
                end_with_old_data(scope, node, host, seen)?;
            }
            seen.extend(start_again(scope, node, host)?);
            Ok(())
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            let places = places(scope, node)?;
            let left = [&places.draft, &places.image, &places.going].into_iter();
            if let Some(left) = left.into_iter().find(|place| exists(host, place)) {
                return Err(unexpected(format!("{} is still there", left.display())));
            }
            if is_to_live(scope, node) && living_daemon(host)?.is_none() {
                return Err(unexpected(REFUSED));
            }
            Ok(Vec::new())
        })
    }
}

const REFUSED: &str = "the daemon ended right after it was started on the data that it was given: see its log; a system that refuses to \
     go on with such data is right to, and cannot be tested with this fault";

const CUT_SHORT: &str = "the fault ended before its time";

const EMPTIED: &str = "another fault has emptied its data directory";

fn not_put_back(why: &str) -> Effect {
    Effect::DataNotPutBack { why: why.to_owned() }
}

fn is_without_copy(effect: &Effect) -> bool {
    matches!(effect, Effect::DataNotPutBack { .. })
}

/// Whether another fault holds the node without its data.
fn is_to_be_empty(scope: &Scope<'_>, node: &str) -> bool {
    let empties = |resolved: &Resolved| match resolved {
        Resolved::Restart { nodes, data: RestartData::Wiped } => nodes.iter().any(|name| name == node),
        _ => false,
    };
    scope.others.iter().any(|(resolved, _)| empties(resolved))
}

/// Puts the copy back, or removes it; the daemon does not stand still afterwards, though it may be dead.
fn end_with_old_data(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    seen: &mut Vec<Effect>,
) -> Result<(), InjectError> {
    let places = places(scope, node)?;
    if exists(host, &places.image) {
        if scope.is_cut_short || is_to_be_empty(scope, node) {
            seen.push(not_put_back(if scope.is_cut_short { CUT_SHORT } else { EMPTIED }));
        } else {
            host.run("mv", &["-T", "--", &text(&places.image), &text(&places.going)])?;
        }
    }
    if exists(host, &places.going) {
        if let Some(process) = send_kill(host)? {
            wait_until_gone(scope, host, process)?;
        }
        let is_told = scope.seen_on(node).any(|effect| matches!(effect, Effect::DataPutBack { .. }));
        let put_back = places.put_back(host)?;
        seen.extend((!is_told).then_some(put_back));
        // What can be told is told, though the disk may be in no state to sync it; then that is tried again.
        sync_all(host, &places.data)?;
        remove(host, &[&places.going])?;
    }
    remove(host, &[&places.draft, &places.image])?;
    if !scope.nodes_are_over && !disk::is_troubled(scope, node) {
        places.sync_names(host)?;
    }
    go_on(scope, node, host)
}

fn data(scope: &Scope<'_>) -> Result<RestartData, InjectError> {
    match scope.resolved {
        Resolved::Restart { data, .. } => Ok(*data),
        _ => Err(unexpected("this is no restart")),
    }
}

/// The directory, and what stands beside it during a fault.
struct Places {
    data: PathBuf,
    /// The copy while it is made.
    draft: PathBuf,
    image: PathBuf,
    /// The copy while it is put back.
    going: PathBuf,
}

fn places(scope: &Scope<'_>, node: &str) -> Result<Places, InjectError> {
    let specification = scope.daemons.get(node);
    let specification = specification.ok_or_else(|| unexpected("it is not known how to start its daemon"))?;
    let data = specification.data_directory.clone();
    let data = data.ok_or_else(|| unexpected("it is not known where its daemon keeps its data"))?;
    let levels = data.components().filter(|part| matches!(part, Component::Normal(_))).count();
    let is_plain = data.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !data.is_absolute() || !is_plain || levels < 2 {
        let detail = format!("{} is no data directory that could be emptied", data.display());
        return Err(InjectError::Unexpected(detail));
    }
    let name = data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = |what: &str| {
        data.with_file_name(format!("{name}.labrys-{what}-{}-{}", scope.run_tag, scope.fault_id))
    };
    Ok(Places { draft: beside("draft"), image: beside("old"), going: beside("put-back"), data })
}

impl Places {
    /// Copies the directory; how much is in the copy. Whole when it has its name.
    fn copy(&self, host: &dyn Host, is_synced: bool) -> Result<(u64, u64), InjectError> {
        remove(host, &[&self.draft])?;
        let within = copying_within(measure(host, &self.data)?.1);
        host.run_within(within, "cp", &["-a", "-T", "--", &text(&self.data), &text(&self.draft)])?;
        if is_synced {
            sync_all(host, &self.draft)?;
        }
        let measured = measure(host, &self.draft)?;
        host.run("mv", &["-T", "--", &text(&self.draft), &text(&self.image)])?;
        if is_synced {
            self.sync_names(host)?;
        }
        Ok(measured)
    }

    /// Has it on the disk which of them are there.
    fn sync_names(&self, host: &dyn Host) -> Result<(), InjectError> {
        host.run("sync", &["--", &text(self.data.parent().unwrap_or(&self.data))])?;
        Ok(())
    }

    /// Puts the copy in the place of the directory, which may be a mount point and stays itself. The copy is still there afterwards.
    fn put_back(&self, host: &dyn Host) -> Result<Effect, InjectError> {
        let (files, bytes) = measure(host, &self.data)?;
        let (old_files, old_bytes) = measure(host, &self.going)?;
        let within = copying_within(bytes.saturating_add(old_bytes));
        let differs = differ(host, within, &self.going, &self.data)?;
        empty(host, &self.data)?;
        let content = format!("{}/.", text(&self.going));
        host.run_within(within, "cp", &["-a", "--", &content, &text(&self.data)])?;
        Ok(Effect::DataPutBack { files, bytes, old_files, old_bytes, differs })
    }
}

/// Does something while the daemon stands still; one that does not live, or that a pause has stopped, stands still already.
fn standing_still<T>(
    scope: &Scope<'_>,
    node: &str,
    host: &dyn Host,
    work: impl FnOnce() -> Result<T, InjectError>,
) -> Result<T, InjectError> {
    if let Some((process, _)) = living_daemon(host)? {
        hold_starvers(scope, node, host, process)?;
        signal_unless_gone(host, process, Signal::Stop)?;
        wait_for_state(scope, host, process, |state| state != ProcessState::Running)?;
    }
    let done = work();
    go_on(scope, node, host)?;
    done
}

/// The daemon goes on, unless a pause holds it.
fn go_on(scope: &Scope<'_>, node: &str, host: &dyn Host) -> Result<(), InjectError> {
    let Some((process, state)) = living_daemon(host)? else { return Ok(()) };
    if is_paused(scope, node, process) {
        return Ok(());
    }
    if state == ProcessState::Stopped {
        signal_unless_gone(host, process, Signal::Continue)?;
        wait_for_state(scope, host, process, |state| state != ProcessState::Stopped)?;
    }
    release_starvers(scope, node, host, process)
}

fn wait_for_state(
    scope: &Scope<'_>,
    host: &dyn Host,
    process: ProcessIdentity,
    is_wanted: impl Fn(ProcessState) -> bool,
) -> Result<(), InjectError> {
    let settled = scope
        .patience
        .wait_for(|| Ok::<_, InjectError>(is_wanted(host.process_state(process)?).then_some(())))?;
    let waited_ms = scope.patience.settle_ms;
    settled.ok_or(InjectError::NotSettled { process, expected: "has not heard a signal", waited_ms })
}

/// How many files are in a directory, and how many bytes they have; none if it is not there.
fn measure(host: &dyn Host, directory: &Path) -> Result<(u64, u64), InjectError> {
    const SIZES: &str =
        "[ ! -d \"$1\" ] || find \"$1\" -ignore_readdir_race -mindepth 1 -type f -printf '%s\\n'";
    let sizes = host.run("sh", &["-c", SIZES, "sh", &text(directory)])?.stdout;
    let sizes: Vec<u64> = sizes.lines().filter_map(|line| line.parse().ok()).collect();
    Ok((sizes.len() as u64, sizes.iter().sum()))
}

/// Whether two directories differ; that it could not be found out is an error, and no difference.
fn differ(host: &dyn Host, within: Duration, one: &Path, other: &Path) -> Result<bool, InjectError> {
    // 0: they are alike, 1: they differ, 2: it cannot be said.
    const COMPARE: &str = "diff -rq -- \"$1\" \"$2\" > /dev/null; code=$?; [ $code -le 1 ] && echo $code";
    let arguments = ["-c", COMPARE, "sh", &text(one), &text(other)];
    let code = host.run_within(within, "sh", &arguments)?.stdout;
    Ok(code.trim() == "1")
}

/// How long so many bytes may take to be copied, compared or synced: 5 s, and a second more for each 8 MiB, which the slowest disks manage;
/// 14 s at most, as up to three of these follow one another, and the harness waits no longer than 50 s for a step.
fn copying_within(bytes: u64) -> Duration {
    const BYTES_PER_SECOND: u64 = 8 << 20;
    Duration::from_secs((5 + bytes / BYTES_PER_SECOND).min(14))
}

/// Has every file and folder below a directory on the disk, and the directory itself, one by one: a disk that may lose its power
/// ([`crate::run_disk`]) is told what to keep by syncing that, not by syncing everything.
fn sync_all(host: &dyn Host, directory: &Path) -> Result<(), InjectError> {
    let within = copying_within(measure(host, directory)?.1);
    let arguments = ["-depth", "(", "-type", "f", "-o", "-type", "d", ")", "-exec", "sync", "--", "{}", "+"];
    let directory = text(directory);
    host.run_within(within, "find", &[&[directory.as_str()][..], &arguments].concat())?;
    Ok(())
}

/// Removes what is in a directory, which is there afterwards.
fn empty(host: &dyn Host, directory: &Path) -> Result<(), InjectError> {
    host.run("mkdir", &["-p", "--", &text(directory)])?;
    host.run("find", &[&text(directory), "-mindepth", "1", "-delete"])?;
    Ok(())
}

fn remove(host: &dyn Host, places: &[&Path]) -> Result<(), InjectError> {
    let names: Vec<String> = places.iter().map(|place| text(place)).collect();
    let mut arguments = vec!["-rf", "--"];
    arguments.extend(names.iter().map(String::as_str));
    host.run("rm", &arguments)?;
    Ok(())
}

fn exists(host: &dyn Host, place: &Path) -> bool {
    host.run("test", &["-e", &text(place)]).is_ok()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn unexpected(detail: impl Into<String>) -> InjectError {
    InjectError::Unexpected(detail.into())
}

//! Disks: full, failing, slow, rotten; done by the disk that is mounted over the node's folder ([`crate::run_disk`]), if there is one.
//!
//! What is verified is what the disk says that it does and did: the operations that went otherwise are counted where that happened, and
//! they are the bite. Of rot, that it is there is one thing, and that somebody has read it, the bite, another.
//!
//! A daemon may end of it, as a correct one should rather than go on with what it cannot trust. Which process met which trouble is
//! written down before that process knows ([`crate::DiskError`]), so its end is told from a crash. When the trouble is over, a daemon
//! that met it ends or goes on: one that is dead, and that no other fault holds, is started again.
//!
//! Should the disk itself have died, its mount is taken away: the folder underneath has what the daemon saw last, and it is started on
//! that.

use std::path::PathBuf;

use labrys_seed::Seed;

use super::kill::start_again;
use super::resource::stands_still;
use super::{InjectError, Injector, Scope, StepReport, living_daemon};
use crate::disk::{DiskAct, DiskAnswer, DiskDeed, DiskKind, Remote};
use crate::evidence::{Effect, NodeFailure, Step};
use crate::fault::{DiskTrouble, Resolved};
use crate::host::Host;
use crate::poll::Patience;

pub(super) struct Disk;

pub(super) const GONE: &str = "the process that is its disk has died";

const NO_DISK: &str = "its disk cannot fail: nothing is mounted over its folder that could";

impl Injector for Disk {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        objections(scope)
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Apply, |node, host| {
            let act = DiskAct::Trouble { trouble: trouble(scope)?, seed: seed(scope, node) };
            let told = remote(scope, node, host)?.tell(scope.patience, |acts| {
                acts.insert(scope.fault_id, act);
            })?;
            told.map(|_| Vec::new()).ok_or_else(|| InjectError::Unexpected(GONE.to_owned()))
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |node, host| {
            let answer = remote(scope, node, host)?.answer()?;
            match answer.and_then(|answer| answer.deeds.get(&scope.fault_id).cloned()) {
                Some(DiskDeed::Holds) => Ok(Vec::new()),
                Some(DiskDeed::Rotten { file, offset, bytes }) => {
                    Ok(vec![Effect::DiskRotten { file, offset, bytes }])
                }
                Some(DiskDeed::NothingToRot) => Ok(vec![Effect::NothingToRot]),
                Some(DiskDeed::Failed(why)) => Err(InjectError::Unexpected(why)),
                Some(DiskDeed::PowerOff | DiskDeed::PowerLost(_)) | None => {
                    Err(InjectError::Unexpected("its disk does not say that it is in trouble".to_owned()))
                }
            }
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Undo, |node, host| {
            let disk = remote(scope, node, host)?;
            let answer = disk.tell(scope.patience, |acts| {
                acts.remove(&scope.fault_id);
            })?;
            let mut effects = Vec::new();
            match answer {
                Some(answer) => {
                    let operations = answer.operations.get(&scope.fault_id).copied().unwrap_or(0);
                    let is_told = scope.seen_on(node).any(|seen| matches!(seen, Effect::DiskTroubled { .. }));
                    if !is_told {
                        effects.push(Effect::DiskTroubled { operations });
                    }
                    if operations > 0 && !matches!(trouble(scope)?, DiskTrouble::SlowSyncMs(_)) {
                        wait_until_it_ends_or_goes_on(scope, (node, host), &disk, &answer)?;
                    }
                }
                None => effects.push(take_away(&disk)?),
            }
            effects.extend(start_again(scope, node, host)?);
            Ok(effects)
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            let disk = remote(scope, node, host)?;
            let order = disk.order()?;
            if order.is_some_and(|order| order.acts.contains_key(&scope.fault_id)) {
                return Err(InjectError::Unexpected("its disk is still told to be in trouble".to_owned()));
            }
            if super::kill::is_to_live(scope, node) && living_daemon(host)?.is_none() {
                let detail = "the daemon died right after it was started".to_owned();
                return Err(InjectError::Unexpected(detail));
            }
            Ok(Vec::new())
        })
    }
}

/// A daemon that met trouble may be about to end: until it has, or has synced something since, it is not known whether it will. One that
/// does neither for a fifth of the time that anything else is waited for goes on: other faults have their times, too, and an answer to an
/// error does not take longer. One that never met this trouble, or that another fault has stopped, is not waited for.
fn wait_until_it_ends_or_goes_on(
    scope: &Scope<'_>,
    (node, host): (&str, &dyn Host),
    disk: &Remote<'_>,
    since: &DiskAnswer,
) -> Result<(), InjectError> {
    let met = disk.met(scope.fault_id)?;
    let patience = Patience { settle_ms: scope.patience.settle_ms / 5, ..scope.patience };
    patience.wait_for(|| {
        match living_daemon(host)? {
            Some(living) if met.contains(&living.0.pid) && !stands_still(scope, node, host, living) => {}
            _ => return Ok::<_, InjectError>(Some(())),
        }
        // An order without anything new makes the disk say how far it is.
        let answer = disk.tell(scope.patience, |_| {})?;
        Ok(answer.is_none_or(|answer| answer.syncs > since.syncs).then_some(()))
    })?;
    Ok(())
}

/// Takes away what is mounted by a disk whose process has died. A real file system works without: under who uses it it is left alone.
pub(super) fn take_away(disk: &Remote<'_>) -> Result<Effect, InjectError> {
    if let Some(order) = disk.order()?
        && (order.kind == DiskKind::Fuse || living_daemon(disk.host)?.is_none())
    {
        disk.detach(&order.directory)?;
    }
    Ok(Effect::DiskGone)
}

/// Why these nodes' disks cannot do anything, if they cannot.
pub(super) fn objections(scope: &Scope<'_>) -> Vec<NodeFailure> {
    let nodes = scope.resolved.nodes().into_iter();
    let failures = nodes.filter_map(|node| {
        let detail = match scope.daemons.get(node) {
            None => "it is not known how to start its daemon",
            Some(specification) if specification.disk_file.is_none() => NO_DISK,
            Some(_) => return None,
        };
        Some(NodeFailure { node: node.to_owned(), step: Step::Apply, detail: detail.to_owned() })
    });
    failures.collect()
}

/// The disk of a node.
pub(super) fn remote<'a>(
    scope: &Scope<'_>,
    node: &str,
    host: &'a dyn Host,
) -> Result<Remote<'a>, InjectError> {
    let order_file: Option<PathBuf> =
        scope.daemons.get(node).and_then(|specification| specification.disk_file.clone());
    let order_file = order_file.ok_or_else(|| InjectError::Unexpected(NO_DISK.to_owned()))?;
    Ok(Remote { host, order_file })
}

/// Of what the disk of a node does by chance in this fault.
pub(super) fn seed(scope: &Scope<'_>, node: &str) -> u64 {
    Seed(scope.fault_id).fork(&scope.run_tag.to_string()).fork(node).0
}

/// Whether another fault may end a daemon by its disk, as soon as it is started.
pub(super) fn is_troubled(scope: &Scope<'_>, node: &str) -> bool {
    let troubles = |resolved: &Resolved| matches!(resolved, Resolved::Disk { nodes, .. } if nodes.iter().any(|n| n == node));
    scope.others.iter().any(|(resolved, _)| troubles(resolved))
}

fn trouble(scope: &Scope<'_>) -> Result<DiskTrouble, InjectError> {
    match scope.resolved {
        Resolved::Disk { trouble, .. } => Ok(*trouble),
        _ => Err(InjectError::Unexpected("this is no fault of a disk".to_owned())),
    }
}

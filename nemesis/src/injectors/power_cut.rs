//! Loss of power: the daemon is sent SIGKILL, and its disk forgets what was not synced, but for what the fault says survives; it is
//! started again, on what is left, when the fault ends.
//!
//! In this order, on each node by itself, if the disk is ours: the daemon says nothing any more after the disk has forgotten something. What it was waiting for
//! in the kernel, a sync that had begun, is void and is let go of, so that it can die; and a disk without power does nothing until the
//! fault ends. Nodes are without power as they are killed ([`super::kill`]): whoever ends last starts the daemon.
//!
//! A real file system ends by itself the syncs that have begun, if it is given the time: so it sends the signal itself, which is noted before,
//! and its power goes at once. What it has lost is known when the daemon is dead.
//!
//! A node whose daemon was dead already loses what its page cache still held, which is a bite if there was anything.

use std::collections::BTreeMap;

use super::kill::{is_to_live, send_kill, start_again, wait_until_gone};
use super::{InjectError, Injector, Scope, StepReport, disk, living_daemon};
use crate::disk::{DiskAct, DiskAnswer, DiskDeed, DiskKind};
use crate::evidence::{Effect, NodeFailure, Step};
use crate::fault::{PowerLoss, Resolved};
use crate::host::{Host, ProcessIdentity, Signal};
use crate::poll::machine_us;

pub(super) struct PowerCut;

/// By then each of several real file systems knows that it is to lose power with the others. Orders come some milliseconds apart, and a cluster
/// that one node is missing from has nothing more to lose.
const TOGETHER_AFTER_US: u64 = 60_000;

impl Injector for PowerCut {
    fn objections(&self, scope: &Scope<'_>) -> Vec<NodeFailure> {
        disk::objections(scope)
    }

    fn apply(&self, scope: &Scope<'_>) -> StepReport {
        let is_of_several = scope.resolved.nodes().len() > 1;
        let at_us = is_of_several.then(|| machine_us() + TOGETHER_AFTER_US);
        scope.on_each_node(Step::Apply, |node, host| {
            let remote = disk::remote(scope, node, host)?;
            let living = living_daemon(host)?.map(|(process, _)| process);
            let act = DiskAct::PowerCut {
                loss: loss(scope),
                seed: disk::seed(scope, node),
                process: living,
                at_us,
            };
            let cut = |acts: &mut BTreeMap<u64, DiskAct>| {
                acts.insert(scope.fault_id, act);
            };
            let kind = remote.order()?.map(|order| order.kind).unwrap_or_default();
            let (killed, answer) = match kind {
                DiskKind::Fuse => {
                    let killed = send_kill(host)?;
                    let answer = remote.tell(scope.patience, cut)?;
                    gone(scope, host, killed)?;
                    (killed, answer)
                }
                DiskKind::Ext4 => {
                    // Nobody is told to die whom nobody will kill.
                    if !remote.is_alive()? {
                        return Err(InjectError::Unexpected(disk::GONE.to_owned()));
                    }
                    living.map_or(Ok(()), |process| host.announce_signal(process, Signal::Kill))?;
                    let off = remote.tell(scope.patience, cut)?;
                    refused(scope, off.as_ref())?;
                    gone(scope, host, living)?;
                    (living, remote.tell(scope.patience, |_| {})?)
                }
            };
            refused(scope, answer.as_ref())?;
            let Some(DiskDeed::PowerLost(lost)) =
                answer.and_then(|mut answer| answer.deeds.remove(&scope.fault_id))
            else {
                return Err(InjectError::Unexpected("its disk has lost no power".to_owned()));
            };
            let power = killed.map_or(Effect::NoProcess, |process| Effect::PowerLost { process });
            Ok(vec![power, Effect::UnsyncedLost { lost, disk: kind }])
        })
    }

    fn verify(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Verify, |_, host| match living_daemon(host)? {
            None => Ok(Vec::new()),
            Some((process, _)) => {
                let detail = format!("somebody has started the daemon again, as process {}", process.pid);
                Err(InjectError::Unexpected(detail))
            }
        })
    }

    fn undo(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::Undo, |node, host| {
            let disk = disk::remote(scope, node, host)?;
            let answer = disk.tell(scope.patience, |acts| {
                acts.remove(&scope.fault_id);
            })?;
            let mut effects = Vec::new();
            match answer {
                Some(answer) => {
                    answer.still_off.map_or(Ok(()), |why| Err(InjectError::Unexpected(why)))?;
                }
                None => effects.push(disk::take_away(&disk)?),
            }
            effects.extend(start_again(scope, node, host)?);
            Ok(effects)
        })
    }

    fn verify_undone(&self, scope: &Scope<'_>) -> StepReport {
        scope.on_each_node(Step::VerifyUndone, |node, host| {
            if is_to_live(scope, node) && living_daemon(host)?.is_none() {
                let detail = "the daemon died right after it was started".to_owned();
                return Err(InjectError::Unexpected(detail));
            }
            Ok(Vec::new())
        })
    }
}

/// The disk has died, or cannot do it.
fn refused(scope: &Scope<'_>, answer: Option<&DiskAnswer>) -> Result<(), InjectError> {
    let answer = answer.ok_or_else(|| InjectError::Unexpected(disk::GONE.to_owned()))?;
    match answer.deeds.get(&scope.fault_id) {
        Some(DiskDeed::Failed(why)) => Err(InjectError::Unexpected(why.clone())),
        _ => Ok(()),
    }
}

fn gone(scope: &Scope<'_>, host: &dyn Host, process: Option<ProcessIdentity>) -> Result<(), InjectError> {
    process.map_or(Ok(()), |process| wait_until_gone(scope, host, process))
}

fn loss(scope: &Scope<'_>) -> PowerLoss {
    match scope.resolved {
        Resolved::PowerCut { loss, .. } => *loss,
        _ => PowerLoss::default(),
    }
}

//! What the nodes' data is on, and what that can do: a real file system loses power, and everything with it that was not synced, and
//! does nothing else that a fault could ask for.

use labrys_nemesis::{DiskKind, Family, Fault, FaultKind, PowerLoss};

use super::{ClockBy, ConfigError, NETNS, TestConfig, check};

/// The one kind of fault that a real file system can do.
const PLAIN: &str = "power-cut-plain";

impl TestConfig {
    /// What stands for a family of faults when all are asked for, with this disk and these clocks; `None`: nothing.
    pub(super) fn of_all(&self, family: &'static str) -> Option<&'static str> {
        match (self.disk, family) {
            (DiskKind::Ext4, "power-cut") => Some(PLAIN),
            (DiskKind::Ext4, "disk") => None,
            (_, "resource") if self.clock_by == ClockBy::Libfaketime => Some("resource-processor"),
            _ => Some(family),
        }
    }

    /// A real file system is for real nodes on this machine, and for losses of power that leave nothing.
    pub(super) fn check_disk(&self) -> Result<(), ConfigError> {
        if self.disk == DiskKind::Fuse {
            return Ok(());
        }
        check(self.testbed == NETNS, "--disk", || {
            let why = if self.is_simulated() {
                "the simulator has disks of its own"
            } else {
                "what is mounted on a machine would outlive an agent that is killed there"
            };
            format!("`{}` is for --testbed {NETNS} alone: {why}. Leave --disk out", self.disk)
        })?;
        let mend = "Leave --disk out: `fuse` can, and works for everybody";
        let is_for_it = |kind: &FaultKind| {
            kind.name() == PLAIN || !matches!(kind.family(), Some(Family::Disk | Family::PowerCut))
        };
        // A list takes the place of what is planned.
        let planned = if self.faults.0.is_empty() { self.fault_kinds()? } else { Vec::new() };
        if let Some(kind) = planned.into_iter().find(|kind| !is_for_it(kind)) {
            return check(false, "--disk", || {
                format!(
                    "`{}` cannot do `{kind}`; of power cuts and faults of the disk it has {PLAIN}. {mend}",
                    self.disk
                )
            });
        }
        let wrong = self.faults.0.iter().position(|timed| match &timed.fault {
            Fault::Disk { .. } => true,
            Fault::PowerCut { loss, .. } => *loss != PowerLoss::Everything,
            _ => false,
        });
        check(wrong.is_none(), "--disk", || {
            format!(
                "`{}` cannot do fault {} of the list; of power cuts and faults of the disk it has `power-cut` with `loss = \"everything\"`. {mend}",
                self.disk,
                wrong.unwrap_or_default() + 1
            )
        })
    }
}

//! Reading and changing a table of a host's packet filter. What it says, and what it is told, is text: see [`super::chain`].

use super::InjectError;
use super::chain::Filter;
use crate::host::Host;
use crate::journal::RunTag;

/// How long `iptables-restore` waits for the lock that others may hold, in seconds.
const LOCK_WAIT_S: &str = "5";

/// The programs for one version of IP.
pub(super) struct Tools {
    pub save: &'static str,
    pub restore: &'static str,
}

pub(super) const VERSION_4: Tools = Tools { save: "iptables-save", restore: "iptables-restore" };
pub(super) const VERSION_6: Tools = Tools { save: "ip6tables-save", restore: "ip6tables-restore" };

/// The table that packets meet first, in which they can wait, or be doubled, and still be dropped.
pub(super) const MANGLE: &str = "mangle";

/// The table that packets meet last, in which they are dropped.
pub(super) const FILTER: &str = "filter";

pub(super) fn read(
    host: &dyn Host,
    tools: &Tools,
    table: &'static str,
    run_tag: &RunTag,
) -> Result<Filter, InjectError> {
    let saved = host.run(tools.save, &["-c", "-t", table])?;
    Ok(Filter::parse(table, &saved.stdout, run_tag))
}

/// Hosts give commands no input, so a shell does.
pub(super) fn change(host: &dyn Host, tools: &Tools, script: Option<String>) -> Result<(), InjectError> {
    if let Some(script) = script {
        let command = format!("printf %s \"$1\" | {} --noflush -w {LOCK_WAIT_S}", tools.restore);
        host.run("sh", &["-c", &command, "sh", &script])?;
    }
    Ok(())
}

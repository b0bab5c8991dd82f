//! What an agent knows of machines: its own, on which it does what it is asked, and the others, of which it knows names and addresses.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labrys_nemesis::{Host, HostError};

use super::protocol::{AgentSetup, Bytes, HostAnswer, HostWork};
use super::{AgentError, Elsewhere, MARK};
use crate::process;
use crate::testbed::LocalHost;

/// More of a file is not sent at once.
const MOST_BYTES: u64 = 1 << 20;

/// Whether it changes anything: what does not may be done at any time.
pub(super) fn begins_something(work: &HostWork) -> bool {
    match work {
        HostWork::Run { .. }
        | HostWork::StartDaemon(_)
        | HostWork::Signal { .. }
        | HostWork::WriteFile { .. } => true,
        HostWork::Daemon
        | HostWork::ProcessState(_)
        | HostWork::ReadFile { .. }
        | HostWork::ListFiles { .. } => false,
    }
}

/// The machine that an agent is on.
pub(super) fn local_host(setup: &AgentSetup) -> Result<LocalHost, AgentError> {
    let unknown = || HostError::Command {
        host: setup.node.clone(),
        command: "(set-up)".to_owned(),
        detail: "the node has no address".to_owned(),
    };
    let address = *setup.addresses.get(&setup.node).ok_or_else(unknown)?;
    let host = LocalHost::of_this_machine(&setup.node, address, &setup.directory)?;
    let path = process::path_with_system_folders();
    let mark = setup.directory.to_string_lossy();
    Ok(host.with_variable(MARK, &mark).with_variable("PATH", &path.to_string_lossy()))
}

/// Those of the run: this machine, and the others by their addresses.
pub(super) fn hosts(setup: &AgentSetup, host: &LocalHost) -> Vec<Arc<dyn Host>> {
    let others = setup.addresses.iter().filter(|(name, _)| **name != setup.node);
    let others = others.map(|(name, address)| {
        Arc::new(Elsewhere { name: name.clone(), address: *address }) as Arc<dyn Host>
    });
    others.chain([Arc::new(host.clone()) as Arc<dyn Host>]).collect()
}

/// Does it.
pub(super) fn on_machine(host: &LocalHost, work: HostWork) -> Result<HostAnswer, HostError> {
    let file_error = |path: PathBuf, source| HostError::File { host: host.name().to_owned(), path, source };
    Ok(match work {
        HostWork::Run { program, args } => {
            host.run(&program, &args.iter().map(String::as_str).collect::<Vec<_>>())?.into()
        }
        HostWork::StartDaemon(spec) => HostAnswer::Started(host.start_daemon(&spec)?),
        HostWork::Daemon => HostAnswer::Daemon(host.daemon()?),
        HostWork::ProcessState(process) => HostAnswer::ProcessState(host.process_state(process)?),
        HostWork::Signal { process, signal } => {
            host.signal(process, signal)?;
            HostAnswer::Done
        }
        HostWork::ReadFile { path, offset, limit } => {
            let read = || {
                let mut file = File::open(&path)?;
                file.seek(SeekFrom::Start(offset))?;
                let mut content = Vec::new();
                file.take(limit.min(MOST_BYTES)).read_to_end(&mut content)?;
                Ok(content)
            };
            HostAnswer::Content(Bytes(read().map_err(|source| file_error(path.clone(), source))?))
        }
        HostWork::WriteFile { path, append: false, content } => {
            host.write_file(&path, &content.0)?;
            HostAnswer::Done
        }
        HostWork::WriteFile { path, append: true, content } => {
            let opened = File::options().append(true).open(&path);
            let written = opened.and_then(|mut file| file.write_all(&content.0));
            written.map_err(|source| file_error(path, source))?;
            HostAnswer::Done
        }
        HostWork::ListFiles { path } => {
            let mut files = BTreeMap::new();
            list(&path, Path::new(""), &mut files).map_err(|source| file_error(path, source))?;
            HostAnswer::Files(files)
        }
    })
}

/// Regular files only, and no other file system's.
fn list(folder: &Path, below: &Path, files: &mut BTreeMap<PathBuf, u64>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(folder, &name, files)?;
        } else if kind.is_file() && name.to_str().is_some() {
            files.insert(name, entry.metadata()?.len());
        }
    }
    Ok(())
}

//! The process that is a disk, at arm's length: started and stopped on a host, and given orders, all by files and commands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::order::{
    DiskAct, DiskAnswer, DiskError, DiskKind, DiskOrder, answer_file, beside, errors_file, image_file,
    log_file,
};
use crate::host::{Host, HostError};
use crate::poll::Patience;

/// Of a real file system: unmounts it, as it stands, or as it comes up if its power is off; puts what is in its image into the folder; and
/// removes the image. Where there is no image, nothing.
const TAKE_IMAGE_AWAY: &str = r#"
set -e
image=$2
[ -e "$image" ] || exit 0
mkdir -p -- "$image.aside"
# As the list of what is mounted has them.
folder=$(readlink -f -- "$1"); aside=$(readlink -f -- "$image.aside")
cut -d' ' -f5 /proc/self/mountinfo | while read -r place; do
    place=$(printf '%b' "$place")
    if [ "$place" = "$folder" ] || [ "$place" = "$aside" ]; then umount -- "$place" || exit 1; fi
done
tries=0
until mount -t ext4 -o loop,nodev,nosuid -- "$image" "$aside"; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || { rmdir -- "$aside"; exit 1; }
    # A loop device may be about to be free.
    sleep 0.1
done
if [ "$(stat -c %d -- "$folder")" = "$(stat -c %d -- "$aside")" ]; then
    umount -- "$aside"
    echo "$folder is still mounted" >&2
    exit 1
fi
find "$folder" -xdev -mindepth 1 -delete
cp -a -- "$aside/." "$folder/"
umount -- "$aside"
rmdir -- "$aside"
rm -f -- "$image"
"#;

/// All that is in it may have to be copied.
const IMAGE_TAKEN_WITHIN: Duration = Duration::from_secs(40);

/// A disk on a host, by the file with its orders.
pub(crate) struct Remote<'a> {
    pub host: &'a dyn Host,
    pub order_file: PathBuf,
}

/// Mounts a disk over `directory` of a host, which is made if it is not there, and waits until it is. It takes orders from `order_file`
/// and lives as long as that. `program` is how its process is started; the file is added to it. A real file system has what is in the
/// folder, but not what is written there later.
///
/// # Errors
/// It could not be mounted; the message has what its process said.
pub fn start_disk(
    host: &dyn Host,
    program: &[String],
    order_file: &Path,
    (directory, kind): (&Path, DiskKind),
    patience: Patience,
) -> Result<(), HostError> {
    let disk = Remote { host, order_file: order_file.to_owned() };
    let (path, log) = (directory.to_string_lossy(), log_file(order_file));
    host.run("mkdir", &["-p", "--", &path])?;
    host.run("rm", &["-f", "--", &answer_file(order_file).to_string_lossy()])?;
    disk.write(&DiskOrder { directory: directory.to_owned(), kind, serial: 1, acts: BTreeMap::new() })?;
    // In the background, apart from the shell's session, and holding none of its pipes.
    let script = "log=\"$1\"; shift; setsid \"$@\" </dev/null >\"$log\" 2>&1 &";
    let (log_text, file) = (log.to_string_lossy(), order_file.to_string_lossy());
    let mut arguments = vec!["-c", script, "sh", &log_text];
    arguments.extend(program.iter().map(String::as_str));
    arguments.push(&file);
    host.run("sh", &arguments)?;
    let patience = kind.patience(patience);
    let begun = patience.wait_for(|| {
        if disk.answer()?.is_some_and(|answer| answer.serial == 1) {
            return Ok::<_, HostError>(Some(Ok(())));
        }
        let said = disk.said()?;
        Ok((!said.is_empty()).then_some(Err(said)))
    })?;
    let why = match begun {
        Some(Ok(())) => return Ok(()),
        Some(Err(said)) => said,
        None => format!("it has not begun within {} ms", patience.settle_ms),
    };
    host.run("rm", &["-f", "--", &file])?;
    // What it may have mounted by now is not in use. Why it could not be is told already.
    let _ = disk.detach(directory);
    Err(failed(host, "mount a disk that can fail", why))
}

/// Unmounts a disk, also one whose process has died. What programs saw on it is in the folder.
///
/// # Errors
/// It is still mounted.
pub fn stop_disk(
    host: &dyn Host,
    order_file: &Path,
    directory: &Path,
    patience: Patience,
) -> Result<(), HostError> {
    let disk = Remote { host, order_file: order_file.to_owned() };
    let patience = disk.order()?.map_or(patience, |order| order.kind.patience(patience));
    let is_alive = disk.is_alive()?;
    host.run("rm", &["-f", "--", &order_file.to_string_lossy()])?;
    if is_alive {
        patience.wait_for(|| Ok::<_, HostError>((!disk.is_alive()?).then_some(())))?;
    }
    disk.detach(directory)?;
    host.run("rm", &["-f", "--", &answer_file(order_file).to_string_lossy()])?;
    Ok(())
}

fn failed(host: &dyn Host, command: &str, detail: String) -> HostError {
    HostError::Command { host: host.name().to_owned(), command: command.to_owned(), detail }
}

impl Remote<'_> {
    /// What it is told; `None`: there is no such disk.
    pub fn order(&self) -> Result<Option<DiskOrder>, HostError> {
        self.read(&self.order_file)
    }

    /// The processes that have met the trouble of a fault.
    pub fn met(&self, fault_id: u64) -> Result<BTreeSet<i32>, HostError> {
        let content = match self.host.read_file(&errors_file(&self.order_file)) {
            Err(HostError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Vec::new()
            }
            read => read?,
        };
        let lines = content.split(|byte| *byte == b'\n');
        let errors = lines.filter_map(|line| serde_json::from_slice::<DiskError>(line).ok());
        Ok(errors.filter(|error| error.fault_id == fault_id).map(|error| error.pid).collect())
    }

    /// What it has answered.
    pub fn answer(&self) -> Result<Option<DiskAnswer>, HostError> {
        self.read(&answer_file(&self.order_file))
    }

    /// Changes its orders, and waits until they are carried out: what it answers. `None` if there is no such disk, or it has died.
    pub fn tell(
        &self,
        patience: Patience,
        change: impl FnOnce(&mut BTreeMap<u64, DiskAct>),
    ) -> Result<Option<DiskAnswer>, HostError> {
        let Some(mut order) = self.order()? else { return Ok(None) };
        change(&mut order.acts);
        order.serial += 1;
        self.write(&order)?;
        let patience = order.kind.patience(patience);
        let answer = patience.wait_for(|| {
            if let Some(answer) = self.answer()?.filter(|answer| answer.serial == order.serial) {
                return Ok(Some(Some(answer)));
            }
            Ok::<_, HostError>((!self.is_alive()?).then_some(None))
        })?;
        answer.ok_or_else(|| {
            let why = format!("it has not carried out its orders within {} ms", patience.settle_ms);
            failed(self.host, "give orders to its disk", why)
        })
    }

    /// Whether its process is there.
    pub fn is_alive(&self) -> Result<bool, HostError> {
        let Some(answer) = self.answer()? else { return Ok(false) };
        // A process that nobody waits for any more is a zombie, and dead.
        let script = "s=$(cat /proc/\"$1\"/stat 2>/dev/null) || exit 0; case \"${s##*) }\" in Z*|X*) ;; *) echo yes;; esac";
        let output = self.host.run("sh", &["-c", script, "sh", &answer.pid.to_string()])?;
        Ok(output.stdout.trim() == "yes")
    }

    /// Takes away what is mounted over a folder, whatever has become of the process behind it; what programs saw on it is in the folder then.
    /// Can be done again where it was interrupted.
    pub fn detach(&self, directory: &Path) -> Result<(), HostError> {
        let (folder, image) = (directory.to_string_lossy(), image_file(&self.order_file));
        let (image, script) = (image.to_string_lossy(), TAKE_IMAGE_AWAY);
        let taken = self.host.run_within(IMAGE_TAKEN_WITHIN, "sh", &["-c", script, "sh", &folder, &image]);
        taken.map_err(|error| match error {
            // Without the whole script.
            HostError::Command { detail, .. } => {
                let detail = format!("{detail}; the data of its node is in {image}");
                failed(self.host, "take an ext4 away", detail)
            }
            error => error,
        })?;
        let script = "grep -q ' labrys-disk ' /proc/self/mountinfo || exit 0; cut -d' ' -f5 /proc/self/mountinfo | while read -r m; do [ \"$(printf '%b' \"$m\")\" = \"$1\" ] && umount -l -- \"$1\"; done; exit 0";
        self.host.run("sh", &["-c", script, "sh", &directory.to_string_lossy()])?;
        Ok(())
    }

    fn said(&self) -> Result<String, HostError> {
        let script = "[ ! -e \"$1\" ] || cat \"$1\"";
        let said =
            self.host.run("sh", &["-c", script, "sh", &log_file(&self.order_file).to_string_lossy()])?;
        Ok(said.stdout.trim().to_owned())
    }

    fn write(&self, order: &DiskOrder) -> Result<(), HostError> {
        let draft = beside(&self.order_file, ".draft");
        let text = serde_json::to_vec(order)
            .map_err(|error| failed(self.host, "give orders to its disk", error.to_string()))?;
        self.host.write_file(&draft, &text)?;
        self.host.run("mv", &["-f", "--", &draft.to_string_lossy(), &self.order_file.to_string_lossy()])?;
        Ok(())
    }

    /// The content of a file, if it is there and makes sense.
    fn read<T: for<'de> serde::Deserialize<'de>>(&self, file: &Path) -> Result<Option<T>, HostError> {
        match self.host.read_file(file) {
            Ok(content) => Ok(serde_json::from_slice(&content).ok()),
            Err(HostError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

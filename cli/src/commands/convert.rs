//! `labrys convert`: a history in one format in, the same history in another format out.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use labrys_history::{
    Format, History, ReadOptions, ReadReport, WriteError, read_bytes, read_history, write_history,
};

use crate::commands::format_named;
use crate::exit::{Failure, Outcome};

const EXAMPLES: &str = "\
Examples:
  labrys convert history.jsonl history.edn                    for Knossos, Elle and elle-cli
  labrys convert store/latest/history.edn history.jsonl       from Jepsen
  labrys convert history.jsonl operations.json                for Porcupine: []porcupine.Operation
  labrys convert --independent history.edn history.jsonl      values are [key value]: keys become a field
  ssh host cat history.edn | labrys convert - - --to jsonl | head

Formats: jsonl (Labrys), edn (Jepsen), porcupine are read and written; json (elle-cli) and jepsen-log are read. What each keeps,
and what is lost between them, is in docs/formats.md; what this conversion lost is said on standard error.

Exit codes: 0 converted, 254 wrong usage or an input that cannot be read, 255 an output that cannot be written.";

/// The path that stands for standard input or output.
const STANDARD: &str = "-";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The history to read; `-` is standard input
    #[arg(value_name = "FROM")]
    source: PathBuf,
    /// The file to write; `-` is standard output
    #[arg(value_name = "TO")]
    target: PathBuf,
    /// The format of FROM [default: found out from its content]
    #[arg(long, value_name = "FORMAT", value_parser = format_named)]
    from: Option<Format>,
    /// The format of TO [default: by its extension: .jsonl, .edn, .json (porcupine)]
    #[arg(long, value_name = "FORMAT", value_parser = format_named)]
    to: Option<Format>,
    /// Values of FROM are [key value] pairs, as Jepsen's independent workloads write them
    #[arg(long)]
    independent: bool,
    /// Overwrite TO if it exists
    #[arg(long)]
    force: bool,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let format = format_of_target(arguments).map_err(Failure::usage)?;
    let target = Target::of(arguments).map_err(Failure::usage)?;
    let report = read(arguments).map_err(Failure::usage)?;
    for warning in &report.warnings {
        eprintln!("labrys: warning: {warning}");
    }
    let (source, name) = (arguments.source.display(), arguments.target.display());
    let notes = match target.write(&report.history, format) {
        Ok(notes) => notes,
        // Whoever reads our output has seen enough: `| head`.
        Err(WriteError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
        Err(error @ WriteError::Io(_)) => {
            return Err(Failure::environment(anyhow!(error).context(format!("writing {name}"))));
        }
        Err(error) => return Err(Failure::usage(anyhow!(error).context(format!("writing {name}")))),
    };
    let (events, operations) = (report.history.events().len(), report.history.operations().len());
    eprintln!("{source} ({}) → {name} ({format}): {operations} operations, {events} events", report.format);
    if report.untimed > 0 {
        let untimed = report.untimed;
        eprintln!("note: {untimed} events have no time in {source}; their positions stand for it");
    }
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    Ok(0)
}

fn format_of_target(arguments: &Arguments) -> anyhow::Result<Format> {
    let format = arguments.to.or_else(|| Format::written_by_extension(&arguments.target));
    let names = Format::names(Format::WRITABLE);
    let format = format.ok_or_else(|| {
        let target = arguments.target.display();
        anyhow!("which format is {target} to have? Say --to FORMAT: {names}")
    })?;
    if !Format::WRITABLE.contains(&format) {
        return Err(WriteError::OnlyRead(format).into());
    }
    Ok(format)
}

fn read(arguments: &Arguments) -> anyhow::Result<ReadReport> {
    let options = ReadOptions { format: arguments.from, independent: arguments.independent };
    if arguments.source != Path::new(STANDARD) {
        return Ok(read_history(&arguments.source, options)?);
    }
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text).context("reading standard input")?;
    Ok(read_bytes(&text, "standard input", options)?)
}

/// Where the history goes.
enum Target<'a> {
    StandardOutput,
    /// A device or pipe, which is written to as it is.
    Special(&'a Path),
    /// A file, which comes into being whole or not at all.
    File {
        path: &'a Path,
        overwrite: bool,
    },
}

impl<'a> Target<'a> {
    fn of(arguments: &'a Arguments) -> anyhow::Result<Target<'a>> {
        let path = arguments.target.as_path();
        if path == Path::new(STANDARD) {
            return Ok(Target::StandardOutput);
        }
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                Err(anyhow!("{} is a folder; expected a file", path.display()))
            }
            Ok(metadata) if !metadata.is_file() => Ok(Target::Special(path)),
            Ok(_) if !arguments.force => Err(anyhow!("{} exists; --force overwrites it", path.display())),
            _ => Ok(Target::File { path, overwrite: arguments.force }),
        }
    }

    fn write(&self, history: &History, format: Format) -> Result<Vec<String>, WriteError> {
        match self {
            Target::StandardOutput => write_history(&mut io::stdout().lock(), history, format),
            Target::Special(path) => {
                write_history(&mut OpenOptions::new().write(true).open(path)?, history, format)
            }
            Target::File { path, overwrite } => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let mut file = tempfile::Builder::new()
                    .prefix(".labrys-convert-")
                    // Less what the umask takes away: as any new file.
                    .permissions(PermissionsExt::from_mode(0o666))
                    .tempfile_in(folder.unwrap_or(Path::new(".")))?;
                let notes = {
                    let mut writer = BufWriter::new(&mut file);
                    let notes = write_history(&mut writer, history, format)?;
                    writer.flush()?;
                    notes
                };
                let persisted = if *overwrite { file.persist(path) } else { file.persist_noclobber(path) };
                persisted.map_err(|error| error.error)?;
                Ok(notes)
            }
        }
    }
}

//! The binary: one node. See `labrys-store --help`, and `labrys_store::{exit, logging, options}` for exit codes, log lines
//! and the configuration file.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use labrys_store::ctl::{self, CtlArguments};
use labrys_store::exit::Exit;
use labrys_store::logging;
use labrys_store::options::{self, Arguments, Command, Permissions, Resolved};
use labrys_store::raft::Defect;
use labrys_store::server::{Fatal, Server};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

fn main() -> ExitCode {
    run().into()
}

fn run() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match arguments.command {
        Some(Command::Defects) => return list_defects(),
        Some(Command::Ctl(arguments)) => return ask(*arguments),
        None => {}
    }
    let allows = |variable| std::env::var_os(variable).is_some_and(|value| value == "1");
    let permissions = Permissions {
        defects: allows(options::DEFECTS_VARIABLE),
        clock_faults: allows(options::CLOCK_FAULTS_VARIABLE),
        failpoints: allows(options::FAILPOINTS_VARIABLE),
    };
    let resolved = match options::resolve(arguments.flags, arguments.config.as_deref(), permissions) {
        Ok(resolved) => resolved,
        Err(error) => return complain(Exit::Usage, &error),
    };
    logging::start(resolved.log_format, resolved.server.id, resolved.server.defects);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(serve(&resolved));
            runtime.shutdown_background();
            exit
        }
        Err(error) => complain(Exit::System, &error),
    }
}

/// Errors of use are one line; what `--help` and `--version` print goes to stdout.
fn usage(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        return if error.print().is_ok() { Exit::Success } else { Exit::Other };
    }
    let text = error.to_string();
    let paragraph: Vec<&str> =
        text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    eprintln!("{}; see labrys-store --help", paragraph.join(" "));
    Exit::Usage
}

fn complain(exit: Exit, error: &dyn Error) -> Exit {
    eprintln!("error: {error}");
    exit
}

fn list_defects() -> Exit {
    let mut lines = String::new();
    for defect in Defect::ALL {
        lines.push_str(&format!("{:28} {}\n", defect.name(), defect.describe()));
    }
    match std::io::stdout().write_all(lines.as_bytes()) {
        Ok(()) => Exit::Success,
        Err(_) => Exit::Other,
    }
}

/// A client's part.
fn ask(arguments: CtlArguments) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(Exit::System, &error),
    };
    match runtime.block_on(ctl::run(arguments, &mut std::io::stdout())) {
        Ok(()) => Exit::Success,
        Err(error) => complain(Exit::from(&error), &error),
    }
}

async fn serve(resolved: &Resolved) -> Exit {
    let node = resolved.server.id;
    let (version, data_dir) = (env!("CARGO_PKG_VERSION"), resolved.server.data_dir.display().to_string());
    info!(event = "starting", node, version, data_dir, "starting");
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return fatal(node, Exit::System, "cannot listen for signals");
    };
    let listener = match std::net::TcpListener::bind(&resolved.listen) {
        Ok(listener) => listener,
        Err(error) => {
            return fatal(node, Exit::Listen, &format!("cannot listen on {}: {error}", resolved.listen));
        }
    };
    let mut server = match Server::start(listener, &resolved.server) {
        Ok(server) => server,
        Err(error) => return fatal(node, Exit::from(&error), &error.to_string()),
    };
    let failure = tokio::select! {
        failure = server.failed() => Some(failure),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let Some(failure) = failure else {
        info!(event = "stopping", node, "stopping, as asked");
        return match server.stop().await {
            Ok(()) => {
                info!(event = "stopped", node, "stopped");
                Exit::Success
            }
            Err(failure) => failed(node, &failure),
        };
    };
    let exit = failed(node, &failure);
    // Nothing may be acknowledged any more: end at once, whatever is still on its way.
    std::process::exit(exit as i32);
}

fn failed(node: u64, failure: &Fatal) -> Exit {
    fatal(node, Exit::from(failure), &failure.to_string())
}

fn fatal(node: u64, exit: Exit, error: &str) -> Exit {
    error!(event = "fatal", node, exit_code = exit as u64, error, "FATAL: {error}");
    exit
}

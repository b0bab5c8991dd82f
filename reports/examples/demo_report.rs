//! Writes reports of made-up runs, to be looked at without a cluster:
//! `cargo run -p labrys-reports --example demo_report [DIRECTORY]`.

#[path = "../tests/reports/support.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use labrys_reports::report;
use labrys_reports::summary::{self, Colour};

fn main() -> ExitCode {
    let directory =
        std::env::args_os().nth(1).map_or_else(|| PathBuf::from("target/demo-report"), PathBuf::from);
    let plans = [
        ("invalid", support::Plan { stale_read: true, ..support::SMALL }),
        ("valid", support::SMALL),
        (
            "large",
            support::Plan {
                operations: 100_000,
                keys: 200,
                latency_ns: 1_000_000,
                stale_read: true,
                ..support::SMALL
            },
        ),
    ];
    for (name, plan) in plans {
        let run = support::run(plan);
        match report::write(&directory.join(name), &run.inputs()) {
            Ok(paths) => eprintln!("{}", summary::text(&run.inputs(), Some(&paths), Colour::Ansi)),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

//! One file per command.

pub mod agent;
pub mod bench;
pub mod check;
pub mod convert;
pub mod defects;
mod defects_in_simulator;
pub mod disk_process;
pub mod doctor;
pub mod explore;
mod generated_part;
pub mod heal;
pub mod nemesis_process;
pub mod packet_process;
pub mod processor_process;
mod quiet;
pub mod report;
pub mod scenario;
pub mod shrink;
pub mod sim;
pub mod test;

use labrys_harness::config::TestConfig;
use labrys_harness::run_directory::RunDirectory;
use labrys_history::Format;
use labrys_reports::RunDescription;

/// The format of history files with that name, for options.
pub fn format_named(name: &str) -> Result<Format, String> {
    let known = || Format::names(Format::ALL);
    Format::named(name).ok_or_else(|| format!("there is no format `{name}`; there are {}", known()))
}

/// What a report says of a run.
pub fn describe_run(config: &TestConfig, directory: &RunDirectory) -> RunDescription {
    let table: toml::Table = config.to_toml().parse().unwrap_or_default();
    let plain = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let messages = directory.messages().exists();
    let link = ("Messages before the violation".to_owned(), "../messages.svg".to_owned());
    let command = match directory.replayed() {
        replayed if replayed.exists() => format!("labrys sim --schedule {}", replayed.display()),
        _ => format!("labrys test {}", directory.config().display()),
    };
    RunDescription {
        files: messages.then_some(link).into_iter().collect(),
        name: config.name.clone(),
        started: directory.started(),
        seed: Some(config.seed.0),
        command,
        concurrency: Some(config.threads() as u64),
        configuration: table.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        versions: vec![
            ("labrys".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("kernel".to_owned(), kernel()),
        ],
    }
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

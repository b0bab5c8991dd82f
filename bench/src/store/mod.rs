//! `labrys bench store`: the reference store under load, and etcd under the same load in the same run, where it is installed.
//!
//! The clusters run on the testbed of the harness (a network namespace per node), one after the other for each figure, on the
//! same disk; both systems sync every write. The load is closed-loop and talks to the leader without a client library
//! (`connection.rs`). What this is not: a test. However slow the store is, the exit code is 0.

mod connection;
mod load;
mod system;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use labrys_harness::isolation::Enclosure;
use labrys_harness::testbed::NetnsTestbed;
use labrys_seed::Seed;
use serde::Serialize;

pub use load::Measured;
pub use system::System;

use load::Load;
use system::{Cluster, ClusterOptions, find_etcd};

/// What a user can choose.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreOptions {
    /// How long each load is measured
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_positive)]
    duration: Duration,
    /// How long each load runs before it is measured
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// Election timeout of both systems
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_positive)]
    election_timeout: Duration,
    /// How often the leader is killed for the time to recovery
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    failovers: u64,
    /// Number of keys that a node is restarted with; 0: leave that out
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    keys: u64,
    /// Leave out how it grows with clients, value size and nodes
    #[arg(long)]
    no_growth: bool,
    /// Leave etcd out even if it is installed
    #[arg(long)]
    no_etcd: bool,
    /// Folder for the nodes' data; the figures are those of its disk
    #[arg(long, value_name = "DIR", default_value = "labrys-runs/bench-store")]
    directory: PathBuf,
    /// Seed of keys and values
    #[arg(long, value_name = "U64", default_value_t = Seed(1))]
    seed: Seed,
    /// Print the figures as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// A duration that something can be done in.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(1) { Err("must be at least 1ms".to_owned()) } else { Ok(duration) }
}

/// What is below the options in `--help`.
#[must_use]
pub fn after_help() -> &'static str {
    "\
Examples:
  labrys bench store                                    everything; some ten minutes
  labrys bench store --no-growth --keys 0 --duration 3s the load of 64 clients, and failover
  labrys bench store --markdown docs/performance.md     write the tables where the documentation has them

Exit codes: 0 measured, however slow; 254 wrong usage; 255 the testbed, a node or a file failed."
}

/// One row: a load on a cluster of each system.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is done.
    pub what: String,
    /// Nodes.
    pub nodes: usize,
    /// Clients.
    pub clients: usize,
    /// Bytes in a value.
    pub value_bytes: usize,
    /// By system.
    pub measured: Vec<(System, Measured)>,
}

/// A time by system, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    /// What takes it.
    pub what: String,
    /// The times, in the order in which they were measured.
    pub times_ms: Vec<(System, Vec<f64>)>,
}

/// All figures.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoreReport {
    /// Machine and disk, in words.
    pub machine: String,
    /// Election timeout of both systems.
    pub election_timeout_ms: u64,
    /// Loads.
    pub rows: Vec<Row>,
    /// Failover, loading, restart.
    pub times: Vec<Times>,
}

impl StoreReport {
    /// As tables in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        table::markdown(self)
    }
}

/// The clients of the first table.
const CLIENTS: usize = 64;
const VALUE_BYTES: usize = 256;
const KEYS: u64 = 10_000;
const MOST_NODES: usize = 7;

/// Measures, inside the isolation; says on standard error what it is at.
///
/// # Errors
/// If the testbed cannot be built, a node does not start, or a load fails altogether.
pub async fn run(options: &StoreOptions, enclosure: &Enclosure) -> anyhow::Result<StoreReport> {
    let directory = std::path::absolute(&options.directory)?;
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let nodes = if options.no_growth { 3 } else { MOST_NODES };
    let testbed = NetnsTestbed::build(enclosure, nodes, &directory.join("hosts"))?;
    let mut systems = vec![System::LabrysStore];
    if options.no_etcd || find_etcd().is_none() {
        eprintln!("etcd is not measured{}", if options.no_etcd { "" } else { ": it is not installed" });
    } else {
        systems.push(System::Etcd);
    }
    let mut bench = Bench { options, testbed, systems, directory, report: StoreReport::default() };
    bench.report.machine = table::machine(&bench.directory);
    bench.report.election_timeout_ms =
        u64::try_from(options.election_timeout.as_millis()).unwrap_or(u64::MAX);
    bench.loads().await?;
    bench.failovers().await?;
    if options.keys > 0 {
        bench.restarts().await?;
    }
    let Bench { report, directory, .. } = bench;
    // Gigabytes that nobody will look at.
    if let Err(error) = std::fs::remove_dir_all(&directory) {
        eprintln!("labrys: warning: {}: {error}", directory.display());
    }
    Ok(report)
}

struct Bench<'a> {
    options: &'a StoreOptions,
    testbed: NetnsTestbed,
    systems: Vec<System>,
    directory: PathBuf,
    report: StoreReport,
}

impl Bench<'_> {
    async fn cluster(&self, system: System, nodes: usize) -> anyhow::Result<Cluster> {
        let options = ClusterOptions {
            nodes,
            election_timeout: self.options.election_timeout,
            directory: self.directory.clone(),
        };
        Cluster::start(system, &self.testbed, &options).await
    }

    fn load(&self, reads_percent: u32) -> Load {
        Load {
            clients: CLIENTS,
            value_bytes: VALUE_BYTES,
            reads_percent,
            keys: KEYS,
            warm_up: self.options.warm_up,
            duration: self.options.duration,
        }
    }

    /// The three mixes, and how puts grow.
    async fn loads(&mut self) -> anyhow::Result<()> {
        let mut wanted = vec![
            ("put", 3, self.load(0)),
            ("get, linearizable", 3, self.load(100)),
            ("90 % get, 10 % put", 3, self.load(90)),
        ];
        if !self.options.no_growth {
            let put = self.load(0);
            wanted.extend([1, 8, 256].map(|clients| ("put", 3, Load { clients, ..put })));
            wanted.extend([16, 4096, 65_536].map(|value_bytes| ("put", 3, Load { value_bytes, ..put })));
            wanted.extend([5, 7].map(|nodes| ("put", nodes, put)));
        }
        for (what, nodes, load) in wanted {
            let mut measured = Vec::new();
            for system in self.systems.clone() {
                let cluster = self.cluster(system, nodes).await?;
                if load.reads_percent > 0 {
                    // What is not there is read faster than it should be.
                    load::fill(&cluster, load.keys, load.value_bytes).await?;
                }
                let figures = load::run(&cluster, load, self.options.seed).await?;
                eprintln!(
                    "{what}, {nodes} nodes, {} clients, {} B: {} {:.0}/s, median {} µs, 99 % below {} µs",
                    load.clients,
                    load.value_bytes,
                    system.name(),
                    figures.per_second,
                    figures.p50_us,
                    figures.p99_us
                );
                measured.push((system, figures));
            }
            let (clients, value_bytes) = (load.clients, load.value_bytes);
            self.report.rows.push(Row { what: what.to_owned(), nodes, clients, value_bytes, measured });
        }
        Ok(())
    }

    async fn failovers(&mut self) -> anyhow::Result<()> {
        let mut times_ms = Vec::new();
        for system in self.systems.clone() {
            let cluster = self.cluster(system, 3).await?;
            let mut times = Vec::new();
            for round in 0..self.options.failovers {
                let took = load::failover(&cluster, round).await?;
                eprintln!("failover: {} {} ms", system.name(), took.as_millis());
                times.push(took.as_secs_f64() * 1e3);
                load::settle(&cluster).await?;
            }
            times_ms.push((system, times));
        }
        let what = "from the leader's death (kill -9) to the next write".to_owned();
        self.report.times.push(Times { what, times_ms });
        Ok(())
    }

    async fn restarts(&mut self) -> anyhow::Result<()> {
        let keys = self.options.keys;
        let (mut filled, mut restarted) = (Vec::new(), Vec::new());
        for system in self.systems.clone() {
            let cluster = self.cluster(system, 3).await?;
            let took = load::fill(&cluster, keys, VALUE_BYTES).await?;
            eprintln!("{keys} keys: {} {:.1} s", system.name(), took.as_secs_f64());
            filled.push((system, vec![took.as_secs_f64() * 1e3]));
            let took = load::restart(&cluster).await?;
            eprintln!("restart with {keys} keys: {} {:.1} s", system.name(), took.as_secs_f64());
            restarted.push((system, vec![took.as_secs_f64() * 1e3]));
        }
        self.report.times.push(Times { what: format!("writing {keys} keys"), times_ms: filled });
        let what =
            format!("from the start of a killed follower with {keys} keys until it has what the leader has");
        self.report.times.push(Times { what, times_ms: restarted });
        Ok(())
    }
}

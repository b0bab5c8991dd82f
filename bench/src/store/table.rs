//! The figures as Markdown.

use std::path::Path;

use super::{Row, StoreReport, System, Times};

/// Tables of loads and of times.
pub(super) fn markdown(report: &StoreReport) -> String {
    let mut text = format!("{}\n\n", report.machine);
    text.push_str(
        "| load | nodes | clients | value | system | per second | median | 99 % below | written per put | errors |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    report.rows.iter().for_each(|row| add_row(&mut text, row));
    text.push_str(&format!(
        "\n| time (election timeout {} ms) | system | median | largest | ratio of medians |\n| --- | --- | --- | --- | --- |\n",
        report.election_timeout_ms
    ));
    report.times.iter().for_each(|times| add_times(&mut text, times));
    text
}

fn add_row(text: &mut String, row: &Row) {
    let of_etcd = row.measured.iter().find(|(system, _)| *system == System::Etcd);
    for (system, measured) in &row.measured {
        let ratio = match of_etcd {
            Some((_, etcd)) if *system != System::Etcd => {
                format!(" ({:.1} ×)", measured.per_second / etcd.per_second)
            }
            _ => String::new(),
        };
        let written =
            measured.written_bytes_per_put.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.0} B"));
        text.push_str(&format!(
            "| {} | {} | {} | {} B | {} | {:.0}{ratio} | {} | {} | {written} | {} |\n",
            row.what,
            row.nodes,
            row.clients,
            row.value_bytes,
            system.name(),
            measured.per_second,
            milliseconds(measured.p50_us as f64 / 1e3),
            milliseconds(measured.p99_us as f64 / 1e3),
            measured.errors
        ));
    }
}

fn add_times(text: &mut String, times: &Times) {
    let medians: Vec<(System, f64)> =
        times.times_ms.iter().map(|(system, times)| (*system, median(times))).collect();
    let of_etcd = medians.iter().find(|(system, _)| *system == System::Etcd).map(|(_, median)| *median);
    for ((system, all), (_, median)) in times.times_ms.iter().zip(&medians) {
        let ratio = match of_etcd {
            Some(etcd) if *system != System::Etcd => format!("{:.2} ×", median / etcd),
            _ => String::new(),
        };
        let largest = all.iter().copied().fold(f64::NAN, f64::max);
        text.push_str(&format!(
            "| {} | {} | {} | {} | {ratio} |\n",
            times.what,
            system.name(),
            milliseconds(*median),
            milliseconds(largest)
        ));
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn milliseconds(time_ms: f64) -> String {
    match time_ms {
        time if time >= 10_000.0 => format!("{:.1} s", time / 1e3),
        time if time >= 10.0 => format!("{time:.0} ms"),
        time => format!("{time:.2} ms"),
    }
}

/// Cores, memory, kernel and file system, in words.
pub(super) fn machine(directory: &Path) -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kb: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let (device, kind) = file_system(&read("/proc/self/mounts"), directory);
    format!(
        "Machine: {cores} cores ({model}), {} GiB, Linux {}, data on {kind} ({device}). All nodes and clients share it.",
        memory_kb >> 20,
        kernel.trim()
    )
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Device and type of the file system with the longest mount point above `directory`.
fn file_system(mounts: &str, directory: &Path) -> (String, String) {
    let mut best = (0, "?", "?");
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if directory.starts_with(point) && point.len() >= best.0 {
            best = (point.len(), device, kind);
        }
    }
    (best.1.to_owned(), best.2.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Measured;
    use super::*;

    #[test]
    fn ratios_are_to_etcd_and_times_have_their_median() {
        let measured = |per_second| Measured {
            per_second,
            p50_us: 1500,
            p99_us: 20_000,
            written_bytes_per_put: Some(1000.4),
            errors: 0,
        };
        let row = Row {
            what: "put".to_owned(),
            nodes: 3,
            clients: 64,
            value_bytes: 256,
            measured: vec![(System::LabrysStore, measured(300.0)), (System::Etcd, measured(100.0))],
        };
        let times_ms = vec![(System::LabrysStore, vec![3.0, 1.0, 20.0]), (System::Etcd, vec![6.0])];
        let times = vec![Times { what: "failover".to_owned(), times_ms }];
        let report =
            StoreReport { machine: "M".to_owned(), election_timeout_ms: 1000, rows: vec![row], times };
        let text = markdown(&report);
        assert!(text.contains(
            "| put | 3 | 64 | 256 B | labrys-store | 300 (3.0 ×) | 1.50 ms | 20 ms | 1000 B | 0 |"
        ));
        assert!(text.contains("| put | 3 | 64 | 256 B | etcd | 100 | 1.50 ms |"));
        assert!(text.contains("| failover | labrys-store | 3.00 ms | 20 ms | 0.50 × |"), "{text}");
    }

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount_point() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/deep xfs rw 0 0\n";
        let kind = |path: &str| file_system(mounts, Path::new(path)).1;
        assert_eq!(
            (kind("/home/x"), kind("/tmp/x"), kind("/tmp/deep/x")),
            ("ext4".into(), "tmpfs".into(), "xfs".into())
        );
    }
}

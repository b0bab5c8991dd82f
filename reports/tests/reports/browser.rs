//! The page in a real browser: headless Chromium runs the script and prints the document, whose body then says how it
//! went. Skipped, with a line that says so, where there is no Chromium.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use labrys_reports::report::{self, Rendered};

use crate::page::{hostile, large};
use crate::support::{Plan, SMALL, run};

/// The browser, or `None` after saying on standard error, past the test runner's capture, that the test is skipped.
fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        let _ = std::io::stderr().write_all(b"SKIPPED: there is no Chromium to open reports in\n");
    }
    found
}

/// The document after its scripts have run.
fn dumped(browser: &str, profile: &Path, address: &str) -> String {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--window-size=1400,1000", "--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(address)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

struct Opened {
    dom: String,
}

impl Opened {
    /// Opens a page at a place of it.
    fn page(browser: &str, rendered: &Rendered, fragment: &str) -> Opened {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("index.html");
        std::fs::write(&path, &rendered.index_html).unwrap();
        let address = format!("file://{}{fragment}", path.display());
        Opened { dom: dumped(browser, &folder.path().join("profile"), &address) }
    }

    /// What the script wrote into the body's attribute `data-…`.
    fn status(&self, name: &str) -> &str {
        let body = &self.dom[self.dom.find("<body").unwrap()..];
        let (_, value) =
            body.split_once(&format!("data-{name}=\"")).unwrap_or_else(|| panic!("no data-{name}"));
        value.split_once('"').unwrap().0
    }

    fn number(&self, name: &str) -> u64 {
        self.status(name).parse().unwrap()
    }

    fn assert_ready(&self) {
        assert_eq!((self.status("timeline"), self.status("errors")), ("ready", "0"));
    }
}

#[test]
fn a_valid_run_is_shown_whole() {
    let Some(browser) = chromium() else { return };
    let opened = Opened::page(browser, &report::render(&run(SMALL).inputs()).unwrap(), "");
    opened.assert_ready();
    assert_eq!((opened.number("operations"), opened.number("selected-operations")), (1_500, 1_500));
    // Bars narrower than a pixel may share one.
    assert!(opened.number("drawn") > 1_000, "{} bars", opened.number("drawn"));
}

#[test]
fn a_violation_opens_at_its_key_and_its_window() {
    let Some(browser) = chromium() else { return };
    let run = run(Plan { stale_read: true, ..SMALL });
    let opened = Opened::page(browser, &report::render(&run.inputs()).unwrap(), "");
    opened.assert_ready();
    let partitions = &run.verdict.checks[0].partitions;
    let invalid = partitions.iter().find(|partition| !partition.evidence.is_empty()).unwrap();
    assert_eq!(opened.number("selected-operations"), invalid.operations);
    assert!((5..100).contains(&opened.number("drawn")), "{} bars", opened.number("drawn"));
    assert!(opened.dom.contains(&format!("key {}, {} of 1,500 operations", invalid.key, invalid.operations)));
}

#[test]
fn an_address_filters_by_key_and_selects_an_operation() {
    let Some(browser) = chromium() else { return };
    let run = run(Plan { stale_read: true, ..SMALL });
    let rendered = report::render(&run.inputs()).unwrap();
    let key = Opened::page(browser, &rendered, "#key=6");
    key.assert_ready();
    assert_eq!(key.number("selected-operations"), run.verdict.checks[0].partitions[6].operations);
    let operation = run.history.operations()[700].invoke_index();
    let selected = Opened::page(browser, &rendered, &format!("#op={operation}"));
    selected.assert_ready();
    assert!(selected.dom.contains(&format!("<td>#{operation}  ")), "the panel shows the operation");
}

#[test]
fn a_hundred_thousand_operations_are_shown() {
    let Some(browser) = chromium() else { return };
    let opened = Opened::page(browser, &report::render(&large().inputs()).unwrap(), "#t=0-40000000000");
    opened.assert_ready();
    assert_eq!(opened.number("operations"), 100_000);
    assert!(opened.number("drawn") > 0);
}

#[test]
fn hostile_text_runs_nothing_and_breaks_nothing() {
    let Some(browser) = chromium() else { return };
    let opened = Opened::page(browser, &hostile(), "");
    opened.assert_ready();
    assert_eq!((opened.number("operations"), opened.number("selected-operations")), (1, 1));
}

#[test]
fn the_pictures_are_well_formed_xml() {
    let Some(browser) = chromium() else { return };
    for rendered in [hostile(), report::render(&run(Plan { stale_read: true, ..SMALL }).inputs()).unwrap()] {
        let pictures = [rendered.timeline_svg, rendered.latency_svg, rendered.rate_svg];
        for (picture, name) in pictures.iter().zip(["timeline", "latency", "rate"]) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("picture.svg");
            std::fs::write(&path, picture).unwrap();
            let dom = dumped(browser, &folder.path().join("profile"), &format!("file://{}", path.display()));
            assert!(
                dom.contains("<svg") && !dom.contains("parsererror"),
                "{name}: {}",
                &dom[..dom.len().min(600)]
            );
        }
    }
}

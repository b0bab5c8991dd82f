//! Live progress of a run: one line, redrawn on a terminal; a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use labrys_harness::progress::{Phase, Progress};
use tokio::sync::watch;

/// How often a terminal's line is redrawn.
const REDRAW: Duration = Duration::from_millis(200);
/// How often a line is printed where there is no terminal.
const PRINT: Duration = Duration::from_secs(5);

/// Shows what comes through `updates` until its sender is dropped.
pub async fn show(mut updates: watch::Receiver<Progress>) {
    let terminal = std::io::stderr().is_terminal();
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // Both are constants of ours; a malformed one would show in the first run.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    let mut phase = None;
    let mut ticker = tokio::time::interval(if terminal { REDRAW } else { PRINT });
    loop {
        tokio::select! {
            changed = updates.changed() => {
                if changed.is_err() {
                    break;
                }
                let new = updates.borrow().phase;
                if phase != Some(new) {
                    phase = Some(new);
                    if !terminal {
                        eprintln!("{}", updates.borrow().clone());
                    }
                }
            }
            _ = ticker.tick() => {
                let now = updates.borrow().clone();
                if terminal {
                    bar.set_message(now.to_string());
                    bar.tick();
                } else if now.phase == Phase::Running {
                    eprintln!("{now}");
                }
            }
        }
    }
    bar.finish_and_clear();
}

//! Log lines on stderr: one JSON object, or one line of text, per event.
//!
//! Every line names the node, and the defects if any is switched on. Lines that tools may rely on have a field `event`:
//!
//! | `event` | further fields | when |
//! | --- | --- | --- |
//! | `starting` | `node`, `version`, `data_dir` | the process has read its flags |
//! | `listening` | `node`, `address`, `entries`, `term`, `startup_ms` | the node serves |
//! | `metrics_listening` | `node`, `address` | `/metrics` and `/health` are served there |
//! | `failpoints` | `node` | the node takes orders for its failpoints |
//! | `failpoint` | `point`, `action` | an order about a failpoint takes effect |
//! | `leader` | `node`, `term` | this node became the leader of `term` |
//! | `role` | `node`, `term`, `role`, `leader` (absent if none is known) | role, term or leader changed, other than to leader |
//! | `peer_refused` | `peer`, `error` | a peer answers but will not talk to this node, or this node to it: TLS, token or cluster do not fit |
//! | `cluster_joined` | `node`, `cluster`, `peer` | a node that waited to join one has heard from its cluster |
//! | `peers_give_addresses_only` | `node`, `configuration` | `--peers` names other members than the configuration in the log, which counts |
//! | `follower_lost_log` | `node`, `follower`, `acknowledged` | a follower lacks what it had acknowledged to this leader |
//! | `invariant_broken` | `node`, `what`, `fatal` | an invariant of Raft is broken; fatal unless a defect is switched on |
//! | `log_repaired` | `file`, `offset` | the end of the log was an unfinished write and was cut off |
//! | `snapshot_refused` | `node`, `index` | a snapshot arrived otherwise than announced, and is asked for again |
//! | `snapshot_damaged` | `node`, `follower`, `index` | this node cannot read its own snapshot back to send it; it takes another |
//! | `defragmented` | `node`, `log_bytes_before`, `log_bytes_after` | `ctl defrag` has dropped what it could of the log |
//! | `fatal` | `node`, `error`, `exit_code` | the process ends because of an error |
//! | `stopping`, `stopped` | `node` | SIGTERM or SIGINT arrived; all is closed |
//!
//! In JSON all fields are at the top level, beside `time` (RFC 3339, UTC), `level`, `target`, `node`, `message` and, if any,
//! `defects` (a list of names).

use std::fmt::{self, Write as _};

use labrys_raft::Defects;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The form of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Writes events in one of the forms.
struct Lines {
    format: LogFormat,
    node: u64,
    defects: Vec<&'static str>,
}

/// The fields of an event; they come out in alphabetical order.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }
}

impl Lines {
    fn json(&self, time: String, event: &Event<'_>, fields: Fields) -> String {
        let mut line = Map::new();
        line.insert("time".to_owned(), Value::from(time));
        line.insert("level".to_owned(), Value::from(event.metadata().level().as_str()));
        line.insert("target".to_owned(), Value::from(event.metadata().target()));
        line.insert("node".to_owned(), Value::from(self.node));
        if !self.defects.is_empty() {
            line.insert("defects".to_owned(), Value::from(self.defects.clone()));
        }
        line.extend(fields.0);
        Value::Object(line).to_string()
    }

    fn text(&self, time: &str, event: &Event<'_>, fields: Fields) -> String {
        let mut fields = fields.0;
        let message = fields.remove("message");
        let message = message.as_ref().and_then(Value::as_str).unwrap_or_default();
        fields.remove("node");
        let mut line = format!("{time} {:>5} node={} ", event.metadata().level(), self.node);
        if !self.defects.is_empty() {
            let _ = write!(line, "[DEFECTS: {}] ", self.defects.join(", "));
        }
        line.push_str(message);
        for (name, value) in fields {
            let _ = write!(line, " {name}={value}");
        }
        line
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let line = match self.format {
            LogFormat::Json => self.json(time, event, fields),
            LogFormat::Text => self.text(&time, event, fields),
        };
        writeln!(writer, "{line}")
    }
}

/// Sends the events of the whole process to stderr. `LABRYS_LOG` filters them (as `RUST_LOG` does elsewhere); without it,
/// `info` and above of this store, `warn` and above of everything else.
pub fn start(format: LogFormat, node: u64, defects: Defects) {
    let filter = EnvFilter::try_from_env("LABRYS_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,labrys_store=info,labrys_raft=info"));
    let lines = Lines { format, node, defects: defects.iter().map(|defect| defect.name()).collect() };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process changes nothing.
    let _ = subscriber.event_format(lines).try_init();
}

//! How a connection is kept: opened, read, made again when it is lost, and filled with heartbeats.

use std::io::{BufReader, Write};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::super::lifeline::{Lifeline, Listening};
use super::super::protocol::{Answer, FromAgent, ToAgent, line, read_line};
use super::{Channel, NoAnswer, NoChannel, Shared};

/// Between two tries at connecting.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

pub(super) type Reader = BufReader<Listening<Box<dyn std::io::Read + Send>>>;

impl Shared {
    /// Opens a channel, says hello, and says everything again that has no answer. It is given up when nothing is heard for `within`.
    pub(super) fn connect(&self, within: Duration) -> Result<Reader, NoChannel> {
        let node = &self.setup.node;
        let lifeline = Lifeline::watched(within)
            .map_err(|error| NoChannel { reason: format!("{node}: {error}"), is_final: false })?;
        let mut state = self.lock();
        if let Some(over) = &state.over {
            return Err(NoChannel { reason: over.clone(), is_final: true });
        }
        // From here on it is cut, however far it comes, when the connection is closed.
        state.lifeline = Some(Arc::clone(&lifeline));
        drop(state);
        let greeted = self.greet(&lifeline);
        greeted.map_err(|no_channel| {
            lifeline.cut();
            match lifeline.was_silent_for() {
                // Why it had ended then is known better here than there.
                Some(silent) => NoChannel {
                    reason: format!(
                        "{node}: nothing was heard for {:.1} s while the connection was made",
                        silent.as_secs_f64()
                    ),
                    is_final: false,
                },
                None => no_channel,
            }
        })
    }

    fn greet(&self, lifeline: &Arc<Lifeline>) -> Result<Reader, NoChannel> {
        let Channel { mut writer, reader, complaint } = self.transport.open(lifeline)?;
        let mut reader: Reader = BufReader::new(lifeline.listening(reader));
        let node = &self.setup.node;
        let temporary = |reason: String| NoChannel { reason, is_final: false };
        let hello =
            line(&ToAgent::Hello(self.setup.clone())).map_err(|error| temporary(error.to_string()))?;
        let said = writer.write_all(hello.as_bytes()).and_then(|()| writer.flush());
        let answer = said.and_then(|()| read_line(&mut reader, self.pace.line_bytes));
        let read = answer.as_ref().ok().cloned().flatten().and_then(|text| serde_json::from_str(&text).ok());
        let (incarnation, undone) = match read {
            Some(FromAgent::Welcome { incarnation, undone }) => (incarnation, undone),
            Some(FromAgent::Refused { reason }) => {
                return Err(NoChannel {
                    reason: format!("{node}: the agent refuses: {reason}"),
                    is_final: true,
                });
            }
            _ => {
                lifeline.cut();
                let detail = answer.err().map(|error| format!(" ({error})")).unwrap_or_default();
                return Err(temporary(format!("{node}: the agent did not begin{detail}: {}", complaint())));
            }
        };
        lifeline.allow(self.pace.heard_within);
        // Held until all is said again: who asks something meanwhile is either among those for whom it is, or finds this writer. In between a
        // request would be lost, and nobody would miss it before its time is over.
        let mut held = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        state.incarnation = Some(incarnation);
        let now = Instant::now();
        for report in undone {
            tracing::warn!(node, fault = report.fault_id, "another agent has ended a fault before its time");
            state.ended_early.entry(report.fault_id).or_insert((report, now));
        }
        let mut again = String::new();
        for waiting in state.waiting.values_mut().filter(|waiting| waiting.answer.is_none()) {
            let is_another = waiting.sent_to.is_some_and(|sent_to| sent_to != incarnation);
            if is_another && !waiting.is_repeatable {
                let reason =
                    format!("{node}: the agent died, and another one has undone what it had applied");
                waiting.answer = Some(Err(NoAnswer(reason)));
            } else {
                waiting.sent_to = Some(incarnation);
                again.push_str(&waiting.line);
            }
        }
        drop(state);
        self.changed.notify_all();
        // If it cannot be written, the reader finds out, and all this is done once more.
        let is_said = writer.write_all(again.as_bytes()).and_then(|()| writer.flush()).is_ok();
        *held = is_said.then_some(writer);
        Ok(reader)
    }

    /// Reads, and connects again, until it is over.
    pub(super) fn keep(&self, mut reader: Reader) {
        let silence = Duration::from_millis(self.setup.silence_ms);
        loop {
            self.read_all(&mut reader);
            let lost_at = Instant::now();
            self.forget_connection();
            reader = loop {
                if self.lock().over.is_some() {
                    return;
                }
                match self.connect(silence) {
                    Ok(reader) => break reader,
                    Err(no_channel) => {
                        tracing::warn!(node = self.setup.node, "{}", no_channel.reason);
                        // Twice the silence: then it has ended for certain, and says so to whoever reaches it.
                        let given_up = lost_at.elapsed() > 2 * silence;
                        if no_channel.is_final || given_up {
                            self.close(&no_channel.reason);
                            return;
                        }
                    }
                }
                std::thread::sleep(BETWEEN_TRIES);
            };
            tracing::info!(node = self.setup.node, "the connection was made again");
        }
    }

    fn forget_connection(&self) {
        // First: whoever writes to it is set free by this.
        self.cut();
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut state = self.lock();
        state.lifeline = None;
        state.lost += 1;
        if state.over.is_none() {
            tracing::warn!(node = self.setup.node, "the connection to the agent was lost");
        }
    }

    /// Until the connection ends, or it is over.
    fn read_all(&self, reader: &mut Reader) {
        let nonsense = |error: String| {
            // It would say the same again over another connection.
            self.close(&format!("{}: what the agent says makes no sense: {error}", self.setup.node));
        };
        loop {
            let text = match read_line(reader, self.pace.line_bytes) {
                Ok(Some(text)) => text,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return nonsense(error.to_string());
                }
                Ok(None) | Err(_) => return,
            };
            match serde_json::from_str(&text) {
                Ok(FromAgent::Response { id, answer }) => self.answered(id, answer),
                // That it has come was heard.
                Ok(_) => {}
                Err(error) => return nonsense(error.to_string()),
            }
        }
    }

    fn answered(&self, id: u64, answer: Answer) {
        let mut state = self.lock();
        if matches!(answer, Answer::Finished(_)) {
            // It ends; another connection would have another one started.
            state.over.get_or_insert_with(|| "the agent was told to end, and has".to_owned());
        }
        if let Some(waiting) = state.waiting.get_mut(&id) {
            waiting.answer = Some(Ok(answer));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Heartbeats, until it is over. May be blocked by a peer that takes nothing, until the connection is cut.
    pub(super) fn beat(&self) {
        loop {
            let state = self.lock();
            if state.over.is_some() {
                return;
            }
            let received = state.waiting.keys().next().map_or(state.last_id, |first| first - 1);
            drop(state);
            if let Ok(heartbeat) = line(&ToAgent::Heartbeat { received }) {
                self.write(&heartbeat);
            }
            let goes_on = |state: &mut super::State| state.over.is_none();
            let waited = self.changed.wait_timeout_while(self.lock(), self.pace.heartbeat_every, goes_on);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

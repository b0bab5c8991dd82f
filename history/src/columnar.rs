//! Parquet: one row an event, for tools that work on columns. Behind the feature `parquet`.
//!
//! `index`, `time_ns` and `client` (null for named processes) are integers; `process`, `kind` and `f` are text; `key`,
//! `value`, `error` and `extra` are text in the notation of our JSON Lines, null where there is none. The columns are plain,
//! not compressed, and only those are read. Nothing is lost.
//!
//! The file is written and read whole in memory. The reader of the crate `parquet` is not made for hostile files: a panic in
//! it is caught and becomes an error.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::parquet::column::reader::ColumnReader;
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::names::Names;
use crate::{Details, Event, EventKind, Process, Value};

/// What every file of Parquet's begins with.
pub(crate) const MARK: &[u8] = b"PAR1";

const SCHEMA: &str = "message labrys_history {
    required int64 index (INTEGER(64, false));
    required int64 time_ns (INTEGER(64, false));
    required binary process (UTF8);
    optional int64 client (INTEGER(64, false));
    required binary kind (UTF8);
    required binary f (UTF8);
    optional binary key (UTF8);
    optional binary value (UTF8);
    optional binary error (UTF8);
    optional binary extra (UTF8);
}";

/// So many events are a group of rows.
const GROUP: usize = 64 * 1024;

/// Writes `events`.
pub(crate) fn write(out: &mut dyn Write, events: &[Event]) -> io::Result<()> {
    let text = to_bytes(events).map_err(io::Error::other)?;
    out.write_all(&text)?;
    out.flush()
}

fn to_bytes(events: &[Event]) -> Result<Vec<u8>, ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::default()))?;
    for events in events.chunks(GROUP) {
        let mut group = writer.next_row_group()?;
        integers(&mut group, events, |event| Some(event.index), true)?;
        integers(&mut group, events, |event| Some(event.time_ns), true)?;
        texts(&mut group, events, |event| Some(event.process.to_string()), true)?;
        integers(&mut group, events, |event| event.process.client(), false)?;
        texts(&mut group, events, |event| Some(event.kind.name().to_owned()), true)?;
        texts(&mut group, events, |event| Some(event.f.to_string()), true)?;
        texts(&mut group, events, |event| event.key.as_ref().map(json), false)?;
        texts(&mut group, events, |event| (!event.value.is_nil()).then(|| json(&event.value)), false)?;
        texts(&mut group, events, |event| event.error().map(json), false)?;
        texts(&mut group, events, |event| (!event.extra().is_empty()).then(|| json(event.extra())), false)?;
        group.close()?;
    }
    writer.into_inner()
}

/// Values in the notation of JSON Lines; they have no form that JSON cannot take.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

fn integers(
    group: &mut Group<'_>,
    events: &[Event],
    of: impl Fn(&Event) -> Option<u64>,
    required: bool,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else { return Err(missing()) };
    let (values, levels) = with_levels(events, |event| of(event).map(u64::cast_signed));
    column.typed::<Int64Type>().write_batch(&values, (!required).then_some(&levels), None)?;
    column.close()
}

fn texts(
    group: &mut Group<'_>,
    events: &[Event],
    of: impl Fn(&Event) -> Option<String>,
    required: bool,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else { return Err(missing()) };
    let (values, levels) =
        with_levels(events, |event| of(event).map(|text| ByteArray::from(text.into_bytes())));
    column.typed::<ByteArrayType>().write_batch(&values, (!required).then_some(&levels), None)?;
    column.close()
}

/// The values that there are, and for each event whether it has one.
fn with_levels<T>(events: &[Event], of: impl Fn(&Event) -> Option<T>) -> (Vec<T>, Vec<i16>) {
    let (mut values, mut levels) = (Vec::new(), Vec::with_capacity(events.len()));
    for value in events.iter().map(of) {
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    (values, levels)
}

fn missing() -> ParquetError {
    ParquetError::General("expected another column".to_owned())
}

/// What is wrong with a file, and in which row (from 0), if it is about one.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) row: u64,
    pub(crate) message: String,
}

/// Reads the events of `file`.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Event>, Wrong> {
    let whole = |message: String| Wrong { row: 0, message };
    // Nothing of ours is changed when it unwinds.
    let columns = catch_unwind(AssertUnwindSafe(|| columns(file)))
        .map_err(|_| whole("expected a Parquet file; this one breaks the reader of it".to_owned()))?
        .map_err(|error| whole(format!("expected a Parquet file of events: {error}")))?;
    let mut names = Names::default();
    let count = columns.index.len();
    (0..count)
        .map(|row| columns.event(row, &mut names).map_err(|message| Wrong { row: row as u64, message }))
        .collect()
}

/// All columns of a file, each as long as the file has rows.
#[derive(Default)]
struct Columns {
    index: Vec<Option<i64>>,
    time_ns: Vec<Option<i64>>,
    process: Vec<Option<ByteArray>>,
    client: Vec<Option<i64>>,
    kind: Vec<Option<ByteArray>>,
    f: Vec<Option<ByteArray>>,
    key: Vec<Option<ByteArray>>,
    value: Vec<Option<ByteArray>>,
    error: Vec<Option<ByteArray>>,
    extra: Vec<Option<ByteArray>>,
}

fn columns(file: &[u8]) -> Result<Columns, ParquetError> {
    let reader = SerializedFileReader::new(bytes::Bytes::copy_from_slice(file))?;
    let mut columns = Columns::default();
    for position in 0..reader.num_row_groups() {
        let group = reader.get_row_group(position)?;
        let group = &*group;
        read_integers(group, "index", &mut columns.index)?;
        read_integers(group, "time_ns", &mut columns.time_ns)?;
        read_integers(group, "client", &mut columns.client)?;
        for (name, column) in [
            ("process", &mut columns.process),
            ("kind", &mut columns.kind),
            ("f", &mut columns.f),
            ("key", &mut columns.key),
            ("value", &mut columns.value),
            ("error", &mut columns.error),
            ("extra", &mut columns.extra),
        ] {
            read_texts(group, name, column)?;
        }
    }
    Ok(columns)
}

/// The column of that name, its number of rows, and whether it has a value for each of them.
fn column(group: &dyn RowGroupReader, name: &str) -> Result<(ColumnReader, usize, bool), ParquetError> {
    let metadata = group.metadata();
    let position = metadata.columns().iter().position(|column| column.column_path().string() == name);
    let position =
        position.ok_or_else(|| ParquetError::General(format!("expected a column `{name}`, found none")))?;
    let descriptor = metadata.column(position).column_descr();
    if descriptor.max_rep_level() > 0 || descriptor.max_def_level() > 1 {
        return Err(wrong_type(name, "one value a row"));
    }
    let rows = usize::try_from(metadata.num_rows()).map_err(|_| wrong_type(name, "a number of rows"))?;
    Ok((group.get_column_reader(position)?, rows, descriptor.max_def_level() == 0))
}

fn wrong_type(name: &str, expected: &str) -> ParquetError {
    ParquetError::General(format!("expected the column `{name}` to have {expected}"))
}

fn read_integers(
    group: &dyn RowGroupReader,
    name: &str,
    into: &mut Vec<Option<i64>>,
) -> Result<(), ParquetError> {
    let (reader, rows, full) = column(group, name)?;
    let ColumnReader::Int64ColumnReader(mut reader) = reader else {
        return Err(wrong_type(name, "64-bit integers"));
    };
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    while reader.read_records(rows, (!full).then_some(&mut levels), None, &mut values)?.0 > 0 {}
    spread(values, &levels, full, rows, name, into)
}

fn read_texts(
    group: &dyn RowGroupReader,
    name: &str,
    into: &mut Vec<Option<ByteArray>>,
) -> Result<(), ParquetError> {
    let (reader, rows, full) = column(group, name)?;
    let ColumnReader::ByteArrayColumnReader(mut reader) = reader else {
        return Err(wrong_type(name, "text"));
    };
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    while reader.read_records(rows, (!full).then_some(&mut levels), None, &mut values)?.0 > 0 {}
    spread(values, &levels, full, rows, name, into)
}

/// Gives every row its value or none.
fn spread<T>(
    values: Vec<T>,
    levels: &[i16],
    full: bool,
    rows: usize,
    name: &str,
    into: &mut Vec<Option<T>>,
) -> Result<(), ParquetError> {
    let before = into.len();
    let mut values = values.into_iter();
    if full {
        into.extend(values.by_ref().map(Some));
    } else {
        into.extend(levels.iter().map(|level| if *level > 0 { values.next() } else { None }));
    }
    if into.len() - before != rows {
        return Err(wrong_type(name, "as many rows as the others"));
    }
    Ok(())
}

impl Columns {
    fn event(&self, row: usize, names: &mut Names) -> Result<Event, String> {
        let integer = |column: &[Option<i64>], name: &str| {
            column[row]
                .map(i64::cast_unsigned)
                .ok_or_else(|| format!("expected a value of `{name}`, found null"))
        };
        let f = required(&self.f[row], "f")?;
        let process = match self.client[row] {
            Some(number) => Process::Client(number.cast_unsigned()),
            None => Process::Named(names.intern(required(&self.process[row], "process")?)),
        };
        let kind = required(&self.kind[row], "kind")?;
        Ok(Event {
            index: integer(&self.index, "index")?,
            time_ns: integer(&self.time_ns, "time_ns")?,
            process,
            kind: EventKind::named(kind)
                .ok_or_else(|| format!("expected a kind: invoke, ok, fail or info, found {kind:?}"))?,
            f: names.intern(f),
            key: parse(&self.key[row], "key")?,
            value: parse::<Value>(&self.value[row], "value")?.unwrap_or_default(),
            details: Details::new(
                parse(&self.error[row], "error")?,
                parse(&self.extra[row], "extra")?.unwrap_or_default(),
            ),
        })
    }
}

fn required<'a>(text: &'a Option<ByteArray>, name: &str) -> Result<&'a str, String> {
    let text = text.as_ref().ok_or_else(|| format!("expected a value of `{name}`, found null"))?;
    std::str::from_utf8(text.data()).map_err(|_| format!("expected `{name}` to be UTF-8"))
}

fn parse<T: DeserializeOwned>(text: &Option<ByteArray>, name: &str) -> Result<Option<T>, String> {
    let Some(text) = text else { return Ok(None) };
    let mut deserializer = serde_json::Deserializer::from_slice(text.data());
    // Values limit their depth by themselves.
    deserializer.disable_recursion_limit();
    let value = T::deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.map(Some).map_err(|error| format!("expected `{name}` to be JSON: {error}"))
}

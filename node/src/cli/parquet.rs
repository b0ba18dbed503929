//! Records as Parquet, for DuckDB, pandas and Spark: `DIR/parquet/INSTITUTION/FIRST-END.parquet`, a part for each 65,536 records.
//!
//! A part that is full never changes. The last one is written again, under a longer name, when the log has grown; it is there whole or not
//! at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use domain::ids::VoucherId;
use domain::record::{Body, Record};
use ledger::checkpoint::Checkpoint;
use ledger::log::Ledger;
use ledger::merkle::leaf_hash;
use ledger::mirror::Head;
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde::Serialize;
use serde_json::Value;

use super::export::put;

/// Records in a full part.
const PART: u64 = 65_536;

/// Records in a group of rows, which is in memory while it is written.
const GROUP: usize = 8_192;

/// What a record is as a row. What this program cannot read has its place, id and bytes.
const SCHEMA: &str = "message record {
  required int64 index;
  required binary id (STRING);
  optional int64 at (TIMESTAMP(MILLIS, true));
  optional binary role (STRING);
  optional binary operator (STRING);
  optional binary kind (STRING);
  optional binary voucher (STRING);
  optional binary record (STRING);
  required binary bytes;
}";

/// Rows of a group, column by column; the levels say which rows have a value.
#[derive(Default)]
struct Rows {
    index: Vec<i64>,
    id: Vec<ByteArray>,
    at: Vec<i64>,
    is_readable: Vec<i16>,
    texts: [Texts; 5],
    bytes: Vec<ByteArray>,
}

/// A column of texts that not every row has.
#[derive(Default)]
struct Texts {
    values: Vec<ByteArray>,
    levels: Vec<i16>,
}

impl Texts {
    fn push(&mut self, text: Option<String>) {
        self.levels.push(text.is_some().into());
        self.values.extend(text.map(|text| ByteArray::from(text.into_bytes())));
    }
}

impl Rows {
    fn push(&mut self, index: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let record: Option<Record> = ledger::record::decode_record(bytes).ok();
        self.index.push(i64::try_from(index)?);
        self.id.push(ByteArray::from(hex::encode(leaf_hash(bytes).0).into_bytes()));
        self.is_readable.push(record.is_some().into());
        self.at.extend(record.as_ref().map(|record| record.at.millis()));
        let record = record.as_ref();
        let texts = [
            record.map(|record| record.role.as_str().to_owned()),
            record.and_then(|record| record.operator).map(|operator| operator.to_string()),
            record.map(|record| kind_of(&record.body)),
            record.and_then(|record| voucher_of(&record.body)).map(|voucher| voucher.to_string()),
            record.map(serde_json::to_string).transpose()?,
        ];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.push(text);
        }
        self.bytes.push(ByteArray::from(bytes.to_vec()));
        Ok(())
    }

    /// The columns in the order of the schema.
    fn write(&self, part: &mut SerializedFileWriter<&mut Vec<u8>>) -> Result<(), ParquetError> {
        let mut group = part.next_row_group()?;
        let mut number = 0;
        while let Some(mut column) = group.next_column()? {
            match (column.untyped(), number) {
                (ColumnWriter::Int64ColumnWriter(column), 0) => column.write_batch(&self.index, None, None)?,
                (ColumnWriter::Int64ColumnWriter(column), _) => {
                    column.write_batch(&self.at, Some(&self.is_readable), None)?
                }
                (ColumnWriter::ByteArrayColumnWriter(column), 1) => column.write_batch(&self.id, None, None)?,
                (ColumnWriter::ByteArrayColumnWriter(column), 8) => column.write_batch(&self.bytes, None, None)?,
                (ColumnWriter::ByteArrayColumnWriter(column), number) => {
                    let Some(Texts { values, levels }) = self.texts.get(number - 3) else { break };
                    column.write_batch(values, Some(levels), None)?
                }
                _ => break,
            };
            column.close()?;
            number += 1;
        }
        group.close()?;
        Ok(())
    }
}

/// A record's kind, as docs/record-format.md names it: a step's or note's own name, where it is one.
fn kind_of(body: &Body) -> String {
    let name = match body {
        Body::Chain(chain) => name_of(&chain.step),
        Body::Note(note) => name_of(&note.note),
        Body::Registrar(event) => name_of(event),
        Body::Programme(event) => name_of(event),
        body => name_of(body),
    };
    name.unwrap_or_default()
}

/// The name of a variant.
pub(super) fn name_of(variant: &impl Serialize) -> Option<String> {
    match serde_json::to_value(variant).ok()? {
        Value::Object(fields) => fields.into_iter().next().map(|(name, _)| name),
        Value::String(name) => Some(name),
        _ => None,
    }
}

const fn voucher_of(body: &Body) -> Option<VoucherId> {
    match body {
        Body::Chain(chain) => Some(chain.voucher),
        Body::Note(note) => Some(note.voucher),
        Body::Finding(finding) => finding.voucher,
        _ => None,
    }
}

/// A part by its file's name: the first record, and the first after it.
fn part_of(path: &Path) -> Option<(u64, u64)> {
    let (first, end) = path.file_name()?.to_str()?.strip_suffix(".parquet")?.split_once('-')?;
    Some((first.parse().ok()?, end.parse().ok()?))
}

fn file_of(dir: &Path, first: u64, end: u64) -> PathBuf {
    dir.join(format!("{first:012}-{end:012}.parquet"))
}

/// Writes what the parts of a log do not have yet.
pub(super) fn write(ledger: &Ledger, head: &Head, dir: &Path) -> anyhow::Result<()> {
    let Checkpoint { origin, size, .. } = &head.checkpoint;
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        parts.extend(part_of(&path).map(|(first, end)| (first, end, path)));
    }
    let held = |first: u64| parts.iter().filter(|(f, ..)| *f == first).map(|(_, end, _)| *end).max();
    let longer = parts.iter().find(|(_, end, _)| end > size);
    ensure!(longer.is_none(), "{} has records of a longer log", dir.display());
    for first in (0..*size).step_by(usize::try_from(PART)?) {
        let end = size.min(&(first + PART)).to_owned();
        if held(first) != Some(end) {
            put(&file_of(dir, first, end), &part(ledger, origin, first, end)?)?;
        }
        // Shorter ones of the same records, also such as a run that was broken off has left.
        for (_, _, path) in parts.iter().filter(|(f, e, _)| *f == first && *e < end) {
            std::fs::remove_file(path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// The bytes of a part.
fn part(ledger: &Ledger, origin: &str, first: u64, end: u64) -> anyhow::Result<Vec<u8>> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties)?;
    let mut next = first;
    while next < end {
        let most = usize::try_from(end - next).unwrap_or(GROUP).min(GROUP);
        let entries = ledger.entries(origin, next, most);
        ensure!(!entries.is_empty(), "entry {next} of {origin} is not held");
        let mut rows = Rows::default();
        for entry in &entries {
            rows.push(next, entry)?;
            next += 1;
        }
        rows.write(&mut writer)?;
    }
    writer.close()?;
    Ok(bytes)
}

//! [`Batch`]: a record batch of Arrow whose columns lie in [`Buffer`]s, so that it travels.
//!
//! Arrow's memory and pannier's are both counted owners of bytes, so either can keep the other
//! ([`to_arrow`], [`from_arrow`]) and nothing is copied. Arrow does not say whom its memory belongs
//! to: a batch remembers that itself, else what was received could not be sent on without a copy.
//! Promises: schema, lengths and offsets are metadata, the rest is buffers; what comes from another
//! process has passed Arrow's validation or is an error.
//! Does not know: how it travels. To use it elsewhere, copy this file.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_data::{ArrayData, BufferSpec};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use pannier::Buffer;
use serde::{Deserialize, Serialize};

/// Arrow's handle to these bytes, which keeps ours.
pub fn to_arrow(bytes: Buffer<u8>) -> arrow_buffer::Buffer {
    bytes::Bytes::from(bytes).into()
}

/// Our handle to these bytes, which keeps Arrow's.
pub fn from_arrow(bytes: arrow_buffer::Buffer) -> Buffer<u8> {
    struct Kept(arrow_buffer::Buffer);
    impl AsRef<[u8]> for Kept {
        fn as_ref(&self) -> &[u8] {
            self.0.as_slice()
        }
    }
    Buffer::from_owner(Kept(bytes))
}

/// Why a batch cannot travel, or is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Only flat columns travel: numbers, times, booleans, strings and bytes.
    #[error("a column of type {0} does not travel")]
    Type(DataType),
    /// There are not as many columns as the schema has.
    #[error("{columns} columns for a schema of {fields}")]
    Columns {
        /// How many there are.
        columns: usize,
        /// How many there should be.
        fields: usize,
    },
    /// The bitmap of nulls is too short for its rows.
    #[error("a bitmap of {len} bytes has no {rows} bits from bit {offset} on")]
    Nulls {
        /// Bytes of the bitmap.
        len: usize,
        /// The first bit.
        offset: usize,
        /// The bits that there should be.
        rows: usize,
    },
    /// A buffer ends within an item.
    #[error("a buffer of {len} bytes is not a whole number of items of {width} bytes")]
    Items {
        /// Bytes of the buffer.
        len: usize,
        /// Bytes of an item.
        width: usize,
    },
    /// What Arrow's own checks say.
    #[error("not a column or batch of Arrow")]
    Arrow(#[from] ArrowError),
}

/// A record batch, and the memory that it lies in. Cloning and slicing share.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::{ArrayRef, RecordBatch, StringArray};
/// use pannier_interop::Batch;
///
/// let names: ArrayRef = Arc::new(StringArray::from(vec![Some("east"), None, Some("west")]));
/// let batch = RecordBatch::try_from_iter([("name", names)])?.slice(1, 2);
/// let frame = pannier::to_vec(&Batch::new(batch.clone(), vec![])?)?;
/// let again: Batch = pannier::from_slice(&frame)?;
/// assert_eq!(*again.batch(), batch);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Parts", try_from = "Parts")]
pub struct Batch {
    batch: RecordBatch,
    memory: Vec<Buffer<u8>>,
}

/// What travels.
#[derive(Serialize, Deserialize)]
struct Parts {
    schema: Schema,
    rows: usize,
    columns: Vec<Column>,
}

/// One column, in the words of [`ArrayData`].
#[derive(Serialize, Deserialize)]
struct Column {
    offset: usize,
    nulls: Option<Nulls>,
    buffers: Vec<Buffer<u8>>,
}

/// A bitmap, of which the first bits may be another's.
#[derive(Serialize, Deserialize)]
struct Nulls {
    offset: usize,
    bits: Buffer<u8>,
}

impl Batch {
    /// A batch, with the buffers that its arrays were made of; arrays that lie in none of them are
    /// sent as well, and copied on their way.
    ///
    /// # Errors
    ///
    /// A column that does not travel.
    pub fn new(batch: RecordBatch, memory: Vec<Buffer<u8>>) -> Result<Self, BatchError> {
        for field in batch.schema_ref().fields() {
            travels(field.data_type())?;
        }
        Ok(Batch { batch, memory })
    }

    /// The batch, in place.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Some of the rows, in place.
    ///
    /// # Panics
    ///
    /// There are not so many.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Batch { batch: self.batch.slice(offset, len), memory: self.memory.clone() }
    }

    /// The part of our memory that Arrow's bytes are, or else the bytes as they are.
    fn owned(&self, bytes: &arrow_buffer::Buffer) -> Buffer<u8> {
        let range = bytes.as_ptr_range();
        let contains = |memory: &&Buffer<u8>| {
            let all = memory.as_ptr_range();
            all.start <= range.start && range.end <= all.end
        };
        let Some(memory) = self.memory.iter().find(contains) else {
            return from_arrow(bytes.clone());
        };
        let start = range.start.addr() - memory.as_ptr().addr();
        memory.slice(start..start + bytes.len())
    }

    fn column(&self, array: &ArrayRef) -> Column {
        let data = array.to_data();
        let nulls = data.nulls();
        let nulls =
            nulls.map(|nulls| Nulls { offset: nulls.offset(), bits: self.owned(nulls.buffer()) });
        let buffers = data.buffers().iter().map(|bytes| self.owned(bytes)).collect();
        Column { offset: data.offset(), nulls, buffers }
    }
}

impl From<Batch> for Parts {
    fn from(batch: Batch) -> Self {
        let columns = batch.batch.columns().iter().map(|array| batch.column(array)).collect();
        let schema = Schema::clone(batch.batch.schema_ref());
        Parts { schema, rows: batch.batch.num_rows(), columns }
    }
}

/// Nothing is believed: another process may have written it.
impl TryFrom<Parts> for Batch {
    type Error = BatchError;

    fn try_from(parts: Parts) -> Result<Self, BatchError> {
        let Parts { schema, rows, columns } = parts;
        let (count, fields) = (columns.len(), schema.fields().len());
        if count != fields {
            return Err(BatchError::Columns { columns: count, fields });
        }
        let mut memory = Vec::new();
        let arrays = columns.into_iter().zip(schema.fields());
        let arrays: Result<Vec<ArrayRef>, _> =
            arrays.map(|(column, field)| array(column, field, rows, &mut memory)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(schema), arrays?, &options)?;
        Ok(Batch { batch, memory })
    }
}

/// Shorter buffers travel within the metadata.
const IN_BAND: usize = 4096;

/// The bytes for Arrow. A long buffer stays where it is, and is remembered. A short one was copied
/// out of the metadata to any address; Arrow wants its own alignment.
fn received(bytes: Buffer<u8>, memory: &mut Vec<Buffer<u8>>) -> arrow_buffer::Buffer {
    if bytes.len() < IN_BAND {
        return arrow_buffer::Buffer::from(&*bytes);
    }
    memory.push(bytes.clone());
    to_arrow(bytes)
}

fn array(
    column: Column,
    field: &Field,
    rows: usize,
    memory: &mut Vec<Buffer<u8>>,
) -> Result<ArrayRef, BatchError> {
    let kind = field.data_type();
    travels(kind)?;
    let Column { offset, nulls, buffers } = column;
    // Arrow would panic, and not say no, about items that are cut and bitmaps that are too short.
    for (bytes, spec) in buffers.iter().zip(arrow_data::layout(kind).buffers) {
        if let BufferSpec::FixedWidth { byte_width: width, .. } = spec {
            let len = bytes.len();
            (len % width == 0).then_some(()).ok_or(BatchError::Items { len, width })?;
        }
    }
    let nulls = nulls.map(|nulls| bitmap(nulls, rows, memory)).transpose()?;
    let buffers = buffers.into_iter().map(|bytes| received(bytes, memory)).collect();
    let data = ArrayData::builder(kind.clone()).len(rows).offset(offset);
    // Checks lengths, offsets, alignment, and strings.
    Ok(make_array(data.nulls(nulls).buffers(buffers).build()?))
}

fn bitmap(
    nulls: Nulls,
    rows: usize,
    memory: &mut Vec<Buffer<u8>>,
) -> Result<NullBuffer, BatchError> {
    let Nulls { offset, bits } = nulls;
    let len = bits.len();
    let end = offset.checked_add(rows).filter(|&end| end.div_ceil(8) <= len);
    end.ok_or(BatchError::Nulls { len, offset, rows })?;
    Ok(NullBuffer::new(BooleanBuffer::new(received(bits, memory), offset, rows)))
}

fn travels(kind: &DataType) -> Result<(), BatchError> {
    use DataType::{Binary, Boolean, LargeBinary, LargeUtf8, Utf8};
    let is_flat = matches!(kind, Boolean | Utf8 | LargeUtf8 | Binary | LargeBinary);
    (is_flat || kind.is_primitive()).then_some(()).ok_or_else(|| BatchError::Type(kind.clone()))
}

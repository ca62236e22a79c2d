//! `Batch`: any slice of flat columns comes back equal, and no column from outside hurts.

use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use pannier::{Buffer, Decoder, Encoder};
use pannier_interop::{Batch, BatchError, from_arrow, to_arrow};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;

/// Columns of all kinds; every third value of most of them is missing.
fn mixed(rows: usize) -> RecordBatch {
    let some = |row: usize| (row % 3 != 1).then_some(row);
    let rows = || 0..rows;
    let (int, wide) = (|row| row as i64, |row| row as i128);
    let id = Int64Array::from_iter_values(rows().map(int));
    let price: Float64Array = rows().map(|row| some(row).map(|row| row as f64 / 4.0)).collect();
    let name: StringArray = rows().map(|row| some(row).map(|row| format!("n°{row}"))).collect();
    let flag: BooleanArray = rows().map(|row| some(row).map(|row| row % 5 == 0)).collect();
    let sum: Decimal128Array = rows().map(|row| some(row).map(wide)).collect();
    let at: TimestampMicrosecondArray = rows().map(|row| some(row).map(int)).collect();
    let columns: [(&str, ArrayRef); 6] = [
        ("id", Arc::new(id)),
        ("price", Arc::new(price)),
        ("name", Arc::new(name)),
        ("flag", Arc::new(flag)),
        ("sum", Arc::new(sum)),
        ("at", Arc::new(at.with_timezone("+01:00"))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

fn through_parts(batch: &Batch) -> Batch {
    let mut buffers = Vec::new();
    let metadata = Encoder::new().to_parts(batch, &mut buffers).expect("plain data");
    Decoder::new().from_parts(&metadata, &mut buffers).expect("what was written")
}

/// Where the longer buffers lie, and their lengths.
fn addresses(batch: &RecordBatch) -> Vec<(usize, usize)> {
    let data = batch.columns().iter().map(Array::to_data);
    let all = data.flat_map(|data| {
        let nulls = data.nulls().map(|nulls| nulls.buffer().clone());
        data.buffers().iter().cloned().chain(nulls).collect::<Vec<_>>()
    });
    let all = all.map(|bytes| (bytes.as_ptr().addr(), bytes.len()));
    all.filter(|(_, len)| *len >= 4096).collect()
}

#[test]
fn arrows_memory_becomes_ours_and_ours_becomes_arrows() {
    let ours: Buffer<u8> = vec![7; 100].into();
    let arrows = to_arrow(ours.slice(10..20));
    assert_eq!((arrows.as_ptr(), arrows.len()), (ours[10..].as_ptr(), 10));
    let again = from_arrow(arrows.slice(5));
    assert_eq!((again.as_ptr(), again.len()), (ours[15..].as_ptr(), 5));
    drop((ours, arrows));
    assert_eq!(*again, [7; 5]);
}

#[test]
fn a_batch_comes_back_equal_and_where_it_was() {
    let batch = mixed(40_000);
    let sent = Batch::new(batch.clone(), Vec::new()).expect("flat columns");
    let again = through_parts(&sent);
    assert_eq!(*again.batch(), batch);
    assert_eq!(addresses(again.batch()), addresses(&batch));
}

#[test]
fn a_slice_comes_back_equal_and_where_it_was() {
    for (offset, len) in [(3, 39_000), (8, 30_000), (39_999, 1), (40_000, 0), (13, 5)] {
        let batch = mixed(40_000).slice(offset, len);
        let sent = Batch::new(batch.clone(), Vec::new()).expect("flat columns");
        let again = through_parts(&through_parts(&sent));
        assert_eq!(*again.batch(), batch);
        assert_eq!(addresses(again.batch()), addresses(&batch));
    }
}

#[test]
fn a_batch_without_columns_keeps_its_rows() {
    let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let again = through_parts(&Batch::new(none.clone(), Vec::new()).expect("no columns"));
    assert_eq!(*again.batch(), none);
}

#[test]
fn a_nested_column_is_refused_by_name() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])]);
    let batch = RecordBatch::try_from_iter([("lists", Arc::new(lists) as ArrayRef)]);
    let refused = Batch::new(batch.expect("one column"), Vec::new()).expect_err("a list");
    assert!(matches!(refused, BatchError::Type(DataType::List(_))));
}

#[test]
fn a_batch_that_was_received_goes_back_without_a_copy() {
    let (ours, theirs) = pannier::channel::pair::<Batch, Batch>().expect("a channel");
    // From Arrow's own memory: copied once for each buffer.
    ours.send(Batch::new(mixed(9_000), Vec::new()).expect("flat")).expect("somebody receives");
    let received = theirs.recv().expect("it was sent");
    assert!(ours.stats().payload_copies > 0);

    theirs.send(received.slice(5, 8_000)).expect("somebody receives");
    let again = ours.recv().expect("it was sent");
    assert_eq!(*again.batch(), mixed(9_000).slice(5, 8_000));
    assert_eq!(theirs.stats().payload_copies, 0);
}

// ── what another process may say ─────────────────────────────────────────────

#[derive(Clone, Debug, Serialize)]
struct Alleged {
    schema: Schema,
    rows: usize,
    columns: Vec<Column>,
}

#[derive(Clone, Debug, Serialize)]
struct Column {
    offset: usize,
    nulls: Option<Nulls>,
    buffers: Vec<Buffer<u8>>,
}

#[derive(Clone, Debug, Serialize)]
struct Nulls {
    offset: usize,
    bits: Buffer<u8>,
}

fn alleged(kind: DataType, rows: usize, column: Column) -> Alleged {
    let schema = Schema::new(vec![Field::new("column", kind, true)]);
    Alleged { schema, rows, columns: vec![column] }
}

fn read(alleged: &Alleged) -> Result<Batch, pannier::CodecError> {
    let mut buffers = Vec::new();
    let metadata = Encoder::new().to_parts(alleged, &mut buffers).expect("plain data");
    Decoder::new().from_parts(&metadata, &mut buffers)
}

fn column(buffers: &[&[u8]]) -> Column {
    let buffers = buffers.iter().map(|bytes| Buffer::copy_from_slice(bytes)).collect();
    Column { offset: 0, nulls: None, buffers }
}

/// Strings of these lengths, with offsets that may be wrong.
fn strings(offsets: &[i32], text: &str) -> Column {
    column(&[pannier::bytemuck::cast_slice(offsets), text.as_bytes()])
}

#[test]
fn what_lies_beyond_a_buffer_is_an_error() {
    let refused = |alleged: Alleged| read(&alleged).is_err();
    let ints = |rows, offset| {
        alleged(DataType::Int64, rows, Column { offset, ..column(&[&[0; 8 * 1_000]]) })
    };
    assert!(!refused(ints(1_000, 0)) && !refused(ints(900, 100)));
    assert!(refused(ints(1_001, 0)), "more rows");
    assert!(refused(ints(1_000, 1)), "an offset");
    assert!(refused(ints(1, usize::MAX)), "an offset without bounds");
    assert!(refused(ints(usize::MAX, usize::MAX)), "a sum that overflows");
    assert!(refused(ints(usize::MAX / 8 + 2, 0)), "a product that overflows");
    assert!(refused(alleged(DataType::Int64, 1, column(&[]))), "no buffer");
    assert!(refused(alleged(DataType::Int64, 1, column(&[&[0; 8], &[0; 8]]))), "a buffer too many");
    assert!(refused(alleged(DataType::Int64, 1, column(&[&[0; 9]]))), "an item that is cut");

    let text = |offsets: &[i32]| alleged(DataType::Utf8, offsets.len() - 1, strings(offsets, "aé"));
    assert!(!refused(text(&[0, 1, 3])));
    assert!(refused(text(&[0, 1, 4])), "a string beyond the bytes");
    assert!(refused(text(&[0, 1, 0, 3])), "offsets that fall");
    assert!(refused(text(&[-1, 1, 3])), "a negative offset");
    assert!(refused(text(&[0, 2, 3])), "half a character");
    let mut cut = text(&[0, 1, 3]);
    cut.columns[0].buffers[0] = Buffer::copy_from_slice(&[0; 13]);
    assert!(refused(cut), "an offset that is cut");
}

#[test]
fn a_bitmap_that_is_too_short_is_an_error() {
    let with_nulls = |offset, bits: &[u8]| {
        let nulls = Some(Nulls { offset, bits: Buffer::copy_from_slice(bits) });
        alleged(DataType::Int64, 10, Column { nulls, ..column(&[&[0; 80]]) })
    };
    assert_eq!(read(&with_nulls(6, &[0; 2])).expect("16 bits").batch().column(0).null_count(), 10);
    assert!(read(&with_nulls(7, &[0; 2])).is_err());
    assert!(read(&with_nulls(usize::MAX, &[0; 2])).is_err());
    assert!(read(&with_nulls(0, &[])).is_err());
}

#[test]
fn memory_that_is_not_aligned_is_an_error() {
    let bytes: Buffer<u64> = vec![0; 2_000].into();
    let bytes = bytes.into_bytes();
    let at = |start: usize| {
        let buffers = vec![bytes.slice(start..start + 8_000)];
        read(&alleged(DataType::Int64, 1_000, Column { offset: 0, nulls: None, buffers }))
    };
    assert!(at(0).is_ok() && at(8).is_ok());
    assert!(at(1).is_err() && at(4).is_err());
}

#[test]
fn a_schema_that_is_not_that_of_the_columns_is_an_error() {
    let good = alleged(DataType::Int64, 1, column(&[&[0; 8]]));
    assert!(read(&good).is_ok());
    assert!(read(&Alleged { columns: Vec::new(), ..good.clone() }).is_err());
    assert!(read(&Alleged { columns: vec![good.columns[0].clone(); 2], ..good.clone() }).is_err());
    let schema = Schema::new(vec![Field::new("column", DataType::Int64, false)]);
    let nulls = Some(Nulls { offset: 0, bits: Buffer::copy_from_slice(&[0]) });
    let columns = vec![Column { nulls, ..good.columns[0].clone() }];
    assert!(read(&Alleged { schema, columns, ..good.clone() }).is_err(), "nulls where none may be");
    for nested in [DataType::Utf8View, DataType::Null, DataType::FixedSizeBinary(-1)] {
        assert!(read(&alleged(nested, 1, good.columns[0].clone())).is_err());
    }
}

fn number() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0_usize..40, 1 => any::<usize>()]
}

fn bytes() -> impl Strategy<Value = Buffer<u8>> {
    let words = vec(prop_oneof![0_i32..20, any::<i32>()], 0..40);
    (words, 0_usize..4).prop_map(|(words, cut)| {
        let bytes = Buffer::from(words).into_bytes();
        bytes.slice(..bytes.len().saturating_sub(cut))
    })
}

prop_compose! {
    fn columns()(
        offset in prop_oneof![Just(0), number()],
        nulls in proptest::option::of((number(), bytes())),
        buffers in vec(bytes(), 1..3),
    ) -> Column {
        let nulls = nulls.map(|(offset, bits)| Nulls { offset, bits });
        Column { offset, nulls, buffers }
    }
}

fn kinds() -> impl Strategy<Value = DataType> {
    use DataType::{
        Binary, Boolean, Decimal128, Float32, Int64, LargeUtf8, Timestamp, UInt8, Utf8,
    };
    let time = Timestamp(TimeUnit::Second, Some("nowhere".into()));
    let kinds =
        vec![Boolean, UInt8, Int64, Float32, Utf8, LargeUtf8, Binary, Decimal128(38, -100), time];
    proptest::sample::select(kinds)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_slice_of_a_slice_comes_back_equal(
        rows in 0_usize..3_000, first in any::<(u16, u16)>(), second in any::<(u16, u16)>(),
    ) {
        let cut = |batch: RecordBatch, (offset, len): (u16, u16)| {
            let offset = usize::from(offset) % (batch.num_rows() + 1);
            let len = usize::from(len) % (batch.num_rows() - offset + 1);
            batch.slice(offset, len)
        };
        let batch = cut(cut(mixed(rows), first), second);
        let again = through_parts(&Batch::new(batch.clone(), Vec::new()).expect("flat columns"));
        prop_assert_eq!(again.batch(), &batch);
    }

    #[test]
    fn no_alleged_column_makes_a_panic(kind in kinds(), rows in number(), column in columns()) {
        if let Ok(batch) = read(&alleged(kind, rows, column)) {
            prop_assert_eq!(batch.batch().num_rows(), rows);
            let _every_value_is_looked_at = format!("{:?}", batch.batch());
        }
    }
}

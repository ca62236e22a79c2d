//! `NdArray`: any layout comes back as it was, and no shape from outside hurts.

use ndarray::{Array2, ArrayD, Axis, Ix1, Ix2, IxDyn, ShapeBuilder, Slice};
use pannier::{Buffer, Decoder, Encoder};
use pannier_interop::NdArray;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;

fn table() -> Array2<f64> {
    Array2::from_shape_fn((3, 4), |(row, column)| (10 * row + column) as f64)
}

fn fortran(array: &Array2<f64>) -> Array2<f64> {
    let mut turned = Array2::zeros(array.raw_dim().f());
    turned.assign(array);
    turned
}

fn cut(mut array: Array2<f64>, axis: usize, part: Slice) -> Array2<f64> {
    array.slice_axis_inplace(Axis(axis), part);
    array
}

/// What is written, and what is read of it without a copy.
fn through_parts<D: ndarray::Dimension>(array: &NdArray<f64, D>) -> NdArray<f64, D> {
    let mut buffers = Vec::new();
    let metadata = Encoder::new().threshold(1).to_parts(array, &mut buffers);
    let metadata = metadata.expect("plain data");
    Decoder::new().from_parts(&metadata, &mut buffers).expect("what was written")
}

#[test]
fn an_array_in_c_order_stays_where_it_is() {
    let array = table();
    let address = array.as_ptr();
    let again = through_parts(&NdArray::from(array));
    assert_eq!(again.view(), table());
    assert_eq!((again.view().as_ptr(), again.copied_bytes()), (address, 0));
    assert!(again.view().is_standard_layout());
}

#[test]
fn an_array_in_fortran_order_stays_so_and_where_it_is() {
    let array = fortran(&table());
    let address = array.as_ptr();
    let again = through_parts(&NdArray::from(array));
    assert_eq!(again.view(), table());
    assert_eq!(again.view().strides(), [1, 3]);
    assert_eq!(again.view().as_ptr(), address);
}

#[test]
fn rows_of_an_array_are_not_copied_and_not_accompanied_by_the_others() {
    let array = cut(table(), 0, Slice::from(1..));
    let address = array.as_ptr();
    let again = through_parts(&NdArray::from(array));
    assert_eq!(again.view(), cut(table(), 0, Slice::from(1..)));
    assert_eq!((again.view().as_ptr(), again.items().len()), (address, 8));
}

#[test]
fn an_array_with_holes_is_copied_and_says_so() {
    let columns = NdArray::from(cut(table(), 1, Slice::from(..2)));
    assert_eq!(columns.copied_bytes(), 3 * 2 * size_of::<f64>());
    assert_eq!(columns.view(), cut(table(), 1, Slice::from(..2)));
}

#[test]
fn an_array_is_made_over_a_buffer_that_was_filled_in_place() {
    let items: Buffer<f64> = table().into_iter().collect();
    let array = NdArray::<_, Ix2>::new((3, 4), items.clone()).expect("it fits");
    assert_eq!((array.view(), array.view().as_ptr()), (table().view(), items.as_ptr()));
    assert!(NdArray::<_, Ix2>::new((3, 5), items.clone()).is_err());
    assert!(NdArray::<_, Ix2>::new((3, 5).f(), items).is_err());
}

/// What another process may say.
#[derive(Debug, Serialize)]
struct Alleged {
    shape: Vec<usize>,
    strides: Vec<isize>,
    items: Buffer<f64>,
}

fn is_refused(shape: &[usize], strides: &[isize]) -> bool {
    let (shape, strides) = (shape.to_vec(), strides.to_vec());
    let frame = pannier::to_vec(&Alleged { shape, strides, items: [0.0; 6].into() });
    pannier::from_slice::<NdArray<f64, Ix2>>(&frame.expect("plain data")).is_err()
}

#[test]
fn a_shape_that_does_not_fit_is_an_error() {
    assert!(!is_refused(&[2, 3], &[3, 1]));
    assert!(!is_refused(&[2, 3], &[-3, -1]), "reversed axes fit");
    assert!(is_refused(&[2, 4], &[3, 1]), "beyond the end");
    assert!(is_refused(&[2, 3], &[4, 1]), "beyond the end by strides");
    assert!(is_refused(&[2, 3], &[-4, 1]), "before the start");
    assert!(is_refused(&[7, 1], &[0, 0]), "more than there is");
    assert!(is_refused(&[usize::MAX, 2], &[0, 0]), "more than can be");
    assert!(
        is_refused(&[usize::MAX, usize::MAX], &[isize::MIN, isize::MAX]),
        "a product too large"
    );
    assert!(is_refused(&[0, usize::MAX], &[1, 1]), "a length too large beside nothing");
    assert!(is_refused(&[6], &[1]), "too few axes");
    assert!(is_refused(&[1, 2, 3], &[6, 3, 1]), "too many axes");
    assert!(is_refused(&[2, 3], &[1]), "too few strides");
}

#[test]
fn other_elements_than_were_written_are_an_error() {
    let frame = pannier::to_vec(&NdArray::from(ndarray::Array1::<f64>::zeros(1_000)));
    assert!(pannier::from_slice::<NdArray<i64, Ix1>>(&frame.expect("plain data")).is_err());
}

/// An array of up to four axes, permuted, and sliced along each with steps forward and backward.
fn arrays() -> impl Strategy<Value = ArrayD<f64>> {
    let axis = (0_usize..5, 0_isize..3, 0_isize..3, prop_oneof![Just(-2), Just(-1), 1_isize..3]);
    vec((axis, any::<u8>()), 1..4).prop_map(|axes| {
        let shape: Vec<usize> = axes.iter().map(|((len, ..), _)| *len).collect();
        let len = shape.iter().product::<usize>();
        let items = (0..len).map(|item| item as f64).collect();
        let array = ArrayD::from_shape_vec(shape, items).expect("as many as there are");
        let mut order: Vec<usize> = (0..axes.len()).collect();
        order.sort_by_key(|&axis| axes[axis].1);
        let mut array = array.permuted_axes(IxDyn(&order));
        for (axis, ((_, start, cut, step), _)) in axes.into_iter().enumerate() {
            let len = array.len_of(Axis(axis)) as isize;
            let start = start.min(len);
            let end = (len - cut).max(start);
            array.slice_axis_inplace(Axis(axis), Slice::new(start, Some(end), step));
        }
        array
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_array_comes_back_equal_and_only_those_with_holes_are_copied(array in arrays()) {
        let is_whole = array.as_slice_memory_order().is_some();
        let (address, expected) = (array.as_ptr(), array.clone());
        let sent = NdArray::from(array);
        let again = through_parts(&sent);
        prop_assert_eq!(again.view(), expected.view());
        prop_assert_eq!(sent.copied_bytes(), if is_whole { 0 } else { size_of_val(&**sent.items()) });
        if is_whole && !expected.is_empty() {
            let view = again.view();
            prop_assert_eq!((view.as_ptr(), view.strides()), (address, expected.strides()));
        }
    }

    #[test]
    fn no_alleged_shape_makes_a_panic(
        shape in vec(prop_oneof![0_usize..4, any::<usize>()], 0..4),
        strides in vec(prop_oneof![-4_isize..4, any::<isize>()], 0..4),
        len in 0_usize..9,
    ) {
        let items = (0..len).map(|item| item as f64).collect();
        let frame = pannier::to_vec(&Alleged { shape, strides, items }).expect("plain data");
        if let Ok(array) = pannier::from_slice::<NdArray<f64, IxDyn>>(&frame) {
            prop_assert!(array.view().len() <= len);
            prop_assert!(array.view().iter().all(|&item| item < len as f64));
        }
    }
}

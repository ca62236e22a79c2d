//! [`NdArray`]: an array of `ndarray` whose elements lie in a [`Buffer`], so that it travels.
//!
//! Promises: shape and strides are metadata, elements are one buffer that is not copied; what comes
//! from another process is an error if its shape does not fit its elements.
//! Does not know: how it travels. To use it elsewhere, copy this file.

use ndarray::{
    Array, ArrayView, Dimension, ErrorKind, IxDyn, ShapeBuilder, ShapeError, StrideShape,
};
use pannier::{Buffer, Pod};
use serde::{Deserialize, Serialize};

/// An immutable array of any order (C, Fortran, permuted or reversed axes). Cloning shares.
///
/// # Examples
///
/// ```
/// use ndarray::{Array2, ShapeBuilder};
/// use pannier_interop::NdArray;
///
/// let table = Array2::from_shape_fn((2, 3).f(), |(row, column)| (10 * row + column) as f64);
/// let frame = pannier::to_vec(&NdArray::from(table.clone()))?;
/// let again: NdArray<f64, ndarray::Ix2> = pannier::from_slice(&frame)?;
/// assert_eq!(again.view(), table);
/// assert_eq!(again.view().strides(), [1, 2]); // still in Fortran order
/// # Ok::<(), pannier::CodecError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Parts<T>", try_from = "Parts<T>", bound = "T: Pod, D: Dimension")]
pub struct NdArray<T: Pod, D: Dimension> {
    layout: StrideShape<D>,
    items: Buffer<T>,
    copied_bytes: usize,
}

/// What travels. Negative strides are those of `ndarray`: the two's complement.
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: Pod")]
struct Parts<T: Pod> {
    shape: Vec<usize>,
    strides: Vec<isize>,
    items: Buffer<T>,
}

impl<T: Pod, D: Dimension> NdArray<T, D> {
    /// The array of this shape, `(2, 3)` or `(2, 3).f()`, over a buffer: one from
    /// [`Pool::alloc`](pannier::Pool::alloc), say, which was filled in place.
    ///
    /// # Errors
    ///
    /// The shape needs more elements than there are.
    pub fn new(shape: impl Into<StrideShape<D>>, items: Buffer<T>) -> Result<Self, ShapeError> {
        let layout = shape.into();
        let len = ArrayView::from_shape(layout.clone(), &items)?.len();
        // A stride of zero makes much of little: a small message that is large work.
        if len > items.len() {
            return Err(ShapeError::from_kind(ErrorKind::OutOfBounds));
        }
        Ok(NdArray { layout, items, copied_bytes: 0 })
    }

    /// The array, in place.
    pub fn view(&self) -> ArrayView<'_, T, D> {
        ArrayView::from_shape(self.layout.clone(), &self.items).expect("`new` has made one before")
    }

    /// The elements, in the order of memory.
    pub fn items(&self) -> &Buffer<T> {
        &self.items
    }

    /// How many bytes were copied to make this value of an array: none, or all if it had holes.
    pub fn copied_bytes(&self) -> usize {
        self.copied_bytes
    }
}

/// Takes the memory of the array, in whatever order it is. An array with holes, one that was sliced
/// along an inner axis, is copied to C order first, and [`copied_bytes`](NdArray::copied_bytes) says so.
impl<T: Pod, D: Dimension> From<Array<T, D>> for NdArray<T, D> {
    fn from(array: Array<T, D>) -> Self {
        let Some(items) = array.as_slice_memory_order().filter(|items| !items.is_empty()) else {
            let items: Buffer<T> = array.iter().copied().collect();
            let copied_bytes = size_of_val(&*items);
            return NdArray { layout: array.raw_dim().into(), items, copied_bytes };
        };
        let (start, len) = (items.as_ptr().addr(), items.len());
        let layout = layout(array.shape(), array.strides());
        let layout = layout.expect("an array has a length and a stride for each axis");
        let items: Buffer<T> = array.into_raw_vec_and_offset().0.into();
        let first = (start - items.as_ptr().addr()) / size_of::<T>();
        NdArray { layout, items: items.slice(first..first + len), copied_bytes: 0 }
    }
}

impl<T: Pod, D: Dimension> From<NdArray<T, D>> for Parts<T> {
    fn from(array: NdArray<T, D>) -> Self {
        let view = array.view();
        let (shape, strides) = (view.shape().to_vec(), view.strides().to_vec());
        Parts { shape, strides, items: array.items }
    }
}

impl<T: Pod, D: Dimension> TryFrom<Parts<T>> for NdArray<T, D> {
    type Error = ShapeError;

    fn try_from(parts: Parts<T>) -> Result<Self, ShapeError> {
        let Parts { shape, strides, items } = parts;
        let layout = layout(&shape, &strides);
        NdArray::new(layout.ok_or(ShapeError::from_kind(ErrorKind::IncompatibleShape))?, items)
    }
}

/// `None` when the axes are not those of `D`, or not as many as the strides.
fn layout<D: Dimension>(shape: &[usize], strides: &[isize]) -> Option<StrideShape<D>> {
    let strides: Vec<usize> = strides.iter().map(|&stride| stride as usize).collect();
    let dim = D::from_dimension(&IxDyn(shape))?;
    let steps = D::from_dimension(&IxDyn(&strides)).filter(|steps| steps.ndim() == dim.ndim())?;
    // Where there is nothing there is nothing to step over.
    Some(if shape.contains(&0) { dim.into() } else { dim.strides(steps) })
}

//! Hot path. The memory of a transfer: from the heap, or lent by a backend that moves it over the bus without a copy.
//!
//! It knows nothing of what is in it. Its address stays the same for as long as it lives, wherever it is moved.

use std::any::Any;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a fixed number, all of them initialised.
pub struct Buffer {
    bytes: NonNull<[u8]>,
    /// `None` for memory of the heap, which is freed as a boxed slice.
    lender: Option<Box<dyn Any + Send>>,
}

// SAFETY: the buffer owns its bytes, or its lender does, which can be sent itself.
unsafe impl Send for Buffer {}
// SAFETY: a shared reference gives nothing but shared bytes; the lender is reached by an exclusive one only.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Zeros from the heap.
    pub fn new(size: usize) -> Self {
        vec![0; size].into()
    }

    /// Memory that `lender` gives back when it is dropped.
    ///
    /// # Safety
    /// `bytes` must be initialised and stay valid until `lender` is dropped. Until then nobody else may touch them, except
    /// what this module's caller starts while it has the buffer to itself.
    pub(super) unsafe fn lent(bytes: NonNull<[u8]>, lender: Box<dyn Any + Send>) -> Self {
        Self { bytes, lender: Some(lender) }
    }

    /// Who lent it, if that is a `T`.
    pub(super) fn lender<T: 'static>(&mut self) -> Option<&mut T> {
        self.lender.as_mut()?.downcast_mut()
    }

    /// The same bytes as a vector; without a copy if they are from the heap.
    pub fn into_vec(mut self) -> Vec<u8> {
        match self.lender {
            None => self.take_box().into_vec(),
            Some(_) => self.to_vec(),
        }
    }

    /// Takes the box out of memory from the heap and leaves an empty one.
    fn take_box(&mut self) -> Box<[u8]> {
        debug_assert!(self.lender.is_none());
        let bytes = std::mem::replace(&mut self.bytes, leak(Box::default()));
        // SAFETY: the pointer came from a box of the same length, and was replaced, so that this happens once.
        unsafe { Box::from_raw(bytes.as_ptr()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.lender.is_none() {
            drop(self.take_box());
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes are valid and initialised for as long as `self` is.
        unsafe { self.bytes.as_ref() }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { self.bytes.as_mut() }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Box::<[u8]>::default().into()
    }
}

impl From<Box<[u8]>> for Buffer {
    fn from(bytes: Box<[u8]>) -> Self {
        Self { bytes: leak(bytes), lender: None }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.into_boxed_slice().into()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.lender.is_some() { "lent" } else { "heap" };
        write!(f, "Buffer({} bytes, {kind})", self.len())
    }
}

fn leak(bytes: Box<[u8]>) -> NonNull<[u8]> {
    NonNull::from(Box::leak(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_heap_comes_back_as_the_same_allocation() {
        let bytes = vec![1, 2, 3];
        let address = bytes.as_ptr();
        let mut buffer = Buffer::from(bytes);
        buffer[1] = 9;
        let bytes = buffer.into_vec();
        assert_eq!((bytes.as_ptr(), &*bytes), (address, &[1, 9, 3][..]));
    }

    #[test]
    fn lent_memory_is_the_lender_s_until_the_buffer_is_dropped() {
        struct Lender(Box<[u8]>, #[expect(dead_code, reason = "counts")] std::sync::Arc<()>);
        let alive = std::sync::Arc::new(());
        let mut lender = Box::new(Lender(vec![5; 4].into(), alive.clone()));
        let bytes = NonNull::from(&mut *lender.0);
        // SAFETY: the lender owns the bytes and nobody touches them there.
        let mut buffer = unsafe { Buffer::lent(bytes, lender) };
        buffer[0] = 6;
        assert!(buffer.lender::<Lender>().is_some());
        assert!(buffer.lender::<u8>().is_none());
        assert_eq!(buffer.len(), 4);
        assert_eq!(std::sync::Arc::strong_count(&alive), 2);
        assert_eq!(buffer.into_vec(), [6, 5, 5, 5]);
        assert_eq!(std::sync::Arc::strong_count(&alive), 1);
    }

    #[test]
    fn an_empty_buffer_is_left_where_one_was_taken() {
        let mut buffer = Buffer::new(8);
        assert_eq!(std::mem::take(&mut buffer).len(), 8);
        assert!(buffer.is_empty());
    }
}

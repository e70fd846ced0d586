//! Buffers that are held only while bytes are in hand, kept per thread for the next use.

use std::cell::RefCell;

/// Large enough for most records and messages, small enough to be kept by the dozen.
pub(super) const SIZE: usize = 32 * 1024;
const KEPT_PER_THREAD: usize = 32;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that goes back to its thread's stock when dropped.
pub(super) struct Buffer(Option<Box<[u8]>>);

impl Buffer {
    pub(super) fn take() -> Self {
        let kept = FREE.with(|free| free.borrow_mut().pop());
        Self(Some(
            kept.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice()),
        ))
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(bytes) = self.0.take() {
            FREE.with(|free| {
                let mut free = free.borrow_mut();
                if free.len() < KEPT_PER_THREAD {
                    free.push(bytes);
                }
            });
        }
    }
}

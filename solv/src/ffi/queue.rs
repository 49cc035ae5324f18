//! Lists of ids that libsolv reads and writes.

use std::ffi::c_int;
use std::ptr;

use super::Id;
use super::sys::{CQueue, queue_free, queue_init, queue_insertn};

/// A list of ids that libsolv can fill.
pub(super) struct Queue(pub(super) CQueue);

impl Queue {
    pub(super) fn new() -> Self {
        let mut queue =
            CQueue { elements: ptr::null_mut(), count: 0, alloc: ptr::null_mut(), left: 0 };
        // SAFETY: queue_init writes to the struct and keeps no pointer to it.
        unsafe { queue_init(&mut queue) };
        Self(queue)
    }

    pub(super) fn from_ids(ids: &[Id]) -> Self {
        let mut queue = Self::new();
        let count = c_int::try_from(ids.len()).expect("fewer ids than libsolv can count");
        // SAFETY: the queue is initialised and `ids` holds `count` elements, which are copied.
        unsafe { queue_insertn(&mut queue.0, 0, count, ids.as_ptr()) };
        queue
    }

    pub(super) fn to_vec(&self) -> Vec<Id> {
        let Ok(count @ 1..) = usize::try_from(self.0.count) else { return Vec::new() };
        // SAFETY: libsolv keeps `count` elements at `elements`, which is not null as count > 0.
        unsafe { std::slice::from_raw_parts(self.0.elements, count) }.to_vec()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, freed here only.
        unsafe { queue_free(&mut self.0) };
    }
}

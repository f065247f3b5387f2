//! Counts the bytes this library holds, per thread.
//!
//! Rhai limits strings, arrays and maps, but not what closures capture, nor how many values exist at once. A counting
//! allocator sees them all. It covers this library's own allocations only, never those of the Python interpreter.
//!
//! The counters are per thread, so they cost no atomics. Memory freed on another thread than the one that asked for it
//! shifts both counters; a run therefore only ever looks at the difference to its own start.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// The system allocator, counted.
pub struct Meter;

#[inline]
fn count(bytes: i64) {
    // `try_with`: a thread that is ending still frees.
    let _ = LIVE.try_with(|live| {
        let now = live.get() + bytes;
        live.set(now);
        if bytes > 0 {
            let _ = PEAK.try_with(|peak| {
                if now > peak.get() {
                    peak.set(now);
                }
            });
        }
    });
}

// SAFETY: every call is handed to the system allocator unchanged; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        System.alloc(layout)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        System.dealloc(pointer, layout);
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        System.alloc_zeroed(layout)
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        System.realloc(pointer, layout, size)
    }
}

#[global_allocator]
static METER: Meter = Meter;

/// Bytes this thread holds; may be negative when it freed what others allocated.
#[inline]
pub fn live() -> i64 {
    LIVE.with(Cell::get)
}

/// Measures one run on the thread that made it; runs nest (a host function may run another script).
pub struct Measurement {
    base: i64,
    outer_peak: i64,
}

impl Measurement {
    /// Starts counting; `inputs` are bytes that were allocated for this run on another thread.
    pub fn start(inputs: i64) -> Self {
        let base = live() - inputs;
        let outer_peak = PEAK.with(|peak| peak.replace(live()));
        Self { base, outer_peak }
    }

    /// The counter's value at the start.
    pub fn base(&self) -> i64 {
        self.base
    }

    /// The most bytes held at one time since the start.
    pub fn peak(&self) -> u64 {
        (PEAK.with(Cell::get) - self.base).max(0) as u64
    }

    /// Bytes still held.
    pub fn held(&self) -> u64 {
        (live() - self.base).max(0) as u64
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        PEAK.with(|peak| peak.set(peak.get().max(self.outer_peak)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_sees_peak_and_rest() {
        let measured = Measurement::start(0);
        let kept = vec![0_u8; 1_000];
        drop(vec![0_u8; 50_000]);
        assert!(measured.peak() >= 51_000);
        assert!((1_000..5_000).contains(&measured.held()));
        drop(kept);
        assert_eq!(measured.held(), 0);
    }

    #[test]
    fn an_inner_measurement_does_not_hide_the_outer_peak() {
        let outer = Measurement::start(0);
        drop(vec![0_u8; 90_000]);
        {
            let inner = Measurement::start(0);
            drop(vec![0_u8; 10]);
            assert!(inner.peak() < 1_000);
        }
        assert!(outer.peak() >= 90_000);
    }
}

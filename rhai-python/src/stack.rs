//! Where this thread's stack is and how much of it is left.

use std::cell::Cell;

thread_local! {
    /// Lowest usable address, zero when unknown, `usize::MAX` before the first look.
    static FLOOR: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The address of the current stack frame.
#[inline]
pub fn pointer() -> usize {
    let here = 0_u8;
    std::ptr::addr_of!(here) as usize
}

/// Bytes of stack below the current frame; zero when the platform does not tell.
pub fn remaining() -> usize {
    let mut floor = FLOOR.with(Cell::get);
    if floor == usize::MAX {
        floor = lowest_address().unwrap_or(0);
        FLOOR.with(|cell| cell.set(floor));
    }
    if floor == 0 {
        return 0;
    }
    pointer().saturating_sub(floor)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn lowest_address() -> Option<usize> {
    // SAFETY: the attributes are initialised by `pthread_getattr_np` before they are read, and destroyed once.
    unsafe {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let mut attributes = attributes.assume_init();
        let (mut address, mut size, mut guard) = (std::ptr::null_mut(), 0, 0);
        let stack = libc::pthread_attr_getstack(&raw const attributes, &raw mut address, &raw mut size);
        let guarded = libc::pthread_attr_getguardsize(&raw const attributes, &raw mut guard);
        libc::pthread_attr_destroy(&raw mut attributes);
        (stack == 0 && guarded == 0).then_some(address as usize + guard)
    }
}

#[cfg(target_os = "macos")]
fn lowest_address() -> Option<usize> {
    // SAFETY: both calls only read properties of the calling thread.
    unsafe {
        let thread = libc::pthread_self();
        let top = libc::pthread_get_stackaddr_np(thread) as usize;
        top.checked_sub(libc::pthread_get_stacksize_np(thread))
    }
}

/// Elsewhere every run goes to a thread of our own, whose stack we chose.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
fn lowest_address() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_knows_its_stack() {
        let size = 8 << 20;
        let left = std::thread::Builder::new().stack_size(size).spawn(remaining).unwrap().join().unwrap();
        assert!(left <= size && left > size - (64 << 10));
    }
}

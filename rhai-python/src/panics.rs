//! Panics become exceptions: their text is kept for the run that caught one, and nothing is written to stderr.

use std::sync::{Mutex, PoisonError};

static LAST: Mutex<Option<String>> = Mutex::new(None);

/// Installs the hook, once per process.
pub fn install_hook() {
    std::panic::set_hook(Box::new(|panic| {
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
    }));
}

/// Text and place of the last panic.
pub fn take_last() -> String {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(|| "panic".into())
}

//! Panics become exceptions: their text is kept for the run that caught one, and nothing is written to stderr.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

static LAST: Mutex<Option<String>> = Mutex::new(None);

/// Installs the hook, once per process.
pub fn install_hook() {
    std::panic::set_hook(Box::new(|panic| {
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
    }));
}

/// What a panic said, with its place where that is known: `PyO3` passes panics of other code on without it.
pub fn text_of(payload: &(dyn Any + Send)) -> String {
    let said = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (last, said) {
        (Some(last), None) => last,
        // The last one may have been another's.
        (Some(last), Some(said)) if last.contains(said) => last,
        (_, said) => said.unwrap_or("panic").to_owned(),
    }
}

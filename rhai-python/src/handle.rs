//! Objects of Python classes as values of a script.
//!
//! Rhai tells types apart by their Rust type, so every registered class needs one of its own: `Handle<0>`, `Handle<1>`
//! and so on. That gives native dispatch: two classes may have methods of the same name.

use std::any::TypeId;
use std::sync::Arc;

use pyo3::prelude::*;
use rhai::Dynamic;

/// Most classes one engine can offer.
pub const MOST_TYPES: usize = 32;

/// An object of the class registered at position `N`.
#[derive(Clone)]
pub struct Handle<const N: usize>(pub Arc<Py<PyAny>>);

macro_rules! with_type_number {
    ($index:expr, $number:ident => $body:expr, else $otherwise:expr) => {
        with_type_number!(@arms $index, $number, $body, $otherwise,
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
    };
    (@arms $index:expr, $number:ident, $body:expr, $otherwise:expr, $($literal:literal)*) => {
        match $index {
            $($literal => { const $number: usize = $literal; $body })*
            _ => $otherwise,
        }
    };
}

/// Wraps an object of the class at `index`; None beyond `MOST_TYPES`.
pub fn wrap(index: usize, object: Arc<Py<PyAny>>) -> Option<Dynamic> {
    with_type_number!(index, N => Some(Dynamic::from(Handle::<N>(object))), else None)
}

/// The object inside a value, None for other values.
pub fn object(value: &Dynamic) -> Option<Arc<Py<PyAny>>> {
    let index = index_of(value.type_id())?;
    with_type_number!(index, N => value.read_lock::<Handle<N>>().map(|handle| handle.0.clone()), else None)
}

pub fn is_handle(value: &Dynamic) -> bool {
    index_of(value.type_id()).is_some()
}

/// Rust's identity and name of the type at `index`.
pub fn type_at(index: usize) -> Option<(TypeId, &'static str)> {
    with_type_number!(
        index,
        N => Some((TypeId::of::<Handle<N>>(), std::any::type_name::<Handle<N>>())),
        else None
    )
}

fn index_of(id: TypeId) -> Option<usize> {
    static IDS: std::sync::OnceLock<Vec<TypeId>> = std::sync::OnceLock::new();
    let ids = IDS.get_or_init(|| (0..MOST_TYPES).filter_map(type_at).map(|(id, _)| id).collect());
    ids.iter().position(|known| *known == id)
}

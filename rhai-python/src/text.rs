//! Values as text, for `print`, `to_string` and string interpolation.
//!
//! Rhai's own formatting recurses without bound, walks everything a closure has captured, and builds the whole text
//! before its length is checked. This one has a depth and a size, and names a function pointer without looking inside.

use rhai::{Array, Dynamic, FnPtr, Map};

use crate::fault::Fault;
use crate::frozen;
use crate::handle;

/// Nesting beyond this is no longer readable, and would need stack.
const MOST_DEPTH: usize = 64;

/// The text grew past its limit, or the value is nested too deep.
pub struct TooLong;

/// The text of a script's own array.
pub fn display_array(array: &Array, most_bytes: usize) -> Result<String, TooLong> {
    let mut out = String::new();
    write_array(array, &mut out, 0, most_bytes)?;
    Ok(out)
}

/// The text of a script's own map.
pub fn display_map(map: &Map, most_bytes: usize) -> Result<String, TooLong> {
    let mut out = String::new();
    write_map(map, &mut out, 0, most_bytes)?;
    Ok(out)
}

/// The text of a value, cut where it gets too long: for messages.
pub fn display_cut(value: &Dynamic, most_bytes: usize) -> String {
    let mut out = String::new();
    if let Ok(text) = value.as_immutable_string_ref() {
        out.push_str(&text);
    } else if let Ok(character) = value.as_char() {
        out.push(character);
    } else if write(value, &mut out, 0, most_bytes).is_err() {
        out.push('…');
    }
    if out.len() > most_bytes {
        let cut = (0..=most_bytes).rev().find(|&at| out.is_char_boundary(at)).unwrap_or(0);
        out.truncate(cut);
        out.push('…');
    }
    out
}

/// What scripts call the type of a value.
pub fn type_name(value: &Dynamic) -> &'static str {
    if value.is_unit() {
        "()"
    } else if value.is_bool() {
        "bool"
    } else if value.is_int() {
        "i64"
    } else if value.is_float() {
        "f64"
    } else if value.is_char() {
        "char"
    } else if value.is_string() {
        "string"
    } else if value.is_array() || value.is::<frozen::FrozenArray>() {
        "array"
    } else if value.is_map() || value.is::<frozen::FrozenMap>() {
        "map"
    } else if value.is_blob() {
        "blob"
    } else if value.is_fnptr() {
        "function"
    } else if value.is::<Fault>() {
        "error"
    } else if handle::is_handle(value) {
        "host object"
    } else {
        "value"
    }
}

fn write(value: &Dynamic, out: &mut String, depth: usize, most: usize) -> Result<(), TooLong> {
    if depth > MOST_DEPTH || out.len() > most {
        return Err(TooLong);
    }
    if let Some(done) = frozen::with_array(value, |array| write_array(array, out, depth, most)) {
        return done;
    }
    if let Some(done) = frozen::with_map(value, |map| write_map(map, out, depth, most)) {
        return done;
    }
    if let Some(pointer) = value.read_lock::<FnPtr>() {
        out.push_str("Fn(");
        out.push_str(pointer.fn_name());
        out.push(')');
    } else if let Some(fault) = value.read_lock::<Fault>() {
        out.push_str(&fault.message);
    } else if handle::is_handle(value) {
        out.push_str("<host object>");
    } else {
        use std::fmt::Write;
        // Only scalars, strings, blobs and ranges are left: their debug form is bounded by their size.
        let _ = write!(out, "{value:?}");
    }
    if out.len() > most {
        return Err(TooLong);
    }
    Ok(())
}

fn write_array(array: &Array, out: &mut String, depth: usize, most: usize) -> Result<(), TooLong> {
    out.push('[');
    for (index, item) in array.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(item, out, depth + 1, most)?;
    }
    out.push(']');
    Ok(())
}

fn write_map(map: &Map, out: &mut String, depth: usize, most: usize) -> Result<(), TooLong> {
    use std::fmt::Write;
    out.push_str("#{");
    for (index, (key, item)) in map.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        let _ = write!(out, "{:?}: ", key.as_str());
        write(item, out, depth + 1, most)?;
    }
    out.push('}');
    Ok(())
}

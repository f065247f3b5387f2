//! String functions whose result Rhai measures only after it exists.

use rhai::NativeCallContext;
use rhai::{Array, ImmutableString, Module};

use crate::fault::Fault;
use crate::stdlib::{global, most_string_bytes, too_large, Answer};

const STRING: &str = "Length of string";
const ARRAY: &str = "Size of array";

/// Registers all of them into the module that overrides the standard library.
pub fn register(module: &mut Module) {
    register_replace(module);
    register_pad(module);
    register_split(module);
    // A script must not hold a thread; and `sleep(1e300)` panics.
    global("sleep", false).set_into_module(module, |_: i64| no_sleep());
    global("sleep", false).set_into_module(module, |_: f64| no_sleep());
}

fn no_sleep() -> Answer<()> {
    Err(Fault::error("NotAvailable", "sleep is not available to scripts"))
}

fn register_replace(module: &mut Module) {
    global("replace", false).set_into_module(
        module,
        |context: NativeCallContext, text: &mut ImmutableString, from: &str, to: &str| {
            replace(&context, text, from, to)
        },
    );
    global("replace", false).set_into_module(
        module,
        |context: NativeCallContext, text: &mut ImmutableString, from: &str, to: char| {
            replace(&context, text, from, to.encode_utf8(&mut [0; 4]))
        },
    );
    global("replace", false).set_into_module(
        module,
        |context: NativeCallContext, text: &mut ImmutableString, from: char, to: &str| {
            replace(&context, text, from.encode_utf8(&mut [0; 4]), to)
        },
    );
    global("replace", false).set_into_module(
        module,
        |context: NativeCallContext, text: &mut ImmutableString, from: char, to: char| {
            replace(&context, text, from.encode_utf8(&mut [0; 4]), to.encode_utf8(&mut [0; 4]))
        },
    );
}

fn replace(context: &NativeCallContext, text: &mut ImmutableString, from: &str, to: &str) -> Answer<()> {
    if text.is_empty() {
        return Ok(());
    }
    let grows = to.len().saturating_sub(from.len()).saturating_mul(text.matches(from).count());
    if text.len().saturating_add(grows) > most_string_bytes(context) {
        return Err(too_large(STRING));
    }
    *text = text.replace(from, to).into();
    Ok(())
}

fn register_pad(module: &mut Module) {
    global("pad", false).set_into_module(
        module,
        |context: NativeCallContext, text: &mut ImmutableString, length: i64, with: char| {
            pad(&context, text, length, with.encode_utf8(&mut [0; 4]))
        },
    );
    global("pad", false).set_into_module(
        module,
        |context: NativeCallContext, text: &mut ImmutableString, length: i64, with: &str| {
            pad(&context, text, length, with)
        },
    );
}

/// Rhai compares characters with a limit of bytes, and pads forever with an empty text.
fn pad(context: &NativeCallContext, text: &mut ImmutableString, length: i64, with: &str) -> Answer<()> {
    let most = most_string_bytes(context);
    let length = usize::try_from(length).unwrap_or(0);
    if length > most {
        return Err(too_large(STRING));
    }
    let missing = length.saturating_sub(text.chars().count());
    if missing == 0 || with.is_empty() {
        return Ok(());
    }
    let mut padded = text.to_string();
    for character in with.chars().cycle().take(missing) {
        if padded.len() + character.len_utf8() > most {
            return Err(too_large(STRING));
        }
        padded.push(character);
    }
    *text = padded.into();
    Ok(())
}

fn register_split(module: &mut Module) {
    global("to_chars", true).set_into_module(module, |context: NativeCallContext, text: &mut ImmutableString| {
        collect(&context, text.chars().map(Into::into))
    });
    global("split", true).set_into_module(module, |context: NativeCallContext, text: &mut ImmutableString| {
        if text.is_empty() {
            return Ok(vec![text.clone().into()]);
        }
        collect(&context, text.split_whitespace().map(Into::into))
    });
    macro_rules! splitter {
        ($name:literal, $delimiter:ty, $all:ident, $some:ident) => {
            global($name, true).set_into_module(
                module,
                |context: NativeCallContext, text: &mut ImmutableString, delimiter: $delimiter| {
                    collect(&context, text.$all(delimiter).map(Into::into))
                },
            );
            global($name, true).set_into_module(
                module,
                |context: NativeCallContext, text: &mut ImmutableString, delimiter: $delimiter, pieces: i64| {
                    let pieces = usize::try_from(pieces).unwrap_or(0).max(1);
                    collect(&context, text.$some(pieces, delimiter).map(Into::into))
                },
            );
        };
    }
    splitter!("split", &str, split, splitn);
    splitter!("split", char, split, splitn);
    splitter!("split_rev", &str, rsplit, rsplitn);
    splitter!("split_rev", char, rsplit, rsplitn);
}

/// Collects pieces until the array limit: a string of 1 MiB would become an array of 75 MB.
fn collect(context: &NativeCallContext, pieces: impl Iterator<Item = rhai::Dynamic>) -> Answer<Array> {
    let most = match context.engine().max_array_size() {
        0 => usize::MAX,
        most => most,
    };
    let mut array = Array::new();
    for piece in pieces {
        if array.len() >= most {
            return Err(too_large(ARRAY));
        }
        array.push(piece);
    }
    Ok(array)
}

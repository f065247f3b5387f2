//! The standard library of every script: Rhai's, with the functions that break budgets replaced.
//!
//! Built once per process and shared by all engines. The overrides are registered *after* the library, so they win.

use std::sync::OnceLock;

use rhai::packages::{Package, StandardPackage};
use rhai::{
    Array, Dynamic, EvalAltResult, FnPtr, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Position,
    Shared,
};

use crate::fault::Fault;
use crate::frozen::{FrozenArray, FrozenMap};
use crate::json::{self, JsonError, Shape};
use crate::run::{self, Stop};
use crate::text::{self, TooLong};
use crate::{callbacks, frozen_api, host, strings};

pub type Answer<T> = Result<T, Box<EvalAltResult>>;

/// Formatting has a bound even where strings have none.
const FALLBACK_STRING_BYTES: usize = 16 << 20;

/// What `json::parse` takes outside of a run (never, in practice).
const FALLBACK_SHAPE: Shape = Shape { depth: 128, nodes: 200_000 };

/// Rhai's standard library.
pub fn standard() -> Shared<Module> {
    static MODULE: OnceLock<Shared<Module>> = OnceLock::new();
    MODULE.get_or_init(|| StandardPackage::new().as_shared_module()).clone()
}

/// What replaces parts of it.
pub fn overrides() -> Shared<Module> {
    static MODULE: OnceLock<Shared<Module>> = OnceLock::new();
    let build = || {
        let mut module = Module::new();
        module.set_id("rhai-python");
        register_printing(&mut module);
        register_json(&mut module);
        register_faults(&mut module);
        strings::register(&mut module);
        callbacks::register(&mut module);
        frozen_api::register(&mut module);
        module.build_index();
        module.into()
    };
    MODULE.get_or_init(build).clone()
}

/// The module `json`.
pub fn json_module() -> Shared<Module> {
    static MODULE: OnceLock<Shared<Module>> = OnceLock::new();
    let build = || {
        let mut module = Module::new();
        module.set_native_fn("parse", |context: NativeCallContext, document: Dynamic| {
            placed(&context, parse_document(&context, &document))
        });
        for (name, pretty) in [("stringify", false), ("pretty", true)] {
            module.set_native_fn(name, move |context: NativeCallContext, value: Dynamic| {
                placed(&context, stringify_json(&context, &value, pretty))
            });
        }
        module.set_id("json");
        module.build_index();
        module.into()
    };
    MODULE.get_or_init(build).clone()
}

/// A function scripts call without a module's name.
pub fn global(name: &str, is_pure: bool) -> FuncRegistration {
    FuncRegistration::new(name).in_global_namespace().with_purity(is_pure)
}

/// Rhai does not say where a function of a module failed.
pub fn placed<T>(context: &NativeCallContext, mut answer: Answer<T>) -> Answer<T> {
    if let Err(error) = &mut answer {
        if error.position().is_none() {
            error.set_position(context.call_position());
        }
    }
    answer
}

/// The error Rhai itself gives when a value outgrows its limit; scripts cannot catch it.
pub fn too_large(what: &str) -> Box<EvalAltResult> {
    EvalAltResult::ErrorDataTooLarge(what.into(), Position::NONE).into()
}

/// The string limit of the engine; never none.
pub fn most_string_bytes(context: &NativeCallContext) -> usize {
    match context.engine().max_string_size() {
        0 => FALLBACK_STRING_BYTES,
        most => most,
    }
}

fn register_printing(module: &mut Module) {
    for name in ["to_string", "to_debug", "print", "debug"] {
        global(name, true).set_into_module(module, |context: NativeCallContext, value: &mut Array| {
            bounded(text::display_array(value, most_string_bytes(&context)))
        });
        global(name, true).set_into_module(module, |context: NativeCallContext, value: &mut Map| {
            bounded(text::display_map(value, most_string_bytes(&context)))
        });
        global(name, true).set_into_module(module, |context: NativeCallContext, value: &mut FrozenArray| {
            bounded(text::display_array(value.get(), most_string_bytes(&context)))
        });
        global(name, true).set_into_module(module, |context: NativeCallContext, value: &mut FrozenMap| {
            bounded(text::display_map(value.get(), most_string_bytes(&context)))
        });
        global(name, true).set_into_module(module, |value: &mut FnPtr| -> ImmutableString {
            format!("Fn({})", value.fn_name()).into()
        });
        global(name, true).set_into_module(module, |value: &mut Fault| value.message.clone());
    }
}

/// Inside an interpolated string Rhai ignores an error of `to_string` and formats without bounds instead. So the run is
/// stopped, and the empty text is never seen.
fn bounded(text: Result<String, TooLong>) -> ImmutableString {
    if let Ok(text) = text {
        return text.into();
    }
    run::with_current(|run| {
        if let Some(run) = run {
            run.stop(Stop::StringBytes);
        }
    });
    ImmutableString::new()
}

/// Rhai's own `parse_json` is an expression evaluator: it calls functions named in the document.
fn register_json(module: &mut Module) {
    global("parse_json", false).set_into_module(module, parse_json);
    global("to_json", true).set_into_module(module, |map: &mut Map| stringify_taken(map));
    global("to_json", true).set_into_module(module, |array: &mut Array| stringify_taken(array));
}

fn register_faults(module: &mut Module) {
    module.set_custom_type::<Fault>("error");
    // Rhai asks the indexer for a property that has no getter: `e.code`.
    FuncRegistration::new_index_getter()
        .in_global_namespace()
        .with_purity(true)
        .set_into_module(module, |fault: &mut Fault, name: &str| fault.member(name));
}

fn parse_json(text: &str) -> Answer<Dynamic> {
    json::parse(text.as_bytes(), shape()).map_err(json_failure)
}

/// Text, or a blob with text in UTF-8: a body comes as either.
fn parse_document(context: &NativeCallContext, document: &Dynamic) -> Answer<Dynamic> {
    if let Ok(text) = document.as_immutable_string_ref() {
        return parse_json(&text);
    }
    if let Ok(character) = document.as_char() {
        return parse_json(character.encode_utf8(&mut [0; 4]));
    }
    if let Ok(bytes) = document.as_blob_ref() {
        return json::parse(&bytes, shape()).map_err(json_failure);
    }
    Err(host::mismatch("string or blob for argument 1 of json::parse".into(), document, context))
}

fn stringify_json(context: &NativeCallContext, value: &Dynamic, pretty: bool) -> Answer<ImmutableString> {
    json::stringify_text(value, shape(), most_string_bytes(context), pretty).map_err(json_failure).map(text_of)
}

/// The writer copies from strings and adds ASCII.
fn text_of(bytes: Vec<u8>) -> ImmutableString {
    String::from_utf8(bytes).unwrap_or_default().into()
}

/// Lends a container to the writer without copying it.
fn stringify_taken<T: Clone + Default + Send + Sync + 'static>(value: &mut T) -> Answer<ImmutableString> {
    let lent = Dynamic::from(std::mem::take(value));
    let text = json::stringify_functions(&lent, shape()).map_err(json_failure).map(text_of);
    if let Some(returned) = lent.try_cast::<T>() {
        *value = returned;
    }
    text
}

fn shape() -> Shape {
    run::with_current(|run| {
        run.map_or(FALLBACK_SHAPE, |run| Shape { depth: run.limits.max_value_depth, nodes: run.limits.max_value_nodes })
    })
}

/// What is wrong with a document is the script's to handle; a limit is not.
fn json_failure(error: JsonError) -> Box<EvalAltResult> {
    let reason = match error {
        JsonError::Depth(_) => Stop::ValueDepth,
        JsonError::Nodes(_) => Stop::ValueNodes,
        JsonError::Bytes(_) => Stop::StringBytes,
        error => return Fault::error("JsonError", format!("JSON: {error}")),
    };
    run::with_current(|run| run.map_or_else(|| too_large("JSON"), |run| run.stopped(reason)))
}

//! What scripts can do with the views of `frozen`: everything they can do with a map or an array.
//!
//! The common reads are native. All other functions of the standard library go one way: the view becomes a copy, then
//! the library's own function is called. One that changes its first argument leaves the copy in the script's variable;
//! on the constant itself Rhai refuses the call, since those are registered as not pure.

use std::any::TypeId;

use rhai::plugin::RhaiResult;
use rhai::{
    Array, Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Position,
    RhaiFunc, Shared,
};

use crate::frozen::{self, FrozenArray, FrozenMap};

type Answer<T> = Result<T, Box<EvalAltResult>>;

/// Functions that only read, with the most arguments they take after the receiver.
const ARRAY_READS: &[(&str, usize)] = &[
    ("all", 1),
    ("contains", 1),
    ("extract", 2),
    ("filter", 1),
    ("find", 2),
    ("find_map", 2),
    ("get", 1),
    ("index_of", 2),
    ("map", 1),
    ("reduce", 2),
    ("reduce_rev", 2),
    ("some", 1),
    ("zip", 2),
    ("to_json", 0),
    ("iter", 0),
    ("order", 1),
    ("order_by", 1),
];
const ARRAY_CHANGES: &[(&str, usize)] = &[
    ("append", 1),
    ("chop", 1),
    ("clear", 0),
    ("dedup", 1),
    ("drain", 2),
    ("fill", 1),
    ("for_each", 1),
    ("insert", 2),
    ("pad", 2),
    ("pop", 0),
    ("push", 1),
    ("remove", 1),
    ("retain", 2),
    ("reverse", 0),
    ("set", 2),
    ("shift", 0),
    ("sort", 1),
    ("sort_by", 1),
    ("sort_desc", 0),
    ("splice", 3),
    ("split", 1),
    ("truncate", 1),
];
const MAP_READS: &[(&str, usize)] = &[("filter", 1), ("map", 1), ("to_json", 0)];
const MAP_CHANGES: &[(&str, usize)] =
    &[("clear", 0), ("drain", 1), ("fill_with", 1), ("mixin", 1), ("remove", 1), ("retain", 1), ("set", 2)];

/// Registers everything into the module that overrides the standard library.
pub fn register(module: &mut Module) {
    module.set_custom_type::<FrozenMap>("map").set_custom_type::<FrozenArray>("array");
    register_reads(module);
    register_setter::<FrozenMap>(module, TypeId::of::<ImmutableString>());
    register_setter::<FrozenArray>(module, TypeId::of::<i64>());
    for (names, is_pure) in [(ARRAY_READS, true), (ARRAY_CHANGES, false)] {
        register_forwarded::<FrozenArray>(module, names, is_pure);
    }
    for (names, is_pure) in [(MAP_READS, true), (MAP_CHANGES, false)] {
        register_forwarded::<FrozenMap>(module, names, is_pure);
    }
    register_pairs::<FrozenMap, Map>(module, &["append", "mixin", "fill_with"]);
    register_pairs::<FrozenArray, Array>(module, &["append", "zip"]);
    // `array += item`
    let types = [TypeId::of::<FrozenArray>(), TypeId::of::<Dynamic>()];
    let append = native(|context, args| forward_change(context, "+=", args), false);
    FuncRegistration::new("+=").in_global_namespace().set_into_module_raw(module, types, append);
    module.set_iter(TypeId::of::<FrozenArray>(), |value| {
        // Items are copies, as in every loop of Rhai: the script may change them.
        let array = value.cast::<FrozenArray>();
        Box::new((0..array.get().len()).map_while(move |index| array.get().get(index).cloned()))
    });
}

fn register_reads(module: &mut Module) {
    let pure = |name: &str| FuncRegistration::new(name).in_global_namespace().with_purity(true);
    FuncRegistration::new_index_getter()
        .in_global_namespace()
        .with_purity(true)
        .set_into_module(module, |map: &mut FrozenMap, key: ImmutableString| map.child(&key));
    FuncRegistration::new_index_getter().in_global_namespace().with_purity(true).set_into_module(module, item);
    pure("len").set_into_module(module, |map: &mut FrozenMap| map.get().len() as i64);
    pure("is_empty").set_into_module(module, |map: &mut FrozenMap| map.get().is_empty());
    pure("contains").set_into_module(module, |map: &mut FrozenMap, key: &str| map.get().contains_key(key));
    pure("get").set_into_module(module, |map: &mut FrozenMap, key: &str| map.child(key));
    pure("keys").set_into_module(module, |map: &mut FrozenMap| -> Array {
        map.get().keys().map(|key| ImmutableString::from(key.as_str()).into()).collect()
    });
    pure("values").set_into_module(module, |map: &mut FrozenMap| -> Array { map.get().values().cloned().collect() });
    pure("len").set_into_module(module, |array: &mut FrozenArray| array.get().len() as i64);
    pure("is_empty").set_into_module(module, |array: &mut FrozenArray| array.get().is_empty());
    for name in ["len", "is_empty"] {
        let getter = FuncRegistration::new_getter(name).in_global_namespace().with_purity(true);
        if name == "len" {
            getter.set_into_module(module, |array: &mut FrozenArray| array.get().len() as i64);
        } else {
            getter.set_into_module(module, |array: &mut FrozenArray| array.get().is_empty());
        }
    }
}

fn item(array: &mut FrozenArray, index: i64) -> Answer<Dynamic> {
    let length = array.get().len();
    position(index, length)
        .and_then(|position| array.child(position))
        .ok_or_else(|| EvalAltResult::ErrorArrayBounds(length, index, Position::NONE).into())
}

/// `view[key] = value`. Rhai also calls it after every method of a child, to write the child back.
fn register_setter<View: Clone + Send + Sync + 'static>(module: &mut Module, key: TypeId) {
    let set = |_: Option<NativeCallContext>, args: &mut [&mut Dynamic]| -> RhaiResult {
        let [target, key, value] = args else { return Ok(Dynamic::UNIT) };
        if is_unchanged(target, key, value) {
            return Ok(Dynamic::UNIT);
        }
        if target.is_read_only() {
            let name = key.to_string();
            return Err(EvalAltResult::ErrorAssignmentToConstant(name, Position::NONE).into());
        }
        thaw(target)?;
        let value = std::mem::take(*value);
        assign(target, key, value)
    };
    // Pure, so that the call arrives here for constants too and the error can say what was assigned to.
    let function = native(set, true);
    FuncRegistration::new_index_setter().in_global_namespace().set_into_module_raw(
        module,
        [TypeId::of::<View>(), key, TypeId::of::<Dynamic>()],
        function,
    );
}

/// Assigns to an entry of the script's own map or array.
fn assign(target: &mut Dynamic, key: &Dynamic, value: Dynamic) -> RhaiResult {
    if target.is_map() {
        if let (Some(mut map), Ok(key)) = (target.write_lock::<Map>(), key.as_immutable_string_ref()) {
            map.insert(key.as_str().into(), value);
        }
        return Ok(Dynamic::UNIT);
    }
    let Some(mut array) = target.write_lock::<Array>() else { return Ok(Dynamic::UNIT) };
    let index = key.as_int().unwrap_or_default();
    let length = array.len();
    match position(index, length).and_then(|position| array.get_mut(position)) {
        Some(slot) => *slot = value,
        None => return Err(EvalAltResult::ErrorArrayBounds(length, index, Position::NONE).into()),
    }
    Ok(Dynamic::UNIT)
}

/// Negative indexes count from the end.
fn position(index: i64, length: usize) -> Option<usize> {
    usize::try_from(if index < 0 { index + length as i64 } else { index }).ok()
}

/// Is `value` the child that is there already?
fn is_unchanged(target: &Dynamic, key: &Dynamic, value: &Dynamic) -> bool {
    let current = if let Some(map) = target.read_lock::<FrozenMap>() {
        key.as_immutable_string_ref().ok().map(|key| map.child(&key))
    } else if let (Some(array), Ok(index)) = (target.read_lock::<FrozenArray>(), key.as_int()) {
        position(index, array.get().len()).and_then(|position| array.child(position))
    } else {
        None
    };
    current.is_some_and(|current| {
        frozen::is_same_view(&current, value).unwrap_or_else(|| is_equal_scalar(&current, value))
    })
}

/// Methods of scalars write back too: `ctx.name.len()` must not count as a change.
fn is_equal_scalar(current: &Dynamic, value: &Dynamic) -> bool {
    if let (Ok(current), Ok(value)) = (current.as_immutable_string_ref(), value.as_immutable_string_ref()) {
        return *current == *value;
    }
    if let (Ok(current), Ok(value)) = (current.as_blob_ref(), value.as_blob_ref()) {
        return *current == *value;
    }
    if let (Ok(current), Ok(value)) = (current.as_float(), value.as_float()) {
        return current.to_bits() == value.to_bits();
    }
    match (crate::handle::object(current), crate::handle::object(value)) {
        (Some(current), Some(value)) => return std::sync::Arc::ptr_eq(&current, &value),
        (None, None) => (),
        _ => return false,
    }
    (current.is_unit() && value.is_unit())
        || (current.is_int() && current.as_int() == value.as_int())
        || (current.is_bool() && current.as_bool() == value.as_bool())
}

fn register_forwarded<View: 'static>(module: &mut Module, names: &'static [(&'static str, usize)], is_pure: bool) {
    for &(name, most) in names {
        for count in 0..=most {
            let mut types = vec![TypeId::of::<View>()];
            types.resize(1 + count, TypeId::of::<Dynamic>());
            let function = native(
                move |context, args| {
                    if is_pure {
                        forward_read(context, name, args)
                    } else {
                        forward_change(context, name, args)
                    }
                },
                is_pure,
            );
            FuncRegistration::new(name).in_global_namespace().set_into_module_raw(module, types, function);
        }
    }
}

/// Operators, and functions that take a second container: a view on either side.
fn register_pairs<View: 'static, Own: 'static>(module: &mut Module, changes: &[&'static str]) {
    let (view, own) = (TypeId::of::<View>(), TypeId::of::<Own>());
    for name in ["==", "!=", "+"] {
        for types in [[view, view], [view, own], [own, view]] {
            let function = native(move |context, args| forward_read(context, name, args), true);
            FuncRegistration::new(name).in_global_namespace().set_into_module_raw(module, types, function);
        }
    }
    for &name in changes.iter().chain(&["+="]) {
        for types in [[view, view], [view, own], [own, view]] {
            let function = native(move |context, args| forward_change(context, name, args), false);
            FuncRegistration::new(name).in_global_namespace().set_into_module_raw(module, types, function);
        }
    }
}

fn native(
    call: impl Fn(Option<NativeCallContext>, &mut [&mut Dynamic]) -> RhaiResult + Send + Sync + 'static,
    is_pure: bool,
) -> RhaiFunc {
    RhaiFunc::Method { func: Shared::new(call), has_context: true, is_pure, is_volatile: true }
}

/// Calls the library's function on copies; the view stays where it is.
fn forward_read(context: Option<NativeCallContext>, name: &str, args: &mut [&mut Dynamic]) -> RhaiResult {
    let Some(context) = context else { return Ok(Dynamic::UNIT) };
    let mut copies: Vec<Dynamic> =
        args.iter().map(|value| frozen::thawed(value).unwrap_or_else(|| value.flatten_clone())).collect();
    let mut references: Vec<&mut Dynamic> = copies.iter_mut().collect();
    context.call_native_fn_raw(name, true, &mut references)
}

/// Calls the library's function after the view in the variable has become the script's own copy.
fn forward_change(context: Option<NativeCallContext>, name: &str, args: &mut [&mut Dynamic]) -> RhaiResult {
    let Some(context) = context else { return Ok(Dynamic::UNIT) };
    for value in args.iter_mut() {
        thaw(value)?;
    }
    context.call_native_fn_raw(name, true, args)
}

fn thaw(value: &mut Dynamic) -> Answer<()> {
    let Some(copy) = frozen::thawed(value) else { return Ok(()) };
    let Some(mut slot) = value.write_lock::<Dynamic>() else {
        return Err(EvalAltResult::ErrorDataRace(String::new(), Position::NONE).into());
    };
    *slot = copy;
    Ok(())
}

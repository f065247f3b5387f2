//! `map`, `filter`, `sort` and the other functions that take a callback.
//!
//! Rhai 1.27 finds out how many parameters a callback has by calling it wrongly: once per element it fails a lookup that
//! may try 2^16 combinations when the closure captures variables (12 ms an element), and builds an error text. Here the
//! number is looked up once per call. Errors always end the function: Rhai's `sort` and `dedup` go on after a stop.

use rhai::{Array, Dynamic, EvalAltResult, FnPtr, FuncRegistration, Map, Module, NativeCallContext};

type Answer<T> = Result<T, Box<EvalAltResult>>;

/// How a callback wants its arguments. `N` are those it always gets beside the element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// The element is `this`.
    This,
    /// The element is `this`, then the index.
    ThisIndex,
    Element,
    ElementIndex,
    /// A native function: try.
    Unknown,
}

/// A callback and how to call it.
struct Callback<'a> {
    pointer: &'a FnPtr,
    context: &'a NativeCallContext<'a>,
    shape: Shape,
    /// Where the element goes among the other arguments.
    place: usize,
}

impl<'a> Callback<'a> {
    /// For callbacks `f(fixed.., element, index?)`; `place` is the position of the element.
    fn new(context: &'a NativeCallContext<'a>, pointer: &'a FnPtr, fixed: usize, place: usize) -> Self {
        let captured = pointer.curry().len();
        let shapes = [(fixed, Shape::This), (fixed + 1, Shape::Element), (fixed + 2, Shape::ElementIndex)];
        let shape = Self::find(context, pointer, captured, &shapes);
        Self { pointer, context, shape, place }
    }

    /// For `for_each`, whose callback has the element as `this` always.
    fn on_this(context: &'a NativeCallContext<'a>, pointer: &'a FnPtr) -> Self {
        let captured = pointer.curry().len();
        let shapes = [(0, Shape::This), (1, Shape::ThisIndex)];
        let shape = match Self::find(context, pointer, captured, &shapes) {
            Shape::Unknown => Shape::This,
            known => known,
        };
        Self { pointer, context, shape, place: 0 }
    }

    fn find(context: &NativeCallContext, pointer: &FnPtr, captured: usize, shapes: &[(usize, Shape)]) -> Shape {
        let known = |count: usize| {
            context.iter_namespaces().any(|module| module.get_script_fn(pointer.fn_name(), captured + count).is_some())
        };
        shapes.iter().find(|(count, _)| known(*count)).map_or(Shape::Unknown, |(_, shape)| *shape)
    }

    /// Calls it for one element.
    fn call<const N: usize>(
        &self,
        element: &mut Dynamic,
        fixed: [Dynamic; N],
        index: Option<usize>,
    ) -> Answer<Dynamic> {
        match self.shape {
            Shape::This => self.pointer.call_raw(self.context, Some(element), fixed),
            Shape::ThisIndex => self.pointer.call_raw(self.context, Some(element), Self::indexed(fixed, index)),
            Shape::Element => self.raw(self.arguments(element.clone(), fixed, None)),
            Shape::ElementIndex => self.raw(self.arguments(element.clone(), fixed, index)),
            Shape::Unknown => self.try_all(element, fixed, index),
        }
    }

    fn raw(&self, mut arguments: Vec<Dynamic>) -> Answer<Dynamic> {
        self.pointer.call_raw(self.context, None, &mut arguments[..])
    }

    fn indexed<const N: usize>(fixed: [Dynamic; N], index: Option<usize>) -> Vec<Dynamic> {
        fixed.into_iter().chain(index.map(|index| Dynamic::from_int(index as i64))).collect()
    }

    fn arguments<const N: usize>(&self, element: Dynamic, fixed: [Dynamic; N], index: Option<usize>) -> Vec<Dynamic> {
        let mut arguments = Self::indexed(fixed, index);
        arguments.insert(self.place.min(arguments.len()), element);
        arguments
    }

    /// A native function or one of an imported module: the element alone, with its index, or as the receiver.
    fn try_all<const N: usize>(
        &self,
        element: &mut Dynamic,
        fixed: [Dynamic; N],
        index: Option<usize>,
    ) -> Answer<Dynamic> {
        let missing = |error: &EvalAltResult| {
            matches!(error, EvalAltResult::ErrorFunctionNotFound(signature, _)
                if signature.starts_with(self.pointer.fn_name()))
        };
        match self.raw(self.arguments(element.clone(), fixed.clone(), None)) {
            Err(error) if missing(&error) => (),
            done => return done,
        }
        if index.is_some() {
            match self.raw(self.arguments(element.clone(), fixed.clone(), index)) {
                Err(error) if missing(&error) => (),
                done => return done,
            }
        }
        self.pointer.call_raw(self.context, Some(element), fixed)
    }

    /// Calls it as a test. What is not a bool counts as false, as everywhere in Rhai's library.
    fn test(&self, element: &mut Dynamic, index: usize) -> Answer<bool> {
        Ok(self.call(element, [], Some(index))?.as_bool().unwrap_or(false))
    }

    fn test_entry(&self, key: &str, element: &mut Dynamic) -> Answer<bool> {
        Ok(self.call(element, [key.into()], None)?.as_bool().unwrap_or(false))
    }
}

/// Registers all of them into the module that overrides the standard library.
pub fn register(module: &mut Module) {
    macro_rules! offer {
        ($($name:literal, $pure:literal => $function:expr;)*) => {
            $(FuncRegistration::new($name).in_global_namespace().with_purity($pure).set_into_module(module, $function);)*
        };
    }
    offer! {
        "map", true => map;
        "filter", true => filter;
        "for_each", false => for_each;
        "some", true => some;
        "all", true => all;
        "find", true => |context: NativeCallContext, array: &mut Array, f: FnPtr| find(context, array, f, 0);
        "find", true => find;
        "find_map", true => |context: NativeCallContext, array: &mut Array, f: FnPtr| find_map(context, array, f, 0);
        "find_map", true => find_map;
        "index_of", true => |context: NativeCallContext, array: &mut Array, f: FnPtr| index_of(context, array, f, 0);
        "index_of", true => index_of;
        "reduce", true => |context: NativeCallContext, array: &mut Array, f: FnPtr| reduce(context, array, f, Dynamic::UNIT);
        "reduce", true => reduce;
        "reduce_rev", true => |context: NativeCallContext, array: &mut Array, f: FnPtr| {
            reduce_rev(context, array, f, Dynamic::UNIT)
        };
        "reduce_rev", true => reduce_rev;
        "sort", false => sort;
        "sort_by", false => sort;
        "order", true => order;
        "order_by", true => order;
        "zip", true => zip;
        "dedup", false => dedup;
        "drain", false => |context: NativeCallContext, array: &mut Array, f: FnPtr| partition(context, array, f, false);
        "retain", false => |context: NativeCallContext, array: &mut Array, f: FnPtr| partition(context, array, f, true);
        "map", true => map_entries;
        "filter", true => filter_entries;
        "drain", false => |context: NativeCallContext, map: &mut Map, f: FnPtr| partition_entries(context, map, f, false);
        "retain", false => |context: NativeCallContext, map: &mut Map, f: FnPtr| partition_entries(context, map, f, true);
    }
}

fn map(context: NativeCallContext, array: &mut Array, pointer: FnPtr) -> Answer<Array> {
    let callback = Callback::new(&context, &pointer, 0, 0);
    array.iter_mut().enumerate().map(|(index, item)| callback.call(item, [], Some(index))).collect()
}

fn filter(context: NativeCallContext, array: &mut Array, pointer: FnPtr) -> Answer<Array> {
    let callback = Callback::new(&context, &pointer, 0, 0);
    let mut kept = Array::new();
    for (index, item) in array.iter_mut().enumerate() {
        if callback.test(item, index)? {
            kept.push(item.clone());
        }
    }
    Ok(kept)
}

fn for_each(context: NativeCallContext, array: &mut Array, pointer: FnPtr) -> Answer<()> {
    let callback = Callback::on_this(&context, &pointer);
    for (index, item) in array.iter_mut().enumerate() {
        let _ = callback.call(item, [], Some(index))?;
    }
    Ok(())
}

fn some(context: NativeCallContext, array: &mut Array, pointer: FnPtr) -> Answer<bool> {
    Ok(index_of(context, array, pointer, 0)? >= 0)
}

fn all(context: NativeCallContext, array: &mut Array, pointer: FnPtr) -> Answer<bool> {
    let callback = Callback::new(&context, &pointer, 0, 0);
    for (index, item) in array.iter_mut().enumerate() {
        if !callback.test(item, index)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Rhai counts negative positions from the end.
fn offset(start: i64, length: usize) -> usize {
    let length = length as i64;
    (if start < 0 { (length + start).max(0) } else { start.min(length) }) as usize
}

fn index_of(context: NativeCallContext, array: &mut Array, pointer: FnPtr, start: i64) -> Answer<i64> {
    let callback = Callback::new(&context, &pointer, 0, 0);
    let start = offset(start, array.len());
    for (index, item) in array.iter_mut().enumerate().skip(start) {
        if callback.test(item, index)? {
            return Ok(index as i64);
        }
    }
    Ok(-1)
}

fn find(context: NativeCallContext, array: &mut Array, pointer: FnPtr, start: i64) -> Answer<Dynamic> {
    let index = index_of(context, array, pointer, start)?;
    Ok(usize::try_from(index).ok().and_then(|index| array.get(index)).cloned().unwrap_or(Dynamic::UNIT))
}

fn find_map(context: NativeCallContext, array: &mut Array, pointer: FnPtr, start: i64) -> Answer<Dynamic> {
    let callback = Callback::new(&context, &pointer, 0, 0);
    let start = offset(start, array.len());
    for (index, item) in array.iter_mut().enumerate().skip(start) {
        let value = callback.call(item, [], Some(index))?;
        if !value.is_unit() {
            return Ok(value);
        }
    }
    Ok(Dynamic::UNIT)
}

fn reduce(context: NativeCallContext, array: &mut Array, pointer: FnPtr, initial: Dynamic) -> Answer<Dynamic> {
    let callback = Callback::new(&context, &pointer, 1, 1);
    array.iter_mut().enumerate().try_fold(initial, |sum, (index, item)| callback.call(item, [sum], Some(index)))
}

fn reduce_rev(context: NativeCallContext, array: &mut Array, pointer: FnPtr, initial: Dynamic) -> Answer<Dynamic> {
    let callback = Callback::new(&context, &pointer, 1, 1);
    array.iter_mut().enumerate().rev().try_fold(initial, |sum, (index, item)| callback.call(item, [sum], Some(index)))
}

fn zip(context: NativeCallContext, array: &mut Array, other: Array, pointer: FnPtr) -> Answer<Array> {
    let callback = Callback::new(&context, &pointer, 1, 0);
    let pairs = array.iter_mut().zip(other).enumerate();
    pairs.map(|(index, (item, other))| callback.call(item, [other], Some(index))).collect()
}

fn order(context: NativeCallContext, array: &mut Array, pointer: FnPtr) -> Answer<Array> {
    let mut sorted = array.clone();
    sort(context, &mut sorted, pointer)?;
    Ok(sorted)
}

/// `drain` hands out what passes the test, `retain` what does not.
fn partition(context: NativeCallContext, array: &mut Array, pointer: FnPtr, retain: bool) -> Answer<Array> {
    let callback = Callback::new(&context, &pointer, 0, 0);
    let mut is_passing = Vec::with_capacity(array.len());
    for (index, item) in array.iter_mut().enumerate() {
        is_passing.push(callback.test(item, index)?);
    }
    let mut removed = Array::new();
    let mut kept = Array::with_capacity(array.len());
    for (item, passes) in std::mem::take(array).into_iter().zip(is_passing) {
        if passes == retain {
            kept.push(item);
        } else {
            removed.push(item);
        }
    }
    *array = kept;
    Ok(removed)
}

fn dedup(context: NativeCallContext, array: &mut Array, pointer: FnPtr) -> Answer<()> {
    let mut kept: Array = Array::with_capacity(array.len());
    for item in std::mem::take(array) {
        let is_same = match kept.last() {
            Some(last) => pointer
                .call_raw(&context, None, [last.clone(), item.clone()])
                .map(|same| same.as_bool().unwrap_or(false)),
            None => Ok(false),
        };
        match is_same {
            Ok(true) => (),
            Ok(false) => kept.push(item),
            Err(error) if is_mismatch(&error) => kept.push(item),
            Err(error) => return Err(error),
        }
    }
    *array = kept;
    Ok(())
}

/// Rhai's library takes a failed comparison for "differs"; that must not hide that the run was stopped.
fn is_mismatch(error: &EvalAltResult) -> bool {
    matches!(error, EvalAltResult::ErrorFunctionNotFound(..) | EvalAltResult::ErrorMismatchDataType(..))
}

/// Sorts in place, stably. A merge sort of our own: it ends at the first error, and cannot panic on a comparison that
/// is no order.
fn sort(context: NativeCallContext, array: &mut Array, pointer: FnPtr) -> Answer<()> {
    let items = std::mem::take(array);
    let mut order: Vec<usize> = (0..items.len()).collect();
    let result = merge_sort(&mut order, &mut |left, right| {
        let answer = pointer.call_raw(&context, None, [items[left].clone(), items[right].clone()])?;
        Ok(match (answer.as_int(), answer.as_bool()) {
            (Ok(sign), _) => sign <= 0,
            (_, Ok(is_less)) => is_less,
            _ => true,
        })
    });
    let mut items: Vec<Option<Dynamic>> = items.into_iter().map(Some).collect();
    array.extend(order.into_iter().filter_map(|index| items[index].take()));
    result
}

/// Sorts positions; `stays` tells whether the left one may stay before the right one.
fn merge_sort<E>(order: &mut [usize], stays: &mut impl FnMut(usize, usize) -> Result<bool, E>) -> Result<(), E> {
    let middle = order.len() / 2;
    if middle == 0 {
        return Ok(());
    }
    merge_sort(&mut order[..middle], stays)?;
    merge_sort(&mut order[middle..], stays)?;
    let left = order[..middle].to_vec();
    let (mut from_left, mut from_right) = (0, middle);
    for at in 0..order.len() {
        let take_left = match (left.get(from_left), order.get(from_right)) {
            (Some(&one), Some(&other)) => match stays(one, other) {
                Ok(stays) => stays,
                Err(error) => {
                    // What is merged so far plus the rest is still every position once.
                    order[at..from_right].copy_from_slice(&left[from_left..]);
                    return Err(error);
                }
            },
            (Some(_), None) => true,
            _ => break,
        };
        if take_left {
            order[at] = left[from_left];
            from_left += 1;
        } else {
            order[at] = order[from_right];
            from_right += 1;
        }
    }
    Ok(())
}

fn map_entries(context: NativeCallContext, map: &mut Map, pointer: FnPtr) -> Answer<Map> {
    let callback = Callback::new(&context, &pointer, 1, 1);
    map.iter_mut().map(|(key, item)| Ok((key.clone(), callback.call(item, [key.as_str().into()], None)?))).collect()
}

fn filter_entries(context: NativeCallContext, map: &mut Map, pointer: FnPtr) -> Answer<Map> {
    let callback = Callback::new(&context, &pointer, 1, 1);
    let mut kept = Map::new();
    for (key, item) in map.iter_mut() {
        if callback.test_entry(key, item)? {
            kept.insert(key.clone(), item.clone());
        }
    }
    Ok(kept)
}

fn partition_entries(context: NativeCallContext, map: &mut Map, pointer: FnPtr, retain: bool) -> Answer<Map> {
    let callback = Callback::new(&context, &pointer, 1, 1);
    let mut removed = Map::new();
    let mut kept = Map::new();
    for (key, mut item) in std::mem::take(map) {
        if callback.test_entry(&key, &mut item)? == retain {
            kept.insert(key, item);
        } else {
            removed.insert(key, item);
        }
    }
    *map = kept;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::merge_sort;

    #[test]
    fn sorting_is_stable() {
        let keys = [3, 1, 2, 1, 3, 2];
        let mut order: Vec<usize> = (0..keys.len()).collect();
        let result: Result<(), ()> = merge_sort(&mut order, &mut |left, right| Ok(keys[left] <= keys[right]));
        assert_eq!(result, Ok(()));
        assert_eq!(order, [1, 3, 2, 5, 0, 4]);
    }

    #[test]
    fn an_error_ends_it_and_loses_nothing() {
        for allowed in 0..40 {
            let mut left_over = allowed;
            let mut order: Vec<usize> = (0..16).collect();
            let result = merge_sort(&mut order, &mut |left, right| {
                if left_over == 0 {
                    return Err(());
                }
                left_over -= 1;
                Ok(left > right)
            });
            assert_eq!(result.is_err(), allowed < 32);
            order.sort_unstable();
            assert_eq!(order, (0..16).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_comparison_that_is_no_order_does_no_harm() {
        let mut order: Vec<usize> = (0..200).collect();
        let mut turn = 0;
        let result: Result<(), ()> = merge_sort(&mut order, &mut |_, _| {
            turn += 1;
            Ok(turn % 3 == 0)
        });
        assert_eq!(result, Ok(()));
        order.sort_unstable();
        assert_eq!(order, (0..200).collect::<Vec<_>>());
    }
}

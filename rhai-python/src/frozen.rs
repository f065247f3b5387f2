//! Constants of a run: read-only trees that are shared, never copied.
//!
//! A constant must be visible in every function, and reading `ctx.request.body.x` must not copy `ctx`. Rhai offers
//! neither: a variable resolver hands out copies, and a shared value is locked while a chain runs over it, so a callback
//! that reads the constant again would find it locked. So a container of a constant is a view: a counted reference to
//! the tree and the place in it. Scalars leave the tree by copy (strings are counted references anyway).
//!
//! Views behave like the map or array they show. A script that changes a *variable* holding a view gets its own copy at
//! that moment; a change of the constant itself is an error. See `frozen_api` for the functions.

use std::sync::Arc;

use rhai::{Array, Dynamic, Map};

/// A map inside a shared tree.
#[derive(Clone)]
pub struct FrozenMap {
    root: Arc<Dynamic>,
    node: *const Map,
}

/// An array inside a shared tree.
#[derive(Clone)]
pub struct FrozenArray {
    root: Arc<Dynamic>,
    node: *const Array,
}

// SAFETY: the tree behind `root` is never written to once it is shared, and `Dynamic` is `Send + Sync` itself. `node`
// points into that tree, which lives as long as `root`.
unsafe impl Send for FrozenMap {}
unsafe impl Sync for FrozenMap {}
unsafe impl Send for FrozenArray {}
unsafe impl Sync for FrozenArray {}

impl FrozenMap {
    pub fn get(&self) -> &Map {
        // SAFETY: see the `Send` implementation: `node` is inside `root`, which is alive and never changes.
        unsafe { &*self.node }
    }

    /// The value at `key` as a view, unit where there is none: maps of Rhai answer so too.
    pub fn child(&self, key: &str) -> Dynamic {
        self.get().get(key).map_or(Dynamic::UNIT, |value| view(&self.root, value))
    }
}

impl FrozenArray {
    pub fn get(&self) -> &Array {
        // SAFETY: as for `FrozenMap::get`.
        unsafe { &*self.node }
    }

    pub fn child(&self, index: usize) -> Option<Dynamic> {
        self.get().get(index).map(|value| view(&self.root, value))
    }
}

/// Makes a value a constant: containers become views, the rest stays as it is.
pub fn freeze(value: Dynamic) -> Dynamic {
    if value.is_map() || value.is_array() {
        let root = Arc::new(value);
        return view(&root, &root);
    }
    value
}

fn view(root: &Arc<Dynamic>, value: &Dynamic) -> Dynamic {
    if let Ok(map) = value.as_map_ref() {
        let node: *const Map = &raw const *map;
        return Dynamic::from(FrozenMap { root: root.clone(), node });
    }
    if let Ok(array) = value.as_array_ref() {
        let node: *const Array = &raw const *array;
        return Dynamic::from(FrozenArray { root: root.clone(), node });
    }
    value.clone()
}

/// Do both show the same place of the same tree? None when neither is a view.
pub fn is_same_view(one: &Dynamic, other: &Dynamic) -> Option<bool> {
    let place = |value: &Dynamic| {
        if let Some(map) = value.read_lock::<FrozenMap>() {
            return Some(map.node as usize);
        }
        value.read_lock::<FrozenArray>().map(|array| array.node as usize)
    };
    match (place(one), place(other)) {
        (None, None) => None,
        (one, other) => Some(one == other),
    }
}

/// A copy that belongs to the script, None when the value is no view.
pub fn thawed(value: &Dynamic) -> Option<Dynamic> {
    if let Some(map) = value.read_lock::<FrozenMap>() {
        return Some(Dynamic::from_map(map.get().clone()));
    }
    value.read_lock::<FrozenArray>().map(|array| Dynamic::from_array(array.get().clone()))
}

/// Reads a map, whether it is a view or the script's own; None for other values.
pub fn with_map<T>(value: &Dynamic, read: impl FnOnce(&Map) -> T) -> Option<T> {
    if let Ok(map) = value.as_map_ref() {
        return Some(read(&map));
    }
    value.read_lock::<FrozenMap>().map(|map| read(map.get()))
}

/// Reads an array, whether it is a view or the script's own; None for other values.
pub fn with_array<T>(value: &Dynamic, read: impl FnOnce(&Array) -> T) -> Option<T> {
    if let Ok(array) = value.as_array_ref() {
        return Some(read(&array));
    }
    value.read_lock::<FrozenArray>().map(|array| read(array.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Dynamic {
        let mut inner = Map::new();
        inner.insert("x".into(), 1_i64.into());
        let mut outer = Map::new();
        outer.insert("inner".into(), inner.into());
        outer.insert("list".into(), Dynamic::from_array(vec![1_i64.into(), Dynamic::from_array(Array::new())]));
        freeze(outer.into())
    }

    #[test]
    fn children_outlive_the_value_they_came_from() {
        let root = tree();
        let inner = root.read_lock::<FrozenMap>().unwrap().child("inner");
        drop(root);
        assert_eq!(inner.read_lock::<FrozenMap>().unwrap().child("x").as_int(), Ok(1));
    }

    #[test]
    fn a_thawed_copy_is_independent() {
        let root = tree();
        let mut copy = thawed(&root).unwrap();
        copy.write_lock::<Map>().unwrap().clear();
        assert_eq!(with_map(&root, Map::len), Some(2));
        assert!(thawed(&1_i64.into()).is_none());
    }

    #[test]
    fn scalars_are_not_wrapped() {
        assert!(freeze(5_i64.into()).is_int());
        let list = tree().read_lock::<FrozenMap>().unwrap().child("list");
        let list = list.read_lock::<FrozenArray>().unwrap();
        assert!(list.child(0).unwrap().is_int());
        assert!(list.child(1).unwrap().is::<FrozenArray>());
        assert!(list.child(2).is_none());
    }
}

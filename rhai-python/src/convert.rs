//! Values between Python and the script, both ways bounded in depth and size.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple, PyType,
};
use rhai::{Array, Dynamic, FnPtr, Map};

use crate::failure::input_error;
use crate::fault::Fault;
use crate::function::Function;
use crate::json::{self, Shape};
use crate::values::{Json, Range};
use crate::{frozen, handle, text};

/// Documents longer than this are parsed without the GIL.
const LONG_DOCUMENT: usize = 8 << 10;

/// The classes an engine knows, by position.
#[derive(Default)]
pub struct TypeTable {
    classes: Vec<Py<PyType>>,
    by_address: HashMap<usize, usize>,
}

impl TypeTable {
    /// Adds a class and gives its position.
    pub fn add(&mut self, class: &Bound<'_, PyType>) -> usize {
        let index = self.classes.len();
        self.by_address.insert(class.as_ptr() as usize, index);
        self.classes.push(class.clone().unbind());
        index
    }

    fn index_of(&self, object: &Bound<'_, PyAny>) -> Option<usize> {
        if self.classes.is_empty() {
            return None;
        }
        if let Some(index) = self.by_address.get(&(object.get_type().as_ptr() as usize)) {
            return Some(*index);
        }
        let py = object.py();
        self.classes.iter().position(|class| object.is_instance(class.bind(py)).unwrap_or(false))
    }
}

/// Brings values from Python in. One reader serves all inputs of a run, so the number of nodes is counted across them.
pub struct Reader<'a> {
    types: &'a TypeTable,
    shape: Shape,
    nodes: usize,
}

impl<'a> Reader<'a> {
    pub fn new(types: &'a TypeTable, shape: Shape) -> Self {
        Self { types, shape, nodes: 0 }
    }

    /// Converts one value.
    pub fn read(&mut self, value: &Bound<'_, PyAny>) -> PyResult<Dynamic> {
        self.value(value, 0)
    }

    fn value(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Dynamic> {
        self.nodes += 1;
        if self.nodes > self.shape.nodes {
            return Err(input_error(value.py(), format!("more than {} values", self.shape.nodes)));
        }
        if value.is_none() {
            return Ok(Dynamic::UNIT);
        }
        if let Ok(text) = value.cast::<PyString>() {
            return string(text).map(Into::into);
        }
        if let Ok(truth) = value.cast::<PyBool>() {
            return Ok(Dynamic::from_bool(truth.is_true()));
        }
        if let Ok(integer) = value.cast::<PyInt>() {
            return integer
                .extract::<i64>()
                .map(Dynamic::from_int)
                .map_err(|_| input_error(value.py(), "an integer beyond 64 bits cannot enter a script".into()));
        }
        if let Ok(float) = value.cast::<PyFloat>() {
            return Ok(Dynamic::from_float(float.value()));
        }
        if let Ok(dict) = value.cast::<PyDict>() {
            return self.dict(dict, depth + 1);
        }
        if let Ok(list) = value.cast::<PyList>() {
            return self.items(value.py(), list.iter(), list.len(), depth + 1);
        }
        if let Ok(json) = value.cast::<Json>() {
            return self.document(value.py(), json.get());
        }
        self.uncommon(value, depth)
    }

    fn uncommon(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Dynamic> {
        if let Some(index) = self.types.index_of(value) {
            let object = Arc::new(value.clone().unbind());
            return handle::wrap(index, object).ok_or_else(|| PyTypeError::new_err("too many host types"));
        }
        if let Ok(tuple) = value.cast::<PyTuple>() {
            return self.items(value.py(), tuple.iter(), tuple.len(), depth + 1);
        }
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Dynamic::from_blob(bytes.as_bytes().to_vec()));
        }
        if let Ok(bytes) = value.cast::<PyByteArray>() {
            return Ok(Dynamic::from_blob(bytes.to_vec()));
        }
        if value.cast::<PyMemoryView>().is_ok() {
            let bytes = value.call_method0("tobytes")?;
            return Ok(Dynamic::from_blob(bytes.cast::<PyBytes>()?.as_bytes().to_vec()));
        }
        if let Ok(range) = value.cast::<Range>() {
            let range = range.get();
            return Ok(if range.inclusive {
                Dynamic::from(range.start..=range.end)
            } else {
                Dynamic::from(range.start..range.end)
            });
        }
        if let Ok(function) = value.cast::<Function>() {
            return Ok(function.get().pointer().into());
        }
        Err(PyTypeError::new_err(format!(
            "a {} cannot enter a script; register its class as a HostType or convert it",
            value.get_type().name()?
        )))
    }

    fn enter(&self, py: Python<'_>, depth: usize) -> PyResult<()> {
        if depth > self.shape.depth {
            return Err(input_error(py, format!("nested deeper than {} levels", self.shape.depth)));
        }
        Ok(())
    }

    fn dict(&mut self, dict: &Bound<'_, PyDict>, depth: usize) -> PyResult<Dynamic> {
        self.enter(dict.py(), depth)?;
        let mut map = Map::new();
        for (key, item) in dict {
            let Ok(key) = key.cast::<PyString>() else {
                return Err(PyTypeError::new_err("the keys of a map must be str"));
            };
            map.insert(string(key)?.into(), self.value(&item, depth)?);
        }
        Ok(Dynamic::from_map(map))
    }

    fn items<'py>(
        &mut self,
        py: Python<'py>,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        count: usize,
        depth: usize,
    ) -> PyResult<Dynamic> {
        self.enter(py, depth)?;
        let mut array = Array::with_capacity(count.min(self.shape.nodes));
        for item in items {
            array.push(self.value(&item, depth)?);
        }
        Ok(Dynamic::from_array(array))
    }

    fn document(&mut self, py: Python<'_>, json: &Json) -> PyResult<Dynamic> {
        let shape = Shape { depth: self.shape.depth, nodes: self.shape.nodes.saturating_sub(self.nodes) };
        let parsed = if json.bytes.len() > LONG_DOCUMENT {
            py.detach(|| json::parse(&json.bytes, shape))
        } else {
            json::parse(&json.bytes, shape)
        };
        parsed.map_err(|error| input_error(py, format!("JSON: {error}")))
    }
}

fn string<'a>(text: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    text.to_str().map_err(|_| input_error(text.py(), "a string with a lone surrogate cannot enter a script".into()))
}

/// Why a value cannot leave the script.
pub enum Refused {
    Depth,
    Nodes,
    Unsupported(String),
    Python(PyErr),
}

impl From<PyErr> for Refused {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// Takes values out, as Python objects.
pub struct Writer<'py> {
    py: Python<'py>,
    shape: Shape,
    nodes: usize,
}

type Written<'py> = Result<Bound<'py, PyAny>, Refused>;

impl<'py> Writer<'py> {
    pub fn new(py: Python<'py>, shape: Shape) -> Self {
        Self { py, shape, nodes: 0 }
    }

    /// Converts one value.
    pub fn write(&mut self, value: &Dynamic) -> Written<'py> {
        self.value(value, 0)
    }

    fn value(&mut self, value: &Dynamic, depth: usize) -> Written<'py> {
        self.nodes += 1;
        if self.nodes > self.shape.nodes {
            return Err(Refused::Nodes);
        }
        let py = self.py;
        if value.is_unit() {
            return Ok(py.None().into_bound(py));
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            return Ok(PyString::new(py, &text).into_any());
        }
        if let Ok(integer) = value.as_int() {
            return Ok(integer.into_pyobject(py).map_err(PyErr::from)?.into_any());
        }
        if let Ok(truth) = value.as_bool() {
            return Ok(PyBool::new(py, truth).to_owned().into_any());
        }
        if let Ok(float) = value.as_float() {
            return Ok(PyFloat::new(py, float).into_any());
        }
        if let Some(done) = frozen::with_map(value, |map| self.map(map, depth + 1)) {
            return done;
        }
        if let Some(done) = frozen::with_array(value, |array| self.array(array, depth + 1)) {
            return done;
        }
        self.uncommon(value, depth)
    }

    fn uncommon(&mut self, value: &Dynamic, depth: usize) -> Written<'py> {
        let py = self.py;
        if let Ok(character) = value.as_char() {
            return Ok(PyString::new(py, character.encode_utf8(&mut [0; 4])).into_any());
        }
        if let Ok(blob) = value.as_blob_ref() {
            return Ok(PyBytes::new(py, &blob).into_any());
        }
        if let Some(object) = handle::object(value) {
            return Ok(object.bind(py).clone());
        }
        if let Some(pointer) = value.read_lock::<FnPtr>() {
            return Ok(Bound::new(py, Function::outside(pointer.clone()))?.into_any());
        }
        if let Some(range) = range_of(value) {
            return Ok(Bound::new(py, range)?.into_any());
        }
        if let Some(fault) = value.read_lock::<Fault>() {
            return self.map(&fault.members, depth + 1);
        }
        Err(Refused::Unsupported(format!("a {} cannot leave the script", text::type_name(value))))
    }

    fn enter(&self, depth: usize) -> Result<(), Refused> {
        if depth > self.shape.depth {
            return Err(Refused::Depth);
        }
        Ok(())
    }

    fn array(&mut self, array: &Array, depth: usize) -> Written<'py> {
        self.enter(depth)?;
        let list = PyList::empty(self.py);
        for item in array {
            list.append(self.value(item, depth)?)?;
        }
        Ok(list.into_any())
    }

    fn map(&mut self, map: &Map, depth: usize) -> Written<'py> {
        self.enter(depth)?;
        let dict = PyDict::new(self.py);
        for (key, item) in map {
            dict.set_item(key.as_str(), self.value(item, depth)?)?;
        }
        Ok(dict.into_any())
    }
}

fn range_of(value: &Dynamic) -> Option<Range> {
    if let Some(range) = value.read_lock::<std::ops::Range<i64>>() {
        return Some(Range { start: range.start, end: range.end, inclusive: false });
    }
    let range = value.read_lock::<std::ops::RangeInclusive<i64>>()?;
    Some(Range { start: *range.start(), end: *range.end(), inclusive: true })
}

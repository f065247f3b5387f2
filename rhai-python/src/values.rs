//! Small Python classes: markers, results and tokens.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

/// A JSON document: parsed natively on its way in, never a Python object.
#[pyclass(frozen, module = "rhai._rhai", name = "Json", eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub struct Json {
    pub bytes: Arc<[u8]>,
}

#[pymethods]
impl Json {
    #[new]
    fn new(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return Ok(Self { bytes: bytes.as_bytes().into() });
        }
        let bytes: Vec<u8> = data
            .extract::<pyo3::pybacked::PyBackedBytes>()
            .map(|bytes| bytes.to_vec())
            .map_err(|_| PyTypeError::new_err("Json takes the bytes of a JSON document"))?;
        Ok(Self { bytes: bytes.into() })
    }

    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.data(py)
    }

    fn __repr__(&self) -> String {
        format!("Json({} bytes)", self.bytes.len())
    }

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyBytes>,) {
        (self.data(py),)
    }
}

/// `start..end` or `start..=end`.
#[pyclass(frozen, module = "rhai._rhai", name = "Range", eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub struct Range {
    #[pyo3(get)]
    pub start: i64,
    #[pyo3(get)]
    pub end: i64,
    #[pyo3(get)]
    pub inclusive: bool,
}

#[pymethods]
impl Range {
    #[new]
    #[pyo3(signature = (start, end, inclusive = false))]
    fn new(start: i64, end: i64, inclusive: bool) -> Self {
        Self { start, end, inclusive }
    }

    fn __repr__(&self) -> String {
        let inclusive = if self.inclusive { ", inclusive=True" } else { "" };
        format!("Range({}, {}{inclusive})", self.start, self.end)
    }

    fn __getnewargs__(&self) -> (i64, i64, bool) {
        (self.start, self.end, self.inclusive)
    }
}

/// Stops the runs it was given to, from any thread.
#[pyclass(frozen, module = "rhai._rhai", name = "CancelToken")]
pub struct CancelToken {
    pub flag: Arc<AtomicBool>,
}

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self { flag: Arc::new(AtomicBool::new(false)) }
    }

    fn cancel(&self) {
        self.flag.store(true, Relaxed);
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.flag.load(Relaxed)
    }
}

/// What a run has spent.
#[pyclass(frozen, get_all, module = "rhai._rhai", name = "Stats", eq, skip_from_py_object)]
#[derive(Clone, PartialEq)]
pub struct Stats {
    pub operations: u64,
    pub wall_seconds: f64,
    pub peak_bytes: u64,
    pub leaked_bytes: u64,
    pub output_bytes: u64,
}

#[pymethods]
impl Stats {
    #[new]
    #[pyo3(signature = (operations = 0, wall_seconds = 0.0, peak_bytes = 0, leaked_bytes = 0, output_bytes = 0))]
    fn new(operations: u64, wall_seconds: f64, peak_bytes: u64, leaked_bytes: u64, output_bytes: u64) -> Self {
        Self { operations, wall_seconds, peak_bytes, leaked_bytes, output_bytes }
    }

    fn __repr__(&self) -> String {
        format!(
            "Stats(operations={}, wall_seconds={:?}, peak_bytes={}, leaked_bytes={}, output_bytes={})",
            self.operations, self.wall_seconds, self.peak_bytes, self.leaked_bytes, self.output_bytes
        )
    }

    fn __getnewargs__(&self) -> (u64, f64, u64, u64, u64) {
        (self.operations, self.wall_seconds, self.peak_bytes, self.leaked_bytes, self.output_bytes)
    }
}

/// The result of `Script.execute`, ready to be stored or sent.
#[pyclass(frozen, module = "rhai._rhai", name = "Outcome")]
pub struct Outcome {
    #[pyo3(get)]
    pub kind: &'static str,
    #[pyo3(get)]
    pub data: Py<PyBytes>,
    #[pyo3(get)]
    pub host: Option<Py<PyAny>>,
    #[pyo3(get)]
    pub stats: Py<Stats>,
}

#[pymethods]
impl Outcome {
    fn __repr__(&self, py: Python<'_>) -> String {
        format!("Outcome(kind={:?}, {} bytes)", self.kind, self.data.bind(py).as_bytes().len())
    }
}

/// A function a script defines.
#[pyclass(frozen, get_all, module = "rhai._rhai", name = "FunctionInfo")]
pub struct FunctionInfo {
    pub name: String,
    pub params: Py<PyTuple>,
    pub private: bool,
}

#[pymethods]
impl FunctionInfo {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let params: Vec<String> = self.params.bind(py).extract()?;
        Ok(format!("FunctionInfo({}({}))", self.name, params.join(", ")))
    }
}

//! Rhai for Python: the engine with its holes closed, and the classes Python sees.
//!
//! Where things are, in the order a run passes them: `engine` (configuration, one engine per run), `script` (a run from
//! inputs to statistics), `run` (budgets), `alloc`, `stack` and `pool` (what budgets are measured on), `stdlib` with
//! `strings`, `callbacks` and `frozen_api` (what replaces Rhai's library), `host` and `function` (calls in both
//! directions), `convert` and `json` (values), `failure` (errors).

mod alloc;
mod callbacks;
mod convert;
mod engine;
mod failure;
mod fault;
mod frozen;
mod frozen_api;
mod function;
mod guard;
mod handle;
mod host;
mod json;
mod limits;
mod panics;
mod pool;
mod resolver;
mod run;
mod scope;
mod script;
mod stack;
mod stdlib;
mod strings;
mod text;
mod values;

#[pyo3::pymodule]
mod _rhai {
    use pyo3::exceptions::PyRuntimeError;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    use crate::convert::{Reader, Refused, TypeTable, Writer};
    use crate::failure::input_error;
    use crate::json::{self, Shape};
    use crate::limits::Limits;

    #[pymodule_export]
    use crate::engine::PyEngine;
    #[pymodule_export]
    use crate::function::Function;
    #[pymodule_export]
    use crate::scope::Scope;
    #[pymodule_export]
    use crate::script::Script;
    #[pymodule_export]
    use crate::values::{CancelToken, FunctionInfo, Json, Outcome, Range, Stats};

    const SHAPE: Shape = Shape { depth: 128, nodes: 200_000 };

    /// The `context` of the run this thread is in.
    #[pyfunction]
    fn current_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
        crate::run::with_current(|run| match run {
            Some(run) => Ok(run.context.as_ref().map_or_else(|| py.None(), |context| context.clone_ref(py))),
            None => Err(PyRuntimeError::new_err("no script is running on this thread")),
        })
    }

    /// Stack a thread needs so that runs under these limits stay on it.
    #[pyfunction]
    fn recommended_stack_bytes(limits: &Bound<'_, PyAny>) -> PyResult<usize> {
        Ok(Limits::read(limits)?.stack_bytes())
    }

    /// Parses JSON as `json::parse` does.
    #[pyfunction]
    fn parse_json(py: Python<'_>, data: &[u8]) -> PyResult<Py<PyAny>> {
        let value = json::parse(data, SHAPE).map_err(|error| input_error(py, format!("JSON: {error}")))?;
        Writer::new(py, SHAPE).write(&value).map(Bound::unbind).map_err(|refused| match refused {
            Refused::Python(error) => error,
            _ => input_error(py, "the document is too large".into()),
        })
    }

    /// Writes JSON as `json::stringify` does.
    #[pyfunction]
    fn stringify_json<'py>(py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let value = Reader::new(&TypeTable::default(), SHAPE).read(value)?;
        let bytes = json::stringify(&value, SHAPE).map_err(|error| input_error(py, format!("JSON: {error}")))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pymodule_init]
    fn init(_: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::panics::install_hook();
        Ok(())
    }
}

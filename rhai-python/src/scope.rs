//! `rhai.Scope`: variables that outlive a run.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::prelude::*;
use rhai::Dynamic;

use crate::convert::{Reader, Refused, TypeTable, Writer};
use crate::json::Shape;
use crate::pool::OnBigStack;

const SHAPE: Shape = Shape { depth: 128, nodes: 200_000 };

/// The Python class. One run at a time can use it.
#[pyclass(frozen, module = "rhai._rhai", name = "Scope")]
pub struct Scope {
    // Values a script left here can be nested deeper than the stack of the thread that drops them.
    scope: OnBigStack<Mutex<rhai::Scope<'static>>>,
}

impl Scope {
    /// The variables, for a run; an error while another run has them.
    pub fn lock(&self) -> PyResult<MutexGuard<'_, rhai::Scope<'static>>> {
        match self.scope.get().try_lock() {
            Ok(scope) => Ok(scope),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => {
                Err(PyRuntimeError::new_err("the scope is in use by another run"))
            }
        }
    }

    fn any_lock(&self) -> MutexGuard<'_, rhai::Scope<'static>> {
        self.scope.get().lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(value: &Bound<'_, PyAny>) -> PyResult<Dynamic> {
    Reader::new(&TypeTable::default(), SHAPE).read(value)
}

#[pymethods]
impl Scope {
    #[new]
    fn new() -> Self {
        Self { scope: OnBigStack::new(Mutex::default()) }
    }

    fn push(&self, name: String, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = read(value)?;
        self.lock()?.push_dynamic(name, value);
        Ok(())
    }

    fn push_constant(&self, name: String, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = read(value)?;
        self.lock()?.push_constant_dynamic(name, value);
        Ok(())
    }

    fn set(&self, name: String, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = read(value)?;
        let mut scope = self.lock()?;
        if scope.is_constant(&name) == Some(true) {
            return Err(PyRuntimeError::new_err(format!("{name:?} is a constant")));
        }
        scope.set_or_push(name, value);
        Ok(())
    }

    fn __getitem__(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        let value = self.lock()?.get(name).cloned();
        let value = value.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        Writer::new(py, SHAPE).write(&value).map(Bound::unbind).map_err(|refused| match refused {
            Refused::Python(error) => error,
            Refused::Unsupported(what) => PyRuntimeError::new_err(what),
            _ => PyRuntimeError::new_err("the value is too large"),
        })
    }

    fn __contains__(&self, name: &str) -> bool {
        self.any_lock().contains(name)
    }

    fn __len__(&self) -> usize {
        self.any_lock().len()
    }

    fn names(&self) -> Vec<String> {
        self.any_lock().iter().map(|(name, ..)| name.to_owned()).collect()
    }
}

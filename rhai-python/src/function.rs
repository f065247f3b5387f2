//! Functions of a script in the hands of Python.
//!
//! A closure lives in the interpreter that runs it. A host function may call one it was given, but only until it
//! returns, and on its own thread; afterwards the `Function` can still be handed back to the script.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::Arc;
use std::thread::ThreadId;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rhai::{Dynamic, FnPtr, NativeCallContext};

use crate::convert::{Reader, Writer};
use crate::engine::Template;
use crate::failure::{self, Failure};
use crate::json::Shape;
use crate::pool::OnBigStack;
use crate::run::{self, Inflight, Run};

/// Open while the host function runs that was given the closure.
pub struct Gate {
    context: AtomicPtr<NativeCallContext<'static>>,
    thread: ThreadId,
    template: Arc<Template>,
}

impl Gate {
    /// Opens a gate for the call `context` belongs to; it closes when the guard is dropped.
    pub fn open(context: &NativeCallContext, template: Arc<Template>) -> GateGuard {
        let context = std::ptr::from_ref(context).cast::<NativeCallContext<'static>>().cast_mut();
        let thread = std::thread::current().id();
        GateGuard(Arc::new(Self { context: AtomicPtr::new(context), thread, template }))
    }

    fn context(&self) -> Option<&NativeCallContext<'static>> {
        if self.thread != std::thread::current().id() {
            return None;
        }
        // SAFETY: the pointer is set while the context is alive, and cleared by the guard before it goes; both happen on
        // this thread, so it cannot go away during the call.
        unsafe { self.context.load(Ordering::Acquire).as_ref() }
    }
}

/// Closes the gate at the end of the host call.
pub struct GateGuard(Arc<Gate>);

impl GateGuard {
    pub fn gate(&self) -> Arc<Gate> {
        self.0.clone()
    }
}

impl Drop for GateGuard {
    fn drop(&mut self) {
        self.0.context.store(std::ptr::null_mut(), Ordering::Release);
    }
}

/// A function or closure of a script.
#[pyclass(frozen, module = "rhai._rhai", name = "Function")]
pub struct Function {
    // What a closure has captured can be nested deeper than the stack of the thread that drops it.
    pointer: OnBigStack<FnPtr>,
    name: String,
    gate: Option<Arc<Gate>>,
}

impl Function {
    /// One that cannot be called: a result, or part of one.
    pub fn outside(pointer: FnPtr) -> Self {
        Self { name: readable_name(&pointer), pointer: OnBigStack::new(pointer), gate: None }
    }

    /// One a host function may call.
    pub fn inside(pointer: FnPtr, gate: Arc<Gate>) -> Self {
        Self { gate: Some(gate), ..Self::outside(pointer) }
    }

    pub fn pointer(&self) -> FnPtr {
        self.pointer.get().clone()
    }

    fn call(&self, py: Python<'_>, args: &Bound<'_, PyTuple>, run: &Run) -> PyResult<Py<PyAny>> {
        let closed = || {
            PyRuntimeError::new_err("a function of a script can be called only by the host function it was given to")
        };
        let gate = self.gate.as_ref().ok_or_else(closed)?;
        let context = gate.context().ok_or_else(closed)?;
        let shape = Shape { depth: run.limits.max_value_depth, nodes: run.limits.max_value_nodes };
        let mut reader = Reader::new(&gate.template.types, shape);
        let mut values = args.iter().map(|value| reader.read(&value)).collect::<PyResult<Vec<Dynamic>>>()?;
        let context = NativeContext(context);
        let pointer = self.pointer.get();
        let result = py.detach(|| context.call(pointer, &mut values));
        run.expect_clock();
        match result {
            Ok(value) => match Writer::new(py, shape).write(&value) {
                Ok(value) => Ok(value.unbind()),
                Err(refused) => Err(Failure::refused(&refused, &run.limits).into_exception(py, None)),
            },
            Err(error) => {
                let mut failure = failure::of_run(Some(&error), run, "");
                failure.settle(py, shape);
                let exception = failure.into_exception(py, None);
                // The error itself goes on through the script when the host function lets the exception pass.
                run.remember(Inflight { exception: exception.value(py).clone().into_any().unbind(), error });
                Err(exception)
            }
        }
    }
}

/// Lets the borrowed context cross `detach`, which it does on one and the same thread.
struct NativeContext<'a>(&'a NativeCallContext<'static>);

// SAFETY: `detach` runs its closure on the calling thread; nothing is ever sent.
unsafe impl Send for NativeContext<'_> {}
unsafe impl Sync for NativeContext<'_> {}

impl NativeContext<'_> {
    fn call(&self, pointer: &FnPtr, values: &mut [Dynamic]) -> Result<Dynamic, Box<rhai::EvalAltResult>> {
        pointer.call_raw(self.0, None, values)
    }
}

fn readable_name(pointer: &FnPtr) -> String {
    if pointer.is_anonymous() {
        "closure".to_owned()
    } else {
        pointer.fn_name().to_owned()
    }
}

#[pymethods]
impl Function {
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[pyo3(signature = (*args))]
    fn __call__(&self, py: Python<'_>, args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        run::with_current(|run| match run {
            Some(run) => self.call(py, args, run),
            None => Err(PyRuntimeError::new_err("no script is running on this thread")),
        })
    }

    fn __repr__(&self) -> String {
        format!("<rhai.Function {}>", self.name)
    }
}

//! `rhai.Script`, and what happens in one run of it.
//!
//! In order: inputs come in (with the GIL), the script runs and its result becomes JSON (without), everything of the run
//! is dropped, what is then still held is the leak.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use rhai::{CallFnOptions, Dynamic, EvalAltResult, Scope as RhaiScope, AST};

use crate::alloc::{self, Measurement};
use crate::convert::{Reader, Refused, Writer};
use crate::engine::{Constants, Template};
use crate::failure::{self, Failure};
use crate::json::{self, JsonError, Shape};
use crate::limits::Limits;
use crate::run::{Entered, Hooks, Run, Stop};
use crate::scope::Scope;
use crate::values::{CancelToken, FunctionInfo, Outcome, Stats};
use crate::{frozen, handle, panics, pool};

/// A compiled script, immutable and shared by its runs.
pub struct ScriptBody {
    ast: AST,
    name: String,
    template: Arc<Template>,
    limits: Py<PyAny>,
    has_statements: bool,
}

impl ScriptBody {
    pub fn new(ast: AST, name: &str, template: Arc<Template>, limits: Py<PyAny>) -> Self {
        let has_statements = !ast.statements().is_empty();
        Self { ast, name: name.to_owned(), template, limits, has_statements }
    }
}

/// The Python class.
#[pyclass(frozen, module = "rhai._rhai", name = "Script")]
pub struct Script {
    body: Arc<ScriptBody>,
    #[pyo3(get)]
    sha256: String,
    #[pyo3(get)]
    functions: Py<PyTuple>,
}

impl Script {
    pub fn new(py: Python<'_>, body: ScriptBody, source: &str) -> PyResult<Self> {
        let digest = py.import("hashlib")?.call_method1("sha256", (PyBytes::new(py, source.as_bytes()),))?;
        let functions: Vec<FunctionInfo> = body
            .ast
            .iter_functions()
            .map(|function| {
                let params = PyTuple::new(py, &function.params)?.unbind();
                Ok(FunctionInfo { name: function.name.into(), params, private: function.access.is_private() })
            })
            .collect::<PyResult<_>>()?;
        Ok(Self {
            sha256: digest.call_method0("hexdigest")?.extract()?,
            functions: PyTuple::new(py, functions)?.unbind(),
            body: Arc::new(body),
        })
    }

    pub fn ast(&self) -> AST {
        self.body.ast.clone()
    }
}

/// What is to be done with a script, by entry point; the arguments of a call are first Python's, then the script's.
enum Task<Arguments> {
    Run,
    Execute,
    Call(String, Arguments),
}

impl Task<Py<PyTuple>> {
    fn read(self, py: Python<'_>, reader: &mut Reader<'_>) -> PyResult<Task<Vec<Dynamic>>> {
        Ok(match self {
            Self::Run => Task::Run,
            Self::Execute => Task::Execute,
            Self::Call(name, arguments) => {
                let values = arguments.bind(py).iter().map(|value| reader.read(&value));
                Task::Call(name, values.collect::<PyResult<_>>()?)
            }
        })
    }
}

/// Everything a run is asked for. Owned, because it may cross to another thread.
struct Request {
    body: Arc<ScriptBody>,
    task: Task<Py<PyTuple>>,
    constants: Option<Py<PyAny>>,
    scope: Option<Py<PyAny>>,
    hooks: Hooks,
    limits: Arc<Limits>,
    started: Instant,
}

#[pymethods]
impl Script {
    #[getter]
    fn name(&self) -> &str {
        &self.body.name
    }

    #[pyo3(signature = (constants = None, *, scope = None, context = None, limits = None, on_print = None, on_debug = None, cancel = None))]
    #[allow(clippy::too_many_arguments)] // All by keyword.
    fn run(
        &self,
        py: Python<'_>,
        constants: Option<Py<PyAny>>,
        scope: Option<Py<PyAny>>,
        context: Option<Py<PyAny>>,
        limits: Option<&Bound<'_, PyAny>>,
        on_print: Option<Py<PyAny>>,
        on_debug: Option<Py<PyAny>>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<Py<PyAny>> {
        let hooks = hooks(context, on_print, on_debug, cancel);
        self.request(Task::Run, constants, scope, limits, hooks)?.perform(py)
    }

    #[pyo3(signature = (
        function, /, *args, constants = None, scope = None, context = None, limits = None, on_print = None,
        on_debug = None, cancel = None
    ))]
    #[allow(clippy::too_many_arguments)] // All by keyword.
    fn call(
        &self,
        py: Python<'_>,
        function: String,
        args: Py<PyTuple>,
        constants: Option<Py<PyAny>>,
        scope: Option<Py<PyAny>>,
        context: Option<Py<PyAny>>,
        limits: Option<&Bound<'_, PyAny>>,
        on_print: Option<Py<PyAny>>,
        on_debug: Option<Py<PyAny>>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<Py<PyAny>> {
        let hooks = hooks(context, on_print, on_debug, cancel);
        self.request(Task::Call(function, args), constants, scope, limits, hooks)?.perform(py)
    }

    #[pyo3(signature = (constants = None, *, scope = None, context = None, limits = None, on_print = None, on_debug = None, cancel = None))]
    #[allow(clippy::too_many_arguments)] // All by keyword.
    fn execute(
        &self,
        py: Python<'_>,
        constants: Option<Py<PyAny>>,
        scope: Option<Py<PyAny>>,
        context: Option<Py<PyAny>>,
        limits: Option<&Bound<'_, PyAny>>,
        on_print: Option<Py<PyAny>>,
        on_debug: Option<Py<PyAny>>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<Py<PyAny>> {
        let hooks = hooks(context, on_print, on_debug, cancel);
        self.request(Task::Execute, constants, scope, limits, hooks)?.perform(py)
    }

    fn __repr__(&self) -> String {
        format!("<rhai.Script {:?} {}>", self.body.name, &self.sha256[..12])
    }
}

fn hooks(
    context: Option<Py<PyAny>>,
    on_print: Option<Py<PyAny>>,
    on_debug: Option<Py<PyAny>>,
    cancel: Option<&Bound<'_, CancelToken>>,
) -> Hooks {
    Hooks { context, on_print, on_debug, cancel: cancel.map(|token| token.get().flag.clone()), interrupt: None }
}

impl Script {
    /// Where the three entry points meet. Their lists of keywords stay three: `PyO3` cannot share one.
    fn request(
        &self,
        task: Task<Py<PyTuple>>,
        constants: Option<Py<PyAny>>,
        scope: Option<Py<PyAny>>,
        limits: Option<&Bound<'_, PyAny>>,
        hooks: Hooks,
    ) -> PyResult<Request> {
        let limits = match limits {
            Some(limits) if !limits.is(&self.body.limits) => Arc::new(Limits::read(limits)?),
            _ => self.body.template.limits.clone(),
        };
        Ok(Request { body: self.body.clone(), task, constants, scope, hooks, limits, started: Instant::now() })
    }
}

/// What the script came to, before it becomes a Python object.
enum Product {
    Value(Dynamic),
    Bytes(&'static str, Vec<u8>),
    Host(Arc<Py<PyAny>>),
}

type Ran = Result<Product, Ended>;

/// How a run failed.
enum Ended {
    Error(Box<EvalAltResult>),
    /// It went well, but something had stopped it.
    Stopped,
    Refused(Refused),
    Panicked(String),
}

impl Request {
    /// Runs here if this thread has the stack for it, else on one that has.
    fn perform(mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let stack = self.limits.stack_bytes();
        if pool::fits_here(stack) {
            return self.run(py);
        }
        let interrupt = Arc::new(AtomicBool::new(false));
        self.hooks.interrupt = Some(interrupt.clone());
        pool::run(py, stack, move |py| self.run(py), || interrupt.store(true, Relaxed))?
    }

    fn run(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Self { body, task, constants, scope, hooks, limits, started } = self;
        let shape = Shape { depth: limits.max_value_depth, nodes: limits.max_value_nodes };
        let measured = Measurement::start(0);
        let mut reader = Reader::new(&body.template.types, shape);
        let constants = read_constants(py, constants.as_ref(), &mut reader)?;
        let task = task.read(py, &mut reader)?;
        let run = Arc::new(Run::new(limits, hooks, started, measured.base()));
        let ran = with_scope(py, scope.as_ref(), &mut reader, |scope| {
            py.detach(|| execute(&body, &run, task, constants, scope))
        })?;
        if let Some(fatal) = run.take_fatal() {
            drop(ran);
            return Err(fatal);
        }
        finish(py, ran, run, &body, &measured, started)
    }
}

fn read_constants(py: Python<'_>, constants: Option<&Py<PyAny>>, reader: &mut Reader<'_>) -> PyResult<Constants> {
    let Some(constants) = constants else { return Ok(Constants::new()) };
    let constants = as_dict(constants.bind(py))?;
    constants
        .iter()
        .map(|(name, value)| Ok((name.extract::<String>()?.into(), frozen::freeze(reader.read(&value)?))))
        .collect()
}

fn as_dict<'py>(mapping: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(dict) = mapping.cast::<PyDict>() {
        return Ok(dict.clone());
    }
    Ok(mapping.py().get_type::<PyDict>().call1((mapping,))?.cast_into::<PyDict>()?)
}

/// Gives the run its variables: those of a `Scope`, which keeps them, or of a mapping, which does not.
fn with_scope<T>(
    py: Python<'_>,
    scope: Option<&Py<PyAny>>,
    reader: &mut Reader<'_>,
    use_scope: impl FnOnce(&mut RhaiScope<'static>) -> T,
) -> PyResult<T> {
    let Some(scope) = scope else { return Ok(use_scope(&mut RhaiScope::new())) };
    if let Ok(kept) = scope.bind(py).cast::<Scope>() {
        return Ok(use_scope(&mut *kept.get().lock()?));
    }
    let mut variables = RhaiScope::new();
    for (name, value) in as_dict(scope.bind(py))? {
        variables.push_dynamic(name.extract::<String>()?, reader.read(&value)?);
    }
    Ok(use_scope(&mut variables))
}

/// The part without the GIL.
fn execute(
    body: &ScriptBody,
    run: &Arc<Run>,
    task: Task<Vec<Dynamic>>,
    constants: Constants,
    scope: &mut RhaiScope<'static>,
) -> Ran {
    let _entered = Entered::new(run);
    let engine = body.template.engine(run, constants);
    let wants_bytes = matches!(task, Task::Execute);
    let value = guarded(|| match task {
        Task::Run | Task::Execute => engine.eval_ast_with_scope::<Dynamic>(scope, &body.ast),
        Task::Call(name, arguments) => {
            // Without statements at the top level there is nothing to run before the function.
            let options = CallFnOptions::new().eval_ast(body.has_statements);
            engine.call_fn_with_options::<Dynamic>(options, scope, &body.ast, name, arguments)
        }
    })?
    .flatten();
    if run.reason() != Stop::None {
        return Err(Ended::Stopped);
    }
    if wants_bytes {
        product(value, &run.limits).map_err(Ended::Refused)
    } else {
        Ok(Product::Value(value))
    }
}

/// The boundary no panic of the engine crosses: neither the process nor the engine's other runs notice one.
fn guarded<T>(evaluate: impl FnOnce() -> Result<T, Box<EvalAltResult>>) -> Result<T, Ended> {
    match catch_unwind(AssertUnwindSafe(evaluate)) {
        Ok(answer) => answer.map_err(Ended::Error),
        Err(payload) => Err(Ended::Panicked(panics::text_of(&*payload))),
    }
}

/// The result as bytes.
fn product(value: Dynamic, limits: &Limits) -> Result<Product, Refused> {
    if value.is_unit() {
        return Ok(Product::Bytes("unit", Vec::new()));
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(Product::Bytes("text", text.as_bytes().to_vec()));
    }
    if let Ok(character) = value.as_char() {
        return Ok(Product::Bytes("text", character.to_string().into_bytes()));
    }
    if let Some(object) = handle::object(&value) {
        return Ok(Product::Host(object));
    }
    if value.is_blob() {
        return Ok(Product::Bytes("blob", value.into_blob().unwrap_or_default()));
    }
    let shape = Shape { depth: limits.max_value_depth, nodes: limits.max_value_nodes };
    match json::stringify(&value, shape) {
        Ok(bytes) => Ok(Product::Bytes("json", bytes)),
        Err(JsonError::Depth(_)) => Err(Refused::Depth),
        Err(JsonError::Nodes(_)) => Err(Refused::Nodes),
        Err(error) => Err(Refused::Unsupported(error.to_string())),
    }
}

/// Makes the answer, or the exception. The statistics are taken once nothing of the run is left.
fn finish(
    py: Python<'_>,
    ran: Ran,
    run: Arc<Run>,
    body: &ScriptBody,
    measured: &Measurement,
    started: Instant,
) -> PyResult<Py<PyAny>> {
    let limits = run.limits.clone();
    let shape = Shape { depth: limits.max_value_depth, nodes: limits.max_value_nodes };
    let (operations, output_bytes, peak_bytes) = (run.operations(), run.output_bytes(), measured.peak());
    let stats = |held_by_answer: i64| {
        let leaked_bytes = measured.held().saturating_sub(held_by_answer.max(0) as u64);
        let wall_seconds = started.elapsed().as_secs_f64();
        Py::new(py, Stats { operations, wall_seconds, peak_bytes, leaked_bytes, output_bytes })
    };
    let ended = match ran {
        Ok(Product::Value(value)) => match Writer::new(py, shape).write(&value) {
            Ok(object) => {
                let object = object.unbind();
                py.detach(move || drop(value));
                return Ok(object);
            }
            Err(refused) => Ended::Refused(refused),
        },
        Ok(Product::Bytes(kind, bytes)) => {
            let data = PyBytes::new(py, &bytes).unbind();
            drop((bytes, run));
            let outcome = Outcome { kind, data, host: None, stats: stats(0)? };
            return Ok(Py::new(py, outcome)?.into_any());
        }
        Ok(Product::Host(object)) => {
            let host = Some(object.clone_ref(py));
            drop((object, run));
            let outcome = Outcome { kind: "host", data: PyBytes::new(py, b"").unbind(), host, stats: stats(0)? };
            return Ok(Py::new(py, outcome)?.into_any());
        }
        Err(ended) => ended,
    };
    let before = alloc::live();
    let mut failure = match &ended {
        Ended::Error(error) => failure::of_run(Some(error), &run, &body.name),
        Ended::Stopped => failure::of_run(None, &run, &body.name),
        Ended::Refused(refused) => Failure::refused(refused, &limits),
        Ended::Panicked(text) => Failure::internal(text),
    }
    .in_source(&body.name);
    failure.settle(py, shape);
    let held = alloc::live() - before;
    drop((ended, run));
    Err(failure.into_exception(py, Some(&stats(held)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> rhai::Engine {
        let mut engine = rhai::Engine::new_raw();
        engine.register_fn("boom", |text: &str| -> i64 { panic!("{text} on purpose") });
        engine
    }

    #[test]
    fn a_panic_is_how_that_run_ended() {
        panics::install_hook();
        let engine = engine();
        for source in [r#"boom("a")"#, r#"try { boom("a") } catch { 1 }"#, r#"let f = |x| boom("a"); f.call(1)"#] {
            let ended = guarded(|| engine.eval::<i64>(source));
            assert!(matches!(ended, Err(Ended::Panicked(text)) if text.contains("a on purpose")), "{source}");
        }
    }

    #[test]
    fn the_engine_runs_on_after_a_panic() {
        let engine = engine();
        assert!(guarded(|| engine.eval::<i64>(r#"boom("b")"#)).is_err());
        assert!(matches!(guarded(|| engine.eval::<i64>("40 + 2")), Ok(42)));
        let failed = guarded(|| engine.eval::<i64>("nothing()"));
        assert!(matches!(failed, Err(Ended::Error(_))));
    }
}

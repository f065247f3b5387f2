//! Errors of the engine, as the tree in `errors.py`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};
use rhai::{Dynamic, EvalAltResult, LexError, ParseErrorType, Position};

use crate::convert::{Refused, Writer};
use crate::fault::Fault;
use crate::json::Shape;
use crate::limits::Limits;
use crate::run::{Run, Stop};
use crate::values::Stats;
use crate::{guard, text};

/// Longest message made of a thrown value.
const MOST_MESSAGE_BYTES: usize = 4 << 10;

/// One level of the call stack.
pub struct Frame {
    function: Option<String>,
    source: Option<String>,
    position: Position,
}

/// A failure, before it becomes a Python exception.
pub struct Failure {
    class: &'static str,
    kind: String,
    message: String,
    position: Position,
    source: Option<String>,
    frames: Vec<Frame>,
    limit: Option<&'static str>,
    /// What a script threw, until `settle`.
    value: Option<Dynamic>,
    /// The same as a Python object, afterwards.
    thrown: Option<Py<PyAny>>,
    cause: Option<Arc<Py<PyAny>>>,
}

impl Failure {
    fn new(class: &'static str, kind: impl Into<String>, message: impl Into<String>, position: Position) -> Self {
        Self {
            class,
            kind: kind.into(),
            message: message.into(),
            position,
            source: None,
            frames: Vec::new(),
            limit: None,
            value: None,
            thrown: None,
            cause: None,
        }
    }

    fn limit(
        class: &'static str,
        kind: &str,
        limit: &'static str,
        message: impl Into<String>,
        position: Position,
    ) -> Self {
        Self { limit: Some(limit), ..Self::new(class, kind, message, position) }
    }

    /// A bug: a panic inside the engine or the binding.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new("RhaiInternalError", "Panic", message, Position::NONE)
    }

    /// A result that has no form outside of the script.
    pub fn refused(refused: &Refused, limits: &Limits) -> Self {
        let none = Position::NONE;
        match refused {
            Refused::Depth => stopped(Stop::ValueDepth, limits, none),
            Refused::Nodes => stopped(Stop::ValueNodes, limits, none),
            Refused::Unsupported(what) => Self::new("RhaiTypeError", "ResultNotUsable", what.as_str(), none),
            Refused::Python(error) => Self::internal(error.to_string()),
        }
    }

    pub fn in_source(mut self, name: &str) -> Self {
        if self.source.is_none() && !name.is_empty() {
            self.source = Some(name.to_owned());
        }
        self
    }

    /// Lets go of the values of the script.
    pub fn settle(&mut self, py: Python<'_>, shape: Shape) {
        let Some(value) = self.value.take() else { return };
        self.thrown = match Writer::new(py, shape).write(&value) {
            Ok(value) => Some(value.unbind()),
            // A value that cannot leave is replaced by its text: the failure matters more than its form.
            Err(_) => Some(PyString::new(py, &self.message).into_any().unbind()),
        };
    }

    /// Makes the exception. To be called after `settle`, where a value may have been thrown.
    pub fn into_exception(self, py: Python<'_>, stats: Option<&Py<Stats>>) -> PyErr {
        self.build(py, stats).unwrap_or_else(|error| error)
    }

    fn build(self, py: Python<'_>, stats: Option<&Py<Stats>>) -> PyResult<PyErr> {
        let extra = match (self.limit, self.thrown) {
            (Some(limit), _) => Some(("limit", PyString::new(py, limit).into_any().unbind())),
            (_, Some(value)) => Some(("value", value)),
            _ => None,
        };
        let function = self.frames.first().and_then(|frame| frame.function.clone());
        let frames: Vec<_> = self
            .frames
            .into_iter()
            .map(|frame| (frame.function, frame.source, frame.position.line(), frame.position.position()))
            .collect();
        let fields = (
            self.kind,
            self.position.line(),
            self.position.position().filter(|_| self.position.line().is_some()),
            self.source,
            function,
            PyTuple::new(py, frames)?,
            stats.map(|stats| stats.clone_ref(py)),
        );
        let cause = self.cause.map(|cause| cause.clone_ref(py));
        let error = builder(py)?.call1((self.class, self.message, fields, extra, cause))?;
        Ok(PyErr::from_value(error))
    }
}

fn builder(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static BUILDER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let build = || py.import("rhai.errors")?.getattr("_build").map(Bound::unbind);
    Ok(BUILDER.get_or_try_init(py, build)?.bind(py))
}

/// A value from Python that cannot enter.
pub fn input_error(py: Python<'_>, message: String) -> PyErr {
    let failure = Failure::new("RhaiInputError", "InputNotUsable", message, Position::NONE);
    failure.into_exception(py, None)
}

/// Why a run ended. The reason the run itself remembers comes first: the error may have been swallowed or replaced.
pub fn of_run(error: Option<&EvalAltResult>, run: &Run, script: &str) -> Failure {
    let Some(error) = error else {
        return stopped(run.reason(), &run.limits, Position::NONE).in_source(script);
    };
    let (frames, innermost) = unwind(error, script);
    let mut failure = match run.reason() {
        Stop::None => of_error(innermost, &run.limits),
        reason => stopped(reason, &run.limits, innermost.position()),
    };
    if failure.position.is_none() {
        failure.position = frames.iter().map(|frame| frame.position).find(|at| !at.is_none()).unwrap_or(Position::NONE);
    }
    failure.source = frames.first().and_then(|frame| frame.source.clone());
    failure.frames = frames;
    failure.in_source(script)
}

/// A source that does not compile.
pub fn of_parse(kind: &ParseErrorType, position: Position, limits: &Limits, script: &str) -> Failure {
    parse_failure(kind, position, limits).in_source(script)
}

/// A source that is too long to be parsed at all.
pub fn source_too_long(bytes: usize, limits: &Limits, script: &str) -> Failure {
    let message = format!("the source has {bytes} bytes, {} are allowed", limits.max_source_bytes);
    Failure::limit("RhaiSourceLimitError", "SourceTooLong", "source_bytes", message, Position::NONE).in_source(script)
}

/// Takes the wrappers of function calls off: the call stack, and the error itself.
fn unwind<'a>(mut error: &'a EvalAltResult, script: &str) -> (Vec<Frame>, &'a EvalAltResult) {
    let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let mut calls = Vec::new();
    loop {
        match error {
            EvalAltResult::ErrorInFunctionCall(function, source, inner, position) => {
                let function = if function.starts_with("anon$") { "closure" } else { function };
                calls.push((named(function), named(source), *position));
                error = inner;
            }
            EvalAltResult::ErrorInModule(module, inner, position) => {
                calls.push((None, named(module), *position));
                error = inner;
            }
            _ => break,
        }
    }
    // Each wrapper says where the call was, which is a place in the *next outer* frame.
    let here = named(script);
    let mut frames = Vec::with_capacity(calls.len() + 1);
    let mut position = error.position();
    for (function, source, called_at) in calls.into_iter().rev() {
        frames.push(Frame { function, source: source.or_else(|| here.clone()), position });
        position = called_at;
    }
    frames.push(Frame { function: None, source: here, position });
    (frames, error)
}

fn of_error(error: &EvalAltResult, limits: &Limits) -> Failure {
    use EvalAltResult as E;
    let position = error.position();
    let (class, kind) = match error {
        E::ErrorRuntime(value, _) => return of_throw(value, position),
        E::ErrorParsing(kind, _) => return parse_failure(kind, position, limits),
        E::ErrorTooManyOperations(_) => return stopped(Stop::Operations, limits, position),
        E::ErrorStackOverflow(_) => {
            let message = format!("more than {} calls deep", limits.max_call_depth);
            return Failure::limit("RhaiLimitError", "ErrorStackOverflow", "call_depth", message, position);
        }
        E::ErrorTooManyVariables(_) => {
            let message = format!("more than {} variables", limits.max_variables);
            return Failure::limit("RhaiLimitError", "ErrorTooManyVariables", "variables", message, position);
        }
        E::ErrorTooManyModules(_) => {
            let message = format!("more than {} modules", limits.max_modules);
            return Failure::limit("RhaiLimitError", "ErrorTooManyModules", "modules", message, position);
        }
        E::ErrorDataTooLarge(what, _) => return too_large(what, limits, position),
        E::ErrorIndexNotFound(index, _) => {
            let message = format!("index not found: {}", text::display_cut(index, 200));
            return Failure::new("RhaiNameError", "ErrorIndexNotFound", message, position);
        }
        E::ErrorVariableExists(..) => ("RhaiNameError", "ErrorVariableExists"),
        E::ErrorForbiddenVariable(..) => ("RhaiNameError", "ErrorForbiddenVariable"),
        E::ErrorVariableNotFound(..) => ("RhaiNameError", "ErrorVariableNotFound"),
        E::ErrorPropertyNotFound(..) => ("RhaiNameError", "ErrorPropertyNotFound"),
        E::ErrorFunctionNotFound(..) => ("RhaiNameError", "ErrorFunctionNotFound"),
        E::ErrorModuleNotFound(..) => ("RhaiNameError", "ErrorModuleNotFound"),
        E::ErrorUnboundThis(_) => ("RhaiTypeError", "ErrorUnboundThis"),
        E::ErrorMismatchDataType(..) => ("RhaiTypeError", "ErrorMismatchDataType"),
        E::ErrorMismatchOutputType(..) => ("RhaiTypeError", "ErrorMismatchOutputType"),
        E::ErrorIndexingType(..) => ("RhaiTypeError", "ErrorIndexingType"),
        E::ErrorFor(_) => ("RhaiTypeError", "ErrorFor"),
        E::ErrorNonPureMethodCallOnConstant(..) => ("RhaiTypeError", "ErrorNonPureMethodCallOnConstant"),
        E::ErrorAssignmentToConstant(..) => ("RhaiTypeError", "ErrorAssignmentToConstant"),
        E::ErrorDotExpr(..) => ("RhaiTypeError", "ErrorDotExpr"),
        E::ErrorArrayBounds(..) => ("RhaiIndexError", "ErrorArrayBounds"),
        E::ErrorStringBounds(..) => ("RhaiIndexError", "ErrorStringBounds"),
        E::ErrorBitFieldBounds(..) => ("RhaiIndexError", "ErrorBitFieldBounds"),
        E::ErrorArithmetic(..) => ("RhaiArithmeticError", "ErrorArithmetic"),
        E::ErrorDataRace(..) => ("RhaiDataRaceError", "ErrorDataRace"),
        _ => return Failure::new("RhaiInternalError", "Unexpected", without_position(error), position),
    };
    Failure::new(class, kind, without_position(error), position)
}

/// The text of an error; never used for errors that carry a value, whose text has no bound.
fn without_position(error: &EvalAltResult) -> String {
    let text = error.to_string();
    let suffix = format!(" ({})", error.position());
    text.strip_suffix(&suffix).unwrap_or(&text).to_owned()
}

fn of_throw(value: &Dynamic, position: Position) -> Failure {
    if let Some(fault) = value.read_lock::<Fault>() {
        let class = if fault.cause.is_some() { "RhaiHostError" } else { "RhaiRuntimeError" };
        let mut failure = Failure::new(class, fault.kind.as_str(), fault.message.as_str(), position);
        failure.cause.clone_from(&fault.cause);
        return failure;
    }
    let message = crate::frozen::with_map(value, |map| {
        map.get("message")
            .filter(|message| message.is_string())
            .map(|message| text::display_cut(message, MOST_MESSAGE_BYTES))
    });
    let message = message.flatten().unwrap_or_else(|| text::display_cut(value, MOST_MESSAGE_BYTES));
    let mut failure = Failure::new("RhaiThrow", "ErrorRuntime", message, position);
    failure.value = Some(value.clone());
    failure
}

fn too_large(what: &str, limits: &Limits, position: Position) -> Failure {
    let lower = what.to_lowercase();
    let (limit, most) = if lower.contains("string") {
        ("string_bytes", limits.max_string_bytes)
    } else if lower.contains("map") {
        ("map_length", limits.max_map_length)
    } else {
        ("array_length", limits.max_array_length)
    };
    let message = format!("{what} exceeds {most}");
    Failure::limit("RhaiLimitError", "ErrorDataTooLarge", limit, message, position)
}

fn parse_failure(kind: &ParseErrorType, position: Position, limits: &Limits) -> Failure {
    let limited =
        |name: &str, limit, message: String| Failure::limit("RhaiSourceLimitError", name, limit, message, position);
    match kind {
        ParseErrorType::ExprTooDeep => limited("ExprTooDeep", "expr_depth", kind.to_string()),
        ParseErrorType::TooManyFunctions => {
            limited("TooManyFunctions", "functions", format!("more than {} functions", limits.max_functions))
        }
        ParseErrorType::LiteralTooLarge(what, most) => {
            let limit = match what.to_lowercase() {
                what if what.contains("array") => "array_length",
                what if what.contains("map") => "map_length",
                _ => "string_bytes",
            };
            limited("LiteralTooLarge", limit, format!("{what} exceeds {most}"))
        }
        ParseErrorType::BadInput(LexError::Runtime(reason)) if reason == guard::TOO_MANY_ARGUMENTS => {
            limited("TooManyArguments", "arguments", reason.clone())
        }
        ParseErrorType::BadInput(LexError::Runtime(reason)) if reason == guard::TOO_SLOW => {
            limited("TooSlow", "compile_time", reason.clone())
        }
        ParseErrorType::BadInput(LexError::StringTooLong(most)) => {
            limited("BadInput/StringTooLong", "string_bytes", format!("a string exceeds {most} bytes"))
        }
        kind => Failure::new("RhaiSyntaxError", kind_name(kind), kind.to_string(), position),
    }
}

/// The name of the variant, which is stable, unlike its text.
fn kind_name(kind: &ParseErrorType) -> String {
    let variant = |text: String| text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
    match kind {
        ParseErrorType::BadInput(inner) => format!("BadInput/{}", variant(format!("{inner:?}"))),
        kind => variant(format!("{kind:?}")),
    }
}

fn stopped(reason: Stop, limits: &Limits, position: Position) -> Failure {
    let limit = |class, kind, limit, message: String| Failure::limit(class, kind, limit, message, position);
    match reason {
        Stop::Operations => {
            let message = format!("more than {} operations", limits.max_operations);
            limit("RhaiLimitError", "ErrorTooManyOperations", "operations", message)
        }
        Stop::Time => {
            let message = format!("not done after {} seconds", limits.timeout_seconds.unwrap_or_default());
            limit("RhaiTimeoutError", "Timeout", "time", message)
        }
        Stop::Memory => {
            let message = format!("more than {} bytes of memory", limits.max_memory_bytes);
            limit("RhaiMemoryError", "OutOfMemory", "memory", message)
        }
        Stop::Stack => limit("RhaiLimitError", "ErrorStackOverflow", "stack", "nested too deep".into()),
        Stop::Output => {
            let message = format!("printed more than {} bytes", limits.max_output_bytes);
            limit("RhaiOutputLimitError", "TooMuchOutput", "output", message)
        }
        Stop::StringBytes => too_large("Length of string", limits, position),
        Stop::ArrayLength => too_large("Size of array", limits, position),
        Stop::ValueDepth => {
            let message = format!("a value is nested deeper than {} levels", limits.max_value_depth);
            limit("RhaiLimitError", "ValueTooDeep", "value_depth", message)
        }
        Stop::ValueNodes => {
            let message = format!("a value has more than {} parts", limits.max_value_nodes);
            limit("RhaiLimitError", "ValueTooLarge", "value_nodes", message)
        }
        Stop::Cancelled => Failure::new("RhaiCancelled", "Cancelled", "cancelled", position),
        Stop::None | Stop::HostFatal => Failure::internal("the run ended without a reason"),
    }
}

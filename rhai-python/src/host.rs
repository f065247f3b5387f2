//! Functions of Python as functions of a script.
//!
//! A call attaches to the interpreter, converts the arguments, calls, and converts the answer. What the callable raises
//! becomes a value the script can catch, and keeps the exception; what is no `Exception` ends the run.

use std::any::TypeId;
use std::sync::Arc;

use pyo3::exceptions::{PyBaseException, PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use rhai::{Dynamic, EvalAltResult, FnPtr, FuncRegistration, Map, Module, NativeCallContext, RhaiFunc, Shared};

use crate::convert::{Reader, Refused, Writer};
use crate::engine::Template;
use crate::fault::{self, Fault};
use crate::function::{Function, Gate};
use crate::json::{self, JsonError, Shape};
use crate::run::{self, Run, Stop};
use crate::stdlib::{placed, Answer};
use crate::values::Json;
use crate::{frozen, handle, text};

/// Each `Dynamic` parameter doubles the lookups of a call; beyond these the annotated types are used.
const MOST_DYNAMIC: usize = 3;

/// What a parameter accepts, from its annotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Any,
    Json,
    Str,
    Int,
    Float,
    Bool,
    Bytes,
    List,
    Dict,
    Function,
    None,
}

impl Kind {
    fn named(name: &str) -> Self {
        match name {
            "json" => Self::Json,
            "str" => Self::Str,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "bytes" => Self::Bytes,
            "list" => Self::List,
            "dict" => Self::Dict,
            "function" => Self::Function,
            "none" => Self::None,
            _ => Self::Any,
        }
    }

    /// What scripts call it.
    fn rhai_name(self) -> &'static str {
        match self {
            Self::Any | Self::Json => "value",
            Self::Str => "string",
            Self::Int => "i64",
            Self::Float => "f64",
            Self::Bool => "bool",
            Self::Bytes => "blob",
            Self::List => "array",
            Self::Dict => "map",
            Self::Function => "function",
            Self::None => "()",
        }
    }

    fn accepts(self, value: &Dynamic) -> bool {
        match self {
            Self::Any | Self::Json => true,
            Self::Str => value.is_string() || value.is_char(),
            Self::Int => value.is_int(),
            Self::Float => value.is_float() || value.is_int(),
            Self::Bool => value.is_bool(),
            Self::Bytes => value.is_blob(),
            Self::List => value.is_array() || value.is::<frozen::FrozenArray>(),
            Self::Dict => value.is_map() || value.is::<frozen::FrozenMap>(),
            Self::Function => value.is_fnptr(),
            Self::None => value.is_unit(),
        }
    }

    /// The type to register, where Rhai can dispatch on it.
    fn type_id(self) -> TypeId {
        match self {
            Self::Str => TypeId::of::<rhai::ImmutableString>(),
            Self::Int => TypeId::of::<i64>(),
            Self::Bool => TypeId::of::<bool>(),
            Self::Bytes => TypeId::of::<rhai::Blob>(),
            Self::Function => TypeId::of::<FnPtr>(),
            _ => TypeId::of::<Dynamic>(),
        }
    }
}

/// The kinds a parameter accepts: several for a union such as `str | bytes`, else one.
#[derive(Clone, Debug)]
struct Kinds(Vec<Kind>);

impl Kinds {
    /// As `host.py` writes them: "str", "str|bytes".
    fn named(names: &str) -> Self {
        Self(names.split('|').map(Kind::named).collect())
    }

    fn any() -> Self {
        Self(vec![Kind::Any])
    }

    fn accept(&self, value: &Dynamic) -> bool {
        self.0.iter().any(|kind| kind.accepts(value))
    }

    fn want_json(&self) -> bool {
        self.0.contains(&Kind::Json)
    }

    /// An integer for a float is handed over as a float, unless integers are welcome as such.
    fn want_float(&self) -> bool {
        self.0.contains(&Kind::Float) && !self.0.contains(&Kind::Int)
    }

    /// What scripts call them: "string or blob".
    fn rhai_name(&self) -> String {
        self.0.iter().map(|kind| kind.rhai_name()).collect::<Vec<_>>().join(" or ")
    }

    fn type_id(&self) -> TypeId {
        match self.0[..] {
            [kind] => kind.type_id(),
            _ => TypeId::of::<Dynamic>(),
        }
    }
}

/// One callable, shared by its registrations.
pub struct HostFunction {
    /// With its module: for messages.
    name: String,
    callable: Py<PyAny>,
    kinds: Vec<Kinds>,
    wants_context: bool,
}

/// A description from `host.py`: name, callable, fewest and most arguments, kinds, context.
type Description<'py> = (String, Bound<'py, PyAny>, usize, usize, Vec<String>, bool);

/// `Module._freeze()`: name, functions, constants, submodules.
type FrozenModule<'py> = (String, Vec<Bound<'py, PyAny>>, Bound<'py, PyDict>, Vec<Bound<'py, PyAny>>);

/// `HostType._freeze()`: class, name, methods, getters, setters.
type FrozenType<'py> = (Bound<'py, PyAny>, String, Vec<Bound<'py, PyAny>>, Bound<'py, PyDict>, Bound<'py, PyDict>);

/// Where the engine a module belongs to will be, once it is complete.
pub type TemplateSlot = Arc<std::sync::OnceLock<std::sync::Weak<Template>>>;

/// Builds the native form of a `rhai.Module`, submodules included.
pub fn build_module(frozen: &Bound<'_, PyAny>, path: &str, slot: &TemplateSlot) -> PyResult<(String, Module)> {
    let (name, functions, constants, submodules): FrozenModule<'_> = frozen.extract()?;
    let path = if path.is_empty() { name.clone() } else { format!("{path}::{name}") };
    let mut module = Module::new();
    for function in functions {
        let description: Description<'_> = function.extract()?;
        register(&mut module, description, Some(&path), None, slot);
    }
    let types = crate::convert::TypeTable::default();
    let mut reader = Reader::new(&types, Shape { depth: 128, nodes: 200_000 });
    for (constant, value) in constants {
        module.set_var(constant.extract::<String>()?, frozen::freeze(reader.read(&value)?));
    }
    for submodule in submodules {
        let (name, submodule) = build_module(&submodule, &path, slot)?;
        module.set_sub_module(name, submodule);
    }
    module.set_id(path);
    Ok((name, module))
}

/// Registers what a `rhai.HostType` offers, for the class at `index`.
pub fn register_type(
    module: &mut Module,
    index: usize,
    frozen: &Bound<'_, PyAny>,
    slot: &TemplateSlot,
) -> PyResult<()> {
    let (_class, name, methods, getters, setters): FrozenType<'_> = frozen.extract()?;
    let Some((type_id, rust_name)) = handle::type_at(index) else {
        return Err(PyTypeError::new_err(format!("an engine can have {} host types at most", handle::MOST_TYPES)));
    };
    module.set_custom_type_raw(rust_name, name.as_str());
    for method in methods {
        register(module, method.extract()?, Some(&name), Some(type_id), slot);
    }
    for (accessors, is_setter) in [(getters, false), (setters, true)] {
        for (property, callable) in accessors {
            let property: String = property.extract()?;
            let function = Arc::new(HostFunction {
                name: format!("{name}.{property}"),
                callable: callable.unbind(),
                kinds: vec![Kinds::any(); 2],
                wants_context: false,
            });
            let (registration, types) = if is_setter {
                (FuncRegistration::new_setter(&property), vec![type_id, TypeId::of::<Dynamic>()])
            } else {
                (FuncRegistration::new_getter(&property), vec![type_id])
            };
            registration.in_global_namespace().set_into_module_raw(module, types, native(function, slot.clone()));
        }
    }
    register_identity(module, type_id, name);
    Ok(())
}

/// Comparison and text of host objects: by identity, and by the name of their type.
fn register_identity(module: &mut Module, type_id: TypeId, name: String) {
    for (operator, when_same) in [("==", true), ("!=", false)] {
        let compare = move |_: Option<NativeCallContext>, args: &mut [&mut Dynamic]| {
            let (left, right) = (handle::object(args[0]), handle::object(args[1]));
            let is_same = matches!((left, right), (Some(left), Some(right)) if left.as_ptr() == right.as_ptr());
            Ok(Dynamic::from_bool(is_same == when_same))
        };
        let function =
            RhaiFunc::Method { func: Shared::new(compare), has_context: false, is_pure: true, is_volatile: false };
        FuncRegistration::new(operator).in_global_namespace().set_into_module_raw(module, [type_id, type_id], function);
    }
    for printer in ["to_string", "to_debug", "print", "debug"] {
        let name = name.clone();
        let describe = move |_: Option<NativeCallContext>, _: &mut [&mut Dynamic]| Ok(Dynamic::from(name.clone()));
        let function =
            RhaiFunc::Method { func: Shared::new(describe), has_context: false, is_pure: true, is_volatile: false };
        FuncRegistration::new(printer).in_global_namespace().set_into_module_raw(module, [type_id], function);
    }
}

/// Registers a callable once for every number of arguments it takes.
fn register(
    module: &mut Module,
    described: Description<'_>,
    owner: Option<&str>,
    receiver: Option<TypeId>,
    slot: &TemplateSlot,
) {
    let (name, callable, fewest, most, kinds, wants_context) = described;
    let separator = if receiver.is_some() { "." } else { "::" };
    let function = Arc::new(HostFunction {
        name: owner.map_or_else(|| name.clone(), |owner| format!("{owner}{separator}{name}")),
        callable: callable.unbind(),
        kinds: kinds.iter().map(|names| Kinds::named(names)).collect(),
        wants_context,
    });
    for count in fewest..=most {
        let mut types: Vec<TypeId> = function.kinds[..count]
            .iter()
            .map(|kinds| if count > MOST_DYNAMIC { kinds.type_id() } else { TypeId::of::<Dynamic>() })
            .collect();
        let mut registration = FuncRegistration::new(name.as_str());
        if let (Some(receiver), Some(first)) = (receiver, types.first_mut()) {
            *first = receiver;
            registration = registration.in_global_namespace();
        }
        registration.set_into_module_raw(module, types, native(function.clone(), slot.clone()));
    }
}

fn native(function: Arc<HostFunction>, slot: TemplateSlot) -> RhaiFunc {
    let call = move |context: Option<NativeCallContext>, args: &mut [&mut Dynamic]| {
        let (Some(context), Some(template)) = (context, slot.get().and_then(std::sync::Weak::upgrade)) else {
            return Err(Fault::error("NotAvailable", "the engine is gone"));
        };
        run::with_current(|run| match run {
            Some(run) => function.call(run, &template, &context, args),
            None => Err(Fault::error("NotAvailable", "no run")),
        })
    };
    // Pure: a host object in a constant may be used; what its methods change is Python's affair.
    RhaiFunc::Method { func: Shared::new(call), has_context: true, is_pure: true, is_volatile: true }
}

/// How a host call failed.
enum Failed {
    Raised(PyErr),
    Script(Box<EvalAltResult>),
}

impl From<PyErr> for Failed {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl HostFunction {
    fn call(
        &self,
        run: &Run,
        template: &Arc<Template>,
        context: &NativeCallContext,
        args: &mut [&mut Dynamic],
    ) -> Answer<Dynamic> {
        for (index, (value, kinds)) in args.iter().zip(&self.kinds).enumerate() {
            if !kinds.accept(value) {
                let expected = format!("{} for argument {} of {}", kinds.rhai_name(), index + 1, self.name);
                return Err(mismatch(expected, value, context));
            }
        }
        let result = Python::attach(|py| match self.call_python(py, run, template, context, args) {
            Ok(value) => Ok(value),
            Err(Failed::Script(error)) => Err(error),
            Err(Failed::Raised(error)) => Err(raised(py, run, template, error)),
        });
        run.expect_clock();
        placed(context, result)
    }

    fn call_python(
        &self,
        py: Python<'_>,
        run: &Run,
        template: &Arc<Template>,
        context: &NativeCallContext,
        args: &mut [&mut Dynamic],
    ) -> Result<Dynamic, Failed> {
        let shape = Shape { depth: run.limits.max_value_depth, nodes: run.limits.max_value_nodes };
        let mut gate = None;
        let mut objects = Vec::with_capacity(args.len() + 1);
        if self.wants_context {
            objects.push(
                run.context.as_ref().map_or_else(|| py.None().into_bound(py), |context| context.bind(py).clone()),
            );
        }
        let mut writer = Writer::new(py, shape);
        for (index, value) in args.iter().enumerate() {
            if let Some(pointer) = value.read_lock::<FnPtr>() {
                let gate = gate.get_or_insert_with(|| Gate::open(context, template.clone()));
                objects.push(Bound::new(py, Function::inside(pointer.clone(), gate.gate()))?.into_any());
                continue;
            }
            objects.push(argument(py, &mut writer, self.kinds.get(index), value, run, shape)?);
        }
        let answer = self.callable.bind(py).call1(PyTuple::new(py, objects)?)?;
        Ok(Reader::new(&template.types, shape).read(&answer)?)
    }
}

/// A value of a type that a function does not take.
pub fn mismatch(expected: String, value: &Dynamic, context: &NativeCallContext) -> Box<EvalAltResult> {
    let actual = context.engine().map_type_name(value.type_name()).to_owned();
    EvalAltResult::ErrorMismatchDataType(expected, actual, context.call_position()).into()
}

fn argument<'py>(
    py: Python<'py>,
    writer: &mut Writer<'py>,
    kinds: Option<&Kinds>,
    value: &Dynamic,
    run: &Run,
    shape: Shape,
) -> Result<Bound<'py, PyAny>, Failed> {
    match kinds {
        Some(kinds) if kinds.want_json() => match json::stringify(value, shape) {
            Ok(bytes) => Ok(Bound::new(py, Json { bytes: bytes.into() })?.into_any()),
            Err(JsonError::Depth(_)) => Err(Failed::Script(run.stopped(Stop::ValueDepth))),
            Err(JsonError::Nodes(_)) => Err(Failed::Script(run.stopped(Stop::ValueNodes))),
            Err(error) => Err(Failed::Script(Fault::error("JsonError", format!("JSON: {error}")))),
        },
        Some(kinds) if value.is_int() && kinds.want_float() => {
            let float = value.as_int().unwrap_or_default() as f64;
            Ok(pyo3::types::PyFloat::new(py, float).into_any())
        }
        _ => writer.write(value).map_err(|refused| match refused {
            Refused::Depth => Failed::Script(run.stopped(Stop::ValueDepth)),
            Refused::Nodes => Failed::Script(run.stopped(Stop::ValueNodes)),
            Refused::Unsupported(what) => Failed::Script(Fault::error("TypeError", what)),
            Refused::Python(error) => Failed::Raised(error),
        }),
    }
}

/// An exception of Python as an error of the script.
pub fn raised(py: Python<'_>, run: &Run, template: &Template, error: PyErr) -> Box<EvalAltResult> {
    let exception = error.value(py);
    if let Some(original) = run.recall(exception.as_any()) {
        return original;
    }
    if !exception.is_instance_of::<PyException>() {
        return run.fatal(error);
    }
    let kind = exception.get_type().name().map_or_else(|_| "Exception".into(), |name| name.to_string());
    let message = exception.str().map_or_else(|_| kind.clone(), |text| text.to_string_lossy().into_owned());
    let message = text::display_cut(&message.into(), MOST_MESSAGE_BYTES).into();
    let members = match &template.describe_error {
        None => fault::plain(&kind, &message),
        Some(describe) => match described(run, template, describe.bind(py), exception) {
            Ok(members) => members,
            Err(failed) => return run.fatal(failed),
        },
    };
    let message = members.get("message").and_then(|told| told.clone().into_immutable_string().ok()).unwrap_or(message);
    // `into_value` also gives the exception its traceback.
    let cause = Some(Arc::new(error.into_value(py).into_any()));
    Fault { kind: kind.into(), message, members: members.into(), cause }.thrown()
}

/// What scripts see of an exception, in the words of whoever made the engine.
fn described(
    run: &Run,
    template: &Template,
    describe: &Bound<'_, PyAny>,
    exception: &Bound<'_, PyBaseException>,
) -> PyResult<Map> {
    let shape = Shape { depth: run.limits.max_value_depth, nodes: run.limits.max_value_nodes };
    let members = Reader::new(&template.types, shape).read(&describe.call1((exception,))?)?;
    members.try_cast::<Map>().ok_or_else(|| PyTypeError::new_err("describe_error returns a dict"))
}

/// Longest message a script sees of an exception.
const MOST_MESSAGE_BYTES: usize = 4 << 10;

//! `rhai.Engine`: configuration that is shared, and the engines that are built from it, one per run.
//!
//! An engine of Rhai is nearly free to build from shared modules (0.3 µs), and callbacks belong to the engine. So every
//! run gets its own: nothing has to be looked up in thread-locals, and no lock is shared between runs.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use rhai::{Dynamic, Engine, ImmutableString, Module, OptimizationLevel, ParseError, Scope, Shared, AST};

use crate::convert::TypeTable;
use crate::failure::{self, Failure};
use crate::host::{self, TemplateSlot};
use crate::limits::Limits;
use crate::resolver::Resolver;
use crate::run::Run;
use crate::scope::Scope as PyScope;
use crate::script::{Script, ScriptBody};
use crate::{frozen, guard, stdlib};

/// Symbols no script needs and that open holes: `eval` recurses past the call depth, `curry` hides memory.
const DISABLED_SYMBOLS: [&str; 2] = ["eval", "curry"];

/// Names the engine gives to modules of its own.
const OWN_MODULES: [&str; 1] = ["json"];

/// The constants of one run, by name. Few, so a list is the fastest map.
pub type Constants = Vec<(ImmutableString, Dynamic)>;

/// Switches of the language, see `language.py`.
#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools)] // They are switches.
pub struct Language {
    if_expressions: bool,
    statement_expressions: bool,
    loop_expressions: bool,
    anonymous_functions: bool,
    loops: bool,
    shadowing: bool,
    missing_properties: bool,
    optimize: bool,
}

impl Language {
    fn read(language: &Bound<'_, PyAny>) -> PyResult<Self> {
        let switch = |name: &str| language.getattr(name)?.extract::<bool>();
        Ok(Self {
            if_expressions: switch("if_expressions")?,
            statement_expressions: switch("statement_expressions")?,
            loop_expressions: switch("loop_expressions")?,
            anonymous_functions: switch("anonymous_functions")?,
            loops: switch("loops")?,
            shadowing: switch("shadowing")?,
            missing_properties: switch("missing_properties")?,
            optimize: switch("optimize")?,
        })
    }

    fn apply(self, engine: &mut Engine) {
        engine
            .set_allow_if_expression(self.if_expressions)
            .set_allow_statement_expression(self.statement_expressions)
            .set_allow_loop_expressions(self.loop_expressions)
            .set_allow_anonymous_fn(self.anonymous_functions)
            .set_allow_looping(self.loops)
            .set_allow_shadowing(self.shadowing)
            .set_fail_on_invalid_map_property(!self.missing_properties)
            // Never `Full`: that calls host functions while compiling.
            .set_optimization_level(if self.optimize { OptimizationLevel::Simple } else { OptimizationLevel::None });
    }
}

/// What all runs of an engine share; immutable.
pub struct Template {
    pub limits: Arc<Limits>,
    pub types: TypeTable,
    pub resolver: Option<Py<PyAny>>,
    /// Says what scripts see of an exception.
    pub describe_error: Option<Py<PyAny>>,
    modules: Vec<(String, Shared<Module>)>,
    type_module: Option<Shared<Module>>,
    disabled: Vec<String>,
    allows_eval: bool,
    strict_variables: bool,
    language: Language,
}

/// Why a source was refused.
pub enum Refusal {
    TooLong(usize),
    Parse(ParseError),
}

impl Refusal {
    pub fn failure(&self, limits: &Limits, name: &str) -> Failure {
        match self {
            Self::TooLong(bytes) => failure::source_too_long(*bytes, limits, name),
            Self::Parse(error) => failure::of_parse(&error.0, error.1, limits, name),
        }
    }
}

impl Template {
    /// An engine without callbacks: the parts runs and compilations have in common.
    fn bare(&self, limits: &Limits) -> Engine {
        let mut engine = Engine::new_raw();
        engine.register_global_module(stdlib::standard());
        engine.register_global_module(stdlib::overrides());
        if let Some(types) = &self.type_module {
            engine.register_global_module(types.clone());
        }
        engine.register_static_module("json", stdlib::json_module());
        for (name, module) in &self.modules {
            engine.register_static_module(name.as_str(), module.clone());
        }
        for symbol in &self.disabled {
            engine.disable_symbol(symbol.as_str());
        }
        engine
            .set_max_call_levels(limits.max_call_depth)
            .set_max_expr_depths(limits.max_expr_depth, limits.max_fn_expr_depth)
            .set_max_string_size(limits.max_string_bytes)
            .set_max_array_size(limits.max_array_length)
            .set_max_map_size(limits.max_map_length)
            .set_max_variables(limits.max_variables)
            .set_max_functions(limits.max_functions)
            .set_max_modules(limits.max_modules);
        self.language.apply(&mut engine);
        engine
    }

    /// The engine of one run.
    pub fn engine(self: &Arc<Self>, run: &Arc<Run>, constants: Constants) -> Engine {
        let mut engine = self.bare(&run.limits);
        let progress = run.clone();
        engine.on_progress(move |_| progress.step());
        let printer = run.clone();
        engine.on_print(move |text| printer.print(text));
        let debugger = run.clone();
        engine.on_debug(move |text, source, position| debugger.debug(text, source, position));
        if !constants.is_empty() {
            #[allow(deprecated)] // Rhai's way of calling it volatile; the version is pinned.
            engine.on_var(move |name, _, context| {
                let Some((_, value)) = constants.iter().find(|(constant, _)| constant.as_str() == name) else {
                    return Ok(None);
                };
                let local = context.scope().get(name);
                // A closure captures the constant as a variable of its own: that is still the constant.
                let is_constant = local.is_none_or(|local| frozen::is_same_view(local, value) == Some(true));
                Ok(is_constant.then(|| value.clone()))
            });
        }
        if self.resolver.is_some() {
            engine.set_module_resolver(Resolver::new(self.clone(), run.clone()));
        }
        if self.allows_eval {
            guard::watch(&mut engine);
        }
        engine
    }

    /// Compiles a source. `scope` has what will exist: constants in it are folded into the script.
    pub fn compile(&self, source: &str, name: &str, scope: &Scope, is_expression: bool) -> Result<AST, Refusal> {
        if source.len() > self.limits.max_source_bytes {
            return Err(Refusal::TooLong(source.len()));
        }
        let mut engine = self.bare(&self.limits);
        engine.set_strict_variables(self.strict_variables);
        guard::watch(&mut engine);
        let compiled = if is_expression {
            engine.compile_expression_with_scope(scope, source)
        } else {
            engine.compile_with_scope(scope, source)
        };
        let mut ast = compiled.map_err(Refusal::Parse)?;
        ast.set_source(name);
        Ok(ast)
    }
}

/// The Python class. Thread-safe; runs do not share a lock.
#[pyclass(frozen, module = "rhai._rhai", name = "Engine")]
pub struct PyEngine {
    template: Arc<Template>,
    #[pyo3(get)]
    limits: Py<PyAny>,
}

#[pymethods]
impl PyEngine {
    #[new]
    #[pyo3(signature = (
        *, modules = None, types = None, limits = None, resolver = None, allowed_symbols = None,
        strict_variables = false, disabled_symbols = None, language = None, describe_error = None
    ))]
    #[allow(clippy::too_many_arguments)] // All by keyword.
    fn new(
        py: Python<'_>,
        modules: Option<&Bound<'_, PyAny>>,
        types: Option<&Bound<'_, PyAny>>,
        limits: Option<Bound<'_, PyAny>>,
        resolver: Option<Py<PyAny>>,
        allowed_symbols: Option<&Bound<'_, PyAny>>,
        strict_variables: bool,
        disabled_symbols: Option<&Bound<'_, PyAny>>,
        language: Option<Bound<'_, PyAny>>,
        describe_error: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let limits = limits.map_or_else(|| py.import("rhai.limits")?.getattr("Limits")?.call0(), Ok)?;
        let language = language.map_or_else(|| py.import("rhai.language")?.getattr("Language")?.call0(), Ok)?;
        let allowed = strings(allowed_symbols)?;
        let mut disabled = strings(disabled_symbols)?;
        disabled.extend(DISABLED_SYMBOLS.map(String::from));
        disabled.retain(|symbol| !allowed.contains(symbol));
        let slot: TemplateSlot = Arc::default();
        let (type_table, type_module) = build_types(types, &slot)?;
        let template = Arc::new(Template {
            limits: Arc::new(Limits::read(&limits)?),
            types: type_table,
            resolver,
            describe_error,
            modules: build_modules(modules, &slot)?,
            type_module,
            allows_eval: !disabled.iter().any(|symbol| symbol == "eval"),
            disabled,
            strict_variables,
            language: Language::read(&language)?,
        });
        // Just made: nobody else can have filled it.
        let _ = slot.set(Arc::downgrade(&template));
        Ok(Self { template, limits: limits.unbind() })
    }

    #[pyo3(signature = (source, *, name = "script", constants = None, scope = None, expression = false))]
    fn compile(
        &self,
        py: Python<'_>,
        source: &str,
        name: &str,
        constants: Option<&Bound<'_, PyAny>>,
        scope: Option<&Bound<'_, PyScope>>,
        expression: bool,
    ) -> PyResult<Script> {
        let mut known =
            scope.map_or_else(|| Ok(Scope::new()), |scope| scope.get().lock().map(|scope| scope.clone()))?;
        for constant in strings(constants)? {
            // As variables, not as constants: the optimizer would put the value of a constant in its place.
            known.push_dynamic(constant, Dynamic::UNIT);
        }
        let template = &self.template;
        let compiled = py.detach(|| template.compile(source, name, &known, expression));
        let ast = compiled.map_err(|refusal| refusal.failure(&template.limits, name).into_exception(py, None))?;
        let body = ScriptBody::new(ast, name, template.clone(), self.limits.clone_ref(py));
        Script::new(py, body, source)
    }

    fn __repr__(&self) -> String {
        let names: Vec<&str> = self.template.modules.iter().map(|(name, _)| name.as_str()).collect();
        format!("<rhai.Engine modules=[{}]>", names.join(", "))
    }
}

fn strings(values: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
    match values {
        None => Ok(Vec::new()),
        Some(values) => values.try_iter()?.map(|value| value?.extract()).collect(),
    }
}

fn build_modules(modules: Option<&Bound<'_, PyAny>>, slot: &TemplateSlot) -> PyResult<Vec<(String, Shared<Module>)>> {
    let mut built: Vec<(String, Shared<Module>)> = Vec::new();
    let Some(modules) = modules else { return Ok(built) };
    for module in modules.try_iter()? {
        let (name, mut module) = host::build_module(&module?.call_method0("_freeze")?, "", slot)?;
        if OWN_MODULES.contains(&name.as_str()) || built.iter().any(|(known, _)| *known == name) {
            return Err(PyValueError::new_err(format!("there is already a module {name:?}")));
        }
        module.build_index();
        built.push((name, module.into()));
    }
    Ok(built)
}

fn build_types(types: Option<&Bound<'_, PyAny>>, slot: &TemplateSlot) -> PyResult<(TypeTable, Option<Shared<Module>>)> {
    let mut table = TypeTable::default();
    let Some(types) = types else { return Ok((table, None)) };
    let mut module = Module::new();
    let mut count = 0;
    for host_type in types.try_iter()? {
        let frozen = host_type?.call_method0("_freeze")?;
        let class = frozen.get_item(0)?;
        let index = table.add(class.cast::<PyType>()?);
        host::register_type(&mut module, index, &frozen, slot)?;
        count += 1;
    }
    module.set_id("types");
    module.build_index();
    Ok((table, (count > 0).then(|| module.into())))
}

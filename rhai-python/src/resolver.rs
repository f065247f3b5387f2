//! `import`: asks Python for a script, and keeps what it got for the rest of the run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared, AST};

use crate::engine::{Refusal, Template};
use crate::fault::Fault;
use crate::host;
use crate::run::Run;
use crate::script::Script;
use crate::stdlib::Answer;

/// The resolver of one run.
pub struct Resolver {
    template: Arc<Template>,
    run: Arc<Run>,
    /// By path; None while a module is being loaded.
    loaded: Mutex<HashMap<String, Option<Shared<Module>>>>,
}

impl Resolver {
    pub fn new(template: Arc<Template>, run: Arc<Run>) -> Self {
        Self { template, run, loaded: Mutex::default() }
    }

    fn note(&self, path: &str, module: Option<Shared<Module>>) {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), module);
    }

    fn load(&self, engine: &Engine, importer: Option<&str>, path: &str, position: Position) -> Answer<Shared<Module>> {
        let ast = self.fetch(importer, path, position)?;
        let module = Module::eval_ast_as_new(Scope::new(), &ast, engine);
        let mut module = module.map_err(|error| EvalAltResult::ErrorInModule(path.into(), error, position))?;
        module.build_index();
        Ok(module.into())
    }

    /// Asks the Python callable.
    fn fetch(&self, importer: Option<&str>, path: &str, position: Position) -> Answer<AST> {
        let missing = || EvalAltResult::ErrorModuleNotFound(path.into(), position).into();
        let Some(resolver) = &self.template.resolver else { return Err(missing()) };
        let answered = Python::attach(|py| -> Answer<Option<Fetched>> {
            let answer = resolver.bind(py).call1((path, importer));
            answer
                .and_then(|answer| read_answer(&answer))
                .map_err(|error| host::raised(py, &self.run, &self.template, error))
        });
        self.run.expect_clock();
        match answered? {
            None => Err(missing()),
            Some(Fetched::Compiled(ast)) => Ok(ast),
            Some(Fetched::Source(source)) => self
                .template
                .compile(&source, path, &Scope::new(), false)
                .map_err(|refusal| refused(refusal, path, position)),
        }
    }
}

enum Fetched {
    Compiled(AST),
    Source(String),
}

fn read_answer(answer: &Bound<'_, PyAny>) -> PyResult<Option<Fetched>> {
    if answer.is_none() {
        return Ok(None);
    }
    if let Ok(script) = answer.cast::<Script>() {
        return Ok(Some(Fetched::Compiled(script.get().ast())));
    }
    if let Ok(source) = answer.cast::<PyString>() {
        return Ok(Some(Fetched::Source(source.to_str()?.to_owned())));
    }
    Err(PyTypeError::new_err("a resolver returns a Script, a source text or None"))
}

fn refused(refusal: Refusal, path: &str, position: Position) -> Box<EvalAltResult> {
    let inner: Box<EvalAltResult> = match refusal {
        Refusal::Parse(error) => error.into(),
        Refusal::TooLong(bytes) => Fault::error("SourceTooLong", format!("module {path:?} has {bytes} bytes")),
    };
    EvalAltResult::ErrorInModule(path.into(), inner, position).into()
}

impl ModuleResolver for Resolver {
    fn resolve(&self, engine: &Engine, source: Option<&str>, path: &str, position: Position) -> Answer<Shared<Module>> {
        let count = {
            let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            match loaded.get(path) {
                Some(Some(module)) => return Ok(module.clone()),
                Some(None) => return Err(Fault::error("ImportCycle", format!("module {path:?} imports itself"))),
                None => loaded.len(),
            }
        };
        // Rhai counts the imports of each module by themselves.
        if count >= self.run.limits.max_modules {
            return Err(EvalAltResult::ErrorTooManyModules(position).into());
        }
        self.note(path, None);
        let module = self.load(engine, source, path, position);
        match &module {
            Ok(module) => self.note(path, Some(module.clone())),
            Err(_) => {
                self.loaded.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
            }
        }
        module
    }
}

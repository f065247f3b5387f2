//! What a script catches when a host function or the JSON reader fails: a value with `message` and `kind`.

use std::sync::Arc;

use pyo3::prelude::*;
use rhai::{Dynamic, EvalAltResult, ImmutableString, Map, Position};

/// The payload of a failure that did not come from a `throw` of the script.
#[derive(Clone)]
pub struct Fault {
    pub kind: ImmutableString,
    pub message: ImmutableString,
    /// The Python exception behind it, if there is one.
    pub cause: Option<Arc<Py<PyAny>>>,
}

impl Fault {
    /// An error scripts can catch.
    pub fn error(kind: &str, message: impl Into<ImmutableString>) -> Box<EvalAltResult> {
        let fault = Self { kind: kind.into(), message: message.into(), cause: None };
        EvalAltResult::ErrorRuntime(Dynamic::from(fault), Position::NONE).into()
    }

    /// How it looks as data.
    pub fn to_map(&self) -> Map {
        let mut map = Map::new();
        map.insert("kind".into(), self.kind.clone().into());
        map.insert("message".into(), self.message.clone().into());
        map
    }
}

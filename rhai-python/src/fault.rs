//! What a script catches when a host function or the JSON reader fails: a value with `message`, `code` and more.

use std::sync::Arc;

use pyo3::prelude::*;
use rhai::{Dynamic, EvalAltResult, ImmutableString, Map, Position};

/// The payload of a failure that did not come from a `throw` of the script.
#[derive(Clone)]
pub struct Fault {
    /// For Python: the name of the exception's class, or of what went wrong.
    pub kind: ImmutableString,
    pub message: ImmutableString,
    /// What scripts see of it.
    pub members: Arc<Map>,
    /// The Python exception behind it, if there is one.
    pub cause: Option<Arc<Py<PyAny>>>,
}

impl Fault {
    /// An error of the engine's own that scripts can catch.
    pub fn error(kind: &str, message: impl Into<ImmutableString>) -> Box<EvalAltResult> {
        let message = message.into();
        let mut members = plain(kind, &message);
        members.insert("code".into(), snake_case(kind).into());
        members.insert("retryable".into(), false.into());
        Self { kind: kind.into(), message, members: members.into(), cause: None }.thrown()
    }

    pub fn thrown(self) -> Box<EvalAltResult> {
        EvalAltResult::ErrorRuntime(Dynamic::from(self), Position::NONE).into()
    }

    /// A member, `()` where there is none: as of a map.
    pub fn member(&self, name: &str) -> Dynamic {
        self.members.get(name).cloned().unwrap_or(Dynamic::UNIT)
    }
}

/// What scripts see of an exception nobody describes.
pub fn plain(kind: &str, message: &ImmutableString) -> Map {
    Map::from([("kind".into(), kind.into()), ("message".into(), message.clone().into())])
}

/// `JsonError` as `json_error`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn names_of_classes_become_codes() {
        assert_eq!(snake_case("JsonError"), "json_error");
        assert_eq!(snake_case("SourceTooLong"), "source_too_long");
    }
}

//! JSON straight to and from values of the script, without Python objects in between.
//!
//! Stricter than Rhai's own: integers beyond 64 bits, NaN and infinity are errors, never something else; nothing in a
//! document is ever executed. Of duplicate keys the last one wins. Both directions stop at a depth and a number of nodes.

mod reader;
mod writer;

pub use reader::parse;
pub use writer::{stringify, stringify_functions, stringify_text};

/// How deep and how large a document may be.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub depth: usize,
    pub nodes: usize,
}

/// Why a document or a value was refused.
#[derive(Debug, PartialEq, Eq)]
pub enum JsonError {
    /// With the offset in bytes.
    Syntax(String, usize),
    Depth(usize),
    Nodes(usize),
    /// The text would be longer than this many bytes.
    Bytes(usize),
    /// The value has no JSON form.
    Unsupported(String),
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax(what, at) => write!(out, "{what} at byte {at}"),
            Self::Depth(most) => write!(out, "nested deeper than {most} levels"),
            Self::Nodes(most) => write!(out, "more than {most} values"),
            Self::Bytes(most) => write!(out, "longer than {most} bytes"),
            Self::Unsupported(what) => out.write_str(what),
        }
    }
}

type Parsed<T> = Result<T, JsonError>;

#[cfg(test)]
mod tests {
    use rhai::Dynamic;

    use super::*;

    const SHAPE: Shape = Shape { depth: 4, nodes: 100 };

    fn round(text: &str) -> String {
        String::from_utf8(stringify(&parse(text.as_bytes(), SHAPE).unwrap(), SHAPE).unwrap()).unwrap()
    }

    #[test]
    fn documents_come_back() {
        for text in ["null", "[1,-2,true,\"a\"]", "{\"a\":{\"b\":[]},\"c\":1.5}", "9223372036854775807", "1e300"] {
            assert_eq!(round(text), text);
        }
    }

    #[test]
    fn escapes_are_understood() {
        assert_eq!(round(r#""\u0041\ud83d\ude00\/\b""#), "\"A\u{1f600}/\\u0008\"");
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "[1,]", "{a:1}", "01", "1.", "\"\\ud800\"", "nul", "1 2", "\"a", "[", "{\"a\"}", "+1", "NaN"] {
            assert!(matches!(parse(text.as_bytes(), SHAPE), Err(JsonError::Syntax(..))), "{text}");
        }
        assert!(matches!(parse(b"9223372036854775808", SHAPE), Err(JsonError::Syntax(..))));
        assert!(matches!(parse(b"1e999", SHAPE), Err(JsonError::Syntax(..))));
        assert!(matches!(parse(b"\"\xff\"", SHAPE), Err(JsonError::Syntax(..))));
    }

    #[test]
    fn a_text_for_people_has_a_line_for_each_item() {
        let value = parse(br#"{"b":[1,{"c":[]}],"a":{}}"#, SHAPE).unwrap();
        let text = stringify_text(&value, SHAPE, 1_000, true).unwrap();
        let expected = "{\n  \"a\": {},\n  \"b\": [\n    1,\n    {\n      \"c\": []\n    }\n  ]\n}";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_text_ends_where_a_string_would_be_too_long() {
        let value = parse(br#"["aaaaaaaaaa","bbbbbbbbbb"]"#, SHAPE).unwrap();
        assert!(stringify_text(&value, SHAPE, 27, false).is_ok());
        assert_eq!(stringify_text(&value, SHAPE, 26, false), Err(JsonError::Bytes(26)));
        assert_eq!(stringify_text(&value, SHAPE, 27, true), Err(JsonError::Bytes(27)));
    }

    #[test]
    fn depth_and_nodes_are_bounded_both_ways() {
        assert!(matches!(parse(b"[[[[[]]]]]", SHAPE), Err(JsonError::Depth(4))));
        let wide = format!("[{}]", vec!["1"; 200].join(","));
        assert!(matches!(parse(wide.as_bytes(), SHAPE), Err(JsonError::Nodes(100))));
        let large = Shape { depth: 1_000, nodes: 1_000 };
        let value = parse(wide.as_bytes(), large).unwrap();
        assert!(matches!(stringify(&value, SHAPE), Err(JsonError::Nodes(100))));
        assert!(matches!(stringify(&Dynamic::from_float(f64::NAN), SHAPE), Err(JsonError::Unsupported(_))));
    }
}

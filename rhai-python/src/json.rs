//! JSON straight to and from values of the script, without Python objects in between.
//!
//! Stricter than Rhai's own: integers beyond 64 bits, NaN and infinity are errors, never something else; nothing in a
//! document is ever executed. Of duplicate keys the last one wins. Both directions stop at a depth and a number of nodes.

use rhai::{Array, Dynamic, FnPtr, Map};

use crate::frozen;

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
    /// The value has no JSON form.
    Unsupported(String),
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax(what, at) => write!(out, "{what} at byte {at}"),
            Self::Depth(most) => write!(out, "nested deeper than {most} levels"),
            Self::Nodes(most) => write!(out, "more than {most} values"),
            Self::Unsupported(what) => out.write_str(what),
        }
    }
}

type Parsed<T> = Result<T, JsonError>;

/// Parses one document.
pub fn parse(text: &[u8], shape: Shape) -> Parsed<Dynamic> {
    let mut parser = Parser { text, at: 0, shape, nodes: 0 };
    parser.skip_space();
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return parser.fail("unexpected text after the document");
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    shape: Shape,
    nodes: usize,
}

impl Parser<'_> {
    fn fail<T>(&self, what: &str) -> Parsed<T> {
        Err(JsonError::Syntax(what.to_owned(), self.at))
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Parsed<Dynamic> {
        self.nodes += 1;
        if self.nodes > self.shape.nodes {
            return Err(JsonError::Nodes(self.shape.nodes));
        }
        match self.peek() {
            Some(b'"') => Ok(self.string()?.into()),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b't') => self.word("true", Dynamic::TRUE),
            Some(b'f') => self.word("false", Dynamic::FALSE),
            Some(b'n') => self.word("null", Dynamic::UNIT),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.fail("unexpected character"),
            None => self.fail("unexpected end"),
        }
    }

    fn word(&mut self, word: &str, value: Dynamic) -> Parsed<Dynamic> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return self.fail("unexpected character");
        }
        self.at += word.len();
        Ok(value)
    }

    fn enter(&mut self, depth: usize) -> Parsed<()> {
        if depth > self.shape.depth {
            return Err(JsonError::Depth(self.shape.depth));
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Parsed<Dynamic> {
        self.enter(depth)?;
        let mut items = Array::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Dynamic::from_array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.fail("expected ',' or ']'"),
            }
            self.skip_space();
        }
        self.at += 1;
        Ok(Dynamic::from_array(items))
    }

    fn object(&mut self, depth: usize) -> Parsed<Dynamic> {
        self.enter(depth)?;
        let mut map = Map::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Dynamic::from_map(map));
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.fail("expected a key in quotes");
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return self.fail("expected ':'");
            }
            self.at += 1;
            self.skip_space();
            let value = self.value(depth)?;
            map.insert(key.as_str().into(), value);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.fail("expected ',' or '}'"),
            }
            self.skip_space();
        }
        self.at += 1;
        Ok(Dynamic::from_map(map))
    }

    fn number(&mut self) -> Parsed<Dynamic> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return self.fail("expected a digit"),
        }
        let mut is_float = false;
        if self.peek() == Some(b'.') {
            is_float = true;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            is_float = true;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        // Digits, signs and dots only: always UTF-8.
        let text = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        if is_float {
            match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(value.into()),
                _ => Err(JsonError::Syntax("number out of range".into(), start)),
            }
        } else {
            let parsed = text.parse::<i64>();
            parsed.map(Dynamic::from).map_err(|_| JsonError::Syntax("integer beyond 64 bits".into(), start))
        }
    }

    fn digits(&mut self) -> Parsed<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return self.fail("expected a digit");
        }
        Ok(())
    }

    fn string(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.at += 1;
            }
            match std::str::from_utf8(&self.text[start..self.at]) {
                Ok(plain) => out.push_str(plain),
                Err(error) => return Err(JsonError::Syntax("not UTF-8".into(), start + error.valid_up_to())),
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return self.fail("control character in a string"),
                None => return self.fail("unterminated string"),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        self.at += 1;
        let character = match self.peek() {
            Some(plain @ (b'"' | b'\\' | b'/')) => plain as char,
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.fail("unknown escape"),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode(&mut self) -> Parsed<char> {
        self.at += 1;
        let first = self.hex4()?;
        if !(0xD800..0xE000).contains(&first) {
            return char::from_u32(first).map_or_else(|| self.fail("unknown character"), Ok);
        }
        if first >= 0xDC00 || !self.text[self.at..].starts_with(b"\\u") {
            return self.fail("lone surrogate");
        }
        self.at += 2;
        let second = self.hex4()?;
        if !(0xDC00..0xE000).contains(&second) {
            return self.fail("lone surrogate");
        }
        let combined = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        char::from_u32(combined).map_or_else(|| self.fail("unknown character"), Ok)
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|byte| (byte as char).to_digit(16)) else {
                return self.fail("expected four hex digits");
            };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }
}

/// Writes a value as JSON, keys in byte order, without spaces.
pub fn stringify(value: &Dynamic, shape: Shape) -> Parsed<Vec<u8>> {
    write(value, shape, false)
}

/// The same as Rhai's `to_json` writes it: a function pointer is its name, with what it has captured behind it.
pub fn stringify_functions(value: &Dynamic, shape: Shape) -> Parsed<Vec<u8>> {
    write(value, shape, true)
}

fn write(value: &Dynamic, shape: Shape, functions: bool) -> Parsed<Vec<u8>> {
    let mut writer = Writer { out: Vec::with_capacity(128), shape, nodes: 0, functions };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer {
    out: Vec<u8>,
    shape: Shape,
    nodes: usize,
    functions: bool,
}

impl Writer {
    fn value(&mut self, value: &Dynamic, depth: usize) -> Parsed<()> {
        self.nodes += 1;
        if self.nodes > self.shape.nodes {
            return Err(JsonError::Nodes(self.shape.nodes));
        }
        if value.is_unit() {
            self.out.extend_from_slice(b"null");
        } else if let Ok(truth) = value.as_bool() {
            self.out.extend_from_slice(if truth { b"true" } else { b"false" });
        } else if let Ok(integer) = value.as_int() {
            self.text(format_args!("{integer}"));
        } else if let Ok(float) = value.as_float() {
            return self.float(float);
        } else if let Ok(text) = value.as_immutable_string_ref() {
            self.string(&text);
        } else if let Ok(character) = value.as_char() {
            self.string(character.encode_utf8(&mut [0; 4]));
        } else if let Some(done) = frozen::with_map(value, |map| self.map(map, depth + 1)) {
            return done;
        } else if let Some(done) = frozen::with_array(value, |array| self.array(array, depth + 1)) {
            return done;
        } else if let Some(fault) = value.read_lock::<crate::fault::Fault>() {
            return self.map(&fault.to_map(), depth + 1);
        } else if value.is_shared() {
            return self.value(&value.flatten_clone(), depth);
        } else if let Some(pointer) = value.read_lock::<FnPtr>().filter(|_| self.functions) {
            return self.function(&pointer, depth + 1);
        } else {
            return Err(JsonError::Unsupported(format!("a {} has no JSON form", crate::text::type_name(value))));
        }
        Ok(())
    }

    fn text(&mut self, text: std::fmt::Arguments<'_>) {
        use std::io::Write;
        // Writing into memory cannot fail.
        let _ = self.out.write_fmt(text);
    }

    fn float(&mut self, float: f64) -> Parsed<()> {
        if !float.is_finite() {
            return Err(JsonError::Unsupported(format!("{float} has no JSON form")));
        }
        // The debug form is the shortest that reads back as the same number, with an exponent where it is long.
        self.text(format_args!("{float:?}"));
        Ok(())
    }

    fn enter(&self, depth: usize) -> Parsed<()> {
        if depth > self.shape.depth {
            return Err(JsonError::Depth(self.shape.depth));
        }
        Ok(())
    }

    fn array(&mut self, array: &Array, depth: usize) -> Parsed<()> {
        self.enter(depth)?;
        self.out.push(b'[');
        for (index, item) in array.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(item, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn function(&mut self, pointer: &FnPtr, depth: usize) -> Parsed<()> {
        if !pointer.is_curried() {
            self.string(pointer.fn_name());
            return Ok(());
        }
        self.enter(depth)?;
        self.out.push(b'[');
        self.string(pointer.fn_name());
        for captured in pointer.curry() {
            self.out.push(b',');
            self.value(captured, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(&mut self, map: &Map, depth: usize) -> Parsed<()> {
        self.enter(depth)?;
        self.out.push(b'{');
        for (index, (key, item)) in map.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.string(key);
            self.out.push(b':');
            self.value(item, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push(b'"');
        let mut written = 0;
        for (at, byte) in text.bytes().enumerate() {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..=0x1f => b"",
                _ => continue,
            };
            self.out.extend_from_slice(&text.as_bytes()[written..at]);
            written = at + 1;
            if escape.is_empty() {
                self.text(format_args!("\\u{byte:04x}"));
            } else {
                self.out.extend_from_slice(escape);
            }
        }
        self.out.extend_from_slice(&text.as_bytes()[written..]);
        self.out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
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

//! From values to text, straight into bytes.

use rhai::{Array, Dynamic, FnPtr, Map};

use super::{JsonError, Parsed, Shape};
use crate::frozen;

/// Writes a value as JSON, keys in byte order, without spaces.
pub fn stringify(value: &Dynamic, shape: Shape) -> Parsed<Vec<u8>> {
    Writer { shape, ..Writer::default() }.write(value)
}

/// The same as Rhai's `to_json` writes it: a function pointer is its name, with what it has captured behind it.
pub fn stringify_functions(value: &Dynamic, shape: Shape) -> Parsed<Vec<u8>> {
    Writer { shape, functions: true, ..Writer::default() }.write(value)
}

/// The same for a string of the script, which has a longest; `pretty` with a line for each item, for people to read.
pub fn stringify_text(value: &Dynamic, shape: Shape, most_bytes: usize, pretty: bool) -> Parsed<Vec<u8>> {
    Writer { shape, most_bytes, pretty, ..Writer::default() }.write(value)
}

struct Writer {
    out: Vec<u8>,
    shape: Shape,
    nodes: usize,
    most_bytes: usize,
    functions: bool,
    pretty: bool,
}

impl Default for Writer {
    fn default() -> Self {
        let shape = Shape { depth: 0, nodes: 0 };
        let out = Vec::with_capacity(128);
        Self { out, shape, nodes: 0, most_bytes: usize::MAX, functions: false, pretty: false }
    }
}

impl Writer {
    fn write(mut self, value: &Dynamic) -> Parsed<Vec<u8>> {
        self.value(value, 0)?;
        self.check_length()?;
        Ok(self.out)
    }

    /// Looked at between values: a single string is no longer than a string may be.
    fn check_length(&self) -> Parsed<()> {
        if self.out.len() > self.most_bytes {
            return Err(JsonError::Bytes(self.most_bytes));
        }
        Ok(())
    }

    /// A new line, for what is this deep.
    fn line(&mut self, depth: usize) {
        if self.pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 2 * depth, b' ');
        }
    }

    fn value(&mut self, value: &Dynamic, depth: usize) -> Parsed<()> {
        self.nodes += 1;
        if self.nodes > self.shape.nodes {
            return Err(JsonError::Nodes(self.shape.nodes));
        }
        self.check_length()?;
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
            return self.map(&fault.members, depth + 1);
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
            self.line(depth);
            self.value(item, depth)?;
        }
        if !array.is_empty() {
            self.line(depth - 1);
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
            self.line(depth);
            self.string(key);
            self.out.extend_from_slice(if self.pretty { b": " } else { b":" });
            self.value(item, depth)?;
        }
        if !map.is_empty() {
            self.line(depth - 1);
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

//! From text to values: a recursive descent with a depth and a number of nodes.

use rhai::{Array, Dynamic, Map};

use super::{JsonError, Parsed, Shape};

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

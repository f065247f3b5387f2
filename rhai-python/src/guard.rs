//! Stops sources that would take Rhai's parser, or the first call of a run, out of all proportion.
//!
//! Parsing is quadratic in map keys, variables and parameters, and a call of a function that does not exist tries up to
//! 2^16 combinations of argument types: a call with 30,000 arguments takes seconds in *one* operation, past any
//! deadline. Neither can be interrupted, so both are refused while the tokens go by.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rhai::{Engine, LexError, Token};

/// Most arguments in one pair of parentheses; 16 is where the combinations begin to hurt.
pub const MOST_ARGUMENTS: usize = 32;

/// Parsing 64 KiB takes 0.15 s at worst; a busy machine gets some more.
const MOST_TIME: Duration = Duration::from_secs(2);

/// The clock is read once in this many tokens.
const TOKENS_PER_CLOCK: u32 = 64;

pub const TOO_MANY_ARGUMENTS: &str = "more than 32 arguments in one call";
pub const TOO_SLOW: &str = "the source takes too long to parse";

/// Where the parser is: which brackets are open, and how many commas the calls among them have had.
struct Progress {
    open: Vec<Option<usize>>,
    tokens: u32,
    started: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { open: Vec::new(), tokens: 0, started: Instant::now() }
    }

    /// Takes note of a token; a reason when the source must be refused.
    fn see(&mut self, token: &Token, most_time: Duration) -> Option<&'static str> {
        self.tokens = self.tokens.wrapping_add(1);
        if self.tokens % TOKENS_PER_CLOCK == 0 && self.started.elapsed() > most_time {
            return Some(TOO_SLOW);
        }
        match token {
            Token::LeftParen => self.open.push(Some(0)),
            Token::LeftBracket | Token::LeftBrace | Token::MapStart => self.open.push(None),
            Token::RightParen | Token::RightBracket | Token::RightBrace => {
                self.open.pop();
            }
            Token::Comma => {
                if let Some(Some(commas)) = self.open.last_mut() {
                    *commas += 1;
                    if *commas >= MOST_ARGUMENTS {
                        return Some(TOO_MANY_ARGUMENTS);
                    }
                }
            }
            Token::EOF => *self = Self::new(),
            _ => (),
        }
        None
    }
}

/// Watches every token this engine parses. The engine must serve one thread only.
pub fn watch(engine: &mut Engine) {
    let progress = Mutex::new(Progress::new());
    #[allow(deprecated)] // Rhai's way of calling it volatile; the version is pinned.
    engine.on_parse_token(move |token, _, _| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        match progress.see(&token, MOST_TIME) {
            Some(reason) => Token::LexError(Box::new(LexError::Runtime(reason.into()))),
            None => token,
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(source: &str) -> Result<(), String> {
        let mut engine = Engine::new();
        watch(&mut engine);
        engine.compile(source).map(drop).map_err(|error| error.to_string())
    }

    fn list(count: usize) -> String {
        vec!["1"; count].join(",")
    }

    #[test]
    fn long_calls_are_refused() {
        assert!(compile(&format!("f({})", list(32))).is_ok());
        assert!(compile(&format!("f({})", list(33))).unwrap_err().contains(TOO_MANY_ARGUMENTS));
        assert!(compile(&format!("a.f({})", list(30_000))).is_err());
    }

    #[test]
    fn commas_elsewhere_do_not_count() {
        assert!(compile(&format!("f([{}])", list(500))).is_ok());
        assert!(compile(&format!("f(\"{}\")", ",".repeat(500))).is_ok());
        assert!(compile(&format!("f(1, #{{ a: [{}], b: g({}) }})", list(100), list(30))).is_ok());
    }

    #[test]
    fn time_is_bounded() {
        let mut progress = Progress::new();
        let refused = (0..1_000).find_map(|_| progress.see(&Token::Plus, Duration::ZERO));
        assert_eq!(refused, Some(TOO_SLOW));
    }
}

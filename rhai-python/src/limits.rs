//! The native form of `rhai.Limits`, and the stack a run needs under them.

use pyo3::prelude::*;

/// Budgets of a script; `u64::MAX` stands for "not limited". Documented field by field in `limits.py`.
#[derive(Clone, Debug)]
pub struct Limits {
    pub timeout_seconds: Option<f64>,
    pub max_operations: u64,
    pub max_memory_bytes: u64,
    pub max_call_depth: usize,
    pub max_expr_depth: usize,
    pub max_fn_expr_depth: usize,
    pub max_string_bytes: usize,
    pub max_array_length: usize,
    pub max_map_length: usize,
    pub max_variables: usize,
    pub max_functions: usize,
    pub max_modules: usize,
    pub max_source_bytes: usize,
    pub max_output_bytes: u64,
    pub max_value_depth: usize,
    pub max_value_nodes: usize,
}

impl Limits {
    /// Reads the Python dataclass, which has validated itself.
    pub fn read(limits: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = limits.py();
        macro_rules! field {
            ($name:ident) => {
                limits.getattr(pyo3::intern!(py, stringify!($name)))?.extract()?
            };
        }
        let operations: Option<u64> = field!(max_operations);
        let memory: Option<u64> = field!(max_memory_bytes);
        Ok(Self {
            timeout_seconds: field!(timeout_seconds),
            max_operations: operations.unwrap_or(u64::MAX),
            max_memory_bytes: memory.unwrap_or(u64::MAX),
            max_call_depth: field!(max_call_depth),
            max_expr_depth: field!(max_expr_depth),
            max_fn_expr_depth: field!(max_fn_expr_depth),
            max_string_bytes: field!(max_string_bytes),
            max_array_length: field!(max_array_length),
            max_map_length: field!(max_map_length),
            max_variables: field!(max_variables),
            max_functions: field!(max_functions),
            max_modules: field!(max_modules),
            max_source_bytes: field!(max_source_bytes),
            max_output_bytes: field!(max_output_bytes),
            max_value_depth: field!(max_value_depth),
            max_value_nodes: field!(max_value_nodes),
        })
    }

    /// Stack a run needs, in bytes.
    pub fn stack_bytes(&self) -> usize {
        stack_bytes(self.max_array_length.max(self.max_map_length), self.max_memory_bytes)
    }
}

/// The stack the interpreter itself may use; `Run` stops the script below it.
pub const INTERPRETER_STACK: usize = 24 << 20;

/// Memory assumed when a run has no budget: what closure chains of that size need is already a gigabyte of stack.
const UNLIMITED_MEMORY: u64 = 512 << 20;

/// Comparing and printing need up to 2.1 KB of stack per level of nesting, and nesting is bounded by the length limits.
const BYTES_PER_LEVEL: usize = 2_150;

/// Dropping a chain of closures takes 210 bytes of stack per link, and a link can be as small as 117 bytes of memory;
/// measured with a 64 MiB budget: 112-128 MiB of stack, so 2.1 bytes of stack for each byte of budget.
fn stack_bytes(nesting: usize, memory: u64) -> usize {
    let memory = memory.min(UNLIMITED_MEMORY) as usize;
    let exact = INTERPRETER_STACK + nesting.min(100_000) * BYTES_PER_LEVEL + memory / 10 * 21;
    exact.div_ceil(16 << 20) * (16 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_need_192_megabytes() {
        assert_eq!(stack_bytes(10_000, 64 << 20), 192 << 20);
    }

    #[test]
    fn the_stack_grows_with_memory_and_nesting() {
        assert!(stack_bytes(10_000, 16 << 20) < stack_bytes(10_000, 64 << 20));
        assert!(stack_bytes(1_000, 64 << 20) <= stack_bytes(50_000, 64 << 20));
        assert_eq!(stack_bytes(10, u64::MAX), stack_bytes(10, UNLIMITED_MEMORY));
    }
}

//! The state of one run: its budgets, what it has spent, and why it must stop.
//!
//! Rhai calls `Run::step` before every operation, callbacks included. Whatever stops a run is remembered here: some
//! native functions of Rhai swallow the error that ends a script, so the flag, not the error, is the truth.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use rhai::{Dynamic, EvalAltResult, Position};

use crate::limits::{Limits, INTERPRETER_STACK};
use crate::{alloc, stack};

/// Why a run was stopped. The order is of no meaning; `None` must stay zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    None,
    Operations,
    Time,
    Memory,
    Stack,
    Cancelled,
    Output,
    StringBytes,
    ArrayLength,
    ValueDepth,
    ValueNodes,
    /// A host function raised what no script may catch (`KeyboardInterrupt` and the like).
    HostFatal,
}

impl Stop {
    const ALL: [Self; 12] = [
        Self::None,
        Self::Operations,
        Self::Time,
        Self::Memory,
        Self::Stack,
        Self::Cancelled,
        Self::Output,
        Self::StringBytes,
        Self::ArrayLength,
        Self::ValueDepth,
        Self::ValueNodes,
        Self::HostFatal,
    ];

    fn from_u8(value: u8) -> Self {
        Self::ALL.get(value as usize).copied().unwrap_or(Self::None)
    }
}

/// The token a stopped script ends with. Scripts can neither make nor see one, so a `throw` cannot look like a limit.
#[derive(Clone)]
pub struct StopToken;

/// Reading the clock takes longer than an average operation, so it is read once in this many.
const OPERATIONS_PER_CLOCK: u64 = 16;

/// A Python exception on its way through the interpreter, with the error of the script that caused it.
pub struct Inflight {
    pub exception: Py<PyAny>,
    pub error: Box<EvalAltResult>,
}

/// One run. Used by one thread at a time; the atomics only make it `Sync`, as Rhai demands of callbacks.
pub struct Run {
    pub limits: Arc<Limits>,
    pub context: Option<Py<PyAny>>,
    pub on_print: Option<Py<PyAny>>,
    pub on_debug: Option<Py<PyAny>>,
    cancel: Option<Arc<AtomicBool>>,
    interrupt: Option<Arc<AtomicBool>>,
    deadline: Option<Instant>,
    operations: AtomicU64,
    next_clock: AtomicU64,
    stop: AtomicU8,
    memory_ceiling: AtomicI64,
    stack_floor: AtomicUsize,
    output_bytes: AtomicU64,
    inflight: Mutex<Option<Inflight>>,
    fatal: Mutex<Option<PyErr>>,
}

/// What a run is given beside its budgets.
#[derive(Default)]
pub struct Hooks {
    pub context: Option<Py<PyAny>>,
    pub on_print: Option<Py<PyAny>>,
    pub on_debug: Option<Py<PyAny>>,
    pub cancel: Option<Arc<AtomicBool>>,
    /// Set when Python wants to raise in the thread that waits for the run.
    pub interrupt: Option<Arc<AtomicBool>>,
}

impl Run {
    /// Starts the clock. `started` may lie in the past: waiting for a thread counts.
    pub fn new(limits: Arc<Limits>, hooks: Hooks, started: Instant, memory_base: i64) -> Self {
        let ceiling = memory_base.saturating_add(i64::try_from(limits.max_memory_bytes).unwrap_or(i64::MAX));
        Self {
            deadline: limits.timeout_seconds.map(|seconds| started + Duration::from_secs_f64(seconds)),
            context: hooks.context,
            on_print: hooks.on_print,
            on_debug: hooks.on_debug,
            cancel: hooks.cancel,
            interrupt: hooks.interrupt,
            operations: AtomicU64::new(0),
            next_clock: AtomicU64::new(0),
            stop: AtomicU8::new(Stop::None as u8),
            memory_ceiling: AtomicI64::new(ceiling),
            stack_floor: AtomicUsize::new(stack::pointer().saturating_sub(INTERPRETER_STACK)),
            output_bytes: AtomicU64::new(0),
            inflight: Mutex::new(None),
            fatal: Mutex::new(None),
            limits,
        }
    }

    /// Accounts for one operation; a token when the script must end.
    #[inline]
    pub fn step(&self) -> Option<Dynamic> {
        let operations = self.operations.load(Relaxed) + 1;
        self.operations.store(operations, Relaxed);
        if self.stop.load(Relaxed) == 0
            && operations <= self.limits.max_operations
            && operations < self.next_clock.load(Relaxed)
            && alloc::live() <= self.memory_ceiling.load(Relaxed)
            && stack::pointer() >= self.stack_floor.load(Relaxed)
        {
            return None;
        }
        self.slow_step(operations)
    }

    #[cold]
    fn slow_step(&self, operations: u64) -> Option<Dynamic> {
        if self.stop.load(Relaxed) == 0 {
            if operations > self.limits.max_operations {
                self.stop(Stop::Operations);
            } else if alloc::live() > self.memory_ceiling.load(Relaxed) {
                self.stop(Stop::Memory);
            } else if stack::pointer() < self.stack_floor.load(Relaxed) {
                self.stop(Stop::Stack);
            } else {
                self.check_clock();
                self.next_clock.store(operations + OPERATIONS_PER_CLOCK, Relaxed);
            }
        }
        (self.stop.load(Relaxed) != 0).then(|| Dynamic::from(StopToken))
    }

    /// Stops the run when its time is over or someone cancelled it.
    pub fn check_clock(&self) {
        let is_set = |flag: &Option<Arc<AtomicBool>>| flag.as_ref().is_some_and(|flag| flag.load(Relaxed));
        if is_set(&self.cancel) || is_set(&self.interrupt) {
            self.stop(Stop::Cancelled);
        } else if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.stop(Stop::Time);
        }
    }

    /// Reads the clock at the next operation: a host function may have taken long.
    pub fn expect_clock(&self) {
        self.next_clock.store(0, Relaxed);
    }

    /// Asks the run to stop. The first reason stays.
    pub fn stop(&self, reason: Stop) {
        let _ = self.stop.compare_exchange(0, reason as u8, Relaxed, Relaxed);
    }

    /// Stops the run from inside a native function and gives the error to end it with.
    pub fn stopped(&self, reason: Stop) -> Box<EvalAltResult> {
        self.stop(reason);
        stop_error()
    }

    /// Why the run was stopped, `Stop::None` while it was not.
    pub fn reason(&self) -> Stop {
        Stop::from_u8(self.stop.load(Relaxed))
    }

    pub fn operations(&self) -> u64 {
        self.operations.load(Relaxed)
    }

    pub fn output_bytes(&self) -> u64 {
        self.output_bytes.load(Relaxed)
    }

    /// Time left before the deadline, None without one.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Counts printed text; false when the budget does not cover it.
    pub fn count_output(&self, bytes: usize) -> bool {
        let total = self.output_bytes.load(Relaxed) + bytes as u64;
        if total > self.limits.max_output_bytes {
            self.stop(Stop::Output);
            return false;
        }
        self.output_bytes.store(total, Relaxed);
        true
    }

    /// `print` of the script.
    pub fn print(&self, text: &str) {
        if !self.count_output(text.len()) {
            return;
        }
        if let Some(on_print) = &self.on_print {
            self.report(|py| on_print.call1(py, (text,)));
        }
    }

    /// `debug` of the script.
    pub fn debug(&self, text: &str, source: Option<&str>, position: Position) {
        if !self.count_output(text.len()) {
            return;
        }
        if let Some(on_debug) = &self.on_debug {
            let (line, column) = (position.line().unwrap_or(0), position.position().unwrap_or(0));
            self.report(|py| on_debug.call1(py, (text, source, line, column)));
        }
    }

    /// Calls a listener; what it raises ends the run and reaches the caller.
    fn report(&self, call: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>) {
        Python::attach(|py| {
            if let Err(error) = call(py) {
                let _ = self.fatal(error);
            }
        });
        self.expect_clock();
    }

    /// Remembers which error of the script became which Python exception, so that it can become itself again.
    pub fn remember(&self, inflight: Inflight) {
        *self.inflight.lock().unwrap_or_else(PoisonError::into_inner) = Some(inflight);
    }

    /// The error behind `exception`, if it came from the script and passes through a host function unchanged.
    pub fn recall(&self, exception: &Bound<'_, PyAny>) -> Option<Box<EvalAltResult>> {
        let mut slot = self.inflight.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.take() {
            Some(inflight) if inflight.exception.bind(exception.py()).is(exception) => Some(inflight.error),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Stops the run because of an exception that must reach the caller as it is.
    pub fn fatal(&self, error: PyErr) -> Box<EvalAltResult> {
        *self.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.stopped(Stop::HostFatal)
    }

    pub fn take_fatal(&self) -> Option<PyErr> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The error that ends a script whose run was stopped; scripts cannot catch it.
pub fn stop_error() -> Box<EvalAltResult> {
    EvalAltResult::ErrorTerminated(Dynamic::from(StopToken), Position::NONE).into()
}

thread_local! {
    static CURRENT: Cell<*const Run> = const { Cell::new(std::ptr::null()) };
}

/// Makes a run the current one of its thread for as long as the guard lives.
pub struct Entered<'a> {
    outer: *const Run,
    _run: &'a Run,
}

impl<'a> Entered<'a> {
    pub fn new(run: &'a Run) -> Self {
        Self { outer: CURRENT.with(|current| current.replace(run)), _run: run }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.outer));
    }
}

/// Calls `use_run` with the run this thread is in, None outside of runs.
pub fn with_current<T>(use_run: impl FnOnce(Option<&Run>) -> T) -> T {
    let current = CURRENT.with(Cell::get);
    // SAFETY: a non-null pointer was put there by an `Entered` that borrows the run and is still alive: its drop, on
    // this same thread, puts the outer pointer back.
    use_run(unsafe { current.as_ref() })
}

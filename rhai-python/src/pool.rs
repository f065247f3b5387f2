//! Threads with a large stack, for runs whose caller has a small one.
//!
//! A script can build values that take megabytes of stack to drop, compare or print. The main thread of a process has
//! 8 MiB. Idle threads are kept; stack is address space only until it is touched.

use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::stack;

type Job = Box<dyn FnOnce() + Send>;

/// Idle threads that are kept.
const MOST_IDLE: usize = 8;

/// Part of a stack that may be in use already when a run starts on the caller's thread.
const SLACK: usize = 2 << 20;

/// How often a waiting caller looks for signals.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

struct Worker {
    stack: usize,
    jobs: Sender<Job>,
    /// Threads do not survive a fork; what the child inherits only looks like one.
    process: u32,
}

static IDLE: Mutex<Vec<Worker>> = Mutex::new(Vec::new());

/// Is the current thread good for a run that needs this much stack?
pub fn fits_here(bytes: usize) -> bool {
    stack::remaining() + SLACK >= bytes
}

/// Runs `job` on a thread with at least this much stack and waits for it without the GIL. `interrupt` is called when
/// Python wants to raise something, `KeyboardInterrupt` for instance, in the waiting thread.
pub fn run<T, F>(py: Python<'_>, bytes: usize, job: F, interrupt: impl Fn()) -> PyResult<T>
where
    T: Send + 'static,
    F: FnOnce(Python<'_>) -> T + Send + 'static,
{
    let (answer, answered) = channel();
    let task = Box::new(move || {
        let result = Python::attach(job);
        // The caller may have been torn down with its interpreter.
        let _ = answer.send(result);
    });
    submit(bytes, task).map_err(|error| PyRuntimeError::new_err(format!("no thread for a script: {error}")))?;
    let mut signal = None;
    let answered = Mutex::new(answered);
    loop {
        let waited =
            py.detach(|| answered.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(SIGNAL_INTERVAL));
        match waited {
            Ok(result) => return signal.map_or(Ok(result), Err),
            Err(RecvTimeoutError::Disconnected) => return Err(PyRuntimeError::new_err("the thread of a script ended")),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = py.check_signals() {
                    interrupt();
                    signal.get_or_insert(error);
                }
            }
        }
    }
}

/// Hands a job to an idle thread, or to a new one.
fn submit(bytes: usize, job: Job) -> std::io::Result<()> {
    let idle = {
        let mut workers = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        workers.retain(|worker| worker.process == process);
        workers.iter().position(|worker| worker.stack >= bytes).map(|index| workers.swap_remove(index))
    };
    let job = match idle {
        None => job,
        Some(worker) => {
            let stack = worker.stack;
            let jobs = worker.jobs.clone();
            match jobs.send(with_return(worker, job)) {
                Ok(()) => return Ok(()),
                // The thread is gone; what it was given comes back.
                Err(unsent) => return spawn(stack, unsent.0),
            }
        }
    };
    spawn(bytes, job)
}

fn spawn(bytes: usize, job: Job) -> std::io::Result<()> {
    let (jobs, received) = channel::<Job>();
    let first = with_return(Worker { stack: bytes, jobs: jobs.clone(), process: std::process::id() }, job);
    let serve = move || {
        // Attached once and detached for good: attaching again for a host call is then ten times cheaper.
        let _ = Python::try_attach(|py| {
            py.detach(|| {
                for job in received {
                    job();
                }
            });
        });
    };
    std::thread::Builder::new().name("rhai".into()).stack_size(bytes + SLACK).spawn(serve)?;
    // The thread has just been started and holds the other end.
    let _ = jobs.send(first);
    Ok(())
}

/// Puts the thread back among the idle ones once the job is done.
fn with_return(worker: Worker, job: Job) -> Job {
    Box::new(move || {
        job();
        let mut workers = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.len() < MOST_IDLE {
            workers.push(worker);
        }
    })
}

/// A value that is dropped on a large stack, wherever its owner is dropped.
pub struct OnBigStack<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> OnBigStack<T> {
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub fn get(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("the value is taken in drop only"),
        }
    }
}

/// Stack for dropping what outlived its run.
const DROP_STACK: usize = 192 << 20;

impl<T: Send + 'static> Drop for OnBigStack<T> {
    fn drop(&mut self) {
        if fits_here(DROP_STACK) {
            return;
        }
        if let Some(value) = self.0.take() {
            // Without a thread the value is leaked: that is better than an overflow.
            let keep = std::mem::ManuallyDrop::new(value);
            let _ = submit(DROP_STACK, Box::new(move || drop(std::mem::ManuallyDrop::into_inner(keep))));
        }
    }
}

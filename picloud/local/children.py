"""Child processes that do not outlive their parent.

Two kinds: programs (PostgreSQL, Redis) and functions run in a fork of this process
(relay, worker, web: forked after the imports, so their memory is shared). Both get a
signal from the kernel when the parent dies, even by SIGKILL. The kernel watches the
*thread* that forked, so everything here is called from the main thread only. Each
child leads a session of its own: a Ctrl-C reaches the parent, who stops the children
in its own order, and what a child started can be signalled together with it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn, Protocol

from picloud.errors import PiCloudError
from picloud.local.server_user import ServerUser

_TRAMPOLINE = Path(__file__).with_name("trampoline.py")
_PR_SET_PDEATHSIG = 1


class Child(Protocol):
    """A running child; ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """None while it runs, then its exit code, negative for a signal."""
        ...


class ForkedChild:
    """A function running in a fork of this process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        """See ``Child``."""
        if self._exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._exit_code = os.waitstatus_to_exitcode(status)
        return self._exit_code


def start_program(
    program: Sequence[str | Path],
    *,
    user: ServerUser | None,
    death_signal: signal.Signals,
    output: IO[bytes],
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program, as ``user`` when given, that gets ``death_signal`` when we die.

    Its environment is bare: what PiCloud was told in secret is none of a server's business.
    """
    _refuse_other_threads()
    uid, gid = (user.uid, user.gid) if user else (-1, -1)
    tied = [sys.executable, "-I", "-S", _TRAMPOLINE, os.getpid(), int(death_signal), uid, gid, *program]
    return subprocess.Popen(
        [str(argument) for argument in tied],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **(environment or {})},
        start_new_session=True,
    )


def run_program(program: Sequence[str | Path], *, user: ServerUser | None, output: IO[bytes]) -> int:
    """Run a program to its end and return its exit code; it ends with us, interrupted or killed."""
    child = start_program(program, user=user, death_signal=signal.SIGTERM, output=output)
    try:
        return child.wait()
    finally:
        stop_child(child, signal.SIGTERM, signal.SIGKILL, 10.0)


def fork_function(function: Callable[[], int], *, close: Sequence[int] = ()) -> ForkedChild:
    """Run ``function`` in a fork; its answer is the exit code.

    Args:
        function: blocks until SIGTERM. A PiCloudError it raises becomes one line on stderr and code 1.
        close: descriptors that belong to the parent alone (its lock, its wake-up pipe).
    """
    _refuse_other_threads()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    # What exists now is never collected, hence never written to by the collector, hence stays shared.
    gc.freeze()
    pid = os.fork()
    if not pid:
        _be_the_child(function, parent, close)
    return ForkedChild(pid)


def _be_the_child(function: Callable[[], int], parent: int, close: Sequence[int]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        die_with_parent(parent, signal.SIGTERM)
        for descriptor in close:
            os.close(descriptor)
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        code = function()
    except PiCloudError as error:
        print(f"picloud: {error.message}", file=sys.stderr)  # noqa: T201 - the edge of this process
    except SystemExit as leaving:
        # gunicorn's arbiter ends its process this way.
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001 - the edge of the process: nothing may run on in the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def die_with_parent(parent: int, death_signal: signal.Signals) -> None:
    """Ask the kernel for ``death_signal`` when ``parent`` dies; send it to ourselves when it has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), death_signal)


def stop_child(child: Child, stop_signal: signal.Signals, kill_signal: signal.Signals, grace_seconds: float) -> int:
    """Ask a child to end, make it end when the time is up, and return its exit code."""
    if child.poll() is None:
        os.kill(child.pid, stop_signal)
        if not wait_for_exit(child.pid, grace_seconds):
            signal_group(child.pid, kill_signal)
            if not wait_for_exit(child.pid, grace_seconds):
                signal_group(child.pid, signal.SIGKILL)
                wait_for_exit(child.pid, grace_seconds)
    code = child.poll()
    return -int(signal.SIGKILL) if code is None else code


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a child and what it started; nothing when they are gone."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def wait_for_exit(pid: int, timeout_seconds: float) -> bool:
    """Sleep until the process has ended, ours or not; False when the time is up first."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            return bool(selector.select(timeout_seconds))
    finally:
        os.close(descriptor)


def _refuse_other_threads() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("children die with the thread that started them: start them from the main thread")

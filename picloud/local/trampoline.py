"""Ties a program to the life of its parent, then becomes that program.

Run by path, as ``python -I -S trampoline.py PARENT SIGNAL UID GID PROGRAM ARGUMENT…``:
it gives up root (unless UID is -1), asks the kernel for SIGNAL when PARENT dies, and
executes PROGRAM in its own place, so that the pid stays. A ``preexec_fn`` would do the
same inside ``fork``, where Python code may deadlock as soon as there is a thread.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program that the command line names."""
    parent, death_signal, uid, gid = (int(argument) for argument in sys.argv[1:5])
    program = sys.argv[5:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid: a change of credentials clears the request. execve keeps it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(f"{program[0]}: its parent {parent} is gone already")
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()

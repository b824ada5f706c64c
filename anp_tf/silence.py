"""Keeps what compiled code prints off the screen; for command lines only."""

import contextlib
import os
import subprocess
import sys

STDERR = 2
END = b"\n(all is well)\n"
# Shows the last lines that it reads, unless they end with `END`: the process has crashed.
WATCH = f"""
import collections, sys
last = collections.deque(maxlen=20)
for line in sys.stdin.buffer:
    if line == {END.lstrip()!r}:
        break
    last.append(line)
else:
    sys.stderr.buffer.writelines(last)
"""


@contextlib.contextmanager
def silent_stderr():
    """A context in which the process's standard error is not shown.

    Exceptions come through. Of a process that ends within, as it does where compiled code aborts,
    the last lines are shown.
    """
    screen = os.dup(STDERR)
    watch = [sys.executable, "-I", "-S", "-c", WATCH]
    with subprocess.Popen(watch, stdin=subprocess.PIPE) as watcher:
        try:
            os.dup2(watcher.stdin.fileno(), STDERR)
            yield
        finally:
            with contextlib.suppress(OSError):
                os.write(STDERR, END)
            os.dup2(screen, STDERR)
            os.close(screen)

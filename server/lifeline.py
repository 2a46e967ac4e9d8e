"""A child's tie to its parent: the child stops when the parent is gone, however the parent died."""

from __future__ import annotations

import os
import signal
import threading

LIFELINE = "LIFTOS_BAYES_LIFELINE"
"""Set by a parent that holds the other end of this process's standard input."""


def follow_parent() -> None:
    """Stop this process by SIGTERM as soon as its standard input is closed, if the parent asked for that.

    A parent that is killed cannot stop its children, but the kernel closes its end of the pipe.
    """
    if os.environ.get(LIFELINE) != "1":
        return

    def wait() -> None:
        # os.read and not sys.stdin: a daemon thread that holds a buffered reader's lock breaks the interpreter's exit.
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()

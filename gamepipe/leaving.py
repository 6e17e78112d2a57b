"""The end of a process that has spoken to Temporal.

Threads of its client outlive the event loop, and now and then one of them aborts the process while
the interpreter is taken down (temporalio/sdk-python, issue 300): work that is well done would end
with the status of a crash. So whoever is through leaves at once.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn


def leave(main: Callable[[], None]) -> NoReturn:
    """Run `main` and end the process with the status that it gives to `sys.exit`; 0 if it returns.

    Nothing that is registered for the end of the interpreter runs, and threads that still work are
    cut off. Other exceptions go their way.
    """
    status = 0
    try:
        main()
    except SystemExit as end:
        status = _told(end.code)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it is where the process was started without
            with suppress(BrokenPipeError):  # whoever read it has enough
                stream.flush()
    os._exit(status)


def _told(code: object) -> int:
    if code is None or isinstance(code, int):
        return int(code or 0)
    if sys.stderr is not None:
        sys.stderr.write(f"{code}\n")
    return 1

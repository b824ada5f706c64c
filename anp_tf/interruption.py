"""Points at which a process can be made to end, as by a crash or a signal: for tests.

`ANP_TF_KILL_AT=POINT:COUNT` in the environment sends the process SIGKILL when it passes a point for
the COUNT-th time; `ANP_TF_KILL_AT=POINT:COUNT:SIGTERM` another signal. Nothing else in the package
reads the variable, and without it passing a point does nothing.

| point | where |
|---|---|
| `examples` | before the training examples are loaded |
| `restore` | before a checkpoint is read |
| `step` | after a step of training, before it is known whether a checkpoint is due |
| `epoch` | after an epoch's line in `metrics.jsonl`, before its checkpoint |
| the name of a file or folder | all of it is written, but not in its place |
"""

import collections
import os
import re
import signal

VARIABLE = "ANP_TF_KILL_AT"

_passes: collections.Counter[str] = collections.Counter()


def passing(point):
    """Sends this process the signal that the environment asks for at this point, if any.

    Args:
        point: String, the point's name.

    Raises:
        ValueError: if the variable is malformed.
    """
    asked = os.environ.get(VARIABLE)
    if asked is None:
        return
    found = re.fullmatch(r"([^:]+):([1-9]\d*)(?::(SIG[A-Z]+))?", asked)
    if not found or (found[3] and found[3] not in signal.Signals.__members__):
        raise ValueError(
            f"{VARIABLE}: expected POINT:COUNT or POINT:COUNT:SIGNAL, such as step:6:SIGTERM, "
            f"received {asked!r}"
        )
    _passes[point] += 1
    if point == found[1] and _passes[point] == int(found[2]):
        os.kill(os.getpid(), signal.Signals[found[3] or "SIGKILL"])

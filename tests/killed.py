"""Starts a command again and again in processes forked after all imports, and kills each.

`python -m tests.killed SEED KILLS WORDS...` takes the words of a command line, works in the current
directory, and prints how many kills hit a sweep that had a state to resume from.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import ablate
from ablate import cli

LONGEST = 3.0  # seconds before a kill


def main(seed: int, kills: int, words: list[str]) -> None:
    """Kill a command at random moments, from its first step to its last."""
    # Import everything, so that no child has to; compute nothing, since a fork loses threads.
    for module in pkgutil.walk_packages(ablate.__path__, "ablate."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    chance = random.Random(seed)
    killed = training = 0
    while killed < kills:
        child = os.fork()
        if child == 0:
            sys.argv = ["ablate", *words]
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (until the kill)
            cli.main()
            os._exit(0)
        time.sleep(chance.uniform(0, LONGEST))
        before = _histories()
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
            training += before > 0
        else:  # it ended before the kill: start over
            assert os.WEXITSTATUS(status) == 0, f"exit status {os.WEXITSTATUS(status)}"
            shutil.rmtree("results")
    print(training)


def _histories() -> int:
    """Count the states that a run could resume from."""
    return len(list(Path("results").glob("*/*/checkpoint.pt")))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

"""Work for a separate process, in a module that is quick to import."""

from __future__ import annotations

import os
import threading
import types

ABOUT = {
    "card": "A card, 80 GB",
    "versions": {"torch": "2.14"},
    "clocks": {"sm": 1980, "memory": None},
    "date": "2026-11-25",
    "dry": False,
    "batch": 128,
}
# Stands in for a `Bench`: its module, with torch, takes each process seconds to import.
BENCH = types.SimpleNamespace(device="cpu", batch=128, dry=True)


def about(bench):
    return ABOUT


def given(what, bench):
    return what


def on_bench(bench, work, *arguments):
    return work(*arguments)


def double(number):
    return {"number": 2 * number, "process": os.getpid()}


def fail():
    raise ValueError("seven is too many\nand eight as well")


def die():
    print("this is no result")
    os._exit(7)


def hang():
    threading.Event().wait()

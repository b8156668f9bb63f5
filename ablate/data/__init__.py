"""Data sets: finds and reads their files, splits them, and puts them on a device.

`registry` lists all data sets and says how to add one. Nothing here imports torch, Pillow or
scikit-learn before it is needed, since every command imports this package.
"""

from __future__ import annotations

from ablate.data.fact_cache import Facts, facts, forget
from ablate.data.loading import load
from ablate.data.places import home
from ablate.data.reading import is_at_hand, read
from ablate.data.source import Part, Source
from ablate.data.splits import Sizes, is_drawn, sizes, split

__all__ = [
    "Facts",
    "Part",
    "Sizes",
    "Source",
    "facts",
    "forget",
    "home",
    "is_at_hand",
    "is_drawn",
    "load",
    "read",
    "sizes",
    "split",
]

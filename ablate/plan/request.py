"""A request as it was made, before it is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate.config import files

Overrides = tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One run of a request that lists its runs one by one, such as a study or a design.

    Attributes:
        overrides: Its overrides, each knob once.
        arm: Its arm, or None.
        study: Its study, or None.
        place: Its file and line, for messages.
    """

    overrides: Overrides
    arm: str | None = None
    study: str | None = None
    place: str = ""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        overrides: In Hydra's grammar.
        config_name: Primary configuration; the shipped one by default.
        config_dir: The user's own directory of configurations, or None.
        multirun: Whether overrides may sweep.
        cells: The runs, if they are listed one by one instead of as a grid.
        files: Where the text of the cells comes from: a study's file.
        trust: Whether the folders of these files, and of the user's configurations, are trusted
            from now on.
    """

    overrides: Overrides = ()
    config_name: str = "config"
    config_dir: str | None = None
    multirun: bool = False
    cells: tuple[Cell, ...] | None = None
    files: tuple[Path, ...] = ()
    trust: bool = False

    @property
    def searches(self) -> bool:
        """Whether a sweeper such as Optuna's chooses the runs, so they are not known in advance."""
        return self._last("hydra/sweeper") not in (None, "ablate", "basic")

    @property
    def hands_over(self) -> bool:
        """Whether Hydra runs the jobs: its own sweeper or launcher, or with settings of its own."""
        ours = self._last("hydra/launcher") in (None, "ablate")
        own = any(name_of(override).startswith("hydra.") for override in self.overrides)
        return own or (self.multirun and (self.searches or not ours))

    @property
    def study(self) -> str | None:
        """The study, if one was requested: a shipped name, or a path."""
        return self._last("+study")

    @property
    def scale(self) -> str:
        """The scale of a study: ``quick`` or ``full``."""
        return self._last("scale") or "quick"

    @property
    def design(self) -> str:
        """The design, which chooses the cells of a grid."""
        return self._last("design") or "factorial"

    @property
    def max_runs(self) -> int:
        """How many runs it may contain."""
        given = self._last("max_runs") or ""
        return int(files.top()["max_runs"]) if not given.isdecimal() else int(given) or 1

    @property
    def is_single(self) -> bool:
        """Whether this asks for one run, rather than a grid, a design or a study."""
        return not self.multirun and self.study is None and self.cells is None

    def _last(self, name: str) -> str | None:
        values = [o.partition("=")[2] for o in self.overrides if o.startswith(f"{name}=")]
        return values[-1] if values else None


def merged(*parts: Sequence[str]) -> list[str]:
    """Join overrides; if several set the same knob, the last wins."""
    last = {name_of(override): override for part in parts for override in part}
    return list(last.values())


def name_of(override: str) -> str:
    """Name what an override sets."""
    return override.partition("=")[0].lstrip("+")


def is_seed(name: str) -> bool:
    """Tell whether a knob is a seed; its values are replicates, not arms."""
    return name == "seed" or name.startswith("seeds.")

"""What is asked for, before anything of it has been looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Overrides = tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One run that is asked for by name, as the arms of a study are.

    Attributes:
        overrides: All that it sets, each knob once.
        arm: Its arm.
        study: Its study, or None.
        place: Where it stands in a file, for messages.
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
        config_name: Primary configuration, the shipped one by default.
        config_dir: A directory of the user's with configurations.
        multirun: Whether overrides may sweep.
        cells: The runs, where they are listed one by one in place of a grid.
    """

    overrides: Overrides = ()
    config_name: str = "config"
    config_dir: str | None = None
    multirun: bool = False
    cells: tuple[Cell, ...] | None = None

    @property
    def searches(self) -> bool:
        """Whether a sweeper such as Optuna's chooses the runs, so that no grid is known before."""
        return self._last("hydra/sweeper") not in (None, "ablate", "basic")

    @property
    def hands_over(self) -> bool:
        """Whether a sweeper or launcher that is not ours brings the runs about."""
        ours = self._last("hydra/launcher") in (None, "ablate")
        return self.multirun and (self.searches or not ours)

    @property
    def study(self) -> str | None:
        """The study that is asked for: a shipped name, or a path."""
        return self._last("+study")

    @property
    def scale(self) -> str:
        """How large a study is to be."""
        return self._last("scale") or "quick"

    @property
    def design(self) -> str:
        """Which cells of a grid are wanted."""
        return self._last("design") or "factorial"

    @property
    def is_single(self) -> bool:
        """Whether one run is asked for, rather than a grid, a design or a study."""
        return not self.multirun and self.study is None and self.cells is None

    def _last(self, name: str) -> str | None:
        values = [o.partition("=")[2] for o in self.overrides if o.startswith(f"{name}=")]
        return values[-1] if values else None


def merged(*parts: Sequence[str]) -> list[str]:
    """Join overrides; of those that set the same knob, the last wins."""
    last = {name_of(override): override for part in parts for override in part}
    return list(last.values())


def name_of(override: str) -> str:
    """Name what an override sets."""
    return override.partition("=")[0].lstrip("+")


def is_seed(name: str) -> bool:
    """Tell whether a knob is a seed, which makes replicates rather than arms."""
    return name == "seed" or name.startswith("seeds.")

"""Reads a study's file, and reports each fault with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ablate.config.knobs.run import DESIGNS
from ablate.errors import AblateError, listed, nearest
from ablate.metrics import PRIMARY
from ablate.plan import designs
from ablate.plan.request import Overrides
from ablate.study import measurement
from ablate.study.claims import Claims
from ablate.study.study import EQUAL, SCALES, Arm, Measurement, Study, Tuning, find
from ablate.study.tuning import read_grid, read_tuning, read_values

_KEYS = (
    *("question", "source", "fixed", "scale", "arms", "design", "factors", "ingredients"),
    *("baseline", "seeds", "metric", "margin", "target", "tune", "equal", "measure", "claims"),
)
_DECIDED = {"seed": "use seeds: for that", "name": "a study is named after its file"}
_NEEDED = ("question", "source", "seeds", "claims")
_MOST = 100_000  # seeds, or arms of a design: more would be a mistake, and not fit into memory
_RANGE = re.compile(r"range\((\d{1,9}), *(\d{1,9})\)")
_OF_AN_ARM = ("set", "seeds", "tune")
T = TypeVar("T")


def read_study(name: str, scale: str = "quick") -> Study:
    """Read a study.

    Args:
        name: A shipped study, or the path of a file.
        scale: ``quick`` or ``full``.

    Raises:
        AblateError: There is no such file, or something in it is wrong; each fault is listed with
            its line.
    """
    return _Reader(find(name), scale).study()


class _Reader:
    """Reads one file, and collects its faults."""

    def __init__(self, file: Path, scale: str) -> None:
        self.file, self.scale = file, scale
        self.faults: list[str] = []
        self.lines: dict[str, int] = {}
        self.values = self._load()

    def study(self) -> Study:
        """Read the whole study.

        Raises:
            AblateError: Something is wrong.
        """
        for key in self.values:
            if key not in _KEYS:
                self._fault(key, f"there is no key {key}{nearest(key, _KEYS)}")
        for key in _NEEDED:
            if key not in self.values:
                self._fault("", f"the study lacks {key}")
        arms, seeds = self._arms(), self._seeds("seeds", self.values.get("seeds", [0]))
        arms = self._baseline_first(arms)
        metric = self._text("metric", PRIMARY)
        claims = self._claims(arms, metric)
        study = Study(
            name=self.file.stem,
            file=self.file,
            question=self._text("question"),
            source=self._text("source"),
            fixed=(*self._overrides("fixed"), *self._overrides(f"scale.{self.scale}")),
            arms=arms,
            seeds=seeds,
            metric=metric,
            margin=claims.margin,
            target=claims.target,
            tuning=self._tuning(arms, seeds),
            equal=self._word("equal", EQUAL, "epochs"),
            claims=claims.read(self.values.get("claims", [])),
            measure=self._measure(),
        )
        measurement.check_names(self.values, study, self._fault)
        self._enough_seeds(study)
        if self.faults:
            raise AblateError(*self.faults)
        return study

    # -- the file ----------------------------------------------------------------------------------

    def _load(self) -> dict[str, Any]:
        try:
            text = self.file.read_text(encoding="utf-8")
            node, values = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
        except (OSError, UnicodeError) as error:
            raise AblateError(f"{self.file} cannot be read: {error}") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark is not None else ""
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise AblateError(f"{self.file}{where}: {problem}") from error
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise AblateError(f"{self.file}: a study must be a mapping, with a question and arms")
        self._mark(node, "")
        return values

    def _mark(self, node: Any, path: str) -> None:
        """Note the line of every key and entry."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = f"{path}.{key.value}" if path else str(key.value)
                first = self.lines.get(inner)
                self.lines[inner] = key.start_mark.line + 1
                if first is not None:
                    self._fault(inner, f"{key.value} is given twice, first in line {first}")
                self._mark(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                self._mark(value, f"{path}.{number}")

    def _fault(self, path: str, what: str) -> None:
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        # People count claims from 1; a path counts them from 0.
        told = re.sub(r"^claims\.(\d+)\.", lambda number: f"claim {int(number[1]) + 1}: ", what)
        self.faults.append(f"{self.file}, line {self.lines.get(path, 1)}: {told}")

    # -- values ------------------------------------------------------------------------------------

    def _get(self, path: str) -> Any:
        node: Any = self.values
        for part in path.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node

    def _text(self, path: str, default: str = "") -> str:
        value = self._get(path)
        if value is None:
            return default
        if not isinstance(value, str):
            self._fault(path, f"{path} must be text, not {value}")
        return str(value)

    def _word(self, path: str, words: Sequence[str], default: str) -> str:
        value = self._text(path, default)
        if value not in words:
            self._fault(path, f"{path}={value} is not legal: it takes {listed(words)}")
        return value

    def _overrides(self, path: str, value: Any = None) -> Overrides:
        value = self._get(path) if value is None else value
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(v, str) and "=" in v for v in value):
            self._fault(path, f"{path} must be a list of overrides such as [dropout.dense=0.5]")
            return ()
        for name in {override.partition("=")[0] for override in value} & _DECIDED.keys():
            self._fault(path, f"{path} sets {name}: {_DECIDED[name]}")
        return tuple(value)

    def _at_scale(
        self, path: str, value: dict[str, Any], read: Callable[[str, Any], T]
    ) -> T | None:
        """Read a value for each scale; return the one for this scale."""
        if set(value) != set(SCALES):
            self._fault(path, f"{path} needs a value for each scale: {' and '.join(SCALES)}")
            return None
        return {scale: read(f"{path}.{scale}", value[scale]) for scale in SCALES}[self.scale]

    def _seeds(self, path: str, value: Any) -> tuple[int, ...]:
        if isinstance(value, dict):
            return self._at_scale(path, value, self._seeds) or (0, 1)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST:
            return tuple(range(value))
        if isinstance(value, str) and (ends := _RANGE.fullmatch(value)) is not None:
            first, end = (int(number) for number in ends.groups())
            value = list(range(first, min(end, first + _MOST)))
        sound = isinstance(value, list) and value and all(type(v) is int and v >= 0 for v in value)
        if not sound or len(set(value)) < len(value):
            self._fault(
                path,
                f"{path} must be a number of seeds, a list of different ones or range(100, 130)"
                f" (at most {_MOST:,})",
            )
            return (0, 1)
        return tuple(value)

    def _number(self, path: str, value: Any, least: float = 0) -> float | None:
        """Read a number > `least`."""
        if isinstance(value, dict):
            return self._at_scale(path, value, lambda inner, v: self._number(inner, v, least))
        if value is None:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least < value < math.inf:
            self._fault(path, f"{path}={value} is not legal: it takes a number > {least:g}")
            return None
        return float(value)

    # -- arms --------------------------------------------------------------------------------------

    def _arms(self) -> tuple[Arm, ...]:
        design = self.values.get("design")
        given = [key for key in ("arms", "factors", "ingredients") if key in self.values]
        if design is None:
            return self._explicit() if given == ["arms"] else self._no_arms(given)
        if design not in DESIGNS:
            hint = nearest(str(design), DESIGNS)
            self._fault(
                "design", f"design={design} is not legal: it must be {listed(DESIGNS)}{hint}"
            )
            return ()
        wanted = "factors" if design in ("factorial", "one_at_a_time") else "ingredients"
        parts = self.values.get(wanted)
        if given != [wanted] or not isinstance(parts, dict) or not parts:
            self._fault("design", f"design={design} needs {wanted} (a mapping), and nothing else")
            return ()
        if wanted == "factors":
            listed_ = {n: read_values(f"factors.{n}", v, self._fault) for n, v in parts.items()}
        else:
            listed_ = {n: self._overrides(f"ingredients.{n}", v) for n, v in parts.items()}
        if math.prod(map(len, listed_.values())) > _MOST and design == "factorial":
            self._fault(wanted, f"design={design} makes more than {_MOST} arms from these {wanted}")
        if self.faults:
            return ()
        made = getattr(designs, str(design))(listed_)
        return tuple(Arm(name, o, line=self._line(wanted)) for name, o in made.items())

    def _explicit(self) -> tuple[Arm, ...]:
        given = self.values["arms"]
        if not isinstance(given, dict) or len(given) < 2:
            self._fault(
                "arms", "arms must be a mapping of at least two: a name, and what the arm sets"
            )
            return ()
        return tuple(self._arm(str(name), f"arms.{name}", value) for name, value in given.items())

    def _arm(self, name: str, path: str, value: Any) -> Arm:
        if not isinstance(value, dict):
            return Arm(name, self._overrides(path, value), line=self._line(path))
        for key in set(value) - set(_OF_AN_ARM):
            self._fault(f"{path}.{key}", f"an arm may have {listed(_OF_AN_ARM)}, not {key}")
        seeds = self._seeds(f"{path}.seeds", value["seeds"]) if "seeds" in value else None
        grid = read_grid(f"{path}.tune", value["tune"], self._fault) if "tune" in value else None
        sets = self._overrides(path, value.get("set", []))
        return Arm(name, sets, seeds, grid, self._line(path))

    def _no_arms(self, given: Sequence[str]) -> tuple[Arm, ...]:
        what = f"{listed(given)} without design" if given else "no arms"
        self._fault("", f"the study has {what}: give arms, or a design ({listed(DESIGNS)})")
        return ()

    def _baseline_first(self, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        name = self.values.get("baseline")
        if name is None or not arms:
            return arms
        names = [arm.name for arm in arms]
        if name not in names:
            hint = nearest(str(name), names)
            self._fault("baseline", f"baseline={name}: there is no such arm{hint}")
            return arms
        return tuple(sorted(arms, key=lambda arm: arm.name != name))

    def _line(self, path: str) -> int:
        return self.lines.get(path, 1)

    # -- tuning, claims, seeds ---------------------------------------------------------------------

    def _tuning(self, arms: Sequence[Arm], seeds: Sequence[int]) -> Tuning | None:
        reported = {seed for arm in arms for seed in arm.seeds or seeds}
        return read_tuning(self.values.get("tune"), arms, reported, self._seeds, self._fault)

    def _claims(self, arms: Sequence[Arm], metric: str) -> Claims:
        claims = Claims(
            [arm.name for arm in arms],
            metric,
            self._number("margin", self.values.get("margin")),
            self._number("target", self.values.get("target")),
            str(self.values.get("source", "")),
            self._fault,
            self._number,
            self._line,
        )
        claims.known("metric", metric)
        return claims

    def _measure(self) -> Measurement | None:
        given = self.values.get("measure")
        return (
            None if given is None else measurement.read(given, self._line("measure"), self._fault)
        )

    def _enough_seeds(self, study: Study) -> None:
        for arm in study.arms:
            if len(study.seeds_of(arm)) < 2:
                path = f"arms.{arm.name}" if arm.seeds is not None else "seeds"
                self._fault(path, f"{arm.name} has one seed: a verdict needs at least two")
                return

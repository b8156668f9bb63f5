"""Study files: a question, its arms, its seeds, its claims. Read here, and checked line by line.

A study file is YAML:

    question: Does dropout in the dense layer lower the error of a small CNN on few images?
    source: Srivastava et al. 2014, JMLR 15, section 6.1
    fixed: [data=mnist, data.train_size=1000, epochs=20]   # of every run
    scale:                                                 # more that is fixed, by `scale=`
      quick: [data=digits]
      full: [data.train_size=null]
    arms:                                                  # scientific knobs, by name
      plain: []
      dropout: [dropout.dense=0.5]
      Adam: {set: [optimizer=adam], seeds: [100, 101], tune: {optimizer.lr: [0.001, 0.01, 0.1]}}
    baseline: plain                                        # the first arm, if not named
    seeds: {quick: 10, full: 20}                           # 0 to 9, or a list; by scale, or one
    metric: test/error                                     # the primary one
    margin: 0.002                                          # the smallest difference that matters
    target: 0.05                                           # val error, for `epochs_to_target`
    tune:                                                  # nuisance knobs, for each arm alike
      knobs: {optimizer.lr: [0.0005, 0.001, 0.002]}
      seeds: [1000, 1001]
    equal: epochs                                          # what is held equal
    measure:                                               # of every finished run, after training
      evaluate: [samples=50, perturb=false]                # settings of `ablate evaluate`
      inspect: []                                          # of `ablate inspect`: images, train
    claims:
      - claim: Dropout lowers the error
        arm: dropout
        direction: lower
      - claim: It makes units less alike
        arm: dropout
        metric: evaluate/correlation/mean                  # see `ablate.metrics`
        direction: lower

An arm's `tune` takes the place of the study's knobs, with as many settings. `margin` too may differ
by scale. What a claim may say:

    claim, arm        in words, and of which arm
    direction         lower, higher, differs; or equivalent: no difference of the margin or more
    against           the other arm; else the baseline, or with against_metric the same arm
    metric            of the arm; else the study's
    against_metric    of the other, over the same seeds; else the same metric
    statistic         mean (by default) or spread: the standard deviation over seeds, as a ratio
    margin            else the study's, for the mean of its metric; of spread a ratio above 1
    source            else the study's

In place of `arms`, a design: `factorial` or `one_at_a_time` with `factors` (knob: values),
`leave_one_out` or `add_one_in` with `ingredients` (name: overrides).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ablate.config import files
from ablate.errors import AblateError, nearest
from ablate.plan.request import Overrides
from ablate.study.claim import Claim

EQUAL = ("epochs", "steps")
SCALES = ("quick", "full")


@dataclass(frozen=True)
class Arm:
    """A named setting of knobs.

    Attributes:
        name: Its name.
        overrides: What it sets.
        seeds: Seeds of its own, where they are not the study's.
        grid: Values of its own for what is tuned, where they are not the study's.
        line: Where it stands in the file.
    """

    name: str
    overrides: Overrides
    seeds: tuple[int, ...] | None = None
    grid: Mapping[str, tuple[str, ...]] | None = None
    line: int = 0


@dataclass(frozen=True)
class Tuning:
    """Nuisance knobs that are chosen for each arm, on the validation split.

    Attributes:
        knobs: Knob -> its values, in the order of the grid.
        seeds: Seeds of the tuning runs; none of them is reported.
        metric: What is brought to its better side.
    """

    knobs: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    metric: str = "val/error"


@dataclass(frozen=True)
class Measurement:
    """What is measured of every finished run after training.

    Attributes:
        evaluate: Settings of `ablate evaluate`, ``name=value``, or None.
        inspect: Settings of `ablate inspect`, or None.
        line: Where it stands in the file.
    """

    evaluate: tuple[str, ...] | None
    inspect: tuple[str, ...] | None
    line: int = 0


@dataclass(frozen=True)
class Study:
    """A study, read and checked as far as its file goes.

    Attributes:
        name: Of the file.
        file: Its path.
        question: What is asked.
        source: Who says so.
        fixed: What every run sets.
        arms: The arms, the baseline first.
        seeds: Seeds of every arm that has none of its own.
        metric: The primary metric.
        margin: The smallest difference in it that matters, or None.
        target: The validation error of `epochs_to_target`, or None.
        tuning: What is tuned for each arm, or None.
        equal: What is held equal between arms: ``epochs`` or ``steps``.
        claims: What is claimed.
        measure: What is measured of its runs after training, or None.
    """

    name: str
    file: Path
    question: str
    source: str
    fixed: Overrides
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    metric: str
    margin: float | None
    target: float | None
    tuning: Tuning | None
    equal: str
    claims: tuple[Claim, ...]
    lines: Mapping[str, int] = field(default_factory=dict)
    measure: Measurement | None = None

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        return self.arms[0]

    def seeds_of(self, arm: Arm) -> tuple[int, ...]:
        """Give the seeds of an arm: its own, or the study's."""
        return self.seeds if arm.seeds is None else arm.seeds

    def grid_of(self, arm: Arm) -> Mapping[str, tuple[str, ...]]:
        """Give the knobs that are tuned for an arm, with their values: its own, or the study's."""
        shared = {} if self.tuning is None else self.tuning.knobs
        return shared if arm.grid is None else arm.grid


def shipped() -> list[str]:
    """List the names of the shipped studies."""
    return sorted(file.stem for file in (files.CONF / files.STUDIES).glob("*.yaml"))


def find(name: str) -> Path:
    """Find a study's file: a shipped name, or a path to a YAML file.

    Raises:
        AblateError: There is none.
    """
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise AblateError(f"+study={name}: there is no such file")
    if name in shipped():
        return files.CONF / files.STUDIES / f"{name}.yaml"
    hint = nearest(name, shipped())
    raise AblateError(
        f"+study={name}: there is no such study{hint}; `ablate studies` lists them, and a file of"
        " your own is named by its path (+study=path/to.yaml)"
    )

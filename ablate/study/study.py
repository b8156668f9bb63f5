"""What a study is: a question with arms, seeds and claims, as `study.file` reads it from YAML.

A study file is YAML:

    question: Does dropout in the dense layer lower the error of a small CNN on few images?
    source: Srivastava et al. 2014, JMLR 15, section 6.1
    fixed: [data=mnist, data.train_size=1000, epochs=20]   # for every run
    scale:                                                 # more fixed knobs, chosen by `scale=`
      quick: [data=digits]
      full: [data.train_size=null]
    arms:                                                  # scientific knobs, by name
      plain: []
      dropout: [dropout.dense=0.5]
      Adam: {set: [optimizer=adam], seeds: [100, 101], tune: {optimizer.lr: [0.001, 0.01, 0.1]}}
    baseline: plain                                        # by default the first arm
    seeds: {quick: 10, full: 20}                           # 10 is 0 to 9; or a list, or
                                                           # range(100, 130); scale optional
    metric: test/error                                     # the primary metric
    margin: 0.002                                          # the smallest difference that matters
    target: 0.05                                           # val error, for `epochs_to_target`
    tune:                                                  # nuisance knobs, tuned for each arm
      knobs: {optimizer.lr: [0.0005, 0.001, 0.002]}
      seeds: [1000, 1001]
    equal: epochs                                          # or steps: held equal between arms
    measure:                                               # for every finished run, after training
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

An arm's own `tune` replaces the study's knobs, and must have as many settings. `margin` may also
differ by scale. The keys of a claim:

    claim             the claim in words
    arm               the arm that it is about
    direction         lower, higher, differs; or equivalent: the difference is below the margin
    against           the other arm; by default the baseline or, with against_metric, the same arm
    metric            metric of the arm; by default the study's
    against_metric    metric of the other arm, over the same seeds; by default the same metric
    statistic         mean (the default), or spread: the standard deviation over seeds, as a ratio
    margin            for spread a ratio above 1; by default, for means of its metric, the study's
    source            by default the study's

Instead of `arms`, a design: `factorial` or `one_at_a_time` with `factors` (knob: values),
`leave_one_out` or `add_one_in` with `ingredients` (name: overrides).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
        overrides: The overrides that make it.
        seeds: Its own seeds, or None to use the study's.
        grid: Its own values of the tuned knobs, or None to use the study's.
        line: Its line in the file.
    """

    name: str
    overrides: Overrides
    seeds: tuple[int, ...] | None = None
    grid: Mapping[str, tuple[str, ...]] | None = None
    line: int = 0


@dataclass(frozen=True)
class Tuning:
    """Nuisance knobs that are tuned for each arm, on the validation split.

    Attributes:
        knobs: Knob -> its values, in the order of the grid.
        seeds: Seeds of the tuning runs; none of them is reported.
        metric: The metric that tuning optimizes.
    """

    knobs: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    metric: str = "val/error"


@dataclass(frozen=True)
class Measurement:
    """What a study measures after training, for every finished run.

    Attributes:
        evaluate: Settings of `ablate evaluate`, ``name=value``, or None to skip it.
        inspect: Settings of `ablate inspect`, or None to skip it.
        line: Its line in the file.
    """

    evaluate: tuple[str, ...] | None
    inspect: tuple[str, ...] | None
    line: int = 0


@dataclass(frozen=True)
class Study:
    """A study as its file describes it; the file has been checked, its runs have not.

    Attributes:
        name: The file's name, without its ending.
        file: The file's path.
        question: The question that the study asks.
        source: Where the question or its answer was published.
        fixed: Overrides of every run.
        arms: The arms, the baseline first.
        seeds: Seeds of every arm that has none of its own.
        metric: The primary metric.
        margin: The smallest difference in the primary metric that matters, or None.
        target: The validation error of `epochs_to_target`, or None.
        tuning: What is tuned for each arm, or None.
        equal: What is held equal between arms: ``epochs`` or ``steps``.
        claims: The claims.
        measure: What is measured after training, or None.
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
    measure: Measurement | None = None

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        return self.arms[0]

    def seeds_of(self, arm: Arm) -> tuple[int, ...]:
        """Return an arm's seeds: its own, or the study's."""
        return self.seeds if arm.seeds is None else arm.seeds

    def grid_of(self, arm: Arm) -> Mapping[str, tuple[str, ...]]:
        """Return the knobs tuned for an arm, with their values: its own, or the study's."""
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
    beside = path.with_name(f"{path.name}.yaml") if path.name else path
    near = nearest(name, shipped(), cutoff=0.7)
    hint = f"; did you mean +study={beside}?" if beside.is_file() else near
    raise AblateError(
        f"+study={name}: there is no such study{hint}; `ablate studies` lists them; for your own"
        " file give its path (+study=path/to.yaml)"
    )

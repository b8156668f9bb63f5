"""Knobs of training: optimizer, schedule, regularization and augmentation."""

from __future__ import annotations

from typing import Final

from ablate.config import effect, effect_in_course
from ablate.config.knob import Knob
from ablate.config.knobs.network import TARGET
from ablate.config.types import MANY, Choice, ListOf, Real, Whole

OPTIMIZERS = (
    *("sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw"),
    *("nadam", "muon", "lbfgs", "newton"),
)
SCHEDULES = (
    *("constant", "step", "multistep", "exponential", "linear", "polynomial", "cosine"),
    *("warm_restarts", "cyclic", "one_cycle", "plateau"),
)
_ADAM = "Kingma & Ba 2015, arXiv:1412.6980"
_DECAY = Real(0, 1, open_high=True)
_SHARE = Real(0, 1, open_low=True, open_high=True)
_ANY = Real(0)


def _coefficient(
    name: str, type_: Real, help_: str, source: str = "", acts_after: str = "step"
) -> Knob:
    return Knob(
        f"optimizer.{name}",
        type_,
        help_,
        place="axis",
        source=source,
        acts_after=acts_after,
        idle_in=effect_in_course.one_step if acts_after == "step" else None,
    )


OPTIMIZER: Final = (
    Knob(
        "optimizer.name",
        Choice(OPTIMIZERS),
        "the update rule, as torch.optim defines it; muon orthogonalizes the steps of matrices and"
        " kernels and leaves the rest to adamw; lbfgs and newton use the whole training set at each"
        " step unless batch_size says otherwise",
        source="Duchi et al. 2011 (adagrad); Zeiler 2012, arXiv:1212.5701 (adadelta); Tieleman &"
        " Hinton 2012 (rmsprop); Dozat 2016 (nadam); Jordan et al. 2024 and Liu et al. 2025,"
        " arXiv:2502.16982 (muon); Liu & Nocedal 1989 (lbfgs); Nocedal & Wright 2006, algorithm 3.3"
        " (newton)",
    ),
    Knob("optimizer.lr", Real(0, open_low=True), "learning rate", place="axis"),
    Knob(
        "optimizer.weight_decay",
        Real(0),
        "as in torch's optimizer of that name: L2 in the gradient, decoupled in adamw and muon",
        place="axis",
        off=0,
        source="Loshchilov & Hutter 2019, arXiv:1711.05101",
    ),
    Knob(
        "optimizer.momentum",
        _DECAY,
        "share of the last step that is kept",
        place="axis",
        off=0,
        idle_in=effect_in_course.one_step_of_momentum,
        source="Sutskever et al. 2013",
    ),
    _coefficient("beta1", _DECAY, "decay of the mean of gradients", _ADAM, "start"),
    _coefficient("beta2", _DECAY, "decay of the mean of squared gradients", _ADAM),
    _coefficient("alpha", _DECAY, "decay of the mean of squared gradients", acts_after="start"),
    _coefficient(
        "rho", _DECAY, "decay of the means of squared gradients and steps", acts_after="start"
    ),
    _coefficient(
        "eps", Real(0, open_low=True), "added to the root of the mean square", _ADAM, "start"
    ),
    _coefficient("lr_decay", Real(0), "the rate of step t (from 0) is divided by 1 + t times this"),
    _coefficient(
        "momentum_decay",
        Real(0),
        "how fast the momentum reaches beta1",
        "Dozat 2016",
        "start",
    ),
    Knob(
        "optimizer.ns_steps",
        Whole(1, 100),
        "Newton-Schulz iterations",
        unit="iterations",
        source="Jordan et al. 2024",
    ),
    Knob(
        "optimizer.history",
        Whole(1, 1000),  # torch makes a list of this length at once
        "steps from which the curvature is estimated",
        unit="iterations",
    ),
    Knob("optimizer.max_iter", Whole(1, MANY), "iterations per step", unit="iterations"),
    Knob(
        "optimizer.line_search",
        Choice(("strong_wolfe", "none")),
        "how the length of a step is found",
    ),
    _coefficient(
        "damping",
        Real(0, open_low=True),
        "added to the Hessian's diagonal; multiplied by ten until it is positive definite",
        acts_after="start",
    ),
)


def _rate_knob(
    name: str,
    type_: Real | Whole | ListOf | Choice,
    help_: str,
    *,
    unit: str = "",
    source: str = "",
    acts_after: str = "step",
    idle: effect.Reason | None = None,
    idle_in: effect_in_course.ReasonInCourse | None = None,
) -> Knob:
    return Knob(
        f"schedule.{name}",
        type_,
        help_,
        place="axis",
        unit=unit,
        source=source,
        acts_after=acts_after,
        idle=idle,
        idle_in=idle_in,
    )


SCHEDULE: Final = (
    Knob(
        "schedule.name",
        Choice(SCHEDULES),
        "how the learning rate changes, step by step",
        place="axis",
        off="constant",
        idle=effect.no_fall,
        idle_in=effect_in_course.no_move,
        source="Loshchilov & Hutter 2017, arXiv:1608.03983 (cosine, warm_restarts); Smith 2017,"
        " arXiv:1506.01186 (cyclic); Smith & Topin 2018, arXiv:1708.07120 (one_cycle);"
        " torch.optim.lr_scheduler (the others)",
    ),
    Knob(
        "schedule.warmup_epochs",
        Real(0),
        "epochs over which the rate rises linearly from 0; the schedule fills the rest",
        place="axis",
        unit="epochs",
        off=0,
        idle=effect.long_warmup,
        idle_in=effect_in_course.short_warmup,
        source="Goyal et al. 2017, arXiv:1706.02677, section 2.2",
    ),
    _rate_knob(
        "every",
        _SHARE,
        "the rate falls each time this share of the steps after the warm-up has passed",
        unit="fraction of training",
        idle_in=effect_in_course.no_move,
    ),
    _rate_knob(
        "milestones",
        ListOf(_SHARE, at_least=1),
        "where the rate falls",
        unit="fraction of training",
        idle_in=effect_in_course.no_move,
    ),
    Knob(
        "schedule.gamma",
        Real(0, 1, open_low=True),
        "factor at each fall; in exponential, per epoch",
        place="axis",
        off=1,
        idle_in=effect_in_course.no_move,
        acts_after="step",
    ),
    _rate_knob(
        "power",
        Real(0, open_low=True),
        "exponent of the share of training that is left",
        idle_in=effect_in_course.same_with("power", 1),
    ),
    _rate_knob(
        "cycles",
        Whole(1, MANY),  # a table holds them
        "cycles in all",
        unit="cycles",
    ),
    _rate_knob(
        "growth",
        Real(1),
        "length of a cycle relative to the one before",
        idle=effect.one_cycle,
        idle_in=effect_in_course.same_with("growth", 1),
    ),
    _rate_knob(
        "mode",
        Choice(("triangular", "triangular2")),
        "peaks of one height, or each half as high above the floor as the one before",
        idle=effect.one_cycle,
        idle_in=effect_in_course.same_with("mode", "triangular"),
    ),
    _rate_knob(
        "rise",
        _SHARE,
        "share of training in which the rate rises",
        unit="fraction of training",
        idle_in=effect_in_course.same_with("rise", 0.5),
    ),
    _rate_knob(
        "initial",
        Real(0, 1),
        "rate at the start",
        unit="fraction of lr",
        acts_after="start",
        idle_in=effect_in_course.same_with("initial", 1),
    ),
    _rate_knob(
        "final",
        Real(0, 1, open_high=True),
        "lowest rate, reached at the end (of each cycle)",
        unit="fraction of lr",
        source="Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5",
        acts_after="start",
        idle_in=effect_in_course.same_with("final", 0),
    ),
    _rate_knob(
        "patience",
        Whole(0),
        "epochs without a lower validation loss after which the rate falls",
        unit="epochs",
        acts_after="epochs",
        idle_in=effect_in_course.late_fall,
    ),
)


def _method(
    name: str,
    type_: Real | Whole,
    help_: str,
    *,
    off: float | None = 0,
    unit: str = "",
    source: str = "",
    idle: effect.Reason | None = None,
    idle_in: effect_in_course.ReasonInCourse | None = None,
    acts_after: str = "start",
    switches: bool = True,
) -> Knob:
    return Knob(
        f"regularize.{name}",
        type_,
        help_,
        place="axis",
        unit=unit,
        null="none" if off is None else "",
        off=off,
        idle=idle,
        idle_in=idle_in,
        source=source,
        acts_after=acts_after,
        switches=switches,
    )


REGULARIZE: Final = (
    _method("l1", Real(0), "λ of λ‖w‖₁ in the loss, over weights only", source="Tibshirani 1996"),
    _method(
        "l2",
        Real(0),
        "λ of λ‖w‖₂² in the loss, over weights only (no biases, no norm parameters)",
        source="Hoerl & Kennard 1970; Krogh & Hertz 1992",
    ),
    _method(
        "max_norm",
        Real(0, open_low=True),
        "largest norm of a unit's incoming weights, enforced after each step",
        off=None,
        idle=effect.no_rule,
        source="Srivastava et al. 2014, JMLR 15, section 5.1",
    ),
    _method(
        "label_smoothing",
        Real(0, 1, open_high=True),
        "share of the target spread evenly over all classes",
        source="Szegedy et al. 2016, arXiv:1512.00567, section 7",
    ),
    _method(
        "mixup",
        Real(0),
        "α of the Beta distribution of the shares of two mixed images; with cutmix too, a coin"
        " chooses between them at each step",
        source="Zhang et al. 2018, arXiv:1710.09412",
    ),
    _method(
        "cutmix",
        Real(0),
        "α of the Beta distribution of the area of a pasted box",
        source="Yun et al. 2019, arXiv:1905.04899",
    ),
    _method(
        "input_noise",
        Real(0, least=1e-6),  # less is rounded away when added to a pixel of size 1 in fp32
        "standard deviation of normal noise on the normalized pixels",
        source="Bishop 1995, Neural Computation 7(1)",
    ),
    _method(
        "stochastic_depth",
        _DECAY,
        "rate at which the last residual branch is left out, image by image; it rises linearly with"
        " depth",
        source="Huang et al. 2016, arXiv:1603.09382, section 3",
        idle=effect.no_branch,
        switches=False,
    ),
    _method(
        "clip_norm",
        Real(0, open_low=True),
        "largest norm of the whole gradient",
        off=None,
        idle=effect.no_rule,
        source="Pascanu et al. 2013, arXiv:1211.5063, section 3.2",
    ),
    _method(
        "clip_value",
        Real(0, open_low=True),
        "largest size of each gradient element",
        off=None,
        idle=effect.no_rule,
        source="Graves 2013, arXiv:1308.0850, section 2.1",
    ),
    _method(
        "early_stopping",
        Whole(1),
        "epochs without a better validation score after which training ends",
        off=None,
        unit="epochs",
        source="Prechelt 1998",
        idle=effect.long_stopping,
        acts_after="epochs",
        switches=False,
    ),
    _method(
        "ema",
        _DECAY,
        "decay of the exponential average of the weights, which replaces them in evaluation",
        source="Polyak & Juditsky 1992; torch.optim.swa_utils",
        idle_in=effect_in_course.nothing_kept,
        acts_after="epoch",
    ),
    _method(
        "swa",
        Real(0, 1, open_high=True),
        "share of training after which the weights of all steps are averaged; the average is"
        " evaluated",
        off=None,
        unit="fraction of training",
        source="Izmailov et al. 2018, arXiv:1803.05407",
        idle_in=effect_in_course.little_to_average,
        acts_after="epoch",
    ),
    _method(
        "sam",
        Real(0),
        "ρ: the gradient is taken this far uphill",
        source="Foret et al. 2021, arXiv:2010.01412, equation 3",
        idle=effect.no_rule,
    ),
    Knob(
        "regularize._target_",
        TARGET,
        "your own penalty: a function of the parameters (name -> tensor), added to the loss",
        null="none",
        off=None,
    ),
)


def _strength(name: str, help_: str, unit: str, source: str = "", *, type_: Real = _ANY) -> Knob:
    return Knob(
        f"augment.{name}",
        type_,
        help_,
        place="axis",
        unit=unit,
        off=0,
        source=source,
        switches=True,
    )


# Less than this is lost when a pixel is rounded to single precision.
_ANGLE, _CHANGE = 1e-3, 1e-4
_PIXELS = "pixels; below 1 a fraction of the side"
AUGMENT: Final = (
    _strength("shift", "largest shift either way; black fills the gap", _PIXELS),
    Knob(
        "augment.flip",
        Real(0, 1),
        "probability of a mirror image, left to right; alternating: at random in the first epoch,"
        " then every other epoch",
        place="axis",
        words=("alternating",),
        off=0,
        source="Jordan 2024, arXiv:2404.00498, section 3.6 (alternating)",
        switches=True,
    ),
    _strength(
        "crop",
        "padding by reflection before a crop of the old size",
        _PIXELS,
        "Krizhevsky et al. 2012; He et al. 2016, section 4.2",
    ),
    _strength("rotate", "largest rotation either way", "degrees", type_=Real(0, 180, least=_ANGLE)),
    _strength(
        "scale",
        "largest relative change of size",
        "fraction",
        type_=Real(0, 1, open_high=True, least=_CHANGE),
    ),
    _strength(
        "shear",
        "largest shear either way",
        "degrees",
        type_=Real(0, 90, open_high=True, least=_ANGLE),
    ),
    _strength(
        "cutout",
        "side of a square that is blanked",
        _PIXELS,
        "DeVries & Taylor 2017, arXiv:1708.04552",
    ),
    _strength(
        "brightness",
        "largest relative change of brightness",
        "fraction",
        type_=Real(0, 1, least=_CHANGE),
    ),
    _strength(
        "contrast",
        "largest relative change of contrast",
        "fraction",
        type_=Real(0, 1, least=_CHANGE),
    ),
    Knob(
        "augment.test_views",
        Whole(1, MANY),
        "views of an image whose probabilities are averaged in evaluation: the image itself, and"
        " others by the same transformations",
        unit="views",
        off=1,
        idle=effect.nothing_augmented,
        source="Krizhevsky et al. 2012, section 4.1",
        acts_after="epoch",
    ),
    Knob(
        "augment._target_",
        TARGET,
        "your own augmentation: a function of a batch of normalized images",
        null="none",
        off=None,
    ),
)

KNOBS: Final = (*OPTIMIZER, *SCHEDULE, *REGULARIZE, *AUGMENT)

"""Requests, wrong and right: what they are told, what they resolve to, what they leave behind.

The first part works in this process. The second uses the command, and the installed one only if
that tests more than the same words in this process.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch

from ablate.config import files, schema
from ablate.config.schema import KNOBS, Knob
from ablate.config.types import Choice, Flag, ListOf, Text
from ablate.data.fetch import DownloadError
from ablate.errors import AblateError
from ablate.launch import execute
from ablate.plan.request import Request
from ablate.plan.run import Run, key
from tests.asking import runs_of, train_all
from tests.calls import called

TRAIN, VAL, TEST = 1079, 359, 359  # of the 1,797 digits: 60/20/20

NETS = """
import torch
from torch import nn

class Good(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.layer = nn.Linear(64, num_classes)
    def forward(self, x):
        return self.layer(x.flatten(1))

class Raises(nn.Module):
    def __init__(self):
        raise RuntimeError("no such luck")

class NeedsDepth(nn.Module):
    def __init__(self, depth):
        super().__init__()

class Seven(Good):
    def __init__(self):
        super().__init__(7)

class Pair(Good):
    def forward(self, x):
        return super().forward(x), 1

class Larger(Good):
    def forward(self, x):
        return self.layer(x.flatten(1).repeat(1, 2))

class Bare(nn.Module):
    def forward(self, x):
        return torch.zeros(len(x), 10)

class Made(nn.Module):
    def __init__(self, num_classes, act=None, layer=nn.Linear, **rest):
        super().__init__()
        self.act, self.layer = act or nn.ReLU(), layer(64, num_classes)
    def forward(self, x):
        return self.layer(self.act(x.flatten(1)))

class Thousand(Good):
    def __init__(self, n_classes=1000):
        super().__init__(n_classes)

class NeedsClasses(Good):
    def __init__(self, n_classes):
        super().__init__(n_classes)

class NoModule:
    pass

def three():
    return 3

class Half(nn.Dropout):
    pass

def nothing(parameters):
    return 0 * sum(p.sum() for p in parameters.values())

def unchanged(images):
    return images

constant = 3
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the modules that right and wrong `_target_`s name."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "asked_nets.py").write_text(NETS)
    (folder / "asked_broken.py").write_text("raise ValueError('broken at import')\n")
    (folder / "asked_script.py").write_text("import sys\nsys.exit(4)\n")
    (folder / "asked_typo.py").write_text("def f(:\n")
    (folder / "asked_lonely.py").write_text("import asked_nothing_of_the_kind\n")
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, modules: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, where no test may train by accident."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(modules), *sys.path])
    monkeypatch.delenv("ABLATE_DATA", raising=False)
    monkeypatch.setattr(execute, "_train", lambda *_: pytest.fail("training was started"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return folder


def refused(*overrides: str, multirun: bool = False, **fields: Any) -> tuple[str, ...]:
    """Make a wrong request, check that it leaves nothing behind, and return its faults."""
    before = sorted(Path.cwd().rglob("*"))
    with pytest.raises(AblateError) as caught:
        train_all(Request(overrides, multirun=multirun, **fields))
    assert not isinstance(caught.value, DownloadError)
    assert sorted(Path.cwd().rglob("*")) == before
    return caught.value.faults


def planned(*overrides: str, **fields: Any) -> Run:
    """Resolve one run."""
    on_a_cluster = "launch=slurm" in overrides  # which accepts only sweeps
    (run,) = runs_of(Request(overrides, multirun=on_a_cluster, **fields))
    return run


# -- names and values ------------------------------------------------------------------------------

WRONG_NAMES = {
    "foo=bar": "there is no knob or group foo; conf/README.md lists them all",
    "modle=mlp": "there is no knob or group modle; did you mean 'model'?",
    "epoch=3": "there is no knob or group epoch; did you mean 'epochs'?",
    "lr=0.1": "there is no knob or group lr; did you mean optimizer.lr?",
    "momentum=0.9": "did you mean norm.momentum or optimizer.momentum?",
    "batch-size=3": "did you mean 'batch_size'?",
    "optimizer.lrr=0.1": "there is no knob optimizer.lrr; did you mean 'optimizer.lr'?",
    "model.activaton=relu": "did you mean 'model.activation'?",
    "+foo=1": "there is no knob or group foo",
    "model=mpl": "model is one of cnn, custom, deep_mlp, gru, lenet5, lstm, mlp, resnet, rnn or"
    " vgg; did you mean 'mlp'?",
    "norm=Batch": "did you mean 'batch'?",
    "optimizer=lion": "optimizer is one of adadelta, adagrad, adam, adamw, lbfgs, momentum, muon",
    "model=null": "model=null is not legal",
    "optimizer=[adam]": "optimizer=[adam] is not legal",
    "seeds=1": "seeds is a group of knobs: name one of seeds.init, seeds.order",
    "checkpoint=3": "checkpoint is a group of knobs: name one of checkpoint.every",
    "optimizer.name=sgd": "write optimizer=sgd, which also sets its defaults",
    "~model": "~model: the group model cannot be left out",
    "~dropout=none": "the group dropout cannot be left out",
    "~optimizer.lr": "~optimizer.lr: a knob cannot be left out",
    "+model=mlp": "+model=mlp: model already exists; write model=mlp",
    "++model=mlp": "++model=mlp: model already exists; write model=mlp",
    "+optimizer.lr=0.1": "optimizer.lr already exists; write optimizer.lr=0.1",
    "hydra/launcher=foo": "Could not find 'hydra/launcher/foo'",
    "hydra.run.dir=x": "a run's folder is out/name/key; set out or name instead",
    "hydra.sweep.subdir=x": "a run's folder is out/name/key; set out or name instead",
    "hydra.job.chdir=true": "paths are relative to where the command was started",
    "hydra.nosuch=1": "Could not override 'hydra.nosuch'",
    "hydra.mode=MULTIRUN": "`ablate run -m` makes a multirun",
    "hydra/launcher=basic,ablate": "a setting of Hydra's own takes one",
    "hydra.job.num=0,1": "a setting of Hydra's own takes one",
    "hydra.searchpath=x": "hydra.searchpath must be a list of strings",
    "hydra.job.num=a": "Error merging override hydra.job.num=a",
    "hydra.launcher._target_=nosuch.X": "is not a plugin of Hydra's: choose with hydra/launcher=",
    "data.name=a,b": "write data=a,b, which also sets its defaults",
    "init.name=choice(1,2)": "write init=choice(1,2), which also sets its defaults",
    "optimizer._target_=torch.optim.SGD": "your own code can go into data._target_,",
    "dropout=0.5": "a number is for one of its knobs: dropout.input=0.5, dropout.conv=0.5",
}

WRONG_VALUES = {
    "dropout.dense=1.5": "it takes a number in [0, 1), or a list with one for each layer",
    "dropout.dense=1": "it takes a number in [0, 1)",
    "dropout.dense=-0.1": "it takes a number in [0, 1)",
    "dropout.dense=50%": "it takes a number in [0, 1)",
    "dropout.dense=null": "dropout.dense=null is not legal",
    "dropout.conv=[true,0.1]": "dropout.conv=[true,0.1] is not legal",
    "dropout.input=[0.1]": "dropout.input=[0.1] is not legal: it takes a number in [0, 1)",
    "optimizer.lr=-1": "it takes a number > 0",
    "optimizer.lr=0": "it takes a number > 0",
    "optimizer.lr=nan": "optimizer.lr=nan is not legal",
    "optimizer.lr=inf": "optimizer.lr=inf is not legal",
    "optimizer.lr=abc": "optimizer.lr=abc is not legal",
    "optimizer.lr=true": "optimizer.lr=true is not legal",
    "optimizer.lr='0.1'": "optimizer.lr='0.1' is not legal",
    "epochs=ten": "it takes a whole number ≥ 1",
    "epochs=2.5": "it takes a whole number ≥ 1",
    "epochs=1e3": "it takes a whole number ≥ 1",
    "epochs=0": "it takes a whole number ≥ 1",
    "epochs=null": "it takes a whole number ≥ 1",
    "epochs=": "epochs= is not legal",
    "seed=-1": "it takes a whole number ≥ 0",
    "seed=true": "seed=true is not legal",
    f"seed={2**63}": "is not legal",
    "seeds.init={a:1}": "it takes a whole number ≥ 0 or null",
    "batch_size=0": "it takes a whole number ≥ 1 or full",
    "batch_size=all": "it takes a whole number ≥ 1 or full",
    "data.train_size=0": "it takes a whole number ≥ 1 or null",
    "data.train_size=0.5": "it takes a whole number ≥ 1 or null",
    "data.image_size=1025": "it takes a whole number from 1 to 1024 or null",
    "model.channels=[]": "it takes a list of at least 1, each a whole number ≥ 1",
    "model.channels=[0]": "model.channels=[0] is not legal",
    "model.channels=32": "model.channels=32 is not legal",
    "model.hidden=[1.5]": "it takes a list, each a whole number ≥ 1",
    "model.kernel_size=0": "it takes a whole number ≥ 1",
    "model.padding=sam": "it takes a whole number ≥ 0 or same; did you mean 'same'?",
    "model.activation=ReLU": "did you mean 'relu'?",
    "deterministic=1": "it takes true or false",
    "precision=fp16": "it takes auto, fp32, bf16 or fp64",
    "select=first": "it takes last or best",
    "device=gpu": "it takes auto, cpu or cuda",
    "checkpoint.every=30x": "it takes a time such as 30s, 5m or 1h",
    "checkpoint.every=-3": "it takes a time such as 30s, 5m or 1h",
    "name=published": "it takes a folder's name (no slash, no dot in front, not published)",
    "name=a/b": "name=a/b is not legal",
    "name=..": "name=.. is not legal",
    "name=": "name= is not legal",
    "optimizer.weight_decay=1e308": "it takes a number ≥ 0, up to 1e+30",
    "init.bias=-1e308": "it takes a number, up to 1e+30",
    f"optimizer.lr={10**400}": "it takes a number > 0, up to 1e+30",
    "regularize.cutmix=1e308": "it takes a number ≥ 0, up to 1e+30",
    "augment.rotate=5e-324": "it takes a number in [0, 180], and none between 0 and 0.001",
    "dropout.conv=[0.1,5e-324]": "and none between 0 and 1e-30",
    "dropout.dense=0.99999999": "it takes a number in [0, 1)",
    f"seeds.order={2**63}": "it takes a whole number ≥ 0 or null, below 2^63",
    f"augment.test_views={2**63 - 1}": "it takes a whole number from 1 to 1000000",
    f"optimizer=lbfgs optimizer.max_iter={2**63 - 1}": "a whole number from 1 to 1000000",
    f"model.stride={2**63 - 1}": "it takes a whole number from 1 to 65536",
    f"name={'x' * 300}": "or null, of at most 200 bytes",
    "out=null": "out=null is not legal: it takes a directory",
    "out=": "out= is not legal: it takes a directory",
}

WRONG_GRAMMAR = {
    "epochs": "'epochs' is not an override: it takes knob=value or group=option",
    "=3": "'=3' is not an override",
    "epochs==3": "'epochs==3' is not an override",
    "epochs=[1,2": "'epochs=[1,2' is not an override",
    "name=~x": "'name=~x' is not an override",
    "seed=0,1": "seed=0,1 names several values: `ablate run -m` trains them all",
    "seed=range(0,3)": "`ablate run -m` trains them all",
    "model=cnn,mlp": "`ablate run -m` trains them all",
}


@pytest.mark.parametrize("override", WRONG_NAMES)
def test_a_wrong_name_is_refused_with_the_nearest_one(override: str) -> None:
    (fault,) = refused(override)
    assert WRONG_NAMES[override] in fault


def rounds(overrides: Sequence[str]) -> list[list[str]]:
    """Distribute overrides over a few requests, none of which sets a knob twice.

    An override that comes with an option gets its own request, since options remove knobs.
    """
    dealt: list[dict[str, str]] = []
    for override in (one for one in overrides if " " not in one):
        name = override.partition("=")[0]
        free = next((d for d in dealt if name not in d), None)
        if free is None:
            dealt.append(free := {})
        free[name] = override
    return [[one] for one in overrides if " " in one] + [list(d.values()) for d in dealt]


@pytest.mark.parametrize("together", rounds(list(WRONG_VALUES)), ids=" ".join)
def test_wrong_values_are_refused_with_the_legal_ones(together: list[str]) -> None:
    faults = refused(*" ".join(together).split())
    assert len(faults) == len(together)
    for override in together:
        name = override.split()[-1].partition("=")[0]  # after the option that has the knob
        (fault,) = (f for f in faults if f.startswith(f"{name}="))
        assert WRONG_VALUES[override] in fault


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=${nope}", "Interpolation key 'nope' not found"),
        ("optimizer.lr=${seed}", "optimizer.lr=0 is not legal"),
    ],
)
def test_a_reference_is_checked_like_a_value(override: str, said: str) -> None:
    (fault,) = refused(override)
    assert said in fault


@pytest.mark.parametrize("override", WRONG_GRAMMAR)
def test_a_broken_override_is_refused_and_quoted_as_written(override: str) -> None:
    (fault,) = refused(override)
    assert WRONG_GRAMMAR[override] in fault


@pytest.mark.parametrize("words", [["seed=1,", "2"], ["seed=1,", "2,", "3"], ["seed=[1,", "2]"]])
def test_an_override_that_the_shell_split_is_refused_with_the_joined_form(words: list[str]) -> None:
    (fault,) = refused(*words, multirun=True)
    assert f"'{' '.join(words)}' came in several words" in fault
    assert f"write '{''.join(words)}'" in fault


def test_bytes_that_are_not_utf8_are_refused_before_they_name_a_folder() -> None:
    (fault,) = refused("name=" + b"a\xff".decode(errors="surrogateescape"))
    assert fault == "'name=a\\udcff' is not UTF-8: write it in that encoding"


# -- requests that are too large -------------------------------------------------------------------

TOO_MANY = {
    "seed=range(0,1000000000)": "that is 1,000,000,000 runs, more than max_runs=100000",
    "seed=range(0,1,1e-9)": "that is 1,000,000,000 runs",
    # 1,001 × 1,001; and one at a time, one arm of first values and 1,001 others.
    "optimizer.lr=range(1,1002) epochs=range(1,1002)": "that is 1,002,001 runs",
    "design=one_at_a_time epochs=range(1,1002) norm=none,batch max_runs=1001": "is 1,002 runs",
    "seed=0,1,2 max_runs=2": "seed=0,1,2: that is 3 runs, more than max_runs=2",
    "seed=range(0,1,0)": "a range needs a step that is not 0",
}


@pytest.mark.parametrize("request_", TOO_MANY)
def test_runs_are_counted_before_they_are_listed(request_: str) -> None:
    (fault,) = refused(*request_.split(), multirun=True)
    assert TOO_MANY[request_] in fault


TOO_LARGE = {
    f"model=vgg model.depth={2**63 - 1}": "it takes a whole number from 1 to 10000",
    "model=vgg model.depth=3000000": "it takes a whole number from 1 to 10000",
    f"model=mlp model.hidden=[{10**9}]": "most of it for the network and a batch",
    "model=mlp model.hidden=[1000000,1000000]": "take a smaller network (model=...)",
    "model.kernel_size=20001": "take a smaller network (model=...)",
    f"model=resnet model.width={2**63 - 1}": "take a smaller network (model=...)",
    f"epochs={2**63 - 1}": "most of it for the rates of every step",
    "optimizer=newton model=mlp model.hidden=[1000000]": "most of it for the Hessian",
}


@pytest.mark.parametrize("request_", TOO_LARGE)
def test_a_run_too_large_for_any_machine_is_refused_by_arithmetic(request_: str) -> None:
    (fault,) = refused(*request_.split())
    assert TOO_LARGE[request_] in fault


def test_a_cluster_may_have_more_memory_than_this_machine() -> None:
    assert planned("launch=slurm", "model=mlp", "model.hidden=[1000000,1000000]").key


def test_a_studys_runs_are_counted_before_they_are_listed(here: Path) -> None:
    arms = "arms: {a: [], b: [norm=batch]}"
    claim = "claims: [{claim: it helps, arm: b, direction: lower}]"
    (here / "mine.yaml").write_text(f"question: q\nsource: s\nseeds: 60000\n{arms}\n{claim}\n")
    (fault,) = refused("+study=mine.yaml")
    assert fault.startswith("mine.yaml: that is 120,000 runs, more than max_runs=100000")
    (fault,) = refused("+study=mine")
    assert "did you mean +study=mine.yaml?" in fault


def test_an_override_that_studies_do_not_take_is_not_blamed_on_the_file() -> None:
    (fault,) = refused("+study=digits", "seeds=3")
    assert fault.startswith("seeds=3: the study sets the seeds of its arms (")
    assert fault.endswith("and name the copy (+study=path/to/copy.yaml)")
    (fault,) = refused("+study=digits", "epochs=x")
    assert fault == "epochs=x is not legal: it takes a whole number ≥ 1"


# -- overrides given twice, and interpolations -----------------------------------------------------


def test_an_interpolation_with_quotes_reaches_every_run_of_a_sweep() -> None:
    runs = runs_of(Request(("batch_size=${oc.decode:'5'}", "seed=0,1"), multirun=True))
    assert [run.config["batch_size"] for run in runs] == [5, 5]


def test_a_sweep_over_interpolations_with_quotes_is_refused() -> None:
    with pytest.raises(AblateError, match="use no quotes inside an interpolation"):
        runs_of(Request(("batch_size=${oc.decode:'5'},10",), multirun=True))


def test_a_sweep_that_another_override_would_replace_is_refused() -> None:
    (fault,) = refused("norm=none,batch", "dropout.dense=0,0.5", "dropout.dense=0", multirun=True)
    assert fault.startswith("dropout.dense is set more than once (dropout.dense=0,0.5 and")


def test_the_last_of_two_values_holds_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    assert planned("seed=1", "epochs=2", "seed=3").config["seed"] == 3
    assert capsys.readouterr().err == "ablate: seed is set 2 times; seed=3 holds\n"


def test_a_single_milestone_stays_a_list() -> None:
    run = planned("schedule=multistep", "schedule.milestones=[0.5]")
    assert run.config["schedule"]["milestones"] == [0.5]


# -- users' own code -------------------------------------------------------------------------------


def test_an_argument_with_a_target_is_instantiated_as_by_hydra() -> None:
    from ablate.nets.build import build

    partial = "model.layer={_target_:torch.nn.Linear,_partial_:true,bias:false}"
    overrides = ("model._target_=asked_nets.Made", "model.act._target_=torch.nn.Tanh", partial)
    run = planned(*overrides)
    network = build(run.config, run.shape, run.classes)
    assert isinstance(network.act, torch.nn.Tanh)
    assert network.layer.bias is None
    (fault,) = refused("model._target_=asked_nets.Made", "model.act._target_=torch.nn.Tahn")
    assert fault.endswith("module 'torch.nn' has no 'Tahn'; did you mean 'Tanh'?")


def test_weights_of_an_instantiated_argument_come_from_the_runs_seed() -> None:
    from ablate import rng
    from ablate.nets import own

    model = {
        "name": "custom",
        "_target_": "asked_nets.Made",
        "act": {"_target_": "torch.nn.Linear", "in_features": 64, "out_features": 64},
    }
    weights = []
    for seed in (0, 1, 0):
        with rng.seeded(0):  # as when a stack is built
            weights.append(own.build(model, (1, 8, 8), 10, seed).act.weight)
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])


def test_an_argument_that_the_constructor_ignores_is_refused() -> None:
    (fault,) = refused("model._target_=asked_nets.Made", "model.layr=3")
    assert fault.startswith("model.layr touches nothing: asked_nets.Made takes it into **rest")
    assert fault.endswith("did you mean 'layer'?")


@pytest.mark.parametrize("target", ["asked_nets.Thousand", "asked_nets.NeedsClasses"])
def test_an_argument_that_may_be_the_number_of_classes_is_named(target: str) -> None:
    (fault,) = refused(f"model._target_={target}")
    assert "if n_classes is its number of classes, give model.n_classes=10" in fault
    assert planned(f"model._target_={target}", "model.n_classes=10").key


# -- values that do not go together ----------------------------------------------------------------

CONTRADICTIONS = {
    "dropout.conv=[0.1,0.2,0.3]": "has 3 rates, and model=cnn has 2 convolutional layers",
    "dropout.dense=[]": "has 0 rates, and model=cnn has 1 hidden layer:",
    "init.layers=[zeros]": "has 1 scheme, and model=cnn has 4 layers with weights: give one for",
    "init.layers=[magic]": "each a scheme such as he_normal, normal:0.01 or xavier_normal:1.5",
    "model=lstm init.gain=auto": "init.gain=auto knows only the gains of the shipped activations",
    "model=resnet model.depth=21": "use 9, or 6n + 2 (20, 32, 44, 56, 110)",
    "model=vgg model.depth=[1,2]": "model.depth has 2 numbers, but model.channels has 3 stages",
    "dropout.kind=dropconnect dropout.input=0.2": "drops weights, and the input has none",
    "regularize.ema=0.9 regularize.swa=0.5": "both average the weights: choose one",
    "optimizer=nesterov optimizer.momentum=0": "with optimizer.momentum=0 it is optimizer=sgd",
    "schedule=multistep schedule.milestones=[0.5,0.2]": "must rise from one to the next",
    "schedule=plateau data.val_size=0": "schedule=plateau needs validation images",
    "regularize.early_stopping=3 data.val_size=0": "early_stopping needs validation images",
    "augment.shift=8": "is too much for images of 8 × 8 pixels: it takes at most 7 pixels",
    "augment.shift=0.95": "it takes at most 7 pixels, and this is 8",
    "augment.crop=8": "augment.crop=8 is too much for images of 8 × 8 pixels: it takes at m",
    "augment.cutout=15": "is too much for images of 8 × 8 pixels: it takes at most 14 pixels",
    "augment.scale=0.9": "is too much for images of 8 × 8 pixels: it takes at most 0.875",
    "augment.shear=89": "it takes at most 86.423 degrees",
    "model=mlp model.hidden=[8,1] norm=layer": "norm=layer would make layer 2 of"
    " model=mlp (1 unit) constant: it normalizes single numbers there",
    "model=mlp model.hidden=[8,4] norm=group norm.groups=4": "would make layer 2 of model=mlp",
    # 8 pixels become 4, 2, 1 after poolings, so the fourth convolution sees one.
    "model.channels=[2,2,2,3] norm=instance": "would make layer 4 of model=cnn (3 × 1 × 1)",
    "model.channels=[2,2,2,1] norm=layer": "would make layer 4 of model=cnn (1 × 1 × 1)",
    "norm=batch norm.eval=batch data.val_size=1": "norm.eval=batch needs at least 2 validation"
    " images: one has no batch statistics in layer 3 of model=cnn (",
    "optimizer=newton": "takes at most 10,000 parameters, and the model has 53,002: its Hessian",
    "schedule.warmup_epochs=6 epochs=5": "the warm-up is longer than training (epochs=5)",
    f"data.train_size={TRAIN + 1}": f"data=digits has {TRAIN} training images beside {VAL} for",
    f"data.val_size={TRAIN + VAL}": f"it takes a whole number from 0 to {TRAIN + VAL - 1}",
    f"batch_size={TRAIN + 1}": f"it takes a whole number from 1 to {TRAIN}, or full",
    "data.train_size=100 batch_size=101": "batch_size=101 is more than the 100 training images",
    "norm=batch batch_size=1": "norm=batch needs batch_size ≥ 2",
    "norm=batch data.train_size=1 batch_size=full": "norm=batch needs at least 2 training images",
    "select=best data.val_size=0": "select=best needs validation images: data.val_size is 0",
    "model.kernel_size=9 model.padding=0": "model.kernel_size=9 does not fit into the 8 × 8 map",
    # 8 pixels, minus 2 for the kernel, halved by pooling, leave 3; minus 2 leaves one.
    "model.kernel_size=3 model.padding=0 model.channels=[4,4,4]": "the 1 × 1 map",
    "device=cuda": "torch finds no CUDA device here",
    "init=own": "init=own is for your own model, which draws its weights",
    "data=folder": "data=folder needs data.root=... (a directory)",
    "data=folder data.root=null": "data=folder needs data.root=... (a directory)",
    "data=folder data.root=nowhere": "data.root=nowhere is not there",
    "data=custom": "data=custom needs data._target_=... (package.module.Class)",
    "model=custom": "model=custom needs model._target_=... (package.module.Class)",
    "model=mlp model._target_=asked_nets.Good": "contradict each other: leave one out",
}

IDLE = {
    "optimizer=sgd optimizer.beta1=0.9": "it belongs to optimizer=adam, optimizer=adamw, opt",
    "optimizer=adam optimizer.momentum=0.9": "it belongs to optimizer=momentum, optimizer=",
    "schedule=constant schedule.final=0.1": "it belongs to schedule=cosine, schedule=cyclic",
    "init=zeros init.gain=2": "init.gain touches nothing with init=zeros",
    "data.root=x": "data.root touches nothing with data=digits",
    "model=mlp model.channels=[3]": "it belongs to model=cnn",
    "model=mlp dropout.conv=0.2": "dropout.conv=0.2 touches nothing: the model has no convol",
    "model.hidden=[] dropout.dense=0.2": "the model has no hidden dense layer",
    "model=mlp model.hidden=[] dropout=standard": "dropout=standard touches nothing",
    "norm.position=after": "norm.position touches nothing with norm=none",
    "norm=none norm.position=after": "norm.position touches nothing with norm=none",
    "norm=layer norm.eval=batch": "it belongs to norm=batch",
    "norm=batch norm.eval=batch norm.momentum=0.2": "norm.eval=batch keeps no running statistics",
    "norm=batch model=mlp model.hidden=[]": "norm=batch touches nothing: the model has no layer",
    "norm=instance model=mlp": "norm=instance touches nothing",
    "seeds.dropout=1": "seeds.dropout=1 touches nothing: nothing is dropped",
    "seeds.augment=1": "seeds.augment=1 touches nothing: nothing is augmented",
    "augment.test_views=4": "augment.test_views=4 touches nothing: nothing is augmented",
    "dropout.kind=gaussian": "dropout.kind=gaussian touches nothing: nothing is dropped",
    "dropout.kind=spatial dropout.dense=0.5": "dropout acts on no map of more than one pixel",
    "model=rnn dropout.kind=spatial dropout.dense=0.5": "spatial dropout acts only between layers",
    "model=gru model.hidden=[8,8] dropout.kind=spatial dropout.dense=[0,0.5]": "between layers",
    "dropout.scaling=test": "dropout.scaling=test touches nothing: nothing is dropped",
    "dropout.dense=0.5 dropout.kind=gaussian dropout.scaling=test": "keeps the mean by itself",
    "regularize.stochastic_depth=0.2": "only model=resnet has residual branches",
    "regularize.early_stopping=30": "end training after epoch 31 at the earliest, and epochs=30",
    "schedule=plateau schedule.patience=31": "fall after epoch 33 at the earliest, and epochs=30",
    "schedule=plateau epochs=2": "fall after epoch 5 at the earliest, and epochs=2; set schedule.p",
    "optimizer=lbfgs regularize.clip_norm=1": "optimizer=lbfgs finds its own steps",
    "model=gru model.activation=relu": "model.activation touches nothing with model=gru",
    "norm=batch regularize.swa=0 norm.momentum=0.2": "recomputes the statistics for its average",
    "dropout._target_=asked_nets.Half": "nothing is dropped: every rate is 0",
    "regularize._target_=asked_nets.nothing": "touches nothing: its gradient is zero",
    "augment._target_=asked_nets.unchanged": "touches nothing: it returned 20 batches unchanged",
    "schedule.warmup_epochs=31": "schedule.warmup_epochs=31 touches nothing",
    "schedule.warmup_epochs=30": "the warm-up is as long as training (epochs=30)",
    "schedule=step schedule.gamma=1": "schedule=step touches nothing: with schedule.gamma=1 the",
    "schedule=warm_restarts schedule.cycles=1 schedule.growth=2": "there is no other cycle",
    "schedule=cyclic schedule.cycles=1 schedule.mode=triangular2": "there is no other cycle",
    "select=best epochs=1": "select=best touches nothing: after epochs=1 the best weights are the",
    "slurm.minutes=5": "slurm.minutes=5 touches nothing: only launch=slurm submits jobs",
    "launch=workers slurm.cluster=local": "slurm.cluster=local touches nothing: only launch=slurm",
    "scale=full": "scale=full touches nothing: only studies (+study=NAME) have a scale",
    "model._target_=asked_nets.Good dropout.dense=0.5": "your own model decides where it drops",
    "model._target_=asked_nets.Good dropout=standard": "your own model decides where it drops",
    "model._target_=asked_nets.Good norm=batch": "your own model decides how it normalizes",
}


# 100 images in batches of 10 make 10 steps per epoch, and 20 in two epochs.
TWENTY = "data.train_size=100 batch_size=10 epochs=2"
ONE = "data.train_size=100 batch_size=full epochs=1"
BARELY = [
    ("schedule.warmup_epochs=0.05", "less than half a step, with 10 steps", "=0.05", "=0.06"),
    ("schedule=constant schedule.warmup_epochs=0.1", "one step, which has the full", "0.1", "0.2"),
    ("schedule=step schedule.every=0.98", "constant in the 20 steps of training", "0.98", "0.97"),
    ("schedule=step schedule.warmup_epochs=1 schedule.every=0.95", "10 steps after", "95", "94"),
    ("schedule=multistep schedule.milestones=[0.98]", "is constant in the 20 steps", "98", "97"),
    ("schedule=multistep schedule.milestones=[0.5,0.98]", "at 0.98 the rate would", "98", "97"),
    ("schedule=warm_restarts schedule.cycles=11", "a cycle takes at least 2", "11", "10"),
    ("schedule=cyclic schedule.warmup_epochs=1 schedule.cycles=6", "takes at least 2", "6", "5"),
    ("schedule=one_cycle schedule.rise=0.05 schedule.initial=0.5", "initial=1", "0.05", "0.06"),
    (
        "schedule=plateau schedule.patience=2 epochs=4",
        "after epoch 4 at",
        "patience=2",
        "patience=1",
    ),
    # The warm-up ends with epoch 2, whose loss is the first that later ones are compared with.
    (
        "schedule=plateau schedule.patience=1 schedule.warmup_epochs=2 epochs=4",
        "the rate could fall after epoch 4 at the earliest",
        "patience=1",
        "patience=0",
    ),
    ("regularize.early_stopping=3 epochs=4", "after epoch 4 at the earliest", "=3", "=2"),
    ("regularize.swa=0.98", "it would begin after the last of 20 steps", "0.98", "0.92"),
    ("regularize.swa=0.95", "it would average the last of 20 steps alone", "0.95", "0.92"),
    ("norm=batch regularize.swa=0.98", "begin after the last of 20 steps", "0.98", "0.95"),
    ("regularize.ema=2e-8", "1 - ema, rounds to 1", "2e-8", "4e-8"),
    (f"{ONE} regularize.ema=0.9", "there is nothing to average", "epochs=1", "epochs=2"),
    (f"{ONE} schedule=cosine", "constant in the 1 step of training", "epochs=1", "epochs=2"),
    (f"{ONE} optimizer=adam optimizer.beta2=0.9", "acts from the second", "epochs=1", "epochs=2"),
    (
        f"{ONE} optimizer=momentum optimizer.momentum=0.5",
        "from the second",
        "momentum ",
        "nesterov ",
    ),
]


@pytest.mark.parametrize(("request_", "reason", "part", "other"), BARELY)
def test_a_value_that_affects_no_step_is_refused_and_one_that_affects_a_step_is_not(
    request_: str, reason: str, part: str, other: str
) -> None:
    words = f"{TWENTY} {request_}" if ONE not in request_ else request_
    given = dict(word.split("=", 1) for word in words.split())
    (fault,) = refused(*(f"{name}={value}" for name, value in given.items()))
    assert reason in fault
    near = dict(word.split("=", 1) for word in words.replace(part, other).split())
    planned(*(f"{name}={value}" for name, value in near.items()))


def test_a_default_that_affects_no_step_is_not_refused() -> None:
    # In one step the default schedule, cosine, is constant, and adam's beta2 has not acted.
    planned("data.train_size=100", "batch_size=full", "epochs=1")


@pytest.mark.parametrize(
    "request_",
    [
        "augment.shift=7",
        "augment.crop=7",
        "augment.cutout=14",
        "augment.scale=0.875",
        "augment.shear=86.4",
        "model=mlp model.hidden=[8,2] norm=layer",
        "model=mlp model.hidden=[8,4] norm=group norm.groups=2",
        "model.channels=[2,2,3] norm=instance",
        "model.channels=[2,2,2,2] norm=layer model.hidden=[2]",
        "norm=batch norm.eval=batch data.val_size=2",
        "norm=batch norm.eval=batch data.train_size=501 data.val_size=501",
        "model.hidden=[] norm=batch norm.eval=batch data.val_size=1",
        "model=rnn model.hidden=[8,8] dropout.kind=spatial dropout.dense=0.5",
        "model=gru model.hidden=[8,8] dropout.kind=spatial dropout.dense=[0.5,0]",
        "model=lstm dropout.kind=spatial dropout.input=0.5",
    ],
)
def test_the_strongest_augmentation_and_the_smallest_layers_that_work_are_legal(
    request_: str,
) -> None:
    planned(*request_.split())


@pytest.mark.parametrize("request_", CONTRADICTIONS)
def test_values_that_do_not_go_together_are_refused(request_: str) -> None:
    (fault,) = refused(*request_.split())
    assert CONTRADICTIONS[request_] in fault


@pytest.mark.parametrize("request_", IDLE)
def test_a_knob_that_touches_nothing_is_refused(request_: str) -> None:
    (fault,) = refused(*request_.split())
    assert "touches nothing" in fault
    assert IDLE[request_] in fault


@pytest.mark.parametrize(
    "request_",
    [
        "model=mlp dropout.conv=0",
        "model=mlp dropout.conv=[0,0]",
        "model=mlp dropout=standard",
        "model=mlp model.hidden=[] norm=none",
        "seeds.dropout=null",
        "seeds.dropout=1 dropout.input=0.1",
        "seeds.dropout=1 dropout.dense=[0.1]",
    ],
)
def test_knobs_that_are_off_or_set_by_an_option_need_not_act(request_: str) -> None:
    planned(*request_.split())


# -- targets ---------------------------------------------------------------------------------------

WRONG_TARGETS = {
    "asked_nowhere.Net": "there is no module 'asked_nowhere'",
    "asked_nets.Goood": "module 'asked_nets' has no 'Goood'; did you mean 'Good'?",
    "asked_nets.constant": "is neither a class nor a function",
    "asked_nets.NoModule": "is not a torch.nn.Module",
    "asked_nets.three": "a torch.nn.Module is needed",
    "asked_nets.Raises": "does not build: RuntimeError: no such luck",
    "asked_nets.NeedsDepth": "missing 1 required positional argument: 'depth'",
    "asked_nets.Seven": "gives [2, 7] for 2 images in training: logits [2, 10] are needed",
    "asked_nets.Pair": "gives tuple for 2 images in training: logits [2, 10] are needed",
    "asked_nets.Larger": "does not take images of shape [1, 8, 8]: RuntimeError",
    "asked_nets.Bare": "has no parameter to train",
    "asked_broken.Net": "does not import: ValueError: broken at import",
    "asked_script.Net": "does not import: SystemExit: 4",
    "asked_typo.Net": "does not import: SyntaxError",
    "asked_lonely.Net": "there is no module 'asked_nothing_of_the_kind'",
    "Good": "it takes package.module.Class",
    ".Good": "it takes package.module.Class",
    "asked_nets.": "it takes package.module.Class",
    "null": "it takes package.module.Class",
    "3": "it takes package.module.Class",
}


@pytest.mark.parametrize("target", WRONG_TARGETS)
def test_a_target_that_does_not_make_a_network_is_refused(target: str) -> None:
    (fault,) = refused(f"model._target_={target}")
    assert fault.startswith(f"model._target_={target} ")
    assert WRONG_TARGETS[target] in fault


def test_an_argument_that_the_constructor_does_not_take_is_refused() -> None:
    (fault,) = refused("model._target_=asked_nets.Good", "model.widht=9")
    assert "unexpected keyword argument 'widht'" in fault


@pytest.mark.parametrize("target", ["asked_nowhere.Data", "asked_nets.three", "asked_nets.Raises"])
def test_a_target_that_does_not_make_a_data_set_is_refused(target: str) -> None:
    (fault,) = refused(f"data._target_={target}")
    assert fault.startswith((f"data._target_={target} does not", f"data._target_={target} is no"))


# -- places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["afile", "afile/below"])
def test_a_file_where_runs_belong_is_refused(here: Path, out: str) -> None:
    (here / "afile").touch()
    (fault,) = refused(f"out={out}")
    assert fault == f"out={out}: afile is a file, so no runs can be recorded below it"


def test_a_file_where_the_default_sweep_belongs_is_refused(here: Path) -> None:
    (here / "results").mkdir()
    (here / "results/digits-cnn").touch()
    (fault,) = refused()
    assert "results/digits-cnn is a file" in fault


def test_a_place_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    (fault,) = refused("out=results")
    assert fault == "out=results: . is not writable (Read-only file system); name another"


@pytest.mark.parametrize("data", ["mnist", "cifar10", "svhn", "folder"])
def test_a_file_where_data_belong_is_refused(here: Path, data: str) -> None:
    (here / "afile").touch()
    (fault,) = refused(f"data={data}", "data.root=afile")
    assert fault.startswith("data.root=afile is a file")


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", unreachable)


@pytest.mark.usefixtures("_no_network")
def test_missing_data_without_a_network_raise_a_download_error(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with pytest.raises(DownloadError, match=r"no route to host.*ABLATE_DATA"):
        train_all(Request(("data=kmnist", f"data.root={root}")))


@pytest.mark.parametrize("also", ["epochs=0", "device=cuda", "model=mlp dropout.conv=0.1"])
def test_a_wrong_request_downloads_nothing(
    tmp_path: Path, also: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.data.fetch.download", lambda *_: pytest.fail("it downloads"))
    (fault,) = refused("data=kmnist", f"data.root={tmp_path / 'data'}", *also.split())
    assert fault.startswith(also.split()[-1])


# -- several faults, grids, users' own configurations ----------------------------------------------


def test_all_faults_of_a_request_are_reported_together() -> None:
    wrong = ["modle=mlp", "epochs=0", "optimizer.lr=-1", "seed=x", "foo", "model=mpl"]
    across = ["batch_size=5000", "device=cuda", "dropout.conv=[0.1]", "seeds.augment=3"]
    faults = refused(*wrong, *across)
    assert len(faults) == len(wrong) + len(across)
    for override in ["modle", *wrong[1:], *across]:
        assert any(override in fault for fault in faults), override


def test_a_fault_in_a_cell_is_reported_with_the_cell() -> None:
    (fault,) = refused("model=cnn,mlp", "dropout.conv=0.2", multirun=True)
    assert fault.endswith("(in the cell model=mlp dropout.conv=0.2)")


def test_a_fault_in_many_cells_is_reported_once() -> None:
    (fault,) = refused("batch_size=32,5000", "seed=range(0,5)", multirun=True)
    cells = "; ".join(f"batch_size=5000 seed={seed}" for seed in range(3))
    assert fault.endswith(f" (in the cells {cells} and 2 more)")


@pytest.mark.parametrize("options", ["sgd,adam", "adam,sgd"])
def test_a_knob_that_one_option_of_a_grid_lacks_is_refused(options: str) -> None:
    (fault,) = refused(f"optimizer={options}", "optimizer.beta1=0.5", multirun=True)
    assert fault.startswith("optimizer.beta1 touches nothing with optimizer=sgd: it belongs to")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("dropout.dense=0,0.5,1.5", "dropout.dense=1.5 is not legal"),
        ("model=cnn,mpl", "did you mean 'mlp'?"),
        ("seed=interval(0,3)", "an interval has no list of values"),
        ("seed=range(3,3)", "it names no value"),
        ("seed=glob(*)", "it names no value"),
        ("model._target_=asked_nets.Good,asked_nets.Bare", "asked_nets.Bare has no parameter"),
    ],
)
def test_a_wrong_value_in_a_grid_is_refused(override: str, said: str) -> None:
    (fault,) = refused(override, multirun=True)
    assert said in fault


OWN = {
    "epochss: 3": ["there is no knob epochss; did you mean 'epochs'?"],
    "optimizer: {lr: -1}": ["optimizer.lr=-1 is not legal"],
    "optimizer: {rate: 1}": ["there is no knob optimizer.rate"],
    "epochs: two\nseed: -1": ["epochs=two is not legal", "seed=-1 is not legal"],
    "epochs: ${nope}": ["Interpolation key 'nope' not found"],
    "epochs: [": ["cannot be composed: while parsing a flow node"],
}


@pytest.mark.parametrize("text", OWN)
def test_a_users_wrong_configuration_is_refused(here: Path, text: str) -> None:
    (here / "own.yaml").write_text(f"defaults: [config, _self_]\n{text}\n")
    faults = refused(config_dir=".", config_name="own")
    assert len(faults) == len(OWN[text])
    assert all(any(said in fault for fault in faults) for said in OWN[text])


def test_a_configuration_that_leaves_knobs_out_is_refused(here: Path) -> None:
    groups = ", ".join(f"{{{g}: {o}}}" for g, o in (("data", "digits"), ("model", "mlp")))
    (here / "own.yaml").write_text(f"defaults: [{groups}, _self_]\nepochs: 3\n")
    (fault,) = refused(config_dir=".", config_name="own")
    assert "lacks seed, seeds.init" in fault
    assert "optimizer" in fault
    assert "epochs" not in fault
    assert "- config" in fault


def test_a_users_option_that_leaves_knobs_out_is_refused(here: Path) -> None:
    (here / "optimizer").mkdir()
    (here / "optimizer/mine.yaml").write_text("name: momentum\nlr: 0.1\nweight_decay: 0\n")
    (fault,) = refused("optimizer=mine", config_dir=".")
    assert "lacks optimizer.momentum;" in fault


@pytest.mark.parametrize("fields", [{"config_dir": "nowhere"}, {"config_name": "nowhere"}])
def test_a_configuration_that_is_not_there_is_refused(fields: dict[str, str]) -> None:
    (fault,) = refused(**fields)
    assert "nowhere" in fault
    assert "\n" not in fault


# -- legal requests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        "dropout.dense=0",
        "dropout.dense=0.999",
        "dropout.conv=[0,0.999]",
        "optimizer.lr=1e-30",
        "optimizer=momentum optimizer.momentum=0",
        "epochs=1",
        "epochs=5 schedule.warmup_epochs=4.99",
        "schedule=step schedule.gamma=0.999 schedule.every=0.99",
        "schedule=warm_restarts schedule.cycles=1",
        "select=last epochs=1",
        "select=best epochs=2",
        "launch=slurm slurm.minutes=5",
        "augment.scale=0.875 augment.shear=86.4 augment.rotate=180",
        "augment.brightness=1 augment.contrast=1",
        "schedule.final=0",
        f"seed={2**63 - 1}",
        "seed=0",
        "batch_size=1",
        f"batch_size={TRAIN}",
        "batch_size=full",
        f"data.train_size={TRAIN}",
        "data.train_size=1 batch_size=1",
        "data.val_size=0",
        f"data.val_size={TRAIN + VAL - 1} batch_size=1",
        "data.image_size=1",
        "data.image_size=1024 batch_size=1 model.channels=[1]",
        "model.channels=[1]",
        "model.hidden=[]",
        "model=mlp model.hidden=[1]",
        "model.kernel_size=8 model.padding=0 model.channels=[4]",
        "model.padding=same model.kernel_size=99",
        "norm=batch norm.momentum=1 batch_size=2",
        "norm=instance",
        "select=best data.val_size=1",
        "checkpoint.every=0",
        "name=null",
        "model._target_=asked_nets.Good",
        "model=custom model._target_=asked_nets.Good model.width=9",
        "model._target_=asked_nets.Good init=orthogonal",
        "++optimizer.lr=0.1",
        "optimizer.lr=0.1 optimizer.lr=0.2",
        "hydra.verbose=true",
    ],
)
def test_legal_values_are_accepted_up_to_their_bounds(request_: str) -> None:
    assert len(planned(*request_.split()).key) == 16


def test_an_empty_request_is_the_default_request() -> None:
    run = planned()
    assert run.sweep == Path("results/digits-cnn")
    assert run.directory == run.sweep / run.key
    assert run.config["device"] == "cpu"
    assert run.config["precision"] == "fp32"


@pytest.mark.parametrize("order", [1, -1])
def test_an_explicit_value_wins_over_an_option(order: int) -> None:
    run = planned(*["dropout=none", "dropout.dense=0.5"][::order])
    rates = {name: run.config["dropout"][name] for name in ("input", "conv", "dense", "output")}
    assert rates == {"input": 0.0, "conv": 0.0, "dense": 0.5, "output": 0.0}


def test_an_option_sets_its_defaults() -> None:
    run = planned("dropout=standard", "optimizer=nesterov")
    assert run.config["dropout"]["conv"] == 0.25
    assert run.config["optimizer"] == {
        "name": "nesterov",
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.0,
    }


def test_a_complete_configuration_older_than_max_runs_is_accepted(here: Path) -> None:
    lines = (files.CONF / "config.yaml").read_text().splitlines()
    (here / "own.yaml").write_text("\n".join(x for x in lines if not x.startswith("max_runs")))
    assert planned("seed=3", config_dir=".", config_name="own").key == planned("seed=3").key
    (fault,) = refused("seed=0,1,2", "max_runs=2", config_dir=".", config_name="own", multirun=True)
    assert "more than max_runs=2" in fault
    assert planned("max_runs=7", config_dir=".", config_name="own").key == planned().key


def test_a_users_configuration_is_accepted(here: Path) -> None:
    (here / "own.yaml").write_text(
        "defaults: [config, {override model: mlp}, _self_]\nepochs: 2\nmodel: {hidden: [8]}\n"
    )
    run = planned("seed=3", config_dir=".", config_name="own")
    assert run.key == planned("model=mlp", "epochs=2", "model.hidden=[8]", "seed=3").key


def test_a_sweep_of_a_users_class_is_named_after_it() -> None:
    assert planned("model._target_=asked_nets.Good").config["name"] == "digits-Good"


# -- keys ------------------------------------------------------------------------------------------

SAME = [
    ("dropout.conv=0.2", "dropout.conv=[0.2,0.2]"),
    ("dropout.dense=0", "dropout.dense=[0]"),
    ("seed=3 seeds.init=3", "seed=3"),
    ("optimizer.lr=1", "optimizer.lr=1.0"),
    ("optimizer.lr=0.002", ""),
    ("precision=fp32", "precision=auto"),
    (f"batch_size={TRAIN}", "batch_size=full"),
    ("dropout=standard dropout.conv=0 dropout.dense=0", "dropout=none"),
    ("optimizer=adam model=cnn", ""),
    ("name=other", ""),
    ("out=elsewhere", ""),
    ("save=all rerun=all checkpoint.every=1m deterministic=true device=cpu", ""),
]
OTHER = [
    ("seed=1", "seed=0"),
    ("seed=3 seeds.init=4", "seed=3"),
    ("dropout.conv=[0.2,0.3]", "dropout.conv=[0.3,0.2]"),
    ("epochs=31", "epochs=30"),
    ("norm=layer", "norm=none"),
    ("optimizer=momentum", "optimizer=nesterov"),
    ("model.hidden=[64,64]", "model.hidden=[64]"),
    ("data.train_size=100", ""),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_runs_have_equal_keys(one: str, other: str) -> None:
    assert planned(*one.split()).key == planned(*other.split()).key


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_different_runs_have_different_keys(one: str, other: str) -> None:
    assert planned(*one.split()).key != planned(*other.split()).key


def another(knob: Knob, value: Any) -> Any:
    """Return another legal value of a knob."""
    if isinstance(knob.type, Choice):
        others = [word for word in knob.type.words if word != value]
        return next((word for word in others if word != knob.off), others[0])
    if isinstance(knob.type, Flag):
        return not value
    lists = {"init.layers": ["zeros"], "data.levels": [0, 4095], "data.splits": ["train:photos"]}
    if knob.name in lists:
        return lists[knob.name]
    if isinstance(knob.type, ListOf):
        return [*value, 1] if isinstance(value, list) else value + 0.125
    if isinstance(knob.type, Text):
        return f"{value}2"
    return 1 if value is None or isinstance(value, str) else value + 1


def holding(name: str) -> dict[str, Any]:
    """Build a configuration of shipped defaults that has this knob."""
    group, _, leaf = name.partition(".")
    chosen = {g: files.option(g, options[0]) for g, options in files.groups().items()}
    if name == "model.activation._target_":  # it replaces a word
        chosen["model"] = files.option("model", "cnn") | {"activation": {"_target_": "mine.Act"}}
    for option in files.groups().get(group, ()):
        if leaf in files.option(group, option):
            chosen[group] = files.option(group, option)
    return copy.deepcopy(files.top() | chosen)


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_a_key_covers_exactly_the_result_knobs(knob: Knob) -> None:
    old = holding(knob.name)
    new = copy.deepcopy(old)
    group, _, leaf = knob.name.rpartition(".")
    part = schema.get(new, group) if group else new
    part[leaf] = another(knob, part[leaf])
    assert part[leaf] != schema.get(old, knob.name)
    assert (key(new, "data") != key(old, "data")) == (knob.role == "result")


@pytest.mark.parametrize(
    "knob", [k for k in KNOBS if k.off is not schema.UNSET], ids=lambda knob: knob.name
)
def test_a_knob_that_is_off_counts_as_absent(knob: Knob) -> None:
    config = holding(knob.name)
    group, _, leaf = knob.name.rpartition(".")
    part = config[group] if group else config
    part[leaf] = knob.off
    off = key(config, "data")
    del part[leaf]
    assert key(config, "data") == off


def test_a_key_covers_the_data_and_the_arguments_of_a_users_class() -> None:
    config = holding("seed")
    mine = config | {"model": {**config["model"], "depth": 3}}
    assert len({key(config, "one"), key(config, "two"), key(mine, "one")}) == 3


def digits_digest() -> str:
    """Compute the digest of the digits as scikit-learn loads them."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images.astype(int) * 255 // 16).astype(np.uint8)[:, None]
    labels = found.target.astype(np.int64)
    sha = hashlib.sha256()
    for array, kind in ((images, "uint8 (1797, 1, 8, 8)"), (labels, "int64 (1797,)")):
        sha.update(f"train {kind}".encode() + array.tobytes())
    return sha.hexdigest()[:16]


SOFTMAX = {
    "batch_size": 64,
    "data.name": "digits",
    "epochs": 30,
    "init.name": "he_normal",
    "model.activation": "relu",
    "model.hidden": [],
    "model.name": "mlp",
    "optimizer.lr": 0.1,
    "optimizer.name": "sgd",
    "precision": "fp32",
    "seed": 0,
    "select": "last",
}
DEFAULT = SOFTMAX | {
    "model.channels": [32, 64],
    "model.hidden": [128],
    "model.kernel_size": 3,
    "model.name": "cnn",
    "model.padding": "same",
    "model.pool": "max",
    "model.stride": 1,
    "optimizer.beta1": 0.9,
    "optimizer.beta2": 0.999,
    "optimizer.eps": 1e-08,
    "optimizer.lr": 0.002,
    "optimizer.name": "adam",
    "schedule.final": 0.0,
    "schedule.name": "cosine",
}
KEYS = {
    "model=mlp model.hidden=[] optimizer=sgd schedule=constant": (SOFTMAX, "724d174594907be3"),
    "": (DEFAULT, "ad106751e6d2479b"),
    "seed=7 dropout.dense=0.5 epochs=3": (
        DEFAULT | {"seed": 7, "dropout.dense": 0.5, "epochs": 3},
        "992746cb03a12681",
    ),
}


@pytest.mark.parametrize("request_", KEYS)
def test_known_keys_never_change(request_: str) -> None:
    acting, literal = KEYS[request_]
    text = json.dumps({"data": digits_digest(), "knobs": acting}, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == literal
    assert planned(*request_.split()).key == literal


# -- the installed command -------------------------------------------------------------------------

ABLATE = Path(sys.executable).with_name("ablate")
CLOSED = "http://127.0.0.1:9"  # nothing listens there, so no request leaves this machine


def shell(*arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Call the installed command in the working directory."""
    away = {"ABLATE_DATA", "HYDRA_FULL_ERROR", "NO_PROXY", "no_proxy"}
    env = {name: value for name, value in os.environ.items() if name not in away}
    env |= {"https_proxy": CLOSED, "http_proxy": CLOSED, "OMP_NUM_THREADS": "1"}
    env |= {"COLUMNS": "200", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*before, str(ABLATE), *arguments], capture_output=True, env=env, timeout=300, check=False
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def assert_refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("ablate: ")
    assert done.stderr.endswith("\nNothing was started.\n")
    assert done.stderr.count("Nothing was started.") == 1
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr


@pytest.fixture
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("arguments", ["run modle=mlp", "run -m model=mlp,modle seed=0,1"])
def test_the_installed_command_prints_one_message_and_leaves_nothing(
    here: Path, arguments: str
) -> None:
    done = shell(*arguments.split())
    assert_refused(done)
    assert done.stderr == called(*arguments.split()).stderr
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("_wide")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run modle=mlp", "did you mean 'model'?"),
        ("run seed=0,1", "`ablate run -m` trains them all"),
        ("run device=cuda", "torch finds no CUDA device"),
        ("run -m model=mlp seed=0,1 dropout.conv=0.2", "seed=0 dropout.conv=0.2; model=mlp seed=1"),
        ("run --cfg job epochs=0", "epochs=0 is not legal"),
        ("run -m --cfg job seed=0,1", "leave out -m"),
        ("run --config-dir nowhere", "--config-dir nowhere is not a directory"),
        ("data imagenet", "there is nothing to fetch for 'imagenet'"),
    ],
)
def test_the_command_prints_one_message_and_leaves_nothing(
    here: Path, arguments: str, said: str
) -> None:
    assert_refused(called(*arguments.split()), said)
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("_wide")
def test_the_command_lists_several_faults(here: Path) -> None:
    done = called("run", "epochs=0", "name=published", "batch_size=5000")
    assert_refused(done, "ablate: 3 things are wrong with this request:\n  - epochs=0 is not")
    assert done.stderr.count("\n  - ") == 3
    assert list(here.iterdir()) == []


def test_the_command_refuses_a_users_wrong_configuration(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine/own.yaml").write_text("defaults: [config, _self_]\nepochss: 3\n")
    assert_refused(called("run", "--config-dir", "mine", "-cn", "own"), "there is no knob epochss")
    assert [path.name for path in here.iterdir()] == ["mine"]


@pytest.mark.parametrize("arguments", ["run --lr=3", "run --cfg nothing", "frobnicate", "data"])
def test_a_wrong_flag_or_command_is_refused_with_a_pointer_to_help(
    here: Path, arguments: str
) -> None:
    done = called(*arguments.split())
    assert done.returncode == 2
    command = arguments.split()[0]
    told = (f"`ablate {command} --help`", "usage: ablate")
    assert any(text in done.stderr.lower() for text in told)
    assert "Traceback" not in done.stderr
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("_no_network")
def test_a_failed_download_ends_the_command_with_status_1(here: Path, tmp_path: Path) -> None:
    done = called("run", "data=mnist", f"data.root={tmp_path / 'data'}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ablate: data=mnist ")
    assert "ABLATE_DATA" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(here.iterdir()) == []


def can_mount() -> bool:
    """Return whether this process may mount something in a private namespace."""
    try:
        return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="mounting a read-only file system takes privileges")
def test_a_read_only_file_system_is_refused(here: Path, tmp_path: Path) -> None:
    place = tmp_path / "fixed"
    place.mkdir()
    script = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
    done = shell("run", f"out={place}", before=("unshare", "-m", "sh", "-c", script, str(place)))
    assert_refused(done, f"out={place}: {place} is not writable (Read-only file system)")
    assert list(here.iterdir()) == []


def test_debug_shows_the_traceback(here: Path) -> None:
    done = called("run", "epochs=0", "--debug")
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.endswith("Nothing was started.\n")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("arguments", ["--help", "run --cfg job -p optimizer"])
def test_the_installed_command_prints_what_it_prints_in_this_process(arguments: str) -> None:
    done = shell(*arguments.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == called(*arguments.split()).stdout


TAKE_OVERRIDES = ("run", "plan", "lr-find", "inspect")


@pytest.mark.usefixtures("_wide")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--help", "Commands:"),
        ("run -h", "OVERRIDES are Hydra's"),
        ("run model=mlp -mh", "OVERRIDES are Hydra's"),
        ("run --help", "OVERRIDES are Hydra's"),
        ("data --help", "verify its files"),
        *((f"{name} --help", f"ablate {name} [OPTIONS] [OVERRIDES]...") for name in TAKE_OVERRIDES),
        ("run --hydra-help", "== Flags =="),
        ("run --cfg job -p optimizer", "lr: 0.002"),
        ("run --info defaults", "schedule/cosine"),
    ],
)
def test_help_and_configuration_are_shown(here: Path, arguments: str, said: str) -> None:
    done = called(*arguments.split())
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert list(here.iterdir()) == []


def test_the_shown_configuration_holds_every_knob_of_its_options() -> None:
    import yaml

    shown = schema.flatten(yaml.safe_load(called("run", "--cfg", "job", "seed=5").stdout))
    chosen = {"data": "digits", "model": "cnn", "dropout": "none", "norm": "none"}
    chosen |= {"init": "he_normal", "optimizer": "adam", "schedule": "cosine"}
    chosen |= {"regularize": "none", "augment": "none"}
    expected = files.top() | {group: files.option(group, name) for group, name in chosen.items()}
    assert shown == schema.flatten(expected | {"seed": 5})


def test_a_grid_of_two_seeds_writes_two_records(here: Path) -> None:
    done = shell("run", "-m", "model=mlp", "model.hidden=[8]", "epochs=1", "seed=0,1")
    assert done.returncode == 0, done.stderr
    records = [json.loads(path.read_text()) for path in here.rglob("record.json")]
    assert sorted(record["seed"] for record in records) == [0, 1]
    assert {record["status"] for record in records} == {"finished"}
    request = ["model=mlp", "model.hidden=[8]", "epochs=1"]
    expected = {planned(*request, f"seed={seed}").directory for seed in (0, 1)}
    assert {path.parent.relative_to(here) for path in here.rglob("record.json")} == expected


IMPORTED = """
import sys
from ablate.cli import main
for line in sys.argv[1:]:
    sys.argv = ["ablate", *line.split()]
    try:
        main()
    except SystemExit as end:
        heavy = {"torch", "hydra", "pandas", "torchvision"} & set(sys.modules)
        print("\\nstatus", end.code, *sorted(heavy))
"""


@pytest.mark.parametrize(
    ("lines", "ending"),
    [
        (["--help", "run --help", "data --help"], "status 0"),
        (
            [
                *("run modle=mlp", "run batch_size=5000"),
                "run -m seed=0,1 model=mlp dropout.conv=0.1",
            ],
            "status 2 hydra",
        ),
    ],
    ids=["help", "refusals"],
)
def test_help_imports_nothing_heavy_and_a_refusal_no_torch(lines: list[str], ending: str) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED, *lines], capture_output=True, check=True)
    endings = [line for line in done.stdout.decode().splitlines() if line.startswith("status")]
    assert endings == [ending] * len(lines)


def test_running_the_module_is_running_the_command(here: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "ablate", "run", "foo=1"], capture_output=True)
    assert done.returncode == 2
    assert done.stderr.decode().startswith("ablate: there is no knob or group foo")
    assert list(here.iterdir()) == []

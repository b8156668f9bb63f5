"""Code named in a file runs only if it is the user's or trusted, and of the expected kind.

`evil.py` leaves a file when it is imported; a command that ran would leave another.
"""

from __future__ import annotations

import json
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

import ablate
from ablate import cli
from ablate.commands.audit.again import chosen
from ablate.commands.evaluate.evaluate import _checked as checked
from ablate.commands.evaluate.serve import evaluate
from ablate.commands.requests import planned
from ablate.commands.show import show_state
from ablate.config import files, trust
from ablate.config.targets import ARGUMENT, FUNCTION, PARTIAL, Kind, locate
from ablate.config.trust import UntrustedError
from ablate.data.own import DATA_SET
from ablate.errors import AblateError
from ablate.nets.own import MODULE
from ablate.plan.request import Request
from ablate.plan.trust_checks import untrusted
from ablate.record import find
from ablate.report.compare import compare

TINY = [
    *("model=mlp", "model.hidden=[4]", "data.train_size=64", "data.val_size=32", "epochs=1"),
    "batch_size=32",
]
EVIL = """
from pathlib import Path
Path({marker!r}).write_text("imported")
from torch import nn
class Net(nn.Linear):
    pass
def part(*given, **named):
    return given[0]
"""
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, num_classes)
        )

    def forward(self, x):
        return self.layers(x)
"""
QUICK = {"views": None, "samples": None, "delete": False, "perturb": False, "worst": None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run that uses only shipped parts; return its folder."""
    place = tmp_path_factory.mktemp("trained")
    found = ablate.run([*TINY, f"out={place}", "name=sweep"])
    return place / "sweep" / found["key"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work as a user who has trusted nothing yet, in a folder with evil modules."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(trust, "_now", set())
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    marker = str(tmp_path / "imported")
    (folder / "evil.py").write_text(EVIL.format(marker=marker))
    (folder / "evil_pack").mkdir()
    (folder / "evil_pack/__init__.py").write_text(EVIL.format(marker=marker))
    (folder / "mine.py").write_text(NET)
    yield folder
    for name in ("evil", "evil_pack", "mine"):
        sys.modules.pop(name, None)


@pytest.fixture
def harmless(here: Path) -> Callable[[], bool]:
    """Return a function that says whether nothing named in a file has run."""

    def none_ran() -> bool:
        left = {file.name for file in here.parent.rglob("*")} & {"imported", "ran"}
        return not left and not {"evil", "evil_pack"} & {*sys.modules}

    return none_ran


def edited(run: Path, to: Path, **groups: Any) -> Path:
    """Copy a run as if a stranger's, with other groups of knobs in its record."""
    folder = to / "theirs" / run.name
    shutil.copytree(run, folder)
    found = json.loads((folder / "record.json").read_text())
    del found["checksum"]  # as a stranger would, so that the edit goes unnoticed
    for name, values in groups.items():
        found["config"][name] = values(found["config"][name]) if callable(values) else values
    (folder / "record.json").write_text(json.dumps(found))
    return folder


# -- records ---------------------------------------------------------------------------------------

HOSTILE = {
    "a command": {
        "model": {"name": "custom", "_target_": "subprocess.getoutput", "cmd": "touch ran"}
    },
    "a network": {"model": {"name": "custom", "_target_": "evil.Net"}},
    "an argument of a network": {
        "model": {
            "name": "custom",
            "_target_": "torch.nn.Flatten",
            "layers": [{"_target_": "evil.part"}],
        }
    },
    "an activation": {"model": lambda old: old | {"activation": {"_target_": "evil.part"}}},
    "a dropout": {"dropout": lambda old: old | {"_target_": "evil.Net", "dense": 0.5}},
    "a norm": {"norm": {"name": "custom", "_target_": "evil.Net", "position": "after"}},
    "a penalty": {"regularize": lambda old: old | {"_target_": "evil.part"}},
    "an augmentation": {"augment": lambda old: old | {"_target_": "evil.part"}},
    "a data set": {"data": lambda old: old | {"name": "custom", "_target_": "evil.Net"}},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_strangers_record_runs_nothing(
    what: str, trained: Path, here: Path, harmless: Callable[[], bool]
) -> None:
    run = edited(trained, here, **HOSTILE[what])
    for opened in (
        lambda: ablate.load_model(run),
        lambda: evaluate(run.parent, QUICK),
        lambda: chosen(run, 1),
    ):
        with pytest.raises(UntrustedError) as caught:
            opened()
        (fault,) = caught.value.faults
        assert str(run / "record.json") in fault
        assert "_target_" in fault
        assert "once with --trust" in fault
    assert harmless()


def test_showing_and_comparing_a_strangers_runs_imports_nothing(
    trained: Path, here: Path, harmless: Callable[[], bool]
) -> None:
    for number, what in enumerate(HOSTILE):
        file = edited(trained, here / str(number), **HOSTILE[what]) / "record.json"
        file.write_text(
            file.read_text().replace(trained.name, f"{number:016x}")
        )  # give it another key
    show_state(here, Console())
    assert len(compare([here]).runs) == len(HOSTILE)
    assert len(ablate.load(here)) == len(HOSTILE)
    assert harmless()


def test_a_command_is_not_a_network_even_if_trusted(
    trained: Path, here: Path, harmless: Callable[[], bool]
) -> None:
    run = edited(trained, here, **HOSTILE["a command"])
    with pytest.raises(AblateError, match=r"is part of subprocess, which has no torch.nn.Module"):
        ablate.load_model(run, trust=True)
    assert harmless()


def test_only_untrusted_runs_are_left_out(
    trained: Path, here: Path, harmless: Callable[[], bool]
) -> None:
    run = edited(trained, here, **HOSTILE["a network"])
    shutil.copytree(trained, run.with_name("plain"))
    records, (fault,) = checked(find(run.parent), run.parent, trust=False)
    assert list(records) == [run.with_name("plain")]
    assert "names evil.Net (model._target_) to run" in fault
    assert harmless()


def test_trust_is_remembered_and_is_for_one_folder_only(
    trained: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"name": "custom", "_target_": "mine.Net", "width": 4}
    run = edited(trained, here, model=own)
    weights = {f"layers.{i}.{n}": w for (i, n), w in _weights(width=4).items()}
    torch.save(weights, run / "checkpoint.pt")
    with pytest.raises(UntrustedError):
        ablate.load_model(run)
    assert ablate.load_model(run.parent / run.name, trust=True)
    told = capsys.readouterr().err
    assert f"ablate: trusted from now on: records in {run} (noted in " in told
    trust._now.clear()
    assert ablate.load_model(run).layers[1].out_features == 4
    assert "trusted from now on" not in capsys.readouterr().err
    with pytest.raises(UntrustedError):
        ablate.load_model(edited(trained, here / "elsewhere", model=own))


def _weights(width: int) -> dict[tuple[int, str], torch.Tensor]:
    return {
        (1, "weight"): torch.zeros(width, 64),
        (1, "bias"): torch.zeros(width),
        (3, "weight"): torch.zeros(10, width),
        (3, "bias"): torch.zeros(10),
    }


# -- runs trained here -----------------------------------------------------------------------------


def test_a_users_own_record_is_trusted_until_it_names_something_else(here: Path) -> None:
    found = ablate.run([*TINY[2:], "model._target_=mine.Net", "model.width=3"])
    run = here / "results/digits-Net" / found["key"]
    assert ablate.load_model(run).layers[1].out_features == 3
    own = found["config"]["model"]
    for change in ({"width": 4}, {"_target_": "mine.torch"}, {"more": {"_target_": "mine.Net"}}):
        with pytest.raises(UntrustedError, match=r"is not known to be yours"):
            ablate.load_model(edited(run, here / str(change), model=own | change))
    moved = edited(run, here / "moved")
    assert ablate.load_model(moved).layers[1].out_features == 3  # fine: it names nothing new


def test_a_copy_of_a_users_record_does_not_run_a_module_next_to_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, harmless: Callable[[], bool]
) -> None:
    found = ablate.run([*TINY[2:], "model._target_=mine.Net"])
    theirs = here / "theirs"
    shutil.copytree(here / "results", theirs / "results")
    shutil.copy("evil.py", theirs / "mine.py")
    del sys.modules["mine"]
    found_in = [p for p in sys.path if not Path(p, "mine.py").exists()]
    monkeypatch.setattr(sys, "path", found_in)
    monkeypatch.chdir(theirs)
    with pytest.raises(UntrustedError, match=f"from here it would be {theirs}/mine.py"):
        ablate.load_model(Path("results/digits-Net") / found["key"])
    Path("mine.py").unlink()
    with pytest.raises(AblateError, match=r"there is no module 'mine'"):
        ablate.load_model(Path("results/digits-Net") / found["key"])
    assert harmless()


@pytest.mark.parametrize("place", ["theirs", "site-packages"])
def test_a_folder_next_to_a_record_does_not_replace_an_installed_package(
    place: str, here: Path, monkeypatch: pytest.MonkeyPatch, harmless: Callable[[], bool]
) -> None:
    config = {"model": {"name": "custom", "_target_": "statsmodels.Net"}}
    trust.note_trained([config])
    trust.require_record(here, config)
    theirs = here / place
    (theirs / "statsmodels").mkdir(parents=True)
    monkeypatch.chdir(theirs)
    monkeypatch.delitem(sys.modules, "statsmodels", raising=False)
    trust.require_record(theirs, config)  # an empty folder is not a module
    shutil.copy(here / "evil.py", theirs / "statsmodels/__init__.py")
    with pytest.raises(UntrustedError, match="from here it would be"):
        trust.require_record(theirs, config)
    assert harmless()


def test_the_working_directory_is_searched_only_for_modules_in_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(here)])
    locate("torch.nn.ReLU", "knob", MODULE)
    assert str(here) not in sys.path
    locate("mine.Net", "knob", MODULE)
    assert sys.path[0] == str(here)


def test_only_the_user_can_read_what_is_remembered(here: Path) -> None:
    trust.remember([trust.folder_of(here, below=True)])
    trust.note_trained([{"model": {"_target_": "mine.Net"}}])
    for name in ("trusted.jsonl", "trained.txt"):
        assert stat.S_IMODE((trust.user_folder() / name).stat().st_mode) == 0o600


def test_a_name_with_a_line_break_trusts_no_other_folder(here: Path) -> None:
    odd = here / 'a\n{"below": true, "path": "'
    odd.mkdir()
    trust.remember([trust.folder_of(odd, below=True)])
    trust._now.clear()
    assert trust.is_trusted(odd / "record.json")
    assert not trust.is_trusted(here / "record.json")
    assert len((trust.user_folder() / "trusted.jsonl").read_text().splitlines()) == 1


def test_a_link_from_a_trusted_folder_does_not_trust_where_it_leads(here: Path) -> None:
    (here / "ours").mkdir()
    (here / "theirs").mkdir()
    (here / "ours/link").symlink_to(here / "theirs")
    trust.remember([trust.folder_of(here / "ours", below=True)])
    assert trust.is_trusted(here / "ours/deep/record.json")
    assert not trust.is_trusted(here / "ours/link/record.json")
    assert not trust.is_trusted(here / "ours-too/record.json")


def test_if_trust_cannot_be_remembered_it_holds_for_this_time_only(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here / "file"))
    trust.remember([trust.folder_of(here, below=True)])
    assert "this time only, since it cannot be noted" in capsys.readouterr().err
    assert trust.is_trusted(here / "record.json")


# -- studies ---------------------------------------------------------------------------------------


def study(here: Path, **changes: Any) -> Path:
    """Write a study that names a class."""
    values = {
        "question": "Is it evil?",
        "source": "a stranger",
        "fixed": ["epochs=1", "data.train_size=64", "model._target_=evil.Net"],
        "arms": {"narrow": ["seeds.init=1"], "wide": ["seeds.init=2"]},
        "seeds": 2,
        "claims": [{"claim": "It is", "arm": "wide", "direction": "lower"}],
    }
    file = here / "theirs.yaml"
    file.write_text(yaml.safe_dump(values | changes, sort_keys=False))
    return file


def run(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["ablate", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_a_study_that_names_a_class_is_refused_with_the_command_that_trusts_it(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    harmless: Callable[[], bool],
) -> None:
    study(here)
    for command in ("run", "inspect"):
        assert run(command, "+study=theirs.yaml", monkeypatch=monkeypatch) == 2
        told = capsys.readouterr().err
        assert told == (
            "ablate: theirs.yaml, line 6 names evil.Net (model._target_) to run, and it is not"
            " known to be yours: if you trust it, run the same command once with --trust (in"
            " Python trust=True), which is remembered for studies and configurations in"
            f" {here}\n    ablate {command} +study=theirs.yaml --trust\nNothing was started.\n"
        )
    assert harmless()


HOSTILE_STUDIES: dict[str, dict[str, Any]] = {
    "an arm": {
        "arms": {"plain": ["seeds.init=1"], "wide": ["model._target_=evil.Net"]},
        "fixed": [],
    },
    "a scale": {"scale": {"quick": ["augment._target_=evil.part"], "full": []}, "fixed": []},
    "a tuned knob": {
        "tune": {"knobs": {"dropout._target_": ["evil.Net", "evil.part"]}, "seeds": [100]},
        "fixed": ["dropout.dense=0.5"],
    },
    "an argument": {"fixed": ["model._target_=mine.Net", "+model.x={_target_: evil.part}"]},
    "a reference": {"fixed": ["model._target_=${oc.decode:evil.Net}"]},
    "a launcher": {"fixed": ["hydra/launcher=joblib"]},
    "a callback": {"fixed": ["+hydra.callbacks.x._target_=evil.part"]},
    "a package to search": {"fixed": ["hydra.searchpath=[pkg://evil_pack]"]},
}


@pytest.mark.parametrize("what", HOSTILE_STUDIES)
def test_anything_in_a_study_that_could_run_code_is_refused(
    what: str, here: Path, harmless: Callable[[], bool]
) -> None:
    file = study(here, **HOSTILE_STUDIES[what])
    with pytest.raises(UntrustedError, match=r"theirs.yaml.* (names|sets) "):
        planned(Request((f"+study={file}",)))
    assert harmless()


def test_trust_in_a_study_covers_its_folder_and_is_remembered(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study(here, fixed=["epochs=1", "data.train_size=64", "model._target_=mine.Net"])
    assert len(planned(Request((f"+study={file}",), trust=True))[0].runs) == 4
    assert f"studies and configurations in {here} (noted" in capsys.readouterr().err
    assert len(planned(Request((f"+study={file}",)))[0].runs) == 4
    assert not capsys.readouterr().err
    (here / "below").mkdir()
    shutil.copy(file, here / "below")
    with pytest.raises(UntrustedError):
        planned(Request(("+study=below/theirs.yaml",)))


def test_overrides_typed_with_a_study_are_the_users_own(here: Path) -> None:
    file = study(here, fixed=["epochs=1", "data.train_size=64"])
    (plan,) = planned(Request((f"+study={file}", "model._target_=mine.Net")))
    assert len(plan.runs) == 4
    file = study(here, fixed=["epochs=1", "+model.x={_target_: evil.part}"])
    with pytest.raises(UntrustedError, match=r"names evil\.part \(model\.x\._target_\) to run"):
        planned(Request((f"+study={file}", "model._target_=mine.Net")))


def test_shipped_files_are_trusted() -> None:
    shipped = tuple((files.CONF / files.STUDIES).glob("*.yaml"))
    assert shipped
    assert untrusted(Request(files=shipped, config_dir=str(files.CONF))) == []


# -- configurations --------------------------------------------------------------------------------

CONFIGURATIONS = {
    "an option": ({"model/theirs.yaml": "name: custom\n_target_: evil.Net"}, ("model=theirs",)),
    "a primary configuration": (
        {"own.yaml": "defaults: [config, _self_]\naugment: {_target_: evil.part}"},
        (),
    ),
    "a resolver": (
        {
            "own.yaml": "defaults: [config, {override model: custom}, _self_]\n"
            "model: {_target_: '${oc.decode:evil.Net}'}"
        },
        (),
    ),
    "a callback": (
        {"own.yaml": "defaults: [config, _self_]\nhydra: {callbacks: {x: {_target_: evil.part}}}"},
        (),
    ),
    "a log handler": (
        {
            "own.yaml": "defaults: [config, _self_]\n"
            "hydra: {job_logging: {handlers: {x: {(): evil.part}}}}"
        },
        (),
    ),
    "a launcher": (
        {"own.yaml": "defaults: [config, {override hydra/launcher: joblib}, _self_]"},
        (),
    ),
    "an environment": (
        {"own.yaml": "defaults: [config, _self_]\nhydra: {job: {env_set: {LD_PRELOAD: x.so}}}"},
        (),
    ),
    "a package to search": (
        {"own.yaml": "defaults: [config, _self_]\nhydra: {searchpath: ['pkg://evil_pack.inside']}"},
        (),
    ),
}


@pytest.mark.parametrize("what", CONFIGURATIONS)
def test_anything_in_a_configuration_that_could_run_code_is_refused(
    what: str, here: Path, harmless: Callable[[], bool]
) -> None:
    written, words = CONFIGURATIONS[what]
    for name, text in written.items():
        (here / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "conf" / name).write_text(f"{text}\n")
    name = "own" if "own.yaml" in written else "config"
    request = Request(words, config_name=name, config_dir="conf")
    with pytest.raises(UntrustedError, match=r"^conf.* (names|sets) .* once with --trust"):
        planned(request)
    assert harmless()


def test_a_folder_must_be_trusted_before_it_is_searched(here: Path) -> None:
    (here / "more").mkdir()
    with pytest.raises(UntrustedError, match=r"^more would be searched for configurations"):
        planned(Request(("hydra.searchpath=[file://more]",)))


def test_trust_in_a_configuration_covers_its_folder_and_is_remembered(here: Path) -> None:
    (here / "conf/model").mkdir(parents=True)
    (here / "conf/model/theirs.yaml").write_text("name: custom\n_target_: mine.Net\n")
    request = Request(("model=theirs",), config_dir="conf")
    with pytest.raises(UntrustedError, match=r"^conf/model/theirs.yaml, line 2 names mine\.Net "):
        planned(request)
    assert planned(Request(("model=theirs",), config_dir="conf", trust=True))
    trust._now.clear()
    assert planned(request)[0].runs[0].config["model"]["_target_"] == "mine.Net"


# -- kinds -----------------------------------------------------------------------------------------

NO = {
    MODULE: "subprocess.getoutput os.system builtins.eval subprocess.Popen torch.load"
    " torch.hub.load torch.utils.collect_env.run hydra.utils.get_method mine.torch"
    " torchvision.datasets.MNIST",
    DATA_SET: "subprocess.getoutput collections.OrderedDict torch.load torch.nn.Linear",
    FUNCTION: "subprocess.getoutput os.system builtins.exec torchvision.datasets.MNIST",
    ARGUMENT: "subprocess.getoutput subprocess.Popen builtins.exec functools.partial"
    " torch.hub.load",
    PARTIAL: "subprocess.getoutput os.system",
}
YES = {
    MODULE: "torch.nn.ReLU torchvision.models.resnet18 mine.Net",
    DATA_SET: "torchvision.datasets.MNIST torch.utils.data.TensorDataset",
    FUNCTION: "torch.relu torch.nn.functional.gelu torch.nn.ReLU",
    ARGUMENT: "torch.nn.ReLU collections.OrderedDict torchvision.models.resnet18",
    PARTIAL: "torch.nn.functional.relu torch.nn.LayerNorm",
}


def _each(table: dict[Kind, str]) -> list[tuple[Kind, str]]:
    return [(kind, target) for kind, targets in table.items() for target in targets.split()]


@pytest.mark.parametrize(("kind", "target"), _each(NO))
def test_a_target_of_another_kind_is_not_called(kind: Kind, target: str) -> None:
    with pytest.raises(AblateError, match=f"^knob={target} "):
        locate(target, "knob", kind)


@pytest.mark.parametrize(("kind", "target"), _each(YES))
def test_a_target_of_the_expected_kind_is_accepted(kind: Kind, target: str) -> None:
    assert callable(locate(target, "knob", kind))


# -- pickles and weights ---------------------------------------------------------------------------


class _Runs:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, ("touch ran",)


def test_weights_that_hold_more_than_tensors_run_nothing(
    trained: Path, here: Path, harmless: Callable[[], bool]
) -> None:
    folder = edited(trained, here)
    torch.save({"weight": _Runs()}, folder / "checkpoint.pt")
    with pytest.raises(AblateError, match=r"is damaged, or holds more than tensors"):
        ablate.load_model(folder)
    assert harmless()


def test_missing_weights_are_reported_with_what_to_do(trained: Path, here: Path) -> None:
    folder = edited(trained, here)
    (folder / "checkpoint.pt").unlink()
    for opened in (lambda: ablate.load_model(folder), lambda: evaluate(folder, QUICK)):
        with pytest.raises(AblateError) as caught:
            opened()
        assert caught.value.faults == (
            f"{folder / 'checkpoint.pt'} is missing: rerun=all trains the run again",
        )
    kept = edited(trained, here / "kept", save="none")
    (kept / "checkpoint.pt").unlink()
    for opened in (lambda: ablate.load_model(kept), lambda: evaluate(kept, QUICK)):
        with pytest.raises(AblateError) as caught:
            opened()
        assert caught.value.faults == (
            f"{kept} keeps no weights: it was trained with save=none; leave that out, and rerun=all"
            " trains it again",
        )

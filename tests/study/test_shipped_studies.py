"""The shipped studies: each plans at full scale, trains at quick scale, and can be judged."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ablate import record
from ablate.analyze import frames
from ablate.analyze.contrasts import contrasts
from ablate.analyze.run_measures import metrics_of
from ablate.analyze.verdicts import VERDICTS
from ablate.plan.request import Request
from ablate.report.compare import compare
from ablate.study import study
from ablate.study.file import read_study
from tests.asking import runs_of, train_all

SMALL = ("data=digits", "data.val_size=40", "launch=inline")
# These studies vary the batch size, so it cannot be fixed, and they need more images.
BATCHES = ("batch_size", "batch_size_epochs", "second_order", "second_order_cnn")
EPOCHS = {"val/error_spread": 5}  # the last quarter of fewer would be a single epoch


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def request(name: str, scale: str) -> Request:
    """Request a study with two seeds per arm, on a few digits, for as few epochs as claims allow.

    Tuned knobs are set to one end of their grid: the lower at quick scale, the upper at full.
    """
    values: dict[str, Any] = yaml.safe_load(study.find(name).read_text(encoding="utf-8"))
    values["seeds"] = 2
    for i, arm in enumerate(values.get("arms", {}).values()):
        if isinstance(arm, dict) and "seeds" in arm:
            arm["seeds"] = [100 * i, 100 * i + 1]
    tuned = values.pop("tune", {"knobs": {}})["knobs"]
    end = {"quick": 0, "full": -1}[scale]
    values["fixed"] = [*values["fixed"], *(f"{knob}={grid[end]}" for knob, grid in tuned.items())]
    Path(f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    epochs = max(EPOCHS.get(claim.get("metric"), 1) for claim in values["claims"])
    images = (
        ("data.train_size=260",) if name in BATCHES else ("data.train_size=40", "batch_size=20")
    )
    return Request((f"+study={name}.yaml", f"scale={scale}", *SMALL, *images, f"epochs={epochs}"))


@pytest.mark.parametrize("name", study.shipped())
def test_a_shipped_study_asks_a_question_and_names_its_sources(name: str) -> None:
    for scale in ("quick", "full"):
        found = read_study(name, scale)
        assert found.question.endswith("?")
        assert len(found.source) > 10
        assert all(len(claim.source) > 10 for claim in found.claims)
        assert found.margin is not None, "equivalence needs a margin"


@pytest.mark.parametrize("name", study.shipped())
def test_a_shipped_study_opens_with_its_cost(name: str) -> None:
    opening = study.find(name).read_text(encoding="utf-8").partition("question:")[0]
    assert opening.startswith("# ")
    assert "on 2 cores" in opening.replace("\n# ", " ")


@pytest.mark.parametrize("name", study.shipped())
def test_a_shipped_study_plans_different_arms_at_full_scale(name: str) -> None:
    runs = runs_of(request(name, "full"))
    assert Counter(run.arm for run in runs) == {arm.name: 2 for arm in read_study(name).arms}
    assert len({run.key for run in runs}) == len(runs)


# One study for each kind of claim, design and measurement; `make long` trains the others too.
OF_EACH_KIND = {
    *("aa", "batchnorm_speed_and_lr", "digits", "dropout_ensemble", "dropout_rate", "init_depth"),
    *("recipe_add_one_in", "recurrent", "seed_noise"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [n if n in OF_EACH_KIND else pytest.param(n, marks=pytest.mark.long) for n in study.shipped()],
)
def test_a_shipped_study_trains_and_every_claim_gets_a_verdict(name: str) -> None:
    runs, interrupted = train_all(request(name, "quick"))
    assert not interrupted
    ended = [record.read(run.directory) for run in runs]
    assert {found["status"] for found in ended if found} == {"finished"}
    assert None not in ended

    asked = read_study(name)
    frame = frames.read([Path("results", name)]).runs
    assert {asked.metric, *(claim.metric for claim in asked.claims)} <= set(metrics_of(frame))
    table = contrasts(
        frame,
        np.random.default_rng(0),
        baseline=asked.baseline.name,
        metrics=[claim.metric for claim in asked.claims],
        primary=asked.metric,
        margin=asked.margin,
        claims=asked.claims,
    )
    judged = table[table["family"] == "claims"]
    assert len(judged) == len(asked.claims)
    assert set(judged["verdict"]) <= set(VERDICTS)
    assert (judged["n"] == 2).all()


def test_identical_arms_are_not_told_apart() -> None:
    """Trains the A/A study with fewer seeds, epochs and units, and with more claims."""
    values: dict[str, Any] = yaml.safe_load(study.find("aa").read_text(encoding="utf-8"))
    values["arms"]["A again"]["seeds"] = "range(1000, 1012)"
    values["seeds"] = 12
    values["claims"] += [
        {"claim": "One is better", "arm": "A again", "direction": way, "metric": metric}
        for way, metric in (
            ("lower", "test/loss"),
            ("higher", "val/error"),
            ("differs", "gap/loss"),
        )
    ]
    values["claims"][1]["margin"] = values["claims"][3]["margin"] = 0.05  # nats
    values["claims"][2]["margin"] = 0.01
    Path("aa.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    train_all(
        Request(("+study=aa.yaml", *SMALL, "model.channels=[4]", "model.hidden=[8]", "epochs=8"))
    )
    found = compare(["results/aa"])
    verdicts = [line.verdict for _, line in found.claimed]
    assert len(verdicts) == 4
    assert set(verdicts[:1]) <= {"supported", "open"}  # the claim that they are equivalent
    assert set(verdicts[1:]) <= {"too small to matter", "open"}

"""The learning-rate range test: on quadratics, then on networks, then as users call it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import ablate
from ablate.commands.asking import Words
from ablate.commands.lr_find import page, request, text_plot
from ablate.commands.lr_find.find import find
from ablate.data import load
from ablate.errors import AblateError
from ablate.measure import lr_curves, lr_range
from ablate.measure.lr_tested import REPLACED
from ablate.optim.optimizer import RULES
from ablate.regularize.label_smoothing import cross_entropy
from ablate.train.training import Training
from tests.calls import called
from tests.files import listing

TINY = ["model=mlp", "model.hidden=[8]", "data.train_size=96", "batch_size=32"]
TORCHS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1.0),
    "momentum": lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=1.0),
}


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def quadratic(curvature_D, runs):
    """Return a step of gradient descent on ½ Σ λ p² from p = 1, each run at its own rate."""
    curvature_D = torch.tensor(curvature_D, dtype=torch.float64)
    p_RD = torch.ones(runs, len(curvature_D), dtype=torch.float64)

    def step(number, lr_R, alive):
        loss_R = (curvature_D * p_RD**2).sum(1) / 2
        p_RD.sub_(lr_R[:, None] * curvature_D * p_RD)
        return loss_R

    return step


CURVATURES = st.lists(st.floats(0.01, 1), min_size=1, max_size=5)


# -- the core --------------------------------------------------------------------------------------


@given(CURVATURES, st.floats(-3, 3), st.integers(5, 30))
def test_on_a_quadratic_a_grid_diverges_above_two_over_the_largest_curvature(shares, power, points):
    curvature = [10**power * share for share in shares]
    limit = 2 / max(curvature)
    lr = lr_range.rising(limit / 50, 50 * limit, points).numpy()
    # Within 3 % of the limit, a component grows too slowly to look divergent.
    assume(np.abs(np.log(lr / limit)).min() > 0.03)
    end, _ = lr_range.grid(quadratic(curvature, points), torch.tensor(lr), 300)
    curve = lr_curves.grid_curve("", lr, end)
    assert curve.diverged == lr[lr > limit][0]
    assert np.isnan(end[lr > limit]).all()
    first = sum(curvature) / 2
    assert (end[lr < limit] <= first).all()


@given(CURVATURES)
def test_on_a_quadratic_a_sweep_equals_a_plain_loop(curvature):
    lr = np.geomspace(1e-4, 1e4, 60)
    found = lr_range.sweep(quadratic(curvature, 1), torch.tensor(lr), smoothing=0.5)[:, 0]

    p, average, best, expected = np.ones(len(curvature)), 0.0, math.inf, []
    for number, rate in enumerate(lr):
        loss = float((np.array(curvature) * p**2).sum() / 2)
        p = p - rate * np.array(curvature) * p
        expected.append(loss)
        average = 0.5 * average + 0.5 * loss
        smoothed = average / (1 - 0.5 ** (number + 1))
        best = min(best, smoothed)
        if smoothed > 4 * best:
            break
    assert len(expected) < len(lr), (
        "the quadratic did not diverge, though the rates reach far enough"
    )
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-9)
    assert np.isnan(found[len(expected) :]).all()


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.floats(0, 0.99))
def test_smoothing_agrees_with_the_exponential_average_of_pandas(loss, share):
    expected = pd.Series(loss).ewm(alpha=1 - share, adjust=True).mean()
    np.testing.assert_allclose(lr_range.smooth(np.array(loss), share), expected, atol=1e-9)


def test_a_run_that_diverges_does_not_stop_the_others():
    def step(number, lr_R, alive):
        seen.append(list(alive))
        loss_R = torch.tensor([1.0, 1.0 if number < 3 else math.nan, 1.0])
        return loss_R * (5.0 if number == 6 else 1.0)

    seen: list[list[bool]] = []
    loss = lr_range.sweep(step, lr_range.rising(1e-3, 1, 10), runs=3, smoothing=0.0)
    assert np.isfinite(loss).sum(0).tolist() == [7, 3, 7]
    assert seen[3] == [True] * 3
    assert seen[4] == [True, False, True]
    assert len(seen) == 7, "runs went on after the loss rose above four times its best"


def test_a_grid_returns_the_mean_loss_over_the_last_tenth():
    def step(number, lr_R, alive):
        return torch.tensor([10.0 - 0.1 * number, 1.0 + number])

    end, losses = lr_range.grid(step, torch.tensor([0.1, 0.2]), 40)
    assert end[0] == pytest.approx(10 - 0.1 * 37.5)
    assert np.isnan(end[1]), "a run that ended above four times its first loss counts as diverged"
    assert losses.shape == (40, 2)


@given(st.floats(-4, -1), st.floats(0.5, 3))
def test_the_steepest_descent_of_a_falling_sigmoid_is_its_middle(power, slope):
    lr = np.logspace(-6, 1, 141)
    loss = 1 / (1 + (lr / 10**power) ** slope)
    curve = lr_range.Curve("", lr, loss, loss.copy(), None)
    assert math.log10(curve.steepest) == pytest.approx(power, abs=0.051)


@given(st.floats(-4, 0))
def test_the_minimum_of_a_parabola_is_found_and_divided_by_ten(power):
    lr = np.logspace(-6, 1, 141)
    loss = (np.log10(lr) - power) ** 2
    curve = lr_range.Curve("", lr, loss, loss, None)
    assert math.log10(curve.lowest) == pytest.approx(power, abs=0.026)
    assert curve.over_ten == pytest.approx(curve.lowest / 10)


def test_a_loss_that_only_rises_or_is_never_finite_suggests_nothing():
    lr = np.logspace(-6, 1, 50)
    assert lr_range.Curve("", lr, lr, lr, None).steepest is None
    nothing = lr_range.Curve("", lr, lr * np.nan, lr * np.nan, lr[0])
    assert (nothing.lowest, nothing.over_ten, nothing.steepest) == (None, None, None)


# -- on networks -----------------------------------------------------------------------------------


def curves(words):
    return find(request.checked(words))


def plain_loop(overrides, lr):
    """Train a plain module with torch's optimizer at the given rates; return the losses."""
    asked = request.checked(Words(overrides))
    config = {**asked.runs[0].config, "epochs": len(lr)}
    training = Training([config], load(config), fused=False)
    network = training.stack.layers(0).train()
    optimizer = TORCHS[config["optimizer"]["name"]](network.parameters())
    losses = []
    for number, rate in enumerate(lr):
        x, target = training.batches.at(number)
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.zero_grad()
        training.stack._begin(number)
        loss = cross_entropy(training.stack.prepared(0)(x[0]), {k: t[0] for k, t in target.items()})
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


@pytest.mark.parametrize("optimizer", TORCHS)
def test_a_sweep_equals_a_plain_loop_with_torchs_optimizer(optimizer):
    overrides = [*TINY, f"optimizer={optimizer}", "dropout.dense=0.2", "norm=batch"]
    (curve,) = curves(Words([*overrides, "steps=40", "low=1e-4", "high=1"]))
    expected = plain_loop(overrides, curve.lr)
    assert len(curve.lr) >= 10
    np.testing.assert_allclose(curve.loss, expected, rtol=1e-6)


@pytest.mark.parametrize("network", [["model.hidden=[8]"], ["model.hidden=[500,250]"]])
def test_each_point_of_a_grid_equals_a_plain_loop_at_its_rate(network):
    overrides = [*TINY, *network, "optimizer=sgd"]
    settings = ["mode=grid", "points=3", "steps=10", "low=1e-3", "high=0.1"]
    (curve,) = curves(Words([*overrides, *settings]))
    np.testing.assert_allclose(curve.lr, np.geomspace(1e-3, 0.1, 3))
    expected = [plain_loop(overrides, [rate] * 10)[-1] for rate in curve.lr]
    np.testing.assert_allclose(curve.loss, expected, rtol=1e-4)


@pytest.mark.parametrize("optimizer", RULES)
def test_every_optimizer_learns_at_some_rate(optimizer):
    settings = ["mode=grid", "points=5", "steps=30", "low=1e-4", "high=1"]
    (curve,) = curves(Words([*TINY, f"optimizer={optimizer}", *settings]))
    assert np.nanmin(curve.loss) < 0.8 * curve.loss[0]


def test_arms_found_together_have_the_same_losses_as_alone():
    grid = [*TINY, "steps=15", "optimizer=sgd,adam", "seed=0,1"]
    together = curves(Words(grid, multirun=True))
    assert [c.name for c in together] == [
        *("optimizer=sgd, seed 0", "optimizer=sgd, seed 1"),
        *("optimizer=adam, seed 0", "optimizer=adam, seed 1"),
    ]
    (alone,) = curves(Words([*TINY, "steps=15", "optimizer=adam", "seed=1"]))
    np.testing.assert_allclose(together[3].loss, alone.loss, rtol=1e-4)


# -- as users call it ------------------------------------------------------------------------------


def test_the_range_test_writes_its_files_and_touches_no_record():
    record = ablate.run([*TINY, "epochs=1"])
    before = {k: v for k, v in listing(Path("results")).items() if "lr_find" not in k}
    found = ablate.lr_find([*TINY, "steps=20", "mode=sweep"])
    files = listing(Path("results"))
    folder = f"{record['config']['name']}/lr_find"
    endings = ("json", "csv", "png", "svg", "files.json")
    new = {f"{folder}/lr_find.{ending}" for ending in endings}
    assert set(files) - set(before) == new | {folder}
    assert {k: files[k] for k in before if Path("results", k).is_file()} == {
        k: v for k, v in before.items() if Path("results", k).is_file()
    }
    (arm,) = json.loads((found.folder / "lr_find.json").read_text())["arms"]
    assert arm["loss"] == found.frame["loss"].tolist()
    csv = pd.read_csv(found.folder / "lr_find.csv")
    pd.testing.assert_frame_equal(csv, found.frame, check_dtype=False)
    assert (found.folder / "lr_find.png").read_bytes()[:4] == b"\x89PNG"
    assert found.figure.axes[0].get_xlabel() == "learning rate"


def test_a_later_test_replaces_files_atomically_while_others_read_them(monkeypatch):
    monkeypatch.setattr(page.drawing, "save", lambda *_: [])
    asked = request.checked(Words(TINY))
    x = np.logspace(-3, 0, 5)
    first, second = (lr_range.Curve(asked.names[0], x, y, y, None) for y in (x, 2 * x))
    folder = page.write(asked, [first]).folder
    names = ("lr_find.json", "lr_find.csv")
    before = {name: (folder / name).read_bytes() for name in names}
    readers = {name: (folder / name).open("rb") for name in names}
    page.write(asked, [second])
    for name, reader in readers.items():
        with reader:
            assert reader.read() == before[name]
        assert (folder / name).read_bytes() != before[name]
    assert {path.name for path in folder.iterdir()} == {*names, "lr_find.files.json"}


def test_a_diverged_rate_has_no_loss_in_the_frame_and_null_in_the_file():
    settings = ["mode=grid", "points=3", "steps=20", "low=1e-2", "high=1e30"]
    found = ablate.lr_find([*TINY, "optimizer=sgd", *settings])
    assert found.frame["loss"].isna().tolist() == [False, True, True]
    (arm,) = json.loads((found.folder / "lr_find.json").read_text())["arms"]
    assert arm["loss"][1:] == [None, None]
    assert found.suggestions["diverged"][0] == pytest.approx(1e14)


def test_all_faults_of_a_request_are_reported_together():
    words = ["mod=grid", "low=-1", "lr_find.poins=3", "smoothing=1", "optimizer=adm", "seed=-1"]
    with pytest.raises(AblateError) as raised:
        ablate.lr_find(words)
    text = "\n".join(raised.value.faults)
    for part in ("'mode'", "low=-1", "'points'", "smoothing=1", "'adam'", "seed=-1"):
        assert part in text
    assert len(raised.value.faults) == 6
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optimizer=lbfgs"], "optimizer=lbfgs finds its own steps"),
        (
            ["optimizer=newton", "model=mlp", "model.hidden=[]"],
            "optimizer=newton finds its own steps",
        ),
        (["low=1", "high=0.1"], "low=1 is not below high=0.1"),
        (["points=7"], "points=7 touches nothing: mode=sweep"),
        (["mode=grid", "smoothing=0.5"], "smoothing=0.5 touches nothing: mode=grid"),
        (["mode=sweep,grid"], "names several values: mode takes one"),
        (["steps=1"], "steps=1 is not legal"),
    ],
)
def test_a_wrong_request_is_refused(words, told):
    with pytest.raises(AblateError, match=told):
        ablate.lr_find([*TINY, *words] if "newton" not in words[0] else words)


def test_arms_that_differ_only_in_the_rate_are_refused():
    with pytest.raises(
        AblateError, match=r"are the same here: .* replaced by the rates of the test"
    ):
        ablate.lr_find([*TINY, "optimizer.lr=0.1,0.2"], multirun=True)


def test_arms_can_be_written_one_by_one():
    arms = ["norm=batch optimizer=sgd", "optimizer=adam 'model.hidden=[8, 4]'"]
    found = ablate.lr_find([*TINY, "steps=5"], arms=arms)
    assert found.frame["arm"].nunique() == 2
    with pytest.raises(AblateError, match="--arm 'a \"b' cannot be parsed"):
        ablate.lr_find(TINY, arms=['a "b'])


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["-m", "norm=none,batch", "steps=10"], 0), (["mode=gird", "steps=0"], 2)],
)
def test_the_command_prints_its_suggestions_or_the_faults(arguments, status, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = called("lr-find", *TINY, *arguments)
    assert done.returncode == status
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    if status == 0:
        assert "norm=batch" in done.stdout
        assert REPLACED in done.stdout
    else:
        assert "did you mean 'grid'?" in done.stderr
        assert "steps=0" in done.stderr
        assert not Path("results").exists()


def test_a_text_plot_rises_where_its_curve_rises():
    x = np.logspace(-3, 0, 30)
    lines = text_plot.plot([(x, np.log(x)), (x, -np.log(x))], width=40, height=10).plain.split("\n")
    assert all(len(line) <= 40 for line in lines)
    rows, columns = np.array(
        [(r, line.index("●")) for r, line in enumerate(lines) if "●" in line]
    ).T
    assert (np.diff(rows) > 0).all()
    assert (np.diff(columns) < 0).all(), "the upper rows do not hold the right end"
    assert [f"1e{power}" in lines[-1] for power in (-3, -2, -1, 0)] == [True] * 4


def test_a_plot_without_finite_numbers_says_so():
    x = np.logspace(-3, 0, 3)
    assert "no finite" in text_plot.plot([(x, x * np.nan)]).plain
    assert page.draw([lr_range.Curve("a", x, x * np.nan, x * np.nan, x[0])], "grid").axes

"""Published studies agree with their files, and name no machine."""

from __future__ import annotations

import csv
import json
import platform
import re
import subprocess
from collections import Counter

import pandas as pd
import pytest
import yaml

import publish_studies
import readme_findings
import study_index
import study_runs
from ablate.analyze.verdicts import VERDICTS
from ablate.errors import AblateError
from ablate.study import study
from ablate.study.file import read_study
from ablate.study.study_json import described
from publish_studies import INDEX, PUBLISHED, main
from study_index import NOT_JUDGED, minutes
from study_runs import REPOSITORY, NotWholeError, found_below, read_runs
from tests.analyze.test_frames import write_run

if not PUBLISHED.is_dir():
    pytest.skip("nothing is published in this copy", allow_module_level=True)
TEXT = (PUBLISHED / INDEX).read_text(encoding="utf-8").replace("\\", "")
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SECTIONS = {
    name: [line[2:-2].split(" | ") for line in body.splitlines() if line.startswith("| ")][2:]
    for name, _, body in (part.partition("\n") for part in TEXT.split("\n### ")[1:])
}


# -- the index -------------------------------------------------------------------------------------


def test_the_rows_are_exactly_the_claims_of_the_shipped_studies():
    assert SECTIONS
    for name, rows in SECTIONS.items():
        assert name in study.shipped()
        claims = read_study(name).claims
        assert [row[0] for row in rows] == [claim.words for claim in claims]
        for claim, row in zip(claims, rows, strict=True):
            assert claim.source in row[3]


def test_every_shipped_study_is_listed_under_one_technique():
    placed = [name for names in study_index.TECHNIQUES.values() for name in names]
    assert sorted(placed) == study.shipped()


def test_every_source_says_what_it_measured_on():
    told = yaml.safe_load((PUBLISHED / "sources.yaml").read_text(encoding="utf-8"))
    sources = {claim.source for name in study.shipped() for claim in read_study(name).claims}
    assert set(told) == sources


def test_first_results_belong_to_present_claims():
    with (PUBLISHED / "first.csv").open(encoding="utf-8", newline="") as file:
        first = [(row["study"], row["claim"]) for row in csv.DictReader(file)]
    now = {(name, claim.words) for name in study.shipped() for claim in read_study(name).claims}
    assert len(first) == len(set(first)) == 94
    assert set(first) <= now


def test_a_claim_published_before_is_shown_with_its_first_result():
    with (PUBLISHED / "first.csv").open(encoding="utf-8", newline="") as file:
        first = {(row["study"], row["claim"]): row["verdict"] for row in csv.DictReader(file)}
    for name, rows in SECTIONS.items():
        for row in rows:
            assert row[4].partition(":")[0] == first.get((name, row[0]), "–")


def verdict_of(row):
    return row[2].partition(":")[0].strip("*")


def test_the_verdicts_are_counted_at_the_top():
    verdicts = Counter(verdict_of(row) for rows in SECTIONS.values() for row in rows)
    assert set(verdicts) <= {*VERDICTS, NOT_JUDGED}
    (told,) = re.findall(r"^\*\*(\d+) studies, (\d+) claims: (.*)\.\*\*$", TEXT, re.M)
    assert (int(told[0]), int(told[1])) == (len(SECTIONS), verdicts.total())
    counted = dict(reversed(part.split(" ", 1)) for part in re.split(r"[,;] (?=\d)", told[2]))
    assert {word: int(count) for word, count in counted.items()} == verdicts


def test_studies_that_were_not_run_are_named():
    published = {name for name in study.shipped() if (PUBLISHED / name).is_dir()}
    assert published == set(SECTIONS)
    for name in set(study.shipped()) - published:
        assert re.search(rf"not whole yet: .*\b{name}\b", TEXT)


@pytest.mark.parametrize("name", SECTIONS)
def test_the_index_agrees_with_the_report_on_each_claim(name):
    file = PUBLISHED / name / "tables" / "claims.csv"
    judged = pd.read_csv(file, dtype={"arm": str, "baseline": str})
    rows = [row for row in SECTIONS[name] if verdict_of(row) != NOT_JUDGED]
    keys = ["arm", "metric", "statistic", "baseline", "against_metric"]
    told = {tuple(row[key] for key in keys): row for row in judged.to_dict("records")}
    assert len(told) == len(rows)
    for claim, row in zip(read_study(name).claims, SECTIONS[name], strict=True):
        if verdict_of(row) == NOT_JUDGED:
            continue
        compared = (claim.arm, claim.metric, claim.statistic, claim.against, claim.against_metric)
        found = told[compared]
        (seeds,) = re.findall(r"(\d+) seeds", row[2])
        assert (verdict_of(row), int(seeds)) == (found["verdict"], found["n"])
        assert claim.direction == found["direction"]


# -- the reports -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SECTIONS)
def test_a_published_study_has_its_report_and_all_linked_files(name):
    folder = PUBLISHED / name
    page = (folder / "report.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(((?:figures|tables|frames)/[^)]+)\)", page))
    assert {link for link in linked if link.startswith("figures/")} == {
        f"figures/{file.name}" for file in (folder / "figures").iterdir()
    }
    assert all((folder / link).is_file() for link in linked)
    assert not (folder / "report.html").exists()
    assert read_study(name).question in page.replace("\\", "")


@pytest.mark.parametrize("name", SECTIONS)
def test_a_published_study_is_small(name):
    assert sum(file.stat().st_size for file in (PUBLISHED / name).rglob("*")) < 2**20


def test_nothing_published_names_a_machine_or_a_path_on_it():
    place = re.compile(r"(?<![\w.~:/])/(?:tmp|home|root|work|Users|var|mnt|srv|opt)/|[A-Z]:\\\\")
    host = re.compile(rf"\b{re.escape(platform.node())}\b") if platform.node() else None
    for file in sorted(PUBLISHED.rglob("*")):
        if file.suffix == ".parquet":
            text = pd.read_parquet(file).to_csv(index=False)
        elif file.suffix in (".md", ".html", ".csv", ".svg", ".txt", ".tex", ".jsonl"):
            text = re.sub(r"base64,[\w+/=]+", "", file.read_text(encoding="utf-8"))
        else:
            continue
        assert not place.search(text), file
        assert file.suffix not in (".md", ".csv", ".parquet") or not (host and host.search(text))


# -- the README ------------------------------------------------------------------------------------


def test_the_readme_agrees_with_the_index():
    index = (PUBLISHED / INDEX).read_text(encoding="utf-8")
    told = readme_findings.findings(index)
    assert f"{readme_findings.BEGIN}{told}{readme_findings.END}" in README, (
        "run scripts/readme_findings.py"
    )
    chosen = [claims for name, claims in readme_findings.CHOSEN.items() if name in SECTIONS]
    assert told.count("\n| [") == sum(map(len, chosen))


def test_the_claims_in_the_readme_belong_to_shipped_studies():
    for name, claims in readme_findings.CHOSEN.items():
        assert set(claims) <= {claim.words for claim in read_study(name).claims}


# -- which studies are complete --------------------------------------------------------------------

SMALL = "conv_vs_dense"  # a study of few runs


def write_study(root, name=SMALL, status="finished", lost=0, **told):
    """Write study.json and a record per run, as if trained at the commit of this checkout."""
    asked = read_study(name)
    git = ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    if not commit:
        pytest.skip("there is no history")
    runs = [(arm.name, seed) for arm in asked.arms for seed in asked.seeds_of(arm)]
    for arm, seed in runs[lost:]:
        about = {"commit": commit, "dirty": False, "device": "cpu", "data": {"digest": "d"}}
        knobs = {"seed": seed, "optimizer.lr": 0.001 + 0.001 * (arm == asked.arms[0].name)}
        place = root / name
        write_run(place, knobs, study=name, arm=arm, environment=about, status=status)
    (root / name / "study.json").write_text(
        json.dumps(described(asked, {}) | {"command": [], "unmeasured": []} | told)
    )


def test_a_study_whose_every_run_ended_is_complete(tmp_path):
    write_study(tmp_path)
    (found,), faults = found_below([tmp_path])
    assert (found.asked.name, found.scale, len(found.records), faults) == (SMALL, "quick", 24, [])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"lost": 2}, "2 of 24 runs have not ended"),
        ({"status": "running"}, "24 of 24 runs have not ended"),
        ({"margin": 0.02}, "its YAML asks for another margin today"),
        ({"claims": []}, "its YAML claims something else today"),
        ({"command": ["epochs=3"]}, "run with epochs=3, which its YAML does not say"),
    ],
)
def test_an_incomplete_study_is_named_with_the_reason(tmp_path, changes, why):
    write_study(tmp_path, **changes)
    whole, (fault,) = found_below([tmp_path])
    assert whole == []
    assert fault.startswith(f"{tmp_path / SMALL} is not whole: ")
    assert why in fault


def test_a_study_whose_file_was_not_committed_before_its_runs_is_incomplete(tmp_path, monkeypatch):
    write_study(tmp_path)
    monkeypatch.setattr(study_runs, "REPOSITORY", tmp_path)  # which is not a repository
    with pytest.raises(NotWholeError, match="where it ran, its YAML was not as it is today"):
        read_runs(tmp_path, SMALL)


def test_a_study_is_published_with_its_ledger(tmp_path, monkeypatch):
    write_study(tmp_path)
    (tmp_path / SMALL / "ledger.jsonl").write_text('{"number": 1}\n')
    ((found,), _), published = found_below([tmp_path]), tmp_path / "published"
    published.mkdir()

    def report(paths, out):
        for part in ("figures", "tables"):
            (out / part).mkdir(parents=True)
        for name in ("report.md", "report.html", "report.files.json"):
            (out / name).write_text("")
        return out, None

    monkeypatch.setattr(publish_studies, "write_report", report)
    publish_studies.publish(found, published)
    names = {path.name for path in (published / SMALL).iterdir()}
    assert names == {"figures", "tables", "report.md", "ledger.jsonl"}
    (tmp_path / SMALL / "ledger.jsonl").write_text('{"command": ["data.root=/home/me"]}\n')
    with pytest.raises(AblateError, match=rf"{SMALL}/ledger\.jsonl tells /home/me"):
        publish_studies.publish(found, published)


def test_a_study_that_is_complete_in_two_folders_is_refused(tmp_path):
    for folder in ("one", "other"):
        write_study(tmp_path / folder)
    with pytest.raises(AblateError, match=rf"{SMALL} lies whole in .*one and in .*other"):
        found_below([tmp_path / "one", tmp_path / "other"])


def test_a_folder_without_studies_is_refused_with_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"publish_studies: {tmp_path} holds no folder of a shipped study: see `ablate studies`\n"
    )


def test_minutes_of_overlapping_runs_count_once_and_gaps_do_not_count():
    times = [("10:00", "10:04"), ("10:01", "10:02"), ("10:03", "10:06"), ("11:00", "11:01")]
    day = "2026-01-01T{}:00+00:00"
    records = [{"timing": {"started": day.format(a), "finished": day.format(b)}} for a, b in times]
    assert minutes(records) == 7

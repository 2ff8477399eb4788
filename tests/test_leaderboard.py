"""The leaderboard: the same for all, made from records alone, and anyone can repeat a part of it."""

import copy
import io
import json
import time

import numpy as np
import pandas as pd
import pytest

from forget_lib.core import user_code
from forget_lib.core.errors import DataError, ForgetError
from forget_lib.datasets.registry import DATASETS, dataset
from forget_lib.study import plugins
from forget_lib.study.tuning import TRIALS
from tests.conftest import make_blobs
from workflow import leaderboard
from workflow.leaderboard import PROBLEMS, Problem, trials_of
from workflow.leaderboard_table import (
    REFERENCE,
    gaps_of,
    ranks,
    read_entries,
    read_entry,
    score_of,
    verdicts,
    worst_gaps,
    write_leaderboard,
)

SHIPPED = sorted((REFERENCE / "records").glob("*.json"))
TOY = {"class": Problem("blobs", "mlp", "class:c1", {"epochs": 6, "batch_size": 16, "learning_rate": 0.05})}


def submit(name: str, root) -> dict:
    return leaderboard.submit(name, root, problems=TOY, seeds=3)


@pytest.fixture
def records(blobs, made) -> dict[str, dict]:
    """Records of the toy problem, with its data set there to repeat them."""
    return copy.deepcopy(made)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, dict]:
    data, root = make_blobs(), tmp_path_factory.mktemp("leaderboard")
    dataset("blobs")(lambda start: data)
    try:
        return {name: submit(name, root) for name in ("retrain", "do_nothing", "mask_logit")}
    finally:
        DATASETS.pop("blobs")


def made_up(method: str, worst: list[float]) -> dict:
    runs = [{"gaps": {"forget": gap}, "status": "done", "cost": 0.1} for gap in worst]
    return {"method": method, "title": method, "problems": {"class": {"runs": runs}}}


# --- scores and ranks -------------------------------------------------------------------------------------------------


def test_gaps_are_distances_from_the_mean_of_the_retrained_models():
    references = [
        {"forget": 0.0, "attacks": [0.5, 0.6], "relearning": [0.0, 0.4]},
        {"forget": 0.2, "attacks": [0.5, 0.4], "relearning": [0.0, 0.6]},
    ]
    measured = {"forget": 1.0, "attacks": [0.5, 0.8], "relearning": [0.2, 1.0]}
    assert gaps_of(measured, references, "done") == {"forget": 0.9, "attacks": 0.3, "relearning": 0.35}
    assert gaps_of({}, references, "failed") == {"failed": 1.0}


def test_the_score_is_the_mean_of_the_worst_gaps():
    record = made_up("a", [0.1, 0.3])
    record["problems"]["class"]["runs"][0]["gaps"]["retain"] = 0.5
    assert score_of(worst_gaps(record)) == pytest.approx(0.4)


def test_clear_differences_have_narrow_ranks_and_equal_methods_wide_ones():
    near = [made_up("a", [0.1, 0.3, 0.2, 0.25]), made_up("b", [0.3, 0.1, 0.25, 0.2])]
    table = ranks([*near, made_up("far", [0.9, 0.8, 0.9, 0.8])])
    assert table.loc["far"].tolist()[1:] == [3, 3, 3]
    assert (table.loc["a", "low"], table.loc["a", "high"]) == (1, 2)


def test_records_of_other_seeds_cannot_be_ranked_together():
    with pytest.raises(ForgetError, match="other problems or seeds"):
        ranks([made_up("a", [0.1]), made_up("b", [0.1, 0.2])])


def judged(gap: float, spread: float = 0.002) -> str:
    """Verdict on a made-up method whose forget accuracy lies `gap` above the retrained model's; six pairs."""
    rows = []
    for method, above in (("retrain", 0.0), ("do_nothing", 0.5), ("mine", gap)):
        runs = []
        for seed in range(6):
            noise = spread * (seed - 2.5)
            known = {"test": 0.9, "attacks": [0.5]}
            measured = known | {"forget": 0.3 + above + (noise if method == "mine" else 0.001 * seed)}
            references = [known | {"forget": 0.3}, known | {"forget": 0.31}]
            same = {"draw": seed, "seed": seed, "status": "done", "reference": references}
            runs.append(same | {"measured": measured})
        rows.append({"method": method, "problems": {"subset": {"request": "random:0.1", "runs": runs}}})
    return verdicts(rows, "subset")["mine"]


def test_the_verdict_is_the_studys_own():
    assert judged(0.2) == "little"
    assert judged(-0.2) == "much"
    # Values that are all alike have no spread to go by, so that not even a second retrained model is shown to be equal.
    assert judged(0.02, spread=0.05) == "few"


def test_doing_nothing_ranks_last_and_hiding_the_output_is_not_retraining(records):
    table = ranks(list(records.values()))
    assert table["rank"]["do_nothing"] == 3
    hidden = records["mask_logit"]["problems"]["class"]["runs"][0]["gaps"]
    assert hidden["forget"] == 0 < max(hidden.values())


# --- submit -----------------------------------------------------------------------------------------------------------


def test_progress_is_one_line_with_problem_seed_and_time_left(monkeypatch, capsys):
    clock = iter([0.0, 60.0, 60.0, 300.0])
    monkeypatch.setattr(leaderboard.time, "monotonic", lambda: next(clock))
    progress = leaderboard.Progress(3, 5)
    progress.show(0, None)
    progress.show(0, 0)
    progress.show(0, 1)
    progress.show(1, 1)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "problem 1 of 3, tuning",
        "problem 1 of 3, seed 1 of 5, about 10 min left",
        "problem 1 of 3, seed 2 of 5, about 6 min left",
        "problem 2 of 3, seed 2 of 5, about 6 min left",
    ]


def test_lines_of_trainings_go_to_the_log_and_not_to_the_terminal(blobs, tmp_path, capsys):
    log = io.StringIO()
    leaderboard.submit("do_nothing", tmp_path, problems=TOY, seeds=2, log=log)
    assert [line.strip().split(",")[1] for line in capsys.readouterr().out.splitlines()] == [
        " tuning",
        " seed 1 of 2",
        " seed 2 of 2",
    ]
    assert "worst gap" in log.getvalue()


def test_every_method_gets_as_many_trials():
    assert all(len(trials_of(name, kind)) == TRIALS for name in ("finetune", "ssd") for kind in ("class", "subset"))


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Writes a plugin with these TRIALS; registries are as before afterwards."""
    monkeypatch.setenv(user_code.VARIABLE, "1")
    monkeypatch.setattr(plugins, "LOADED", {})

    def write(trials: str) -> str:
        (tmp_path / "mine.py").write_text(
            "from forget_lib.unlearning import method\n"
            f"TRIALS = {trials}\n"
            "@method('mine', title='Mine', paper='', uses='forget', family='mine')\n"
            "def mine(model, task, *, share: float = 0.5):\n"
            "    model.head.weight.data[list(task.classes)] *= share\n"
            "    return model\n"
        )
        return str(tmp_path / "mine.py")

    yield write
    plugins.METHODS.pop("mine", None)


def test_a_plugin_is_tuned_run_and_recorded_with_its_code(blobs, tmp_path, plugin):
    path = plugin("[{'share': share} for share in (0.9, 0.5, 0.1)]")
    record = leaderboard.submit(path, tmp_path, problems=TOY, seeds=2)
    assert len(record["code"]["sha256"]) == 64
    problem = record["problems"]["class"]
    assert [trial["settings"]["share"] for trial in problem["trials"]] == [0.9, 0.5, 0.1]
    assert problem["tuned_on"] != problem["request"]
    assert read_entry(tmp_path / "records" / "mine.json")["problems"]["class"]["runs"] == problem["runs"]
    assert "same bits" in leaderboard.verify(record, "class", 1, code=path)
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "# changed\n")
    plugins.LOADED.clear()
    plugins.METHODS.pop("mine")
    with pytest.raises(DataError, match="not the code of the record"):
        leaderboard.verify(record, "class", 1, code=path)


def test_trials_name_every_setting_so_that_their_epochs_can_be_cut(plugin):
    name, _ = leaderboard.resolve(plugin("[{}]"))
    assert trials_of(name, "class") == [{"share": 0.5}]


def test_too_many_trials_are_refused(plugin):
    name, _ = leaderboard.resolve(plugin("[{}] * 14"))
    with pytest.raises(ForgetError, match="at most 13"):
        trials_of(name, "class")


def test_a_broken_plugin_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv(user_code.VARIABLE, "1")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ForgetError, match=r"broken\.py cannot be submitted: .*ZeroDivisionError"):
        leaderboard.resolve(str(tmp_path / "broken.py"))


def test_what_does_not_apply_counts_as_doing_nothing(blobs, tmp_path):
    subset = {"subset": Problem("blobs", "mlp", "random:0.2", {"epochs": 2, "batch_size": 16})}
    hidden, nothing = (leaderboard.submit(n, tmp_path, problems=subset, seeds=1) for n in ("mask_logit", "do_nothing"))
    run = hidden["problems"]["subset"]["runs"][0]
    assert run["status"] == "not applicable"
    assert run["gaps"] == nothing["problems"]["subset"]["runs"][0]["gaps"]


def test_the_table_is_written_for_people_and_papers(records, tmp_path):
    table = write_leaderboard(list(records.values()), tmp_path)
    assert pd.read_csv(tmp_path / "leaderboard.csv")["method"].tolist() == table.index.tolist()
    text = (tmp_path / "leaderboard.tex").read_text()
    assert r"do\_nothing &" in text
    assert text.count(r"\\") == len(records) + 1
    assert text.startswith(r"\begin{tabular}{llrrrlrr}")


# --- verify -----------------------------------------------------------------------------------------------------------


def test_a_repeated_part_gives_the_same_bits_and_a_changed_record_is_found(records):
    record = records["mask_logit"]
    assert "the same bits" in leaderboard.verify(record, "class", 0)
    changed = copy.deepcopy(record)
    run = changed["problems"]["class"]["runs"][0]
    run["measured"]["retain"] = 0.0
    run["gaps"] = gaps_of(run["measured"], run["reference"], "done")
    with pytest.raises(DataError, match="retain differs"):
        leaderboard.verify(changed, "class", 0)


def test_gaps_changed_by_hand_are_found_without_repeating(records, tmp_path):
    changed = copy.deepcopy(records["do_nothing"])
    changed["problems"]["class"]["runs"][0]["gaps"]["forget"] = 0.0
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    with pytest.raises(DataError, match="changed by hand"):
        read_entry(tmp_path / "changed.json")


def test_the_same_text_draws_the_same_part(records):
    entries = list(records.values())
    assert leaderboard.drawn(entries, "2030-01-01") == leaderboard.drawn(entries[::-1], "2030-01-01")
    assert len({str(leaderboard.drawn(entries, str(text))[1:]) for text in range(20)}) > 1


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 9}', "[1]"])
def test_what_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(DataError, match="no record of the leaderboard"):
        read_entry(tmp_path / "record.json")


# --- what is shipped --------------------------------------------------------------------------------------------------


def test_the_shipped_table_is_what_its_records_give(tmp_path):
    write_leaderboard(read_entries(), tmp_path)
    for name in ("leaderboard.csv", "leaderboard.tex"):
        assert (tmp_path / name).read_text() == (REFERENCE / name).read_text(), (
            "run: python -m workflow.leaderboard table"
        )


def test_the_shipped_records_are_of_the_problems_of_today():
    for record in read_entries():
        assert list(record["problems"]) == list(PROBLEMS)
        for title, problem in PROBLEMS.items():
            stored = record["problems"][title]
            assert (stored["dataset"], stored["model"], stored["request"]) == (
                problem.dataset,
                problem.model,
                problem.request,
            )
            assert stored["recipe"] == dict(problem.recipe)


def test_retraining_is_first_and_the_controls_are_behind_it():
    table = ranks(read_entries())
    assert table.loc["retrain", "high"] == 1
    assert table.loc["do_nothing", "rank"] == len(table)
    assert table.loc["mask_logit", "score"] > table.loc["retrain", "score"] + 0.1
    assert np.isfinite(table["score"]).all()


@pytest.mark.slow
def test_a_part_drawn_today_can_be_repeated(capsys):
    today = time.strftime("%Y-%m-%d")
    record, problem, seed = leaderboard.drawn(read_entries(), today)
    with capsys.disabled():
        print(f"\nrepeating {record['method']}, {problem}, seed {seed}, drawn by {today}")
    assert record["method"] in leaderboard.verify(record, problem, seed)

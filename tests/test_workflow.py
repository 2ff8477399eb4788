"""What is run again after a change: exactly what depends on it. The jobs are stand-ins that copy their notebook."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import REPOSITORY
from forget_lib.models.recipe import make_recipe
from forget_lib.study.chosen import read_settings
from tests.faults.workflow_copy import copy_what_plans_need
from workflow import plan as planning
from workflow.config_check import checked
from workflow.plan import absent, imported_modules, library_files, planned, read_config, settings_digest, urgency

CONFIG = {
    "profile": "tiny",
    "start": "sample",
    "device": "cpu",
    "datasets": ["mnist"],
    "scenarios": {
        "mnist": {
            "notebook": "03_one",
            "dataset": "mnist",
            "model": "mlp",
            "requests": ["class:5", "random:0.1"],
            "seeds": [0, 1],
            "recipe": {"epochs": 1},
            "methods": {"finetune": {}},
        },
        "other": {
            "notebook": "04_two",
            "dataset": "cifar10",
            "model": "mlp",
            "requests": ["class:1"],
            "recipe": {"epochs": 1},
            "methods": {"finetune": {"learning_rate": 0.1}},
        },
    },
}


def plan(config: dict) -> dict[str, planning.Job]:
    return planning.plan(checked(config))


IMPORTS = {
    "00_overview": "from forget_lib.show import figures",
    "01_data": "from forget_lib import datasets",
    "02_train_baseline": "from forget_lib.tiny import trained",
    "03_one": "from forget_lib.tiny import trained\nfrom forget_lib.one import only",
    "04_two": "from forget_lib.tiny import trained",
    "08_figures": "from forget_lib.show import figures",
}
STAND_IN = """
import pathlib, sys
given = sys.argv[1:]
if given[0] == "run":
    for option in ("--output", "--page", "--log"):
        pathlib.Path(given[given.index(option) + 1]).write_text(given[given.index("--parameters") + 1])
    pathlib.Path(given[given.index("--log") + 1]).with_suffix(".ipynb").write_text("{}")
else:
    pathlib.Path(given[1], "index.html").write_text("index")
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A copy of the workflow with tiny notebooks and a library of a few lines, run once."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(REPOSITORY / "workflow", root / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    library = root / "forget_lib"
    (root / "notebooks").mkdir()
    copy_what_plans_need(root)
    (root / "workflow" / "pages" / "__main__.py").write_text(STAND_IN)
    (library / "tiny.py").write_text("from forget_lib import deep\n\ntrained = deep\n")
    (library / "show").mkdir()
    for name in ("deep", "one", "show/figures", "datasets"):
        (library / f"{name}.py").write_text("only = 1\n")
    for name, source in IMPORTS.items():
        cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
        (root / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}}))
    write_config(root, CONFIG)
    snakemake(root)
    assert waiting(root) == set()
    return root


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project, times of files included, for a test to change."""
    return shutil.copytree(finished, tmp_path / "project", symlinks=True)


def write_config(root: Path, config: dict) -> None:
    (root / "config.yaml").write_text(yaml.safe_dump(config))


def snakemake(root: Path, *options: str) -> str:
    command = [sys.executable, "-m", "snakemake", *options, "--configfile", "config.yaml"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environment(root))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def environment(root: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(root)}


def waiting(root: Path) -> set[str]:
    """The notebook jobs that a run would make now."""
    return set(re.findall(r"^Job \d+: (\S+  \S+)$", snakemake(root, "-n", "--quiet", "host"), re.MULTILINE))


LAST = {"08_figures  figures", "00_overview  overview"}
BASELINES = {f"02_train_baseline  mnist-mlp-draw0-seed{seed}" for seed in (0, 1)}
OTHER = {"02_train_baseline  cifar10-mlp-draw0-seed0", "04_two  other-class-1-draw0-seed0"}
ONE = {f"03_one  mnist-{request}-draw0-seed{seed}" for request in ("class-5", "random-0.1") for seed in (0, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("job", sorted(LAST | BASELINES | ONE))
def test_a_page_that_a_failed_run_left_out_is_made_by_the_next_though_an_index_links_the_rest(project, job):
    notebook, name = job.split()
    page = project / "results" / "tiny" / "notebooks" / notebook / f"{name}.ipynb"
    page.unlink()
    page.with_suffix(".html").unlink()
    (project / "results" / "tiny" / "index.html").touch()  # what a failed run writes at its end
    assert job in waiting(project)


@pytest.mark.slow
def test_a_changed_setting_of_a_scenario_reruns_its_notebooks_alone(project):
    config = json.loads(json.dumps(CONFIG))
    config["scenarios"]["other"]["methods"]["finetune"]["learning_rate"] = 0.2
    write_config(project, config)
    assert waiting(project) == {"04_two  other-class-1-draw0-seed0"} | LAST


@pytest.mark.slow
def test_a_changed_recipe_reruns_the_original_too(project):
    config = json.loads(json.dumps(CONFIG))
    config["scenarios"]["mnist"]["recipe"]["epochs"] = 2
    write_config(project, config)
    assert waiting(project) == BASELINES | ONE | LAST


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("forget_lib/one.py", ONE | LAST),
        ("forget_lib/deep.py", BASELINES | OTHER | ONE | LAST),
        ("forget_lib/show/figures.py", LAST),
        ("notebooks/04_two.ipynb", {"04_two  other-class-1-draw0-seed0"} | LAST),
    ],
)
def test_a_changed_file_reruns_what_depends_on_it(project, file, expected):
    path = project / file
    path.write_text(path.read_text().rstrip() + " \n# changed\n" if path.suffix == ".py" else path.read_text() + " \n")
    assert waiting(project) == expected


@pytest.mark.slow
def test_a_part_is_a_target_of_its_own_and_other_pages_stay(project):
    shutil.rmtree(project / "results")
    jobs = re.findall(r"^Job \d+: (\S+  \S+)$", snakemake(project, "part_other", "-n", "--quiet", "host"), re.MULTILINE)
    assert set(jobs) == OTHER


def test_jobs_come_after_what_they_need():
    jobs = plan(CONFIG)
    seen: set[str] = set()
    for key, job in jobs.items():
        assert set(job.after) <= seen
        seen.add(key)
    about_all = {"08_figures/figures", "00_overview/overview"}
    assert set(jobs["00_overview/overview"].after) == set(jobs) - about_all
    assert set(jobs["08_figures/figures"].after) == set(jobs) - about_all - {"01_data/data"}


def test_long_jobs_start_first_and_what_no_figure_waits_for_is_left_for_the_end():
    jobs = plan(CONFIG)
    order = sorted(jobs, key=urgency(jobs).__getitem__, reverse=True)
    assert order[:2] == ["04_two/other-class-1-draw0-seed0", "02_train_baseline/cifar10-mlp-draw0-seed0"]
    assert order[-3:] == ["00_overview/overview", "08_figures/figures", "01_data/data"]
    assert len(set(urgency(jobs).values())) == len(jobs)


def test_scenarios_with_one_recipe_share_their_original():
    config = json.loads(json.dumps(CONFIG))
    config["scenarios"]["again"] = config["scenarios"]["mnist"] | {"requests": ["class:7"]}
    baselines = [job for job in plan(config).values() if job.notebook == "02_train_baseline"]
    assert len(baselines) == 3
    config["scenarios"]["again"]["shared_original"] = False
    assert len([job for job in plan(config).values() if job.notebook == "02_train_baseline"]) == 3


def test_a_scenario_whose_data_are_not_there_is_left_out_with_a_line_and_the_rest_goes_on(monkeypatch, tmp_path):
    monkeypatch.setenv("FORGET_DATA", str(tmp_path))
    config = read_config("workflow/config/study.yaml", runs=1)
    (line,) = absent(config)
    assert line.startswith("mufac is left out")
    assert "./run_all.sh data mufac" in line
    without = set(planning.plan(config))
    assert not [key for key in without if "mufac_clean" in key]
    with pytest.raises(ForgetError, match="mufac is left out"):
        planned("workflow/config/study.yaml", ["mufac"])
    (tmp_path / "mufac").mkdir()
    assert absent(config)
    (tmp_path / "mufac" / "custom_train_dataset.csv").write_text("")
    assert absent(config) == []
    added = set(planning.plan(config)) - without
    assert "02_train_baseline/mufac_clean-small_resnet-draw0-seed0" in added
    assert len([key for key in added if key.startswith("05_unlearn_mufac/mufac-")]) == 6


def test_a_config_with_a_key_that_nothing_reads_is_refused():
    with pytest.raises(ForgetError, match="Did you mean 'scenarios'"):
        plan(CONFIG | {"scenario": {}})
    config = json.loads(json.dumps(CONFIG))
    config["scenarios"]["mnist"]["method"] = {}
    with pytest.raises(ForgetError, match="Did you mean 'methods'"):
        plan(config)
    with pytest.raises(ForgetError, match="profile is missing"):
        plan({})


@pytest.mark.fault("The wrong data: file names, numbers, commas")
def test_names_of_a_request_may_stand_in_a_list_and_each_request_gets_a_page():
    config = copy.deepcopy(CONFIG)
    config["scenarios"]["mnist"] |= {
        "seeds": [0],
        "requests": ["class:Möller", "class:Müller", {"class": ["a, b", "c"]}],
    }
    jobs = [job for key, job in plan(config).items() if key.startswith("03_one/")]
    assert [job.parameters["request"] for job in jobs] == ["class:Möller", "class:Müller", 'class:["a, b", "c"]']
    assert len({job.name for job in jobs}) == 3
    config["scenarios"]["mnist"]["requests"] = [{"class": [10]}]
    with pytest.raises(ForgetError, match="in quotes"):
        plan(config)


WRONG = [
    (
        {"recipe": {"epochs": 1, "learning_rate": "1e-3"}},
        r"is '1e-3', which is text \(write 1\.0e-3\)",
    ),
    (
        {"recipe": {"epochs": 2.5, "known": "no"}},
        r"epochs of the recipe is 2\.5.*\n.*is 'no', which is text",
    ),
    ({"recipe": {"momentum": 1.5}}, "momentum of the recipe is 1.5; expected a number from 0 to below 1"),
    ({"seeds": ["1e0"]}, r"seeds holds '1e0', which is text \(write 1\); expected a list of a whole number"),
    ({"seeds": ["x"], "groups": "2"}, r"scenarios\.mnist\.groups is '2'.*\n.*scenarios\.mnist\.seeds holds 'x'"),
    ({"draws": [0], "paired": True}, r"line \d+: scenarios\.mnist is paired, but has 1 draws and 2 seeds"),
    ({"parameters": {"pool": {"samples": 8}}}, r"scenarios\.mnist\.parameters\.pool\.evaluation is missing"),
    ({"notebook": "../x", "part": "a b"}, r"notebook is '\.\./x'; expected .*letters, digits and _.*\n.*part is 'a b'"),
    (
        {"methods": {"finetune": {"learning_rate": "1e-3"}}},
        r"Method finetune: learning_rate is '1e-3'.*write 1\.0e-3",
    ),
    (
        {"methods": {"finetune": {"epochs": "1"}, "tune": {}}},
        r"is '1', which is text.*\n.*Unknown method 'tune'",
    ),
    (
        {"methods": {"finetune": {"epoch": 1, "learning_rate": -1}}},
        r"is -1; expected.*\n.*Did you mean 'epochs'",
    ),
]


@pytest.mark.fault("Recipes and settings of a wrong type or range")
@pytest.mark.parametrize(("change", "words"), WRONG)
def test_wrong_values_are_all_refused_before_anything_runs(tmp_path, change, words):
    config = copy.deepcopy(CONFIG)
    config["scenarios"]["mnist"] |= change
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ForgetError, match=words):
        planned(str(tmp_path / "config.yaml"))


@pytest.mark.fault("Recipes and settings of a wrong type or range")
def test_the_recipes_of_all_configs_keep_the_types_and_values_that_are_written():
    written = 0
    for path in (REPOSITORY / "workflow" / "config").glob("*.yaml"):
        for scenario in (yaml.safe_load(path.read_text()).get("scenarios") or {}).values():
            for name, value in scenario.get("recipe", {}).items():
                assert repr(getattr(make_recipe(scenario["recipe"]), name)) == repr(value)
                written += 1
    assert written > 100


def test_a_notebook_depends_on_what_it_imports_and_not_on_all():
    files = library_files("01_data")
    assert "forget_lib/datasets/image_data.py" in files
    assert "workflow/pages/page.py" not in files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["workflow/config/smoke.yaml", "mnst"], "Did you mean 'mnist'"),
        (["tests/no_such.yaml"], "No such file"),
    ],
)
def test_a_wrong_part_or_config_is_one_message(arguments, message):
    command = [sys.executable, "-m", "workflow.plan", *arguments]
    by_hand = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=by_hand)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_new_tuned_settings_rerun_the_scenarios_that_read_them(project):
    path = project / "workflow" / "config" / "settings" / "mnist-mlp-class.yaml"
    path.write_text(path.read_text() + "\n")
    assert waiting(project) == set()
    path.write_text(path.read_text() + "methods: {finetune: {epochs: 7}}\n")  # the last of two keys counts
    assert waiting(project) == ONE | LAST


def test_methods_in_groups_are_jobs_of_their_own_between_the_retrained_models_and_the_page():
    config = copy.deepcopy(CONFIG)
    config["scenarios"]["mnist"] |= {"methods": {"finetune": {}, "salun": {}, "ssd": {}}, "groups": 2, "seeds": [0]}
    config["scenarios"]["mnist"]["requests"] = ["class:5"]
    found = {job.name: job for job in plan(config).values() if job.notebook == "03_one"}
    whole = "mnist-class-5-draw0-seed0"
    assert list(found) == [f"{whole}-retrained", f"{whole}-group1", f"{whole}-group2", whole]
    assert found[f"{whole}-retrained"].parameters["methods"] == {}
    assert [list(found[f"{whole}-group{n}"].parameters["methods"]) for n in (1, 2)] == [["finetune", "ssd"], ["salun"]]
    assert found[f"{whole}-group1"].after == (found[f"{whole}-retrained"].key,)
    assert found[whole].after == (found[f"{whole}-group1"].key, found[f"{whole}-group2"].key)
    assert list(found[whole].parameters["methods"]) == ["finetune", "salun", "ssd"]


def test_fewer_runs_are_the_first_of_all_runs():
    config = copy.deepcopy(CONFIG) | {"claims": {"seeds": [3, 4, 5]}}
    config["scenarios"]["mnist"] |= {"seeds": [7, 8, 9], "draws": [0, 1, 2], "paired": True}
    config["scenarios"]["other"]["parameters"] = {"in_turn": 10}
    whole, first = plan(config), plan(config | {"runs": 2})
    every = {key for key, job in whole.items() if job.part == "mnist"}
    kept = {key for key, job in first.items() if job.part == "mnist"}
    assert kept < every
    assert {first[key].parameters["seed"] for key in kept} == {7, 8}
    assert all(first[key] == whole[key] for key in kept), "a later run with all of them finds these done"
    assert next(job for job in first.values() if job.part == "claims").parameters["seeds"] == [3, 4]
    assert next(job for job in first.values() if job.notebook == "04_two").parameters["in_turn"] == 2


@pytest.mark.parametrize("runs", [0, -1])
def test_no_runs_are_refused(runs):
    with pytest.raises(ForgetError, match="at least 1"):
        plan(CONFIG | {"runs": runs})


def test_groups_below_one_are_refused():
    config = copy.deepcopy(CONFIG)
    config["scenarios"]["mnist"]["groups"] = 0
    with pytest.raises(ForgetError, match="at least 1"):
        plan(config)


def test_shards_of_a_pool_come_before_all_that_needs_the_pool():
    config = copy.deepcopy(CONFIG)
    pool = {"samples": 80, "evaluation": 8, "number": 6}
    given = {"methods": {"finetune": {}, "ssd": {}}, "groups": 2, "shards": 3, "seeds": [0], "requests": ["class:5"]}
    config["scenarios"]["mnist"] |= given | {"parameters": {"pool": pool}}
    found = {job.name: job for job in plan(config).values() if job.notebook in ("03_one", "07a_train_references")}
    whole = "mnist-class-5-draw0-seed0"
    shards = [f"{whole}-shard{number}" for number in (1, 2, 3)]
    assert list(found) == [*shards, f"{whole}-retrained", f"{whole}-group1", f"{whole}-group2", whole]
    assert [found[name].parameters["pool"]["shard"] for name in shards] == [[0, 3], [1, 3], [2, 3]]
    assert {found[name].notebook for name in shards} == {"07a_train_references"}
    assert not any("methods" in found[name].parameters for name in shards)
    assert set(found[f"{whole}-retrained"].after) >= {found[name].key for name in shards}
    assert found[f"{whole}-retrained"].ready == ("references",)
    assert found[f"{whole}-group1"].ready == ("references", "retrained")
    assert found[f"{whole}-group1"].parameters["pool"] == pool
    assert found[whole].ready == ("references", "retrained", "methods")
    assert found[whole].parameters["pool"] == pool


def test_shards_of_a_pool_that_scores_samples_leave_the_other_pool_to_the_job_itself():
    config = copy.deepcopy(CONFIG)
    pool = {"samples": 80, "evaluation": 8, "number": 6, "request": "most_memorised"}
    config["scenarios"]["mnist"] |= {"shards": 2, "seeds": [0], "requests": ["class:5"], "parameters": {"pool": pool}}
    found = {job.name: job for job in plan(config).values() if job.notebook == "03_one"}
    assert found["mnist-class-5-draw0-seed0"].ready == ()


@pytest.mark.parametrize(("shards", "pool"), [(0, {"number": 6}), (4, {"number": 6}), (9, {}), (2, None)])
def test_more_shards_than_pairs_of_references_are_refused(shards, pool):
    config = copy.deepcopy(CONFIG)
    sizes = {"samples": 80, "evaluation": 8}
    config["scenarios"]["mnist"] |= {"shards": shards, "parameters": {} if pool is None else {"pool": sizes | pool}}
    with pytest.raises(ForgetError, match="half the number"):
        plan(config)


def test_a_job_asks_for_what_its_scenario_needs():
    config = copy.deepcopy(CONFIG)
    config["scenarios"]["mnist"]["resources"] = {"gpu": 1, "runtime": 30}
    found = plan(config)
    assert {tuple(job.resources.values()) for job in found.values() if job.part == "mnist"} == {(4000, 30, 1)}
    assert {tuple(job.resources.values()) for job in found.values() if job.part == "other"} == {(4000, 240, 0)}


def test_a_resource_that_nothing_reads_is_refused():
    config = copy.deepcopy(CONFIG)
    config["scenarios"]["mnist"]["resources"] = {"gpus": 1}
    with pytest.raises(ForgetError, match="Did you mean 'gpu'"):
        plan(config)


PLUGIN = """
from forget_lib.attacks import AttackInput, attack
from forget_lib.unlearning import method

@method("of_a_plugin", title="Mine", paper="", uses="forget", family="mine")
def of_a_plugin(model, task):
    return model
"""


def test_a_plugin_stands_in_every_scenario_after_one_line(tmp_path, monkeypatch):
    from forget_lib.core import user_code
    from forget_lib.study import plugins

    (tmp_path / "mine.py").write_text(PLUGIN)
    config = CONFIG | {"plugins": [str(tmp_path / "mine.py")]}
    monkeypatch.delenv(user_code.VARIABLE, raising=False)
    with pytest.raises(ForgetError, match="--trust-code"):
        plan(config)
    monkeypatch.setenv(user_code.VARIABLE, "1")
    monkeypatch.setattr(plugins, "LOADED", {})
    try:
        jobs = [job for job in plan(config).values() if "methods" in job.parameters]
        assert jobs
        assert all("of_a_plugin" in job.parameters["methods"] for job in jobs)
    finally:
        plugins.METHODS.pop("of_a_plugin", None)


def test_a_broken_plugin_is_named_and_the_plan_goes_on(tmp_path, monkeypatch, capsys):
    from forget_lib.core import user_code
    from forget_lib.study import plugins

    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.setenv(user_code.VARIABLE, "1")
    monkeypatch.setattr(plugins, "LOADED", {})
    assert plan(CONFIG | {"plugins": [str(tmp_path / "broken.py")]}) == plan(CONFIG)
    assert "plugin broken.py: not used" in capsys.readouterr().out


@pytest.mark.fault("Two data sets or nets of one name")
def test_data_sets_of_ones_own_with_one_name_and_one_model_have_pages_of_their_own():
    sites = {
        site: CONFIG["scenarios"]["other"] | {"dataset": f"own:/{site}/images", "model": f"/{site}/nets.py:make"}
        for site in ("a", "b")
    }
    pages = [key for key in plan(CONFIG | {"scenarios": sites}) if key.startswith("02_train_baseline/images_")]
    assert len(pages) == 2


@pytest.mark.fault("Two data sets or nets of one name")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": {"epochs": 9}}, "mnist, mlp, draw 0, seed 0.*recipe"),
        ({"methods": {"finetune": {"epochs": 2}}}, "class:5, finetune.*settings"),
        ({"attacks": []}, "class:5, finetune.*attacks"),
    ],
)
def test_two_scenarios_that_would_write_one_record_are_refused(change, words):
    scenarios = CONFIG["scenarios"] | {"again": CONFIG["scenarios"]["mnist"] | change}
    with pytest.raises(ForgetError, match=f"mnist and again.*{words}"):
        plan(CONFIG | {"scenarios": scenarios})


@pytest.mark.fault("Two data sets or nets of one name")
def test_settings_tuned_on_own_data_are_looked_for_by_their_name_and_any_checksum(tmp_path, monkeypatch):
    monkeypatch.setattr("workflow.plan.FOLDER", tmp_path)
    (tmp_path / "mnist-mlp-class.yaml").write_text("methods: {finetune: {epochs: 3}}")
    job = next(iter(plan(CONFIG).values()))
    own = replace(job, parameters={"methods": {}, "dataset": "own:/a/mnist", "model": "mlp"})
    none = settings_digest(own)
    assert none != settings_digest(replace(job, parameters=own.parameters | {"dataset": "mnist"}))
    (tmp_path / "mnist-01234567-mlp-class.yaml").write_text("methods: {finetune: {epochs: 2}}")
    assert settings_digest(own) != none


def test_a_page_is_made_again_where_the_settings_chosen_for_its_methods_have_changed(tmp_path, monkeypatch):
    monkeypatch.setattr("workflow.plan.FOLDER", tmp_path)
    jobs = plan(CONFIG | {"claims": {"seeds": [0]}})
    page = next(job for job in jobs.values() if "methods" in job.parameters and job.parameters["dataset"] == "mnist")
    claims, data = jobs["11_published_claims/claims"], replace(page, parameters={})
    digests = {"": [settings_digest(job) for job in (page, claims)]}
    for name, text in (
        ("one", "{methods: {finetune: {epochs: 3}}, trials: {}}"),
        ("other trials", "{methods: {finetune: {epochs: 3}}, trials: {finetune: []}}"),
        ("other settings", "{methods: {finetune: {epochs: 2}}, trials: {}}"),
    ):
        (tmp_path / f"mnist-{page.parameters['model']}-class.yaml").write_text(text)
        read_settings.cache_clear()
        digests[name] = [settings_digest(job) for job in (page, claims)]
    assert digests["one"] == digests["other trials"]
    for number in range(2):
        assert len({each[number] for each in digests.values()}) == 3
    assert settings_digest(data) == ""


def test_a_page_depends_on_what_its_notebook_imports_and_not_on_all_methods():
    modules = imported_modules("forget_lib.unlearning.uniform_kl")
    assert "forget_lib.unlearning.common" in modules
    assert "forget_lib.models.train" in modules
    assert "forget_lib.unlearning.scrub" not in modules

"""The one entry: what it says, what it refuses, and that the oldest Bash in use can read it."""

import ast
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from forget_lib.core.paths import REPOSITORY
from forget_lib.deletion.request import read_request
from workflow.config_check import read_config

sys.path.append(str(REPOSITORY / "workflow"))
import environment
import progress

SCRIPT = REPOSITORY / "run_all.sh"
COMMANDS = [
    "quick",
    "smoke",
    "study",
    "paper",
    "new",
    "test",
    "lab",
    "demo",
    "forget",
    "submit",
    "verify",
    "data",
    "clean",
    "help",
]


def run(*arguments: str, cwd=REPOSITORY, script=SCRIPT) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", str(script), *arguments], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_fits_a_screen_and_names_every_command(word):
    done = run(word)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    assert all(re.search(rf"^  {command}\b", done.stdout, re.MULTILINE) for command in COMMANDS)


@pytest.mark.parametrize(
    ("word", "meant"), [("smok", "smoke"), ("qick", "quick"), ("stdy", "study"), ("tests", "test")]
)
def test_an_unknown_word_is_refused_with_the_nearest_one(word, meant):
    done = run(word)
    assert done.returncode != 0
    assert f"'{meant}'" in done.stderr
    assert all(command in done.stderr for command in COMMANDS)


@pytest.mark.parametrize(
    ("notebook", "arguments"), [("09_face_demo", ["demo"]), ("10_deletion_request", ["forget", "class:5"])]
)
def test_what_is_not_part_of_this_version_says_so(notebook, arguments, tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    done = run(*arguments, cwd=tmp_path, script=tmp_path / "run_all.sh")
    assert done.returncode != 0
    assert "not part of this version" in done.stderr
    assert notebook in done.stderr


@pytest.mark.fault("clean through links; paths from other folders")
@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["forget", "my.yaml"], ["workflow.deletion run my.yaml"]),
        (["purge", "answer"], ["workflow.deletion purge answer"]),
        (["submit", "my_method.py"], ["workflow.leaderboard submit my_method.py"]),
        (["verify", "answer"], ["workflow.deletion verify answer"]),
        (["verify", "answer/report.json"], ["workflow.deletion verify answer/report.json"]),
        (["verify", "record"], ["workflow.leaderboard verify record"]),
        (["data", "own:faces"], ["own:faces"]),
    ],
)
def test_paths_on_the_command_line_are_relative_to_where_the_user_stands(tmp_path, arguments, called):
    """-P: a file of the user's that is named as a module is none."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "10_deletion_request.ipynb").touch()
    (tmp_path / "python").write_text('#!/bin/sh\nprintf "%s: %s\\n" "$PWD" "$*"\n')
    (tmp_path / "python").chmod(0o755)
    stub = f"use_environment() {{ PYTHON={tmp_path}/python; }}\n# --- checks before a run"
    (tmp_path / "run_all.sh").write_text(SCRIPT.read_text().replace("# --- checks before a run", stub))
    here = tmp_path / "here"
    (here / "answer").mkdir(parents=True)
    (here / "answer" / "report.json").write_text('{\n "kind": "forget deletion report",\n "schema": 1\n}')
    (here / "record").mkdir()
    (here / "record" / "report.json").write_text('{"kind": "leaderboard"}')
    done = run(*arguments, cwd=here, script="../run_all.sh")
    start = "-P -" if arguments[0] == "data" else "-P -m"
    assert done.stdout.splitlines() == [f"{here}: {start} {each}" for each in called]


def test_every_module_that_it_runs_can_be_run():
    named = set(re.findall(r"(?:as_user|-m) ((?:forget_lib|workflow|tests)[.\w]*)", SCRIPT.read_text()))
    assert len(named) >= 4
    for name in named:
        base = REPOSITORY.joinpath(*name.split("."))
        assert base.with_suffix(".py").is_file() or (base / "__main__.py").is_file(), name


def test_new_writes_a_request_where_the_user_stands_and_never_over_a_file(tmp_path):
    done = run("new", "request", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    request = read_request(tmp_path / "request.yaml")
    assert request["forget"] == "class:5"
    schema = (tmp_path / "request.yaml").read_text(encoding="utf-8").splitlines()[0].split("$schema=")[1]
    assert (tmp_path / schema).is_file()
    (tmp_path / "request.yaml").write_text("mine", encoding="utf-8")
    again = run("new", "request", cwd=tmp_path)
    assert again.returncode != 0
    assert "is already there" in again.stderr
    assert (tmp_path / "request.yaml").read_text(encoding="utf-8") == "mine"


def test_new_writes_a_config_where_configs_are_run_from(tmp_path):
    (tmp_path / "workflow/config").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "workflow/templates", tmp_path / "workflow/templates")
    shutil.copytree(REPOSITORY / "workflow/config/schemas", tmp_path / "workflow/config/schemas")
    script = shutil.copy(SCRIPT, tmp_path)
    assert run("new", "config", cwd=tmp_path, script=script).returncode == 0
    written = tmp_path / "workflow/config/mine.yaml"
    assert list(read_config(written).scenarios) == ["digits"]
    assert (written.parent / written.read_text(encoding="utf-8").splitlines()[0].split("$schema=")[1]).is_file()
    assert "is already there" in run("new", "config", cwd=tmp_path, script=script).stderr


@pytest.mark.parametrize("arguments", [[], ["recipe"], [""]])
def test_new_says_what_it_can_write(arguments, tmp_path):
    done = run("new", *arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert "request or config" in done.stderr
    assert not list(tmp_path.iterdir())


def test_clean_keeps_the_reference_and_the_data(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    for folder in ("results/quick/notebooks", "results/reference/quick", "data/mnist"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "results/README.md").touch()
    assert run("clean", script=tmp_path / "run_all.sh").returncode == 0
    assert not (tmp_path / "results/quick").exists()
    for kept in ("results/reference/quick", "results/README.md", "data/mnist"):
        assert (tmp_path / kept).exists()


@pytest.mark.fault("Answers overwritten, ledger entries confused, whole records called damaged")
def test_clean_keeps_answers_to_deletion_requests_until_they_are_named(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    kept = [tmp_path / "results/forget" / name for name in ("ledger.jsonl", "ledger.key", "person/report.json")]
    kept[-1].parent.mkdir(parents=True)
    for path in kept:
        path.touch()
    (tmp_path / "results/quick").mkdir()
    done = run("clean", script=tmp_path / "run_all.sh")
    assert not (tmp_path / "results/quick").exists()
    assert all(path.is_file() for path in kept)
    assert "Kept results/forget" in done.stdout
    assert "./run_all.sh clean forget" in done.stdout
    done = run("clean", "forget", script=tmp_path / "run_all.sh")
    assert (done.returncode, done.stdout) == (0, "Removed results/forget\n")
    assert not (tmp_path / "results/forget").exists()
    assert "results/forget" not in run("clean", script=tmp_path / "run_all.sh").stdout


@pytest.fixture
def places(tmp_path):
    """A checkout with results, and a folder of the user's own, which has results too and the same name."""
    for folder in ("checkout/forget", "own/forget"):
        (tmp_path / folder / "results" / "precious").mkdir(parents=True)
        (tmp_path / folder / "results" / "precious" / "data.csv").write_text("years of work")
    shutil.copy(SCRIPT, tmp_path / "checkout" / "forget")
    return tmp_path


def cleaned(places) -> tuple[bool, bool]:
    """Whether the results of the checkout, and those of the user's own folder, are gone."""
    checkout, own = (places / folder / "forget" / "results" / "precious" for folder in ("checkout", "own"))
    return not checkout.exists(), not own.exists()


@pytest.mark.fault("clean through links; paths from other folders")
def test_clean_through_a_link_cleans_the_checkout_and_not_the_folder_of_the_link(places):
    (places / "own/forget/first.sh").symlink_to("../../checkout/forget/run_all.sh")
    (places / "own/forget/run_all.sh").symlink_to("first.sh")
    assert run("clean", cwd=places / "own/forget", script="./run_all.sh").returncode == 0
    assert cleaned(places) == (True, False)


@pytest.mark.fault("clean through links; paths from other folders")
def test_clean_goes_where_the_script_lies_whatever_cdpath_says(places, monkeypatch):
    monkeypatch.setenv("CDPATH", str(places / "own"))
    assert run("clean", cwd=places / "checkout", script="forget/run_all.sh").returncode == 0
    assert cleaned(places) == (True, False)


@pytest.mark.fault("clean through links; paths from other folders")
def test_clean_removes_a_link_among_the_results_and_not_what_it_leads_to(places):
    (places / "checkout/forget/results/linked").symlink_to(places / "own/forget/results")
    assert run("clean", script=places / "checkout/forget/run_all.sh").returncode == 0
    assert not (places / "checkout/forget/results/linked").is_symlink()
    assert cleaned(places) == (True, False)


@pytest.mark.fault("clean through links; paths from other folders")
def test_it_keeps_the_folder_that_the_user_stands_in(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    stub = 'usage() { printf "%s|%s" "$FORGET_FROM" "$PWD"; }\nmain ${arguments'
    (tmp_path / "run_all.sh").write_text(SCRIPT.read_text().replace("main ${arguments", stub))
    (tmp_path / "here").mkdir()
    said = run("help", cwd=tmp_path / "here", script="../run_all.sh").stdout
    assert said == f"{tmp_path / 'here'}|{tmp_path}"


STUB_PYTHON = """#!/usr/bin/env bash
case "$*" in
    "-c "*) exit 0 ;;
    "-m pip install"*) printf '%s\\n' "$@" > asked.txt; exit 3 ;;
    *) echo "one==1" ;;
esac
"""


@pytest.mark.fault("Settings of the user's account, long TMPDIR, pip, the commit of another repository")
def test_settings_of_pip_for_the_users_account_do_not_move_packages_out_of_the_environment(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    for name in ("requirements.txt", "requirements.lock", "workflow/config/smoke.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(STUB_PYTHON)
    python.chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "dirname", "basename", "cksum", "cut", "df", "awk", "cat"):  # without uv
        (tools / tool).symlink_to(shutil.which(tool))
    command = ["bash", str(tmp_path / "run_all.sh"), "smoke"]
    done = subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True, check=False)
    assert "could not be installed" in done.stderr, done.stderr
    options = (tmp_path / "asked.txt").read_text().splitlines()
    assert "--no-user" in options
    assert options[options.index("--target") + 1] == ""
    assert options[options.index("--prefix") + 1] == str(tmp_path / ".venv")


@pytest.mark.fault("Settings of the user's account, long TMPDIR, pip, the commit of another repository")
@pytest.mark.parametrize(
    ("options", "served"),
    [
        ([], True),
        (["--cores", "2"], True),
        (["--executor", "local"], True),
        (["--executor", "slurm"], False),
        (["--executor=slurm"], False),
        (["-e", "slurm"], False),
        (["--profile", "slurm"], False),
        (["--workflow-profile", "workflow/profiles/slurm"], False),
    ],
)
def test_kernels_are_served_where_jobs_run_here_and_not_where_a_cluster_starts_them(options, served, tmp_path):
    (tmp_path / "workflow/config").mkdir(parents=True)
    (tmp_path / "workflow/config/tiny.yaml").touch()
    stub = (
        "use_environment() { PYTHON=true; }; check_results() { :; }; take_turn() { :; }\n"
        "warm_kernels() { say served; }\nmain ${arguments"
    )
    (tmp_path / "run_all.sh").write_text(SCRIPT.read_text().replace("main ${arguments", stub))
    said = run("tiny", *options, script=tmp_path / "run_all.sh").stdout
    assert "Done." in said
    assert ("served" in said.splitlines()) == served


def test_bash_reads_it():
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0


@pytest.mark.parametrize(
    "newer",
    [
        r"declare -A",
        r"local -n",
        r"\$\{[A-Za-z_]+(,,|\^\^|@[A-Z])",
        r"\bmapfile\b",
        r"\breadarray\b",
        r"\|&",
        r"&>>",
        r"\bcoproc\b",
        r";;&",
    ],
)
def test_nothing_newer_than_bash_3_2_is_used(newer):
    assert not re.search(newer, SCRIPT.read_text())


def test_a_file_in_place_of_the_results_folder_is_one_clear_message(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    shutil.copytree(REPOSITORY / "workflow", tmp_path / "workflow")
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "results").write_text("in the way")
    text = SCRIPT.read_text().replace("    use_environment requirements.txt\n    check_results", "    check_results")
    (tmp_path / "run_all.sh").write_text(text)
    done = run("smoke", cwd=tmp_path, script=tmp_path / "run_all.sh")
    assert done.returncode != 0
    assert "Cannot write to results/smoke" in done.stderr


def test_conda_installs_the_same_file_as_pip():
    assert yaml.safe_load((REPOSITORY / "environment.yml").read_text()) == {
        "dependencies": ["python=3.11", "pip", {"pip": ["-r requirements.lock"]}]
    }


def test_this_environment_has_what_the_requirements_ask_for():
    assert environment.problems(REPOSITORY / "requirements-test.txt") == []


def test_a_missing_or_old_package_is_named(tmp_path):
    (tmp_path / "more.txt").write_text("no-such-package-here>=1  # why\n")
    (tmp_path / "asked.txt").write_text('-r more.txt\npytest<1\nnumpy; sys_platform == "nowhere"\n')
    found = environment.problems(tmp_path / "asked.txt")
    assert len(found) == 2
    assert found[0] == "no-such-package-here is missing"
    assert found[1].startswith("pytest is ")


RUN_BY_NAME = {"jupyterlab", "voila", "snakemake", "snakemake-executor-plugin-slurm", "ipykernel"}
"""Required packages that are commands, or looked up by name."""


def imported() -> set[str]:
    """Top-level modules that the library and the workflow import, but their own and Python's."""
    files = [*(REPOSITORY / "forget_lib").rglob("*.py"), *(REPOSITORY / "workflow").rglob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    own = {"forget_lib", "workflow", *(file.stem for file in (REPOSITORY / "workflow").glob("*.py"))}
    return {name.partition(".")[0] for name in names} - own - sys.stdlib_module_names


def test_what_is_imported_is_required_and_what_is_required_is_used():
    optional = {"huggingface_hub"}  # one of several sources of one data set, which asks for it by name
    required = {
        canonicalize_name(Requirement(each).name) for each in environment.requirements(REPOSITORY / "requirements.txt")
    }
    packages = metadata.packages_distributions()
    used = {canonicalize_name(packages.get(name, [name])[0]) for name in imported() - optional}
    assert used - required == set(), "imported, but not required"
    assert required - used - RUN_BY_NAME == set(), "required, but not used"
    assert optional <= imported()


LOCKS = ("requirements", "requirements-test")


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_pins_everything_with_hashes_and_names_no_host(name):
    lock = REPOSITORY / f"{name}.lock"
    text = lock.read_text()
    entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert [
        each for each in entries if not re.match(r"[a-z0-9.-]+==\S+ .*\\\n(    --hash=sha256:[0-9a-f]{64}\b)", each)
    ] == []
    assert "://" not in text
    pinned = {each.partition("==")[0] for each in entries}
    direct = [
        canonicalize_name(Requirement(each).name) for each in environment.requirements(REPOSITORY / f"{name}.txt")
    ]
    assert set(direct) <= pinned
    assert len(direct) < len(pinned)


def test_both_locks_pin_the_same_versions():
    study, tests = (
        {text.split(" ")[0] for text in environment.requirements(REPOSITORY / f"{name}.lock")} for name in LOCKS
    )
    assert study <= tests


def test_the_lock_is_complete_for_what_is_installed_here():
    """It is installed without resolving, so what its packages ask for must stand in it; extras are followed too."""
    locked = {}
    for text in environment.requirements(REPOSITORY / "requirements-test.lock"):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            locked[canonicalize_name(requirement.name)] = requirement.specifier
    todo = [Requirement(text) for text in environment.requirements(REPOSITORY / "requirements-test.txt")]
    seen = set()
    while todo:
        asked = todo.pop()
        name = canonicalize_name(asked.name)
        assert name in locked, asked
        for extra in {"", *asked.extras}:
            here = metadata.version(name)
            if (name, extra) in seen or not locked[name].contains(here, prereleases=True):
                continue  # an environment of the user's own may have other versions, which ask for other packages
            seen.add((name, extra))
            todo += [
                each
                for each in map(Requirement, metadata.requires(name) or [])
                if each.marker is None or each.marker.evaluate({"extra": extra})
            ]
    assert len(seen) > 50


@pytest.mark.parametrize(
    ("here", "left_out"),
    [(None, False), ("2.0", False), ("2.0+cpu", True), ("1.9+cpu", False)],
    ids=["none", "of PyPI", "a CPU build", "an old CPU build"],
)
def test_a_build_of_pytorch_that_is_there_gets_no_cuda(here, left_out, tmp_path, monkeypatch):
    def version(_name):
        if here is None:
            raise metadata.PackageNotFoundError
        return here

    monkeypatch.setattr(environment.metadata, "version", version)
    lock, hashed = tmp_path / "a.lock", " \\\n    --hash=sha256:0\n"
    names = ("nvidia-x==1", "six==1", "torch==2.0", "triton==3")
    lock.write_text("# made\n" + "".join(name + hashed for name in names))
    kept = re.findall(r"^\w.*==", environment.locked(lock), re.MULTILINE)
    assert kept == ["six==", "torch=="] if left_out else ["nvidia-x==", "six==", "torch==", "triton=="]
    assert environment.locked(lock, ("six",)) == "six==1" + hashed


def test_notebooks_find_the_library_without_an_install(tmp_path):
    command = [sys.executable, "-c", "import forget_lib; print(forget_lib.__file__)"]
    done = subprocess.run(command, cwd=REPOSITORY / "notebooks", capture_output=True, text=True, check=False, env={})
    assert "forget_lib" in done.stdout, done.stderr


def test_progress_keeps_errors_and_drops_noise(monkeypatch, capsys):
    lines = ["Building DAG of jobs...\n", "03 mnist: 2 s\n", "1 of 4 steps (25%) done\n", "Error in rule notebook:\n"]
    monkeypatch.setattr(sys, "stdin", lines)
    progress.main()
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "03 mnist: 2 s"
    assert out[1].startswith("  1 of 4 done, about ")
    assert out[2] == "Error in rule notebook:"


def test_jupyterlab_opens_the_first_page_and_asks_nothing_about_news():
    folder = REPOSITORY / "workflow" / "page"
    lab = json.loads((folder / "jupyter_lab_config.json").read_text())["LabApp"]
    assert (REPOSITORY / lab["default_url"].removeprefix("/lab/tree/")).is_file()
    off = json.loads((folder / "labconfig" / "page_config.json").read_text())["disabledExtensions"]
    assert off == {"@jupyterlab/apputils-extension:announcements": True}

"""The one entry: what it says, what it refuses, and that the oldest Bash in use can read it."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml

from forget_lib.results import REPOSITORY

sys.path.append(str(REPOSITORY / "workflow"))
import environment
import progress

SCRIPT = REPOSITORY / "run_all.sh"
COMMANDS = [
    "quick",
    "smoke",
    "study",
    "paper",
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


def test_clean_keeps_the_reference_and_the_data(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    for folder in ("results/quick/notebooks", "results/reference/quick", "data/mnist"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "results/README.md").touch()
    assert run("clean", script=tmp_path / "run_all.sh").returncode == 0
    assert not (tmp_path / "results/quick").exists()
    for kept in ("results/reference/quick", "results/README.md", "data/mnist"):
        assert (tmp_path / kept).exists()


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
        "dependencies": ["python=3.11", "pip", {"pip": ["-r requirements.txt"]}]
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


def test_the_lock_pins_every_direct_dependency_and_names_no_host():
    lock = (REPOSITORY / "requirements.lock").read_text()
    pinned = {match.lower() for match in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
    for text in environment.requirements(REPOSITORY / "requirements-test.txt"):
        assert re.match(r"[A-Za-z0-9._-]+", text)[0].lower() in pinned
    assert "://" not in lock
    assert not re.search(r"^(nvidia|cuda|triton)", lock, re.MULTILINE)


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

"""The optional age weights: fetched when asked for, unpacked safely, and named as the models that they make."""

import sys
import types
import zipfile
from pathlib import Path

import pytest

from forget_lib.core.errors import DataError
from forget_lib.core.paths import REPOSITORY
from forget_lib.datasets import age_weights


@pytest.fixture
def drive(monkeypatch, data):
    """A Google Drive that gives the file it is told to, or raises; the calls are kept."""
    fake = types.SimpleNamespace(gives=None, calls=[], archive=data / "age-weights" / age_weights.ARCHIVE)

    def download(*, id: str, output: str) -> str | None:
        fake.calls.append(id)
        if isinstance(fake.gives, Exception):
            raise fake.gives
        if fake.gives is not None:
            Path(output).write_bytes(Path(fake.gives).read_bytes())
        return output if fake.gives else None

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=download))
    return fake


def packed(path: Path, **files: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return path


def test_the_archive_is_fetched_once_and_its_models_are_named(drive, tmp_path, capsys):
    drive.gives = packed(tmp_path / "all.zip", age_pth="weights", readme_txt="x")
    for _ in range(2):
        assert [path.name for path in age_weights.fetch_age_weights()] == ["age.pth"]
    assert drive.calls == [age_weights.DRIVE_ID]
    assert "age.pth: on mufac128, model torchvision.models:resnet18?weights=" in capsys.readouterr().out


@pytest.mark.parametrize("gives", [None, OSError("quota"), RuntimeError("too many users")])
def test_a_drive_that_gives_nothing_points_to_the_by_hand_steps(drive, gives):
    drive.gives = gives
    with pytest.raises(DataError, match=r"data/README\.md"):
        age_weights.fetch_age_weights()
    assert not drive.archive.exists()


def test_a_web_page_or_an_archive_without_weights_is_refused(drive, tmp_path):
    drive.gives = tmp_path / "page.html"
    drive.gives.write_text("<html>quota</html>")
    with pytest.raises(DataError):
        age_weights.fetch_age_weights()
    drive.archive.unlink()
    drive.gives = packed(tmp_path / "none.zip", readme_txt="x")
    with pytest.raises(DataError, match="no weights"):
        age_weights.fetch_age_weights()


def test_the_command_fetches_them(data, monkeypatch, capsys):
    packed(data / "age-weights" / age_weights.ARCHIVE, age_pth="weights")
    script = (REPOSITORY / "run_all.sh").read_text().split("<<'PY'")
    (program,) = [part.split("\nPY\n")[0] for part in script if "fetch_age_weights" in part]
    monkeypatch.setattr(sys, "argv", ["-", "age-weights"])
    with pytest.raises(SystemExit) as ended:
        exec(program, {})
    assert not ended.value.code
    assert "age.pth: on mufac128" in capsys.readouterr().out

"""The optional age weights: fetched when asked for, opened safely, used where they fit, refused by name where not."""

import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from forget_lib.core.errors import DataError
from forget_lib.models import age_weights


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "age.pth"
    torch.save(resnet18(num_classes=8).state_dict(), path)
    return path


@pytest.fixture
def drive(monkeypatch, tmp_path):
    """A Google Drive that gives the file it is told to, or raises; the calls are kept."""
    monkeypatch.setenv("FORGET_DATA", str(tmp_path / "data"))
    fake = types.SimpleNamespace(gives=None, calls=[])

    def download(*, id: str, output: str) -> str | None:
        fake.calls.append(id)
        if isinstance(fake.gives, Exception):
            raise fake.gives
        if fake.gives is not None:
            Path(output).write_bytes(Path(fake.gives).read_bytes())
        return output if fake.gives else None

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=download))
    return fake


def test_the_archive_is_fetched_once_unpacked_and_what_fits_is_named(drive, weights, tmp_path, capsys):
    drive.gives = tmp_path / "all.zip"
    other = tmp_path / "other.pth"
    torch.save(resnet18(num_classes=100).state_dict(), other)
    with zipfile.ZipFile(drive.gives, "w") as archive:
        archive.write(weights, "weights/age.pth")
        archive.write(other, "weights/other.pth")
        archive.writestr("readme.txt", "x")
    assert age_weights.main([]) == 0
    assert age_weights.main([]) == 0
    said = capsys.readouterr().out
    assert drive.calls == [age_weights.DRIVE_ID]
    assert "age.pth: fits; model: torchvision.models:resnet18?weights=" in said
    assert "other.pth: refused" in said
    assert "fc.weight ([100, 512] in the file, [8, 512] in the model)" in said


@pytest.mark.parametrize("gives", [None, OSError("quota"), RuntimeError("too many users")])
def test_a_drive_that_gives_nothing_points_to_the_by_hand_steps(drive, gives, capsys):
    drive.gives = gives
    assert age_weights.main([]) == 1
    assert "data/README.md" in capsys.readouterr().err
    assert not (age_weights.weights_folder() / age_weights.ARCHIVE).exists()


def test_a_web_page_or_an_archive_without_weights_is_refused(drive, tmp_path):
    drive.gives = tmp_path / "page.html"
    drive.gives.write_text("<html>quota</html>")
    with pytest.raises(DataError):
        age_weights.fetch_age_weights()
    (age_weights.weights_folder() / age_weights.ARCHIVE).unlink()
    drive.gives = tmp_path / "none.zip"
    with zipfile.ZipFile(drive.gives, "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(DataError, match="no weights"):
        age_weights.fetch_age_weights()


def test_a_file_that_would_run_a_program_is_not_opened(tmp_path):
    class Program:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / "program.pth"
    torch.save({"fc.weight": Program()}, path)
    with pytest.raises(DataError):
        age_weights.model_for(path)

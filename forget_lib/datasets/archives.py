"""Unpacking of archives that others made: nothing is written outside the folder, no links, no bombs."""

import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from forget_lib.core.errors import DataError

MAX_BYTES = 4 * 2**30
MAX_FILES = 200_000
"""Limits on what an archive says it unpacks to; both formats stop at the size that an entry declares."""
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
Entry = tarfile.TarInfo | zipfile.ZipInfo


def safe_extract(archive: Path, folder: Path, members: Collection[str] = ()) -> list[Path]:
    """Unpacks a .zip or .tar(.gz, .bz2, .xz) archive into `folder`; all names are checked before a byte is written.

    Args: members: names to take, or folders (ending in a slash) with all below them; empty means all files.
    Returns: paths of the files, in the archive's order; they appear when all are whole.
    Raises: DataError for links, devices, absolute names, names with `..`, a name that comes twice, too much content, a
        missing member, or an archive that is damaged.
    """
    if not archive.is_file():
        raise DataError(f"{archive.name} is missing.")
    try:
        with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as opened:
            found = _checked(archive.name, opened)
            folders = tuple(member for member in members if member.endswith("/"))
            missing = sorted(set(members) - set(found) - {each for each in folders if _below(found, each)})
            if missing:
                raise DataError(f"{archive.name} lacks {', '.join(missing)}.")
            wanted = [name for name in found if not members or name in members or name.startswith(folders)]
            entries: Any = [found[name][1] for name in wanted]
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
                if isinstance(opened, tarfile.TarFile):
                    opened.extractall(temporary, entries, filter="data")
                else:
                    opened.extractall(temporary, entries)
                for name in wanted:
                    if Path(temporary, name).stat().st_size != found[name][0]:
                        raise DataError(f"{archive.name}: {name} is truncated; fetch the archive again.")
                return [_moved(Path(temporary, name), folder, folder / name) for name in wanted]
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{archive.name} cannot be unpacked ({reason}); it may be truncated: fetch it again."
        ) from error


def _below(names: Collection[str], folder: str) -> bool:
    return any(name.startswith(folder) for name in names)


def _checked(archive: str, opened: tarfile.TarFile | zipfile.ZipFile) -> dict[str, tuple[int, Entry]]:
    """Size in bytes and entry of each file of an archive by name; a bomb is noticed before all of it has been read."""
    files: dict[str, tuple[int, Entry]] = {}
    total = 0
    for number, (name, size, is_file, is_folder, entry) in enumerate(_entries(opened), start=1):
        total += size
        parts = PurePosixPath(name).parts
        leads_out = name.startswith("/") or "\\" in name or "\0" in name or name[1:2] == ":" or ".." in parts
        wrong = {
            f"more than {MAX_FILES:,} entries": number > MAX_FILES,
            f"more than {MAX_BYTES:,} bytes": total > MAX_BYTES,
            f"the unsafe name {name!r}": leads_out or not (parts or is_folder),
            f"{name!r}, which is a link or a device": not is_file and not is_folder,
            f"{name!r} twice": is_file and files.setdefault("/".join(parts), (size, entry))[1] is not entry,
        }
        for words, is_so in wrong.items():
            if is_so:
                raise DataError(f"{archive} holds {words}: refused.")
    return files


def _entries(opened: tarfile.TarFile | zipfile.ZipFile) -> Iterator[tuple[str, int, bool, bool, Entry]]:
    """Name, size in bytes, whether it is a file, whether it is a folder, and entry of everything in an archive."""
    if isinstance(opened, tarfile.TarFile):
        for member in opened:
            yield member.name, member.size, member.isfile(), member.isdir(), member
        return
    for info in opened.infolist():
        mode = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made without Unix modes
        yield info.filename, info.file_size, mode in (0, stat.S_IFREG) and not info.is_dir(), info.is_dir(), info


def _moved(path: Path, folder: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{target.parent} is a link that leads out of {folder}: nothing is unpacked there.")
    os.replace(path, target)
    return target

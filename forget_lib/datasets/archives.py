"""Unpacking of archives that others made: nothing is written outside the folder, no links, no bombs."""

import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from forget_lib.core.errors import DataError

MAX_BYTES = 4 * 2**30
MAX_FILES = 200_000
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


class _Member(NamedTuple):
    name: str
    size: int
    is_file: bool
    is_folder: bool
    handle: tarfile.TarInfo | zipfile.ZipInfo


def safe_extract(
    archive: Path,
    folder: Path,
    members: Collection[str] = (),
    *,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
) -> list[Path]:
    """Unpacks a .zip or .tar(.gz, .bz2, .xz) archive into `folder`; all names are checked before a byte is written.

    Args: archive: the file. folder: made if need be. members: names to take; empty means all files.
        max_bytes, max_files: limits on what the archive unpacks to, counted while reading, whatever it says of itself.
    Returns: paths of the files, in the archive's order. Each appears only when it is whole.
    Raises: DataError for links, devices, absolute names, names with `..`, a name that comes twice, too much content, a
        missing member, or an archive that is damaged.
    """
    if not archive.is_file():
        raise DataError(f"{archive.name} is missing.")
    opener = _open_zip if zipfile.is_zipfile(archive) else _open_tar
    try:
        with opener(archive) as opened:
            wanted = _checked(archive.name, _members(opened), members, max_bytes, max_files)
            folder.mkdir(parents=True, exist_ok=True)
            return [_write(archive.name, opened, member, folder) for member in wanted]
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{archive.name} cannot be unpacked ({reason}); it may be truncated: fetch it again."
        ) from error


def _open_zip(archive: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive)


def _open_tar(archive: Path) -> tarfile.TarFile:
    return tarfile.open(archive)


def _members(opened: tarfile.TarFile | zipfile.ZipFile) -> Iterator[_Member]:
    """Members one by one, so that a bomb is noticed before all of it has been read."""
    if isinstance(opened, tarfile.TarFile):
        for entry in opened:
            yield _Member(entry.name, entry.size, entry.isfile(), entry.isdir(), entry)
        return
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made without Unix modes
        yield _Member(
            info.filename, info.file_size, kind in (0, stat.S_IFREG) and not info.is_dir(), info.is_dir(), info
        )


def _checked(
    archive: str, found: Iterator[_Member], members: Collection[str], max_bytes: int, max_files: int
) -> list[_Member]:
    wanted, total, seen = [], 0, set()
    for number, member in enumerate(found, start=1):
        if number > max_files:
            raise DataError(f"{archive} holds more than {max_files:,} entries: refused.")
        total += member.size
        if total > max_bytes:
            raise DataError(f"{archive} unpacks to more than {max_bytes:,} bytes: refused.")
        member = member._replace(name=_safe_name(archive, member))
        if not (member.is_file or member.is_folder):
            raise DataError(f"{archive} holds {member.name!r}, which is a link or a device: refused.")
        if member.is_file and member.name in seen:  # which of the two was checked by others, nobody can tell
            raise DataError(f"{archive} holds {member.name!r} twice: refused.")
        seen.add(member.name)
        if member.is_file and (not members or member.name in members):
            wanted.append(member)
    missing = set(members) - {member.name for member in wanted}
    if missing:
        raise DataError(f"{archive} lacks {', '.join(sorted(missing))}.")
    return wanted


def _safe_name(archive: str, member: _Member) -> str:
    """The member's name without `./`; raises DataError for one that could lead out of the folder on any system."""
    name, parts = member.name, PurePosixPath(member.name).parts
    unsafe = name.startswith("/") or "\\" in name or "\0" in name or name[1:2] == ":" or ".." in parts
    if unsafe or not (parts or member.is_folder):
        raise DataError(f"{archive} holds the unsafe name {name!r}: refused.")
    return "/".join(parts)


def _write(archive: str, opened: tarfile.TarFile | zipfile.ZipFile, member: _Member, folder: Path) -> Path:
    path = folder / PurePosixPath(member.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{path.parent} is a link that leads out of {folder}: {archive} is not unpacked.")
    is_tar = isinstance(opened, tarfile.TarFile)
    source = opened.extractfile(member.handle) if is_tar else opened.open(member.handle)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with source, os.fdopen(handle, "wb") as target:
            _copy(archive, source, target, member)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def _copy(archive: str, source: IO[bytes], target: IO[bytes], member: _Member) -> None:
    left = member.size
    while chunk := source.read(2**20):
        left -= len(chunk)
        if left < 0:
            raise DataError(f"{archive}: {member.name} is larger than the archive says: refused.")
        target.write(chunk)
    if left:
        raise DataError(f"{archive}: {member.name} is truncated; fetch the archive again.")

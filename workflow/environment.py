"""Does this Python have what a requirements file asks for? Exit status 0 if so, else 1 and what is missing.

    python workflow/environment.py requirements.txt
    python workflow/environment.py --locked requirements.lock [NAME …]    the part of a lock to be installed here

Runs on any Python, with nothing installed: it decides whether an active environment is used as it is.
"""

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

SUPPORTED = ((3, 11), (3, 14))
CUDA = re.compile(r"(nvidia|cuda)-|triton$")


def requirements(path: Path) -> Iterator[str]:
    """The requirements of a file and of those that it includes by -r, without comments and hashes."""
    for line in Path(path).read_text(encoding="utf-8").replace("\\\n", "").splitlines():
        text = re.split(r"#|\s--hash=", line)[0].strip()
        if text.startswith("-r "):
            yield from requirements(Path(path).parent / text[3:].strip())
        elif text:
            yield text


def problems(path: Path) -> list[str]:
    """What keeps this Python from being used: its version, or a package that is missing or of another version."""
    low, high = SUPPORTED
    if not low <= sys.version_info[:2] < high:
        return [f"Python {sys.version_info[0]}.{sys.version_info[1]} is not one of 3.11 to 3.13"]
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return ["the packages of the study are not installed"]
    found = []
    for text in requirements(path):
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            found.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement.name} is {version}, asked for is {requirement.specifier}")
    return found


def locked(path: Path, names: tuple[str, ...] = ()) -> str:
    """The entries of a lock, with their hashes, that are to be installed into this Python.

    Args: names: only these packages; empty for all.
    CUDA's libraries are left out where PyTorch of the locked version is here already as another build than PyPI's (a
    local version such as 2.14.1+cpu): that one came with what it needs, and the lock does not know its hash.
    """
    entries = re.split(r"^(?=[A-Za-z0-9])", Path(path).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    try:
        own_build = metadata.version("torch").partition("+")
    except metadata.PackageNotFoundError:
        own_build = ("", "", "")
    given = any(re.match(rf"torch=={re.escape(own_build[0])}\s", entry) for entry in entries) and own_build[1]
    kept = [entry for entry in entries if not (given and CUDA.match(entry.partition("==")[0]))]
    return "".join(entry for entry in kept if not names or entry.partition("==")[0] in names)


if __name__ == "__main__":
    if sys.argv[1] == "--locked":
        sys.stdout.write(locked(Path(sys.argv[2]), tuple(sys.argv[3:])))
        sys.exit(0)
    missing = problems(Path(sys.argv[1]))
    if missing:
        print("; ".join(missing))
    sys.exit(1 if missing else 0)

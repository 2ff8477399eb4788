"""Does this Python have what a requirements file asks for? Exit status 0 if so, else 1 and what is missing.

    python workflow/environment.py requirements.txt

Runs on any Python, with nothing installed: it decides whether an active environment is used as it is.
"""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

SUPPORTED = ((3, 11), (3, 14))


def requirements(path: Path) -> Iterator[str]:
    """The requirements of a file and of those that it includes by -r, without comments."""
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
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


if __name__ == "__main__":
    missing = problems(Path(sys.argv[1]))
    if missing:
        print("; ".join(missing))
    sys.exit(1 if missing else 0)

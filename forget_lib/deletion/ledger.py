"""The ledger of all requests: JSON lines, append-only, each with the hash of the one before; damage is named.

Beside it lies the key of the fingerprints. Whoever has only a report cannot test candidates against it.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from forget_lib.core.errors import ForgetError
from forget_lib.core.files import only_one

START = "0" * 64


class LedgerError(ForgetError):
    """A ledger that was damaged or changed by hand; the message names the line."""


def _canonical(content: Any) -> str:
    """JSON that is the same for the same content: sorted keys, no spaces, no NaN."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(content: Any) -> str:
    """SHA-256 (hex) of content as canonical JSON."""
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """All entries, with the chain checked; empty where there is no ledger yet.

    Raises: LedgerError naming the first line that is incomplete, changed, or out of its place.
    """
    path = Path(path)
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"The ledger {path.name} cannot be read: {error}.") from error
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
            own = entry.pop("hash")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            reason = "it is incomplete or no JSON, as after an interrupted or edited write"
            raise _damaged(path, number, reason) from error
        if digest(entry) != own:
            raise _damaged(path, number, "its content does not fit its hash: it was changed after it was written")
        previous = entries[-1]["hash"] if entries else START
        if entry.get("previous") != previous or entry.get("number") != number:
            raise _damaged(path, number, "a line before it was removed, added or moved")
        entries.append(entry | {"hash": own})
    if text and not text.endswith("\n"):
        raise _damaged(path, len(entries), "its end is cut off")
    return entries


def _damaged(path: Path, line: int, reason: str) -> LedgerError:
    return LedgerError(
        f"The ledger {path.name} is damaged at line {line}: {reason}. Bring it back from a copy; nothing is added to a "
        "ledger whose past cannot be trusted."
    )


def append(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Adds an entry, flushed to the disk, and returns it with number, previous and hash.

    Raises: LedgerError if the ledger is damaged (nothing is added then); ForgetError if it cannot be written.
    """
    path = Path(path)
    with only_one(path):
        entries = read_ledger(path)
        previous = entries[-1]["hash"] if entries else START
        entry = {**content, "number": len(entries) + 1, "previous": previous}
        entry["hash"] = digest(entry)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(_canonical(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ForgetError(f"Cannot write the ledger {path}: {error.strerror}. Free some space.") from error
    return entry


def key_beside(path: Path) -> bytes:
    """The key of the fingerprints, 32 random bytes beside the ledger, made (readable by its owner only) if missing.

    Raises: ForgetError if it cannot be made, or is not one.
    """
    where = Path(path).with_suffix(".key")
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with open(where, "xb", opener=partial(os.open, mode=0o600)) as file:
            file.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    except OSError as error:
        raise ForgetError(f"Cannot write {where}: {error.strerror}. Mend the rights of the folder.") from error
    key = where.read_bytes()
    if len(key) != 32:
        raise ForgetError(f"{where.name} is not the key of the fingerprints; bring it back from a copy.")
    return key


def fingerprint(key: bytes, content: bytes) -> str:
    """HMAC-SHA-256 (hex, 32 digits) of some bytes."""
    return hmac.new(key, content, hashlib.sha256).hexdigest()[:32]


def fingerprints(key: bytes, images: Tensor, labels: Tensor) -> list[str]:
    """Keyed hash of each image with its label, sorted, so that the order tells nothing."""
    rows = zip(images.cpu().contiguous().numpy(), labels.tolist(), strict=True)
    return sorted(fingerprint(key, image.tobytes() + str(label).encode()) for image, label in rows)

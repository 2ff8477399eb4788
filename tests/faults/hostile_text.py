"""Hostile tables, YAML, JSON and names: what a text can be, given to everything here that reads text from outside."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import yaml

from forget_lib.core.names import short_name, split_options
from forget_lib.datasets.mufac import read_part
from forget_lib.datasets.own import load_own
from forget_lib.datasets.requests import parse_request
from forget_lib.deletion.ledger import read_ledger
from forget_lib.deletion.report import read_report
from forget_lib.deletion.request import read_request
from forget_lib.study import chosen
from forget_lib.study.records import load, read_record, record_folder
from tests.faults.hostile import Hostile, canary
from tests.faults.hostile_files import saved
from workflow.leaderboard_table import read_entry
from workflow.pages.index import write_index
from workflow.pages.run import declared_parameters
from workflow.plan import planned

Reader = Callable[[Path], object]

# --- tables -----------------------------------------------------------------------------------------------------------

ROWS = "path,label\n1.png,a\n2.png,a\n3.png,b\n4.png,b\n"
TABLES: dict[str, tuple[bytes, bool]] = {
    "nul": (ROWS.replace("1.png", "1\0.png").encode(), True),
    "nul-in-label": (ROWS.replace(",a", ",a\0").encode(), True),
    "utf-16": (ROWS.encode("utf-16"), True),
    "latin-1": (ROWS.replace(",a", ",ä").encode("latin-1"), True),
    "broken-utf-8": (ROWS.encode() + b"\xc3\x28,c\n", True),
    "formula": (ROWS.replace(",a", ',=HYPERLINK(""x"")').encode(), False),
    "command-formula": (ROWS.replace(",a", ",=cmd|' /C touch canary'!A0").encode(), False),
    "100000-columns": ((",".join(f"c{n}" for n in range(100_000)) + "\n" + "," * 99_999 + "\n").encode(), True),
    "1000000-columns": (("path,label" + ",x" * 10**6 + "\n").encode(), True),
    "extra-fields": ((ROWS + "5.png,a" + ",x" * 10_000 + "\n").encode(), True),
    "field-of-1-MB": (ROWS.replace(",a", f",{'a' * 2**20}").encode(), True),
    "open-quote": (ROWS.encode() + b'"5.png,a\n', True),
    "column-twice": (ROWS.replace("path,label", "path,label,label").encode(), True),
    "no-rows": (b"path,label\n", True),
    "one-line-of-commas": (b"," * 10_000, True),
    "out-of-the-folder": (ROWS.replace("1.png", "../../../../../../../../etc/passwd").encode(), True),
    "absolute": (ROWS.replace("1.png", "/etc/passwd").encode(), True),
    "terminal-escapes": (ROWS.replace(",a", ",\x1b[2J\x1b]0;gotcha\x07a").encode(), True),
    "escapes-in-a-path": (ROWS.replace("1.png", "\x1b[31m1.png").encode(), True),
    "backspaces": (ROWS.replace(",a", ",a\x08\x08evil").encode(), True),
    "superscript-digits": (ROWS.replace(",a", ",²").replace(",b", ",³").encode(), False),
    "digits-of-5000-places": (ROWS.replace(",a", "," + "9" * 5000).encode(), False),
    "html": (ROWS.replace(",a", ",<script>alert(1)</script>").encode(), False),
    "binary": (bytes(range(256)) * 10, True),
    "empty": (b"", True),
}


def own_table(content: bytes, folder: Path) -> object:
    for number in range(1, 6):
        (folder / f"{number}.png").write_bytes(saved("PNG"))
    (folder / "data.csv").write_bytes(content)
    return load_own(folder / "data.csv")


def face_table(content: bytes, folder: Path) -> object:
    (folder / "train_images").mkdir()
    changed = content.replace(b"path,label", b"family_id,person_id,age_class,image_path")
    (folder / "custom_train_dataset.csv").write_bytes(changed)
    return read_part(folder, "train")


def tables() -> Iterator[Hostile]:
    for name, (content, refused) in TABLES.items():
        yield Hostile("Tables (CSV)", f"own-{name}", partial(own_table, content), refused)
        yield Hostile("Tables (CSV)", f"faces-{name}", partial(face_table, content))


# --- YAML -------------------------------------------------------------------------------------------------------------

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 30))
YAMLS: dict[str, Callable[[Path], str]] = {
    "object-tag": lambda f: f"profile: !!python/object/apply:os.system ['touch {canary(f)}']\n",
    "new-tag": lambda f: f"profile: !!python/object/new:os.system ['touch {canary(f)}']\n",
    "module-tag": lambda _: "profile: !!python/module:os\n",
    "name-tag": lambda _: "profile: !!python/name:os.system\n",
    "own-tag": lambda _: "profile: !include /etc/passwd\n",
    "alias-bomb": lambda _: BOMB,
    "merge-bomb": lambda _: MERGES,
    "alias-of-itself": lambda _: "profile: &a [*a]\n",
    "deep": lambda _: "[" * 3_000,
    "deep-maps": lambda _: "{a: " * 5_000 + "1" + "}" * 5_000,
    "list": lambda _: "- a\n- b\n",
    "word": lambda _: "hello\n",
    "nothing": lambda _: "",
    "number": lambda _: "3\n",
    "key-twice": lambda _: "profile: a\nprofile: b\nversion: 1\nversion: 1\n",
    "keys-of-lists": lambda _: "? [a, b]\n: 1\n",
    "bad-date": lambda _: "profile: 2001-99-99\nversion: 2001-99-99\n",
    "long-number": lambda _: f"profile: {'9' * 5000}\nversion: {'9' * 5000}\n",
    "sexagesimal": lambda _: "version: 1:99:99\nprofile: 1:1\n",
    "nul": lambda _: "profile: a\0b\n",
    "two-documents": lambda _: "version: 1\n---\nversion: 2\n",
    "tabs": lambda _: "profile:\n\t- a\n",
    "escapes": lambda _: 'profile: "\\x1b[2J"\nversion: "\\x1b[2J"\n"\\x1b[31m": 1\n',
    "2-MB": lambda _: "profile: " + "a" * 2_000_000 + "\n",
}


def config(content: Callable[[Path], str], folder: Path) -> object:
    (folder / "c.yaml").write_text(content(folder))
    return planned(str(folder / "c.yaml"))


def request(content: Callable[[Path], str], folder: Path) -> object:
    (folder / "r.yaml").write_text(content(folder))
    return read_request(folder / "r.yaml")


def settings(content: Callable[[Path], str], folder: Path) -> object:
    (folder / "s.yaml").write_text(content(folder))
    return chosen.read_settings(folder / "s.yaml")


def yamls() -> Iterator[Hostile]:
    row = "YAML (configs, requests, settings)"
    readers = {"config": config, "request": request, "settings": settings}
    for title, read in readers.items():
        for name, content in YAMLS.items():
            yield Hostile(row, f"{title}-{name}", partial(read, content))
        yield Hostile(row, f"{title}-latin-1", partial(not_utf8, read))
    good = {"profile": "p", "start": "sample", "device": "cpu", "scenarios": {}}
    one = {"notebook": "03_unlearn_mnist", "dataset": "mnist", "model": "mlp"}
    for name, change in {
        "profile-out": {"profile": "../../canary"},
        "profile-absolute": {"profile": "/tmp/canary-of-forget"},
        "profile-with-shell": {"profile": "$(touch canary)"},
        "profile-list": {"profile": ["a"]},
        "results-with-shell": {"results": "`touch canary`"},
        "scenarios-list": {"scenarios": ["a"]},
        "scenario-word": {"scenarios": {"a": "b"}},
        "scenario-number": {"scenarios": {1: one}},
        "notebook-out": {"scenarios": {"a": one | {"notebook": "../../etc/passwd"}}},
        "notebook-with-shell": {"scenarios": {"a": one | {"notebook": "03_unlearn_mnist; touch canary"}}},
        "notebook-number": {"scenarios": {"a": one | {"notebook": 3}}},
        "requests-word": {"scenarios": {"a": one | {"requests": 5}}},
        "requests-numbers": {"scenarios": {"a": one | {"requests": [5]}}},
        "seeds-word": {"scenarios": {"a": one | {"seeds": 1}}},
        "seeds-text": {"scenarios": {"a": one | {"seeds": ["../x"]}}},
        "methods-list": {"scenarios": {"a": one | {"methods": ["finetune"], "groups": 2}}},
        "attacks-number": {"scenarios": {"a": one | {"attacks": 1}}},
        "parameters-word": {"scenarios": {"a": one | {"parameters": "x"}}},
        "resources-list": {"scenarios": {"a": one | {"resources": ["x"]}}},
        "dataset-list": {"scenarios": {"a": one | {"dataset": ["x"]}}},
        "datasets-number": {"datasets": 3},
        "plugins-word": {"plugins": "a.py"},
        "plugins-numbers": {"plugins": [1]},
        "deletion-numbers": {"deletion": [1]},
        "claims-list": {"claims": [1]},
    }.items():
        text = yaml.safe_dump(good | change)
        yield Hostile(row, f"config-{name}", partial(config, lambda _, text=text: text))


def not_utf8(read: Callable[[Callable[[Path], str], Path], object], folder: Path) -> object:
    name = {"config": "c", "request": "r", "settings": "s"}[read.__name__]
    write_text, target = Path.write_text, folder / f"{name}.yaml"
    try:
        Path.write_text = lambda self, text: self.write_bytes(b"profile: \xe4\xff\n")  # type: ignore[method-assign]
        return read(lambda _: "", folder)
    finally:
        Path.write_text = write_text  # type: ignore[method-assign]
        assert target.exists()


# --- JSON: records, reports, ledgers, notebooks -----------------------------------------------------------------------

JSONS = {
    "list": "[]",
    "number": "3",
    "null": "null",
    "text": '"hello"',
    "nan": "NaN",
    "empty": "",
    "deep": "[" * 20_000,
    "deep-maps": '{"a":' * 100_000,
    "number-of-5000-digits": '{"schema": ' + "9" * 5000 + "}",
    "key-only": '{"schema": 1}',
    "wrong-types": '{"schema": 1, "kind": [], "cells": 3, "measurements": 3, "cost": [], "metadata": 7}',
    "surrogate": '{"schema": 1, "method": "\\ud800"}',
    "escapes": '{"\\u001b[2J": "\\u001b[2J", "schema": 1}',
    "html": "<html>sign in</html>",
}


def table_of_records(path: Path) -> object:
    keys = dict(zip(("dataset", "model", "request", "draw", "seed", "method", "run"), "abc01de", strict=True))
    folder = record_folder(path.parent / "results", **keys)
    folder.mkdir(parents=True)
    path.rename(folder / "run.json")
    read_record(folder)
    return load(path.parent / "results")


def index_of_pages(path: Path) -> object:
    target = path.parent / "results" / "notebooks" / "03_x" / "a.ipynb"
    target.parent.mkdir(parents=True)
    path.rename(target)
    return write_index(path.parent / "results")


JSON_READERS: dict[str, Reader] = {
    "record": table_of_records,
    "notebook": declared_parameters,
    "executed": index_of_pages,
    "report": read_report,
    "ledger": read_ledger,
    "leaderboard": read_entry,
}


def given_text(name: str, text: str, read: Reader, folder: Path) -> object:
    (folder / name).write_text(text)
    return read(folder / name)


def jsons() -> Iterator[Hostile]:
    for title, read in JSON_READERS.items():
        for name, text in JSONS.items():
            harmless = title == "ledger" and name == "empty"  # a ledger without entries
            feed = partial(given_text, "x.json", text, read)
            yield Hostile("Records, reports, ledgers, notebooks (JSON)", f"{title}-{name}", feed, not harmless)


# --- names and requests -----------------------------------------------------------------------------------------------

REQUESTS = {
    "superscript": "class:*²",
    "indices-superscript": "indices:1,²",
    "indices-arabic": "indices:١",
    "indices-5000-digits": "indices:" + "9" * 5000,
    "indices-beyond-64-bits": f"indices:{2**70}",
    "count-5000-digits": "person:*" + "9" * 5000,
    "nan": "random:nan",
    "inf": "random:inf",
    "device": "indices:@/dev/zero",
    "folder": "indices:@/",
    "nul": "indices:@a\0b",
    "escapes": "\x1b[2J:x",
    "official-else": "official:../x",
    "empty": "",
}
OPTIONS = {
    "tag": "own:x?size=!!python/object/apply:os.system [touch canary]",
    "bad-date": "own:x?size=2001-99-99",
    "deep": "own:x?size=" + "[" * 3_000,
    "no-value": "own:x?size",
    "long-number": "own:x?size=" + "9" * 5000,
    "size-list": "own:.?size=[1]",
    "size-true": "own:.?size=true",
    "size-huge": "own:.?size=100000",
    "test-text": "own:.?test=x",
    "classes-map": "own:.?classes={a: 1}",
    "unknown": "own:.?canary=1",
    "nowhere": "own:/no/such/place",
    "nul": "own:a\0b",
    "long": "own:" + "a" * 10_000,
    "code": "own:nothing_here:touch",
}


def names() -> Iterator[Hostile]:
    row = "Requests and names of data"
    for name, text in REQUESTS.items():
        yield Hostile(row, f"request-{name}", lambda _, text=text: parse_request(text))
    for name, text in OPTIONS.items():
        yield Hostile(row, f"data-{name}", lambda _, text=text: own_data(text))


def own_data(text: str) -> object:
    split_options(text)
    assert "/" not in short_name(text)
    return load_own(text)


def texts() -> Iterator[Hostile]:
    """All of this module."""
    for make in (tables, yamls, jsons, names):
        yield from make()

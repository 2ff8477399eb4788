"""Fuzzing of each parser: whatever comes in, it is read, or refused by a `ForgetError`."""

import json
import struct
from contextlib import suppress

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forget_lib.core.errors import ForgetError
from forget_lib.core.names import split_options
from forget_lib.datasets.mnist import read_idx
from forget_lib.datasets.mufac import read_part
from forget_lib.datasets.own import load_own
from forget_lib.datasets.requests import parse_request
from forget_lib.deletion.ledger import read_ledger
from forget_lib.deletion.report import read_report
from forget_lib.deletion.request import read_request
from forget_lib.demo.images import read_picture
from forget_lib.models.given_weights import read_weights
from forget_lib.study.records import load
from tests.faults.hostile_files import png
from workflow.plan import planned

EXAMPLES = 60
fuzz = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ONE = {"notebook": "03_unlearn_mnist", "dataset": "mnist", "model": "mlp"}


@pytest.fixture(autouse=True)
def _counted(record_property):
    record_property("tried", EXAMPLES)


def fed(tmp_path_factory, name: str, content: bytes, read) -> None:
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(content)
    with suppress(ForgetError):
        read(path)


@pytest.mark.fault("Fuzzing: requests and names")
@fuzz
@given(kind=st.sampled_from(["class", "random", "mislabelled", "indices", "person", "official", ""]), what=st.text())
def test_requests(kind, what):
    with suppress(ForgetError):
        parse_request(f"{kind}:{what}")


@pytest.mark.fault("Fuzzing: requests and names")
@fuzz
@given(key=st.text(max_size=5), value=st.text())
def test_options(key, value):
    with suppress(ForgetError):
        split_options(f"own:x?{key}={value}")


@pytest.mark.fault("Fuzzing: configs")
@fuzz
@given(key=st.sampled_from(["profile", "start", "datasets", "scenarios", "deletion"]), value=VALUES)
def test_top_of_configs(tmp_path_factory, key, value):
    config = {"profile": "p", "start": "sample", "device": "cpu", "scenarios": {"a": ONE}, key: value}
    fed(tmp_path_factory, "c.yaml", yaml.safe_dump(config).encode(), lambda path: planned(str(path)))


@pytest.mark.fault("Fuzzing: configs")
@fuzz
@given(
    key=st.sampled_from(["requests", "seeds", "methods", "recipe", "parameters", "groups", "resources"]), value=VALUES
)
def test_scenarios_of_configs(tmp_path_factory, key, value):
    config = {"profile": "p", "start": "sample", "device": "cpu", "scenarios": {"a": ONE | {key: value}}}
    fed(tmp_path_factory, "c.yaml", yaml.safe_dump(config).encode(), lambda path: planned(str(path)))


@pytest.mark.fault("Fuzzing: deletion requests")
@fuzz
@given(key=st.sampled_from(["version", "data", "model", "recipe", "forget", "budget", "write"]), value=VALUES)
def test_deletion_requests(tmp_path_factory, key, value):
    asked = {"version": 1, "data": {"name": "mnist"}, "model": {"name": "mlp"}, "recipe": {}, "forget": "class:1"}
    fed(tmp_path_factory, "r.yaml", yaml.safe_dump(asked | {key: value}).encode(), read_request)


@pytest.mark.fault("Fuzzing: deletion requests")
@fuzz
@given(content=st.binary(max_size=60))
def test_deletion_requests_of_bytes(tmp_path_factory, content):
    fed(tmp_path_factory, "r.yaml", content, read_request)


@pytest.mark.fault("Fuzzing: tables")
@fuzz
@given(rows=st.lists(st.lists(st.text(max_size=6), max_size=5), max_size=4), columns=st.permutations(["path", "label"]))
def test_tables(tmp_path_factory, rows, columns):
    content = "\n".join(",".join(row) for row in [columns, *rows]).encode("utf-8", "surrogatepass")
    fed(tmp_path_factory, "data.csv", content, load_own)
    faces = lambda path: read_part(path.parent, "train")  # noqa: E731
    fed(tmp_path_factory, "custom_train_dataset.csv", content.replace(b"path", b"image_path"), faces)


@pytest.mark.fault("Fuzzing: arrays, images, weights")
@fuzz
@given(sizes=st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3), data=st.binary(max_size=40))
def test_idx_files(tmp_path_factory, sizes, data):
    fed(tmp_path_factory, "x", b"\0\0\x08\x03" + struct.pack(">III", *sizes) + data, read_idx)


@pytest.mark.fault("Fuzzing: arrays, images, weights")
@fuzz
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), length=st.integers(0, 200))
def test_pictures(place, byte, length):
    content = bytearray(png(24, 24, bytes(25 * 24)))
    content[place % len(content)] = byte
    with suppress(ForgetError):
        read_picture(bytes(content[: len(content) - length] if length > 100 else content))


@pytest.mark.fault("Fuzzing: arrays, images, weights")
@fuzz
@given(content=st.binary(max_size=80))
def test_weights(tmp_path_factory, content):
    fed(tmp_path_factory, "w.pt", content, read_weights)


@pytest.mark.fault("Fuzzing: records, reports, ledgers")
@fuzz
@given(key=st.sampled_from(["dataset", "draw", "measurements", "cost", "schema", "digest", "status"]), value=VALUES)
def test_records(tmp_path_factory, key, value):
    run = {"schema": 1, "dataset": "a", "model": "b", "request": "c", "draw": 0, "seed": 0, "method": "d", "run": 0}
    fed(tmp_path_factory, "run.json", json.dumps(run | {key: value}).encode(), lambda path: load(path.parent))


@pytest.mark.fault("Fuzzing: records, reports, ledgers")
@fuzz
@given(value=VALUES)
def test_reports_and_ledgers(tmp_path_factory, value):
    content = json.dumps({"kind": "forget deletion report", "schema": 1, "x": value}).encode()
    fed(tmp_path_factory, "report.json", content, read_report)
    fed(tmp_path_factory, "ledger.jsonl", json.dumps(value).encode() + b"\n", read_ledger)

"""What users write is checked once: all mistakes at once, each with its line; hostile YAML is refused."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, field_validator

from forget_lib.core import settings
from forget_lib.core.errors import ForgetError
from forget_lib.core.settings import Settings, check_file, faults_of, read_yaml


class Training(Settings):
    epochs: Annotated[int, Field(ge=1, le=100, description="passes over the data")] = 10
    rate: Annotated[float, Field(gt=0)] = 0.1


class Request(Settings):
    version: Literal[1] = Field(description="of this schema")
    training: Training = Training()
    scenarios: dict[str, Training] = Field({}, description="by name")
    draws: Annotated[list[int], Field(default_factory=list)]
    start: Literal["local", "sample"] = "local"
    forget: str | dict = Field("class:1", description="what is to go")

    @field_validator("forget")
    @classmethod
    def _named(cls, value):
        if value == "random":
            raise ValueError("a request names what is to go")
        return value


def written(tmp_path, text):
    path = tmp_path / "request.yaml"
    path.write_text(text)
    return path


def test_a_file_gives_values_defaults_and_lines(tmp_path):
    read = read_yaml(written(tmp_path, "version: 1\ntraining:\n  epochs: 3\n"), "request")
    request = check_file(Request, read, "request")
    assert (request.training.epochs, request.training.rate, request.start) == (3, 0.1, "local")
    assert read.lines == {"version": 1, "training": 2, "training.epochs": 3}
    assert read.line("training.rate") == 2


def test_all_mistakes_are_named_at_once_in_the_order_of_their_lines(tmp_path):
    text = (
        "version: 2\ntraining: {epochs: yes, rate: 1e-3, epoch: 1}\ndraws: [1, a]\nstart: here\nforget: random\nfoo: 1"
    )
    with pytest.raises(ForgetError) as error:
        check_file(Request, read_yaml(written(tmp_path, text), "request"), "request")
    assert str(error.value).splitlines() == [
        "request.yaml, line 1: version is 2; expected 1 (of this schema).",
        "request.yaml, line 2: training.epochs is True; expected a whole number from 1 to 100 (passes over the data).",
        "request.yaml, line 2: training.rate is '1e-3', which is text (write 1.0e-3); expected a number above 0.",
        "request.yaml, line 2: Unknown key of training 'epoch'. Did you mean 'epochs'? Known: epochs, rate.",
        "request.yaml, line 3: draws holds 'a'; expected a list of a whole number each.",
        "request.yaml, line 4: start is 'here'; expected one of local, sample.",
        "request.yaml, line 5: forget is 'random'; a request names what is to go.",
        (
            "request.yaml, line 6: Unknown key of a request 'foo'. "
            "Known: draws, forget, scenarios, start, training, version."
        ),
    ]


def test_a_missing_key_and_a_value_of_two_kinds_are_told_in_words():
    assert faults_of(Request, {"forget": 3}, "request") == {
        "version": "version is missing (of this schema)",
        "forget": "forget is 3; expected text or keys with values (what is to go)",
    }


def test_keys_that_the_user_names_lead_to_their_own_mistakes():
    faults = faults_of(Request, {"version": 1, "scenarios": {"faces": {"epochs": 0}}}, "request")
    assert faults == {
        "scenarios.faces.epochs": "scenarios.faces.epochs is 0; "
        "expected a whole number from 1 to 100 (passes over the data)"
    }


@pytest.mark.parametrize("values", [None, [1, 2], "text", 3])
def test_a_file_that_is_no_list_of_keys_is_told_so(values):
    assert "key: value" in faults_of(Request, values, "request")[""]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "line 2: a is given twice; the first is in line 1"),
        ("a: !!python/object:os.system 1", "line 1: this is not YAML of plain values"),
        ("a: {b", "line 1: this is not YAML of plain values"),
        ("a: 2020-13-45", "cannot be read: month must be in 1..12"),
        ("? [1, 2]\n: 3", "line 1: a key must be one word"),
        ("a: &x 1\nb: *x", "line 2: aliases (*name) are not allowed"),
        ("a: " + "[" * 30 + "]" * 30, "nested more than 20 deep"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_line(tmp_path, text, words):
    with pytest.raises(ForgetError) as error:
        read_yaml(written(tmp_path, text), "request")
    assert words in str(error.value)


def test_aliases_where_they_are_allowed_may_neither_multiply_nor_hold_themselves(tmp_path):
    doubled = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    for text, words in ((doubled, "values"), ("a: &a [*a]", "holds itself")):
        with pytest.raises(ForgetError) as error:
            read_yaml(written(tmp_path, text), "config", aliases=True)
        assert words in str(error.value)
    merged = read_yaml(written(tmp_path, "a: &a {x: 1}\nb: {<<: *a, y: 2}"), "config", aliases=True)
    assert merged.values["b"] == {"x": 1, "y": 2}


def test_a_file_that_is_too_large_or_not_there_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ForgetError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml", "request")
    monkeypatch.setattr(settings, "LARGEST", 3)
    with pytest.raises(ForgetError, match="a request has at most 3"):
        read_yaml(written(tmp_path, "a: 12"), "request")

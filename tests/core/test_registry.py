"""One class for all that is found by name: a name is for one thing, an unknown one is refused with the nearest."""

import sys
from types import SimpleNamespace

import pytest

from forget_lib.core.errors import ForgetError, UnknownNameError
from forget_lib.core.registry import Registry


def function_of(module: str):
    def function():
        pass

    function.__module__ = module
    return function


def test_what_was_registered_is_found():
    registry = Registry("method")
    registry.register("scrub", 1, function_of("a"))
    assert registry["scrub"] == 1
    assert list(registry) == ["scrub"]


def test_an_unknown_name_is_refused_with_the_nearest():
    registry = Registry("method")
    registry.register("scrub", 1, function_of("a"))
    with pytest.raises(UnknownNameError, match=r"Unknown method 'scrup'. Did you mean 'scrub'\? Known: scrub"):
        registry["scrup"]
    assert registry.get("scrup") is None


def test_a_taken_name_is_refused_and_the_first_stays():
    registry = Registry("data set")
    registry.register("mnist", 1, function_of("a"))
    with pytest.raises(ForgetError, match="Data set 'mnist' exists already; choose another name"):
        registry.register("mnist", 2, function_of("b"))
    assert registry["mnist"] == 1


def test_a_module_that_runs_again_may_take_its_own_name_again():
    registry = Registry("model")
    registry.register("mlp", 1, function_of("a"))
    registry.register("mlp", 2, function_of("a"))
    assert registry["mlp"] == 2


def test_a_name_that_was_taken_away_is_free():
    registry = Registry("model")
    registry.register("mlp", 1, function_of("a"))
    registry.pop("mlp")
    registry.register("mlp", 2, function_of("b"))
    assert registry["mlp"] == 2


def test_a_name_of_a_file_is_known_before_the_file_is_imported(tmp_path, monkeypatch):
    (tmp_path / "file_of_two_things.py").write_text(
        "from of_registry import R\nfor n in 'ab': R.register(n, n, R.at)\n"
    )
    registry = Registry("data set", files=dict.fromkeys("abc", "file_of_two_things"))
    registry.at = function_of("file_of_two_things")
    monkeypatch.setitem(sys.modules, "of_registry", SimpleNamespace(R=registry))
    monkeypatch.syspath_prepend(tmp_path)
    assert "a" in registry
    assert registry.names == ["a", "b", "c"]
    assert list(registry.items()) == []
    with pytest.raises(ForgetError, match="'b' exists already"):
        registry.register("b", 2, function_of("a_plugin"))
    assert registry["a"] == "a"
    assert dict(registry) == {"a": "a", "b": "b"}
    with pytest.raises(UnknownNameError, match="'c'"):
        registry["c"]

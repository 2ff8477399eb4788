"""What may be wrong with the references or the weights, and what is noticed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from forget_lib.core.errors import ForgetError
from forget_lib.deletion import answer as answers
from forget_lib.deletion import case as cases
from forget_lib.deletion import evidence, verdict
from forget_lib.deletion.request import read_request


def test_a_recipe_that_does_not_reproduce_the_model_weakens_the_verdict(shared):
    _, answer, _, _ = shared
    worse = dict(answer.measured[answers.ORIGINAL]) | {"validation_accuracy": np.array(0.1)}
    concerns = evidence.concerns_of(answer.case, worse, answer.families, answer.rule)
    assert "does not reproduce" in concerns[0]
    found = evidence.judge(answer.case, worse, answer.families, answer.rule, concerns)
    assert found.outcome == verdict.UNDECIDED


def measures(**accuracies: float) -> dict[str, np.ndarray]:
    return {f"{name}_accuracy": np.array(value) for name, value in accuracies.items()}


@pytest.mark.fault("Given weights that saw the held-out images")
def test_weights_that_saw_the_held_out_images_weaken_the_verdict_and_it_is_said_what_to_do(shared, monkeypatch):
    _, answer, _, _ = shared
    originals = [dict(each) for each in answer.families.originals]
    for number, each in enumerate(originals):
        each |= measures(retain=1.0, validation=0.5 + number / 20, test=0.55)
    families = dataclasses.replace(answer.families, originals=originals)
    given = dataclasses.replace(answer.case)
    monkeypatch.setattr(cases.Case, "weights", answer.case.folder / "given.safetensors")
    saw = dict(answer.measured[answers.ORIGINAL]) | measures(retain=1.0, validation=1.0, test=1.0)
    (concern,) = evidence.concerns_of(given, saw, families, answer.rule)
    assert "probably seen the held-out images" in concern
    assert "held_out (indices: FILE)" in concern
    assert "all of it was training" in concern
    found = evidence.judge(given, saw, families, answer.rule, (concern,))
    assert found.outcome == verdict.UNDECIDED
    fair = dict(saw) | measures(retain=1.0, validation=0.6, test=0.5)
    assert evidence.concerns_of(given, fair, families, answer.rule) == ()
    # Where models trained here know unseen images as well as trained ones, being as good on both says nothing.
    easy = [dict(each) | measures(retain=1.0, validation=1.0, test=0.99) for each in originals]
    families = dataclasses.replace(answer.families, originals=easy)
    assert evidence.concerns_of(given, saw, families, answer.rule) == ()


@pytest.mark.fault("Given weights that saw the held-out images")
def test_a_trace_far_above_1_is_a_concern_where_weights_were_given(shared, monkeypatch):
    _, answer, _, _ = shared
    retrained, originals = (
        np.stack([m["outputs"] for m in group]).mean(0)
        for group in (answer.families.retrained, answer.families.originals)
    )
    closer = dict(answer.measured[answers.ORIGINAL]) | {"outputs": originals + 2 * (originals - retrained)}
    assert evidence.concerns_of(answer.case, closer, answer.families, answer.rule) == ()
    monkeypatch.setattr(cases.Case, "weights", answer.case.folder / "given.safetensors")
    (concern,) = evidence.concerns_of(answer.case, closer, answer.families, answer.rule)
    assert "better than the recipe explains" in concern
    assert "held_out" in concern


def test_weights_of_another_training_or_another_model_are_noticed(shared, mine):
    _, answer, _, _ = shared
    retrained = answer.measured[answers.FRESH]
    concerns = evidence.concerns_of(answer.case, retrained, answer.families, answer.rule)
    assert any("do not look trained on" in concern for concern in concerns)
    save_file({"weight": torch.zeros(3)}, mine / "other.safetensors")
    path = mine / "first.yaml"
    path.write_text(path.read_text().replace("{name: mlp}", "{name: mlp, weights: other.safetensors}"))
    with pytest.raises(ForgetError, match=r"other\.safetensors does not fit mlp"):
        cases.open_case(read_request(path))


def test_the_smallest_share_noticed_is_one_that_was_trained_and_holds_for_all_larger_ones():
    rows = [("a", 0.0, 0.05), ("a", 0.1, 0.9), ("a", 0.25, 0.5), ("a", 0.5, 0.9), ("a", 1.0, 1.0)]
    rows += [("b", 0.1, 0.1), ("b", 1.0, 0.2), ("c", 0.1, float("nan")), ("c", 1.0, float("nan"))]
    curve = pd.DataFrame(rows, columns=["attack", "share", "power"])
    found = evidence.smallest_noticed(curve, 0.8)
    assert found["a"] == 0.5
    assert np.isnan(found["b"])
    assert np.isnan(found["c"])

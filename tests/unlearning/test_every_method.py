"""The registry of methods, what every method must keep, and what the methods do to a small MNIST."""

import copy
import dataclasses
import inspect
import itertools
from typing import Literal, get_origin

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from forget_lib.attacks.relearning import relearned
from forget_lib.core.errors import DivergedError, ForgetError, NotApplicableError, UnknownNameError
from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import build
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import accuracy, predict
from forget_lib.study import run
from forget_lib.unlearning import METHODS, UnlearningTask, get_method, list_methods, method, unlearn, why_not_applicable
from forget_lib.unlearning.registry import setting_faults
from tests.tiny_tasks import tiny_net, tiny_samples, tiny_task

# Registry and bad input


def test_all_methods_and_controls_are_there_with_the_simple_ones_first():
    assert list_methods()[:3] == ["retrain", "finetune", "negative_gradient"]
    expected = "retrain finetune negative_gradient negative_gradient_plus random_label uniform_kl bad_teacher scrub"
    expected += (
        " scrub_rewind unsir cf_k eu_k l1_sparse salun ssd lfssd adaptive_ssd delete_distillation boundary_shrink"
    )
    assert set(expected.split()) <= set(list_methods(controls=False))
    assert set(list_methods()) - set(list_methods(controls=False)) == {
        *("do_nothing", "mask_logit", "over_forget", "short_retrain", "untrained")
    }


@pytest.mark.parametrize("name", list_methods())
def test_a_method_says_what_it_is(name):
    entry, text = get_method(name), inspect.getdoc(get_method(name).function)
    assert entry.title
    assert entry.paper
    assert entry.uses
    assert entry.family
    assert entry.idea
    assert ":math:" in text
    assert entry.code
    assert entry.source.status in ("V", "P", "M") or entry.control or name == "uniform_kl"
    assert entry.source.arxiv.count(" ") == entry.paper.count("; ") or not entry.source.arxiv
    for setting, field in get_method(name).model.model_fields.items():
        bounded = field.metadata or get_origin(field.annotation) is Literal
        assert bounded or field.annotation in (bool, str), f"{setting} states no range"
    source = inspect.getsource(entry.function)
    body = source.replace(entry.function.__doc__, "")
    assert len(body.splitlines()) <= 60


def test_unknown_methods_and_settings_name_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'scrub'"):
        unlearn("scrubb", tiny_net(), tiny_task())
    with pytest.raises(ForgetError, match="Did you mean 'learning_rate'"):
        unlearn("finetune", tiny_net(), tiny_task(), learning_rat=0.1)
    with pytest.raises(ForgetError, match="labels is 'others'; expected one of other, any"):
        unlearn("random_label", tiny_net(), tiny_task(), labels="others")
    with pytest.raises(ForgetError, match="importance is 'batches'; expected one of batch, batch by class, sample"):
        unlearn("ssd", tiny_net(), tiny_task(), importance="batches")
    with pytest.raises(UnknownNameError, match="class request"):
        method("x", title="x", paper="x", uses="x", family="x", needs=("class requests",))


OUT_OF_RANGE = [
    ("finetune", {"learning_rate": 0.0}),
    ("finetune", {"learning_rate": float("nan")}),
    ("finetune", {"learning_rate": "fast"}),
    ("finetune", {"epochs": 1.5}),
    ("negative_gradient", {"epochs": 0}),
    ("negative_gradient", {"clip_norm": 0.0}),
    ("negative_gradient_plus", {"alpha": 1.1}),
    ("uniform_kl", {"forget_rate": 0.0}),
    ("bad_teacher", {"retain_share": 0.0}),
    ("bad_teacher", {"temperature": 0.0}),
    ("scrub", {"temperature": -1.0}),
    ("scrub", {"max_epochs": -1}),
    ("scrub_rewind", {"forget_batch_size": 0}),
    ("unsir", {"noise_count": 0}),
    ("cf_k", {"k": 0}),
    ("cf_k", {"k": 3}),
    ("eu_k", {"k": 9}),
    ("eu_k", {"epochs": -1}),
    ("l1_sparse", {"alpha": -1.0}),
    ("salun", {"share": 0.0}),
    ("ssd", {"alpha": 0.0}),
    ("lfssd", {"strength": -0.1}),
    ("adaptive_ssd", {"strength": -1.0}),
    ("delete_distillation", {"epochs": 0}),
    ("boundary_shrink", {"reach": 1.5}),
    ("over_forget", {"epochs": 0}),
    ("short_retrain", {"share": 0.0}),
    ("short_retrain", {"share": 1.1}),
]


@pytest.mark.parametrize(("name", "settings"), OUT_OF_RANGE)
def test_settings_out_of_range_are_refused_by_name(name, settings):
    with pytest.raises(ForgetError, match="|".join(settings)):
        unlearn(name, tiny_net(), tiny_task(classes=(1,)), **settings)


def test_all_mistakes_of_settings_are_told_at_once_with_what_was_expected():
    faults = setting_faults("scrub", {"epochs": 0, "alpha": -1.0, "gama": 1.0, "learning_rate": "0.1"})
    assert len(faults) == 4
    assert "Method scrub: epochs is 0; expected a whole number of at least 1." in faults
    assert "Method scrub: learning_rate is '0.1', which is text (write 0.1); expected a number above 0." in faults
    assert any("Did you mean 'gamma'" in fault for fault in faults)
    assert setting_faults("scrub", {"epochs": 2.0, "alpha": 0, "learning_rate": 1}) == []
    schema = get_method("salun").model.model_json_schema()["properties"]
    assert schema["share"] == {"default": 0.5, "exclusiveMinimum": 0, "maximum": 1, "title": "Share", "type": "number"}


def test_a_plugin_that_states_no_ranges_is_checked_by_the_names_of_its_settings():
    def mine(model, task, *, learning_rate=0.1, epochs: "int" = 1, weight: float = 1, of: list | None = None):
        return model

    method("mine", title="x", paper="a paper", uses="x", family="x")(mine)
    try:
        assert get_method("mine").paper == "a paper"
        assert setting_faults("mine", {"learning_rate": 1, "epochs": 2.0, "weight": 0.5, "of": [1]}) == []
        faults = setting_faults("mine", {"learning_rate": 0.0, "epochs": 1.5, "weight": True})
        assert [fault.split()[2] for fault in faults] == ["learning_rate", "epochs", "weight"]
    finally:
        METHODS.pop("mine")


def test_a_name_is_taken_by_its_file_before_the_file_is_read():
    with pytest.raises(ForgetError, match="Method 'scrub' exists already"):
        method("scrub", title="x", paper="x", uses="x", family="x")(lambda model, task: model)


def test_an_empty_forget_or_retain_set_is_refused():
    for part in ("forget", "retain"):
        with pytest.raises(ForgetError, match=f"The {part} set is empty"):
            tiny_task(**{part: tiny_samples(0, 1)})


@pytest.mark.parametrize("name", ["unsir", "mask_logit"])
def test_class_methods_say_why_a_subset_request_is_none_of_theirs(name):
    assert why_not_applicable(name, tiny_net(), tiny_task()) == f"{name} needs: class request"
    with pytest.raises(NotApplicableError, match="class request"):
        unlearn(name, tiny_net(), tiny_task())
    assert why_not_applicable(name, tiny_net(), tiny_task(classes=(1,))) is None


def test_scrub_rewind_needs_validation_samples():
    assert "validation" in why_not_applicable("scrub_rewind", tiny_net(), tiny_task(validation=tiny_samples(0, 1)))


@pytest.mark.parametrize("name", ["finetune", "negative_gradient_plus", "uniform_kl", "random_label", "scrub"])
def test_divergence_is_an_error_that_says_what_to_lower(name):
    rate = "forget_rate" if name == "uniform_kl" else "learning_rate"
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Linear(5, 3)).double()
    with pytest.raises(DivergedError, match="learning rate"):
        unlearn(name, net, tiny_task(), **{rate: 1e200, "epochs": 5})


def test_a_function_that_returns_no_model_is_told_so():
    method("none", title="x", paper="x", uses="x", family="x")(lambda model, task: None)
    try:
        with pytest.raises(ForgetError, match="must return a model"):
            unlearn("none", tiny_net(), tiny_task())
    finally:
        METHODS.pop("none")


# What every method keeps


def bits(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def small_task(kind: str, architecture: str) -> UnlearningTask:
    parts = {"forget": 12, "retain": 24, "validation": 9}
    samples = {n: tiny_samples(s, s, kind=Samples, side=8, batch_size=8) for n, s in parts.items()}
    if kind == "class":
        samples["forget"] = samples["forget"].with_labels(torch.ones(12, dtype=torch.int64))
        samples["retain"] = samples["retain"].with_labels(torch.arange(24) % 2 * 2)

    def fresh(seed: int) -> nn.Module:
        return build(architecture, (1, 8, 8), 3, seed)

    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.01)
    return tiny_task(classes=(1,) if kind == "class" else (), net=fresh, recipe=recipe, **samples)


CASES = list(itertools.product(list_methods(), ("class", "subset"), ("mlp", "small_cnn")))


@pytest.mark.parametrize(("name", "kind", "architecture"), CASES)
def test_every_method_keeps_its_inputs_its_bits_and_its_place(name, kind, architecture):
    task, original = small_task(kind, architecture), build(architecture, (1, 8, 8), 3, 0)
    reason = why_not_applicable(name, original, task)
    if reason is not None:
        assert "needs" in reason
        with pytest.raises(NotApplicableError, match="needs"):
            unlearn(name, original, task)
        return
    before = bits(original)
    inputs = [copy.deepcopy(x) for s in (task.forget, task.retain, task.validation) for x in (s.images, s.labels)]
    state = torch.get_rng_state()
    found = unlearn(name, original, task)
    assert same(bits(original), before)
    now = [x for s in (task.forget, task.retain, task.validation) for x in (s.images, s.labels)]
    assert same(now, inputs)
    assert torch.equal(torch.get_rng_state(), state)
    assert found is not original
    assert not {p.data_ptr() for p in original.parameters()} & {p.data_ptr() for p in found.parameters()}
    assert not found.training
    assert not found._forward_hooks
    assert all(p.requires_grad and p.dtype == torch.float32 and p.device.type == "cpu" for p in found.parameters())
    if name != "sisa":  # several models in one, by definition
        assert [(k, v.shape, v.dtype) for k, v in found.state_dict().items()] == [
            (k, v.shape, v.dtype) for k, v in original.state_dict().items()
        ]
    again = small_task(kind, architecture)
    assert same(bits(unlearn(name, original, again)), bits(found))
    assert again.meter.passes == task.meter.passes
    assert (task.meter.passes > 0) == (name not in ("do_nothing", "untrained", "dp_sgd"))


# What the methods do


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> run.Scenario:
    recipe = {"epochs": 10, "batch_size": 64, "learning_rate": 0.02}
    folder = tmp_path_factory.mktemp("digits")
    options = {"dataset": "mnist", "model": "mlp", "request": "class:5", "start": "sample"}
    return run.make_scenario(folder, recipe, (), **options)


@pytest.fixture(scope="module")
def original(digits) -> nn.Module:
    return run.original(digits)


def of_rest(scenario: run.Scenario, part: str) -> Samples:
    samples = scenario.samples[part]
    return samples.subset(samples.labels != 5)


# Settings for forgetting a digit by a net of one hidden layer after ten epochs on 3,000 images.
STRONG = {
    "retrain": {},
    "finetune": {"epochs": 20},
    "random_label": {"learning_rate": 0.005},
    "uniform_kl": {},
    "negative_gradient_plus": {"learning_rate": 0.002, "alpha": 0.99},
    "scrub": {"epochs": 3, "alpha": 0.3},
    "salun": {"learning_rate": 0.005, "labels": "other", "mixed": True},
    "ssd": {"importance": "batch"},
    "adaptive_ssd": {"importance": "batch"},
    "lfssd": {"alpha": 5.0, "importance": "batch"},
    "delete_distillation": {},
    "boundary_shrink": {},
    "bad_teacher": {"learning_rate": 0.002, "epochs": 4, "retain_share": 1.0},
    "eu_k": {},
    "unsir": {},
}


@pytest.mark.parametrize(("name", "settings"), STRONG.items())
def test_forgets_a_digit_and_keeps_the_others(digits, original, name, settings):
    found = unlearn(name, original, run.make_task(digits, name=name), **settings)
    assert accuracy(found, digits.samples["forget"]) <= 0.05
    assert accuracy(found, of_rest(digits, "test")) >= accuracy(original, of_rest(digits, "test")) - 0.03


def test_doing_nothing_keeps_the_digit(digits, original):
    found = unlearn("do_nothing", original, run.make_task(digits))
    assert accuracy(found, digits.samples["forget"]) > 0.95


def test_masking_the_logit_only_hides_the_digit(digits, original):
    """It cannot be told from forgetting by accuracy, but relearns at once, or a probe finds it."""
    task, forget = run.make_task(digits), digits.samples["forget"]
    masked, retrained = (unlearn(name, original, task) for name in ("mask_logit", "retrain"))
    assert accuracy(masked, forget) == 0
    assert accuracy(masked, of_rest(digits, "test")) >= accuracy(original, of_rest(digits, "test"))
    target = 0.9 * accuracy(original, forget)
    steps = [batches_to_relearn(model, forget, target) for model in (masked, retrained)]
    probes = [probe(model, digits) for model in (masked, retrained)]
    assert 5 * steps[0] <= steps[1] or probes[0] > probes[1] + 0.02


def batches_to_relearn(model: nn.Module, forget: Samples, target: float, limit: int = 150) -> int:
    """Mini-batches of SGD on the forget set until its accuracy is the target, or the limit."""
    students = itertools.islice(relearned(model, forget, learning_rate=0.003), limit)
    return next((count for count, student in enumerate(students) if accuracy(student, forget) >= target), limit)


def probe(model: nn.Module, scenario: run.Scenario) -> float:
    """Recall of the digit on test images by a linear probe of the features."""
    with torch.no_grad():
        train, test = (
            (model.features(images), labels)
            for images, labels in (
                next(scenario.samples[part].batches(batch_size=10**6, shuffle=False)) for part in ("trained", "test")
            )
        )
    fitted = LogisticRegression(max_iter=300).fit(train[0][::3], train[1][::3])
    return float((fitted.predict(test[0])[test[1] == 5] == 5).mean())


def test_over_forgetting_shows_on_random_samples(digits, original):
    scenario = run.make_scenario(
        digits.root, digits.recipe.__dict__, (), dataset="mnist", model="mlp", request="random:0.1", start="sample"
    )
    found = unlearn("over_forget", original, run.make_task(scenario))
    forget, unseen = (accuracy(found, scenario.samples[part]) for part in ("forget", "unseen"))
    assert forget < unseen - 0.1


def test_cost_is_counted_in_sample_passes(digits, original):
    expected = {"finetune": 3 * 2700, "negative_gradient": 3 * 300, "ssd": 3 * 3300, "delete_distillation": 4 * 300}
    for name, passes in expected.items():
        task = run.make_task(digits)
        unlearn(name, original, task, **({} if name == "ssd" else {"epochs": 1}))
        assert task.meter.passes == passes, name
    task = run.make_task(digits)
    unlearn("ssd", original, task, importance="sample")
    assert task.meter.passes == 3 * 3000


class Masked(nn.Module):
    """A net with a causal mask of -inf as a buffer, as attention has, and one that was never filled."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.net = tiny_net(seed)
        self.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))
        self.register_buffer("unused", torch.full((2,), float("nan")))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images) + self.mask.exp()[2]


@pytest.mark.parametrize("name", ["do_nothing", "retrain", "finetune", "sisa"])
@pytest.mark.fault("A net, method or attack that raises")
def test_a_buffer_that_was_never_finite_does_not_count_as_diverged(name):
    model = Masked()
    unlearned = unlearn(name, model, tiny_task(net=Masked))
    assert predict(unlearned, tiny_task().retain).isfinite().all()


@pytest.mark.fault("A net, method or attack that raises")
def test_a_weight_that_stops_being_finite_is_told_beside_a_mask_of_minus_infinity(monkeypatch):
    def broken(model: nn.Module, task: UnlearningTask) -> nn.Module:
        model.net.head.bias.data[0] = float("nan")
        return model

    monkeypatch.setitem(METHODS, "do_nothing", dataclasses.replace(get_method("do_nothing"), function=broken))
    with pytest.raises(DivergedError, match="weights that are not finite"):
        unlearn("do_nothing", Masked(), tiny_task(net=Masked))

"""One scenario from data to records: train or load the original, run methods, evaluate, write."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from forget_lib.attacks import AttackInput, get_attack
from forget_lib.attacks.parts.probes import ProbeInput
from forget_lib.core.errors import ForgetError, NotApplicableError
from forget_lib.core.names import public_name
from forget_lib.core.user_code import failure, naming_failure
from forget_lib.models.given_weights import check_given, put_weights
from forget_lib.models.log import TrainingLog, logged_training
from forget_lib.models.nets import NETS_VERSION
from forget_lib.models.own import OwnModel
from forget_lib.models.train import PREDICTED, TRAINING_VERSION, Meter, embed, predict, train
from forget_lib.statistics import metrics
from forget_lib.statistics.measurement import Measurement
from forget_lib.statistics.scores import cross_entropy
from forget_lib.study import evidence, plugins, records
from forget_lib.study.chosen import with_chosen
from forget_lib.study.plugins import with_plugins
from forget_lib.study.records import code_of, key_of, read_record, write_record
from forget_lib.study.scenario import EVALUATED, Scenario, describe, make_scenario, seed_of
from forget_lib.unlearning import METHODS, UnlearningTask, get_method, unlearn
from forget_lib.unlearning.registry import check_settings, default_settings
from forget_lib.unlearning.sisa import ensemble_of, is_ensemble

EVALUATION_VERSION = 2
"""Raised when the evaluation of a model gives other numbers; records of before are then made again."""

SECOND_RETRAIN = 1
SAME_METHOD = {"second_retrain": ("retrain", SECOND_RETRAIN)}
"""Records that are called after what they are for, and the method with its seed that makes them."""
WITH_HISTORY = ("uniform_kl", "finetune", "negative_gradient_plus", "scrub")
"""Methods whose metrics are recorded after each epoch; on all samples that would cost more than most methods do."""
__all__ = ["EVALUATED", "Scenario", "make_scenario", "original", "run_method", "run_methods", "with_plugins"]


def original(scenario: Scenario) -> nn.Module:
    """The model trained on forget and retain together, loaded from its record or trained now; in eval mode. A user's
    own model that comes with weights is that one.

    Requests that leave the training set and its labels as they are share it (folder `all`).
    Raises: ForgetError that names the net, the error and its line where it cannot be trained.
    """
    name = scenario.parsed.original_name
    folder = scenario.folder("original", request=name)
    sets = records.key_of(trained=scenario.sets.trained.tolist(), labels=scenario.sets.labels.tolist())
    # The names of attacks and the request are not part of the key: they do not change the training.
    key = key_of(
        about={**describe(scenario), "sizes": sets},
        code=[TRAINING_VERSION, NETS_VERSION, *scenario.own_code],
    )
    model = scenario.new_model(seed_of("original", scenario.seed))
    record = read_record(folder)
    if record is not None and record["key"] == key:
        try:
            model.load_state_dict(records.read_state(folder))
            return model.eval()
        except (ForgetError, RuntimeError) as error:
            print(f"{error} It is trained again.")
    net = public_name(scenario.model)
    if isinstance(model, OwnModel) and not scenario.weights:  # as large a batch as it will meet, before it is trained
        first = scenario.samples["trained"].subset(torch.arange(min(PREDICTED, len(scenario.samples["trained"]))))
        with naming_failure(f"{net} cannot be used, so there is nothing to unlearn"), torch.random.fork_rng(devices=[]):
            predict(model, first)
    meter, history = Meter(), None
    if scenario.weights:
        put_weights(model, scenario.weights, scenario.model)
        check_given(model, scenario.samples["trained"], scenario.data.classes)
    else:
        checkpoint = scenario.root / "checkpoints" / f"{key[:16]}.pt"
        trained, seed = scenario.samples["trained"], seed_of("original", scenario.seed)
        with naming_failure(f"{net} cannot be trained, so there is nothing to unlearn"):
            history = train(
                meter.attach(model), trained, scenario.recipe, seed, checkpoint=checkpoint, title="original"
            )
        model._forward_hooks.clear()
    cost = meter.cost
    with naming_failure(f"{net} cannot be measured, so there is nothing to unlearn"):
        measured, _ = evaluate(scenario, model, ("validation", "test"), attacks=())
    run = describe(scenario) | {
        "request": name,
        "method": "original",
        "run": 0,
        "status": "done",
        "key": key,
        "cost": cost,
    }
    run |= {"measurements": [m._asdict() for m in measured], **records.provenance(), "written": _now()}
    write_record(folder, run, history=history, state=model.state_dict())
    return model.eval()


@lru_cache(maxsize=2)
def training_log_of(scenario: Scenario) -> TrainingLog:
    """The log of the original's training, which is repeated for it: the same seed gives the same bits on a CPU."""
    seed = seed_of("original", scenario.seed)
    watched = torch.isin(scenario.sets.trained, scenario.sets.forget)
    return logged_training(scenario.new_model(seed), scenario.samples["trained"], scenario.recipe, seed, watched)


def make_task(
    scenario: Scenario, run: int = 0, on_epoch: Callable[[int, nn.Module], None] | None = None, name: str = ""
) -> UnlearningTask:
    """What a method gets in this scenario: forget, retain and validation samples, and nothing of unseen, population
    or test; the training log if the method of that name needs it.
    """
    seed = seed_of("method", name, scenario.seed, scenario.draw, run)
    generator = torch.Generator().manual_seed(seed)
    samples = {
        part: dataclasses.replace(scenario.samples[part], generator=generator)
        for part in ("forget", "retain", "validation")
    }
    logged = name in METHODS and "training log" in METHODS[name].needs and not scenario.weights
    return UnlearningTask(
        request=scenario.parsed,
        training_log=training_log_of(scenario) if logged else None,
        classes=scenario.classes,
        number_of_classes=len(scenario.data.classes),
        fresh_model=scenario.new_model,
        recipe=scenario.recipe,
        seed=seed,
        generator=generator,
        device=scenario.torch_device,
        on_epoch=on_epoch,
        **samples,
    )


def evaluate(
    scenario: Scenario, model: nn.Module, parts: tuple[str, ...] = EVALUATED, attacks: tuple[str, ...] | None = None
) -> tuple[list[Measurement], dict[str, np.ndarray]]:
    """The one evaluation: accuracies on the six sets, per class on the test set, and the attacks.

    Returns: measurements, and logits (float32 [N, K]) and labels by "<set>_logits" and "<set>_labels".
    """
    logits = {part: predict(model, scenario.samples[part]) for part in parts}
    labels = {part: scenario.samples[part].labels.cpu() for part in parts}
    right = {part: (logits[part].argmax(1) == labels[part]).float() for part in parts}
    found = [
        Measurement(f"{part}_accuracy", float(right[part].mean()), n=len(right[part]))
        for part in parts
        if len(right[part])
    ]
    if "test" in parts:
        gone = torch.isin(labels["test"], torch.tensor(scenario.classes, dtype=torch.int64))
        if gone.any():
            found.append(Measurement("test_accuracy_forgotten", float(right["test"][gone].mean()), n=int(gone.sum())))
            found.append(
                Measurement("test_accuracy_retained", float(right["test"][~gone].mean()), n=int((~gone).sum()))
            )
        for index, title in enumerate(scenario.data.classes):
            here = labels["test"] == index
            if here.any():
                value = float(right["test"][here].mean())
                found.append(Measurement("class_accuracy", value, n=int(here.sum()), item=title))
    embedded: dict[str, np.ndarray] = {}
    for name in scenario.attacks if attacks is None else attacks:
        needs = get_attack(name).needs
        if needs == "weights":  # see `evidence`: it needs the original as well
            continue
        found += (
            probe(scenario, name, model, embedded) if needs == "embeddings" else attack(scenario, name, logits, labels)
        )
    arrays = {f"{part}_logits": logits[part].numpy() for part in parts} | {
        f"{part}_labels": labels[part].numpy() for part in parts
    }
    return found, arrays


def attack(
    scenario: Scenario, name: str, logits: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]
) -> list[Measurement]:
    """An attack on forget samples against exchangeable unseen ones; empty, with a printed reason, where there are
    too few."""
    inputs = AttackInput(
        forget_logits=logits["forget"],
        forget_labels=labels["forget"],
        unseen_logits=logits["unseen"],
        unseen_labels=labels["unseen"],
        forget_indices=scenario.sets.forget,
        unseen_indices=scenario.sets.unseen,
        forget_people=scenario.samples["forget"].people if scenario.groups_people else None,
        unseen_people=scenario.samples["unseen"].people if scenario.groups_people else None,
        seed=seed_of("attack", name, scenario.seed, scenario.draw),
    )
    try:
        return [measurement._replace(attack=name) for measurement in get_attack(name).function(inputs)]
    except Exception as error:  # an attack, or a net, of the user's can raise anything
        print(f"attack {name}: no result, {error if isinstance(error, ForgetError) else failure(error)}")
        return []


def probe(scenario: Scenario, name: str, model: nn.Module, embedded: dict[str, np.ndarray]) -> list[Measurement]:
    """A probe of the embedding, where whole classes (digits, people) are forgotten; else empty.

    Gallery: validation images, or for the linear probe the training images. Queries: test images. The model was trained
    on none of the queries.
    Args: embedded: embeddings by set, so that all probes of a model share them; what is missing is put in.
    """
    if not scenario.classes:
        return []
    parts = ("trained" if name == "linear_probe" else "validation", "test")
    gallery, queries = (scenario.samples[part].labels.cpu().numpy() for part in parts)
    try:
        for part in parts:
            if part not in embedded:
                embedded[part] = embed(model, scenario.samples[part]).numpy()
        inputs = ProbeInput(embedded[parts[0]], gallery, embedded["test"], queries, scenario.classes)
        return get_attack(name)(inputs)
    except Exception as error:  # an attack, or a net, of the user's can raise anything
        print(f"attack {name}: no result, {error if isinstance(error, ForgetError) else failure(error)}")
        return []


def run_method(
    scenario: Scenario,
    name: str,
    settings: Mapping[str, Any] | None = None,
    run: int = 0,
    *,
    reference: Path | None = None,
) -> dict[str, Any]:
    """One method on one scenario: its record, read from disk where it is up to date, else made now.

    "original" evaluates the model as it is, "second_retrain" is retrained with another seed. A method that does not
    apply, diverges or fails on the net leaves a record that says so.
    Args: settings: the method's settings; those left out are as chosen by tuning, else the defaults. run: seed of
        the method. reference: folder of the retrained model's record, to measure distances from it.
    Returns: the content of run.json.
    Raises: UnknownNameError, ForgetError for settings, before anything is computed.
    """
    settings = dict(settings or {})
    method, number = SAME_METHOD.get(name, (name, run))
    if method != "original":
        check_settings(method, settings)
        chosen = with_chosen(method, settings, *scenario.tuned_for)
        settings = default_settings(method, scenario.recipe.epochs) | chosen
    code: list[int | str] = [TRAINING_VERSION, NETS_VERSION, EVALUATION_VERSION]
    code += [] if name == "original" else [code_of(get_method(method))]
    code += [code_of(get_attack(each)) for each in scenario.attacks] + scenario.own_code
    about = describe(scenario) | {"request": scenario.parsed.name, "request_text": scenario.request_text}
    about |= {"method": name, "run": run, "settings": settings}
    retrained = None if reference is None else read_record(reference)
    if retrained is not None and retrained["status"] != "done":
        reference = retrained = None  # without a recipe nothing is retrained, and less can be said
    key = key_of(about=about, code=code, attacks=scenario.attacks, compared=retrained and retrained["key"])
    folder = scenario.folder(name, run)
    record = read_record(folder)
    if record is not None and record["key"] == key:
        return record
    start = original(scenario)
    epochs: list[dict[str, float]] = []

    def on_epoch(epoch: int, model: nn.Module) -> None:
        epochs.append({"epoch": epoch} | evidence.epoch_accuracies(scenario, model))

    task = make_task(scenario, number, on_epoch if name in WITH_HISTORY else None, method)
    about |= {"key": key, **records.provenance(), "written": _now(), "reason": None}

    def not_done(status: str, reason: str) -> dict[str, Any]:
        write_record(folder, about | {"status": status, "reason": reason, "measurements": [], "cost": {}})
        return read_record(folder)

    try:
        model = start if name == "original" else unlearn(method, start, task, **settings)
    except NotApplicableError as error:
        return not_done("not applicable", str(error))
    except ForgetError as error:
        return not_done("failed", str(error))
    cost = task.meter.cost if name != "original" else {}
    try:
        measured, arrays = _all_measured(scenario, model, start, cost, reference)
    except ForgetError:  # of the study's own files: what to do about it is in the message
        raise
    except Exception as error:  # a net of the user's can raise anything
        return not_done("failed", f"{name} could not be measured on {about['model']}: {failure(error)}.")
    about |= {"status": "done", "cost": cost, "measurements": [m._asdict() for m in measured]}
    about["without_result"] = sorted(set(scenario.attacks) - {m.attack for m in measured})  # the log says why
    state = None if name == "original" else model.state_dict()
    write_record(folder, about, history=pd.DataFrame(epochs) if epochs else None, predictions=arrays, state=state)
    return about


def _all_measured(
    scenario: Scenario, model: nn.Module, start: nn.Module, cost: Mapping[str, float], reference: Path | None
) -> tuple[list[Measurement], dict[str, np.ndarray]]:
    """All measurements of a model, and the arrays to keep; see `run_method` for `reference`."""
    measured, arrays = evaluate(scenario, model)
    measured += _cost(scenario, cost)
    if reference is not None:
        measured += against_retrained(arrays, records.read_predictions(reference))
    found, more = evidence.model_evidence(scenario, model, start, reference)
    return measured + found, arrays | more


def against_retrained(arrays: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> list[Measurement]:
    """Distances of a model's predictions from the retrained model's; the second retrain's values are the floor.

    Args: arrays, reference: logits and labels by set, as `evaluate` returns them.
    """
    forget, test = ([part[f"{name}_logits"] for part in (arrays, reference)] for name in ("forget", "test"))
    accuracies = [
        {
            part: metrics.accuracy(each[f"{part}_logits"], each[f"{part}_labels"])
            for part in ("forget", "retain", "test")
        }
        for each in (arrays, reference)
    ]
    return [
        Measurement("tug_of_war", metrics.tug_of_war(*accuracies)),
        Measurement("completeness", metrics.completeness(*test), n=len(test[0])),
        Measurement("activation_distance_forget", metrics.activation_distance(*forget), unit="", n=len(forget[0])),
        Measurement("js_divergence_forget", metrics.js_divergence(*forget), unit="nats", n=len(forget[0])),
    ]


def _cost(scenario: Scenario, cost: Mapping[str, float]) -> list[Measurement]:
    if not cost:
        return []
    found = [
        Measurement("seconds", cost["seconds"], unit="s"),
        Measurement("sample_passes", cost["sample_passes"], unit="passes"),
    ]
    if not scenario.recipe.known:
        return found
    retraining = 3 * scenario.recipe.epochs * len(scenario.samples["retain"])
    return [*found, Measurement("relative_cost", cost["sample_passes"] / retraining, unit="retrainings")]


def run_methods(scenario: Scenario, methods: Mapping[str, Mapping[str, Any] | None]) -> pd.DataFrame:
    """Retrained model, second retrain and original, then each method; each is a record of its own, so that a killed
    run resumes.

    Args: methods: settings by name; all are checked before the first one runs.
    Returns: the tidy table of this scenario (see `results.load`).
    """
    for name, settings in methods.items():
        check_settings(name, settings or {})
    rows: list[tuple[str, Mapping[str, Any] | None, int]] = [
        ("retrain", {}, 0),
        ("second_retrain", {}, 0),
        ("original", {}, 0),
    ]
    rows += [(name, settings, 0) for name, settings in methods.items() if name not in ("original", "retrain")]
    begun = time.perf_counter()
    for number, (name, settings, run) in enumerate(rows, 1):
        oracle = scenario.folder("retrain") if number > 1 else None
        record = run_method(scenario, name, settings, run, reference=oracle)
        spent = time.perf_counter() - begun
        left = spent / number * (len(rows) - number)
        note = "" if record["status"] == "done" else f" ({record['status']}: {record['reason']})"
        print(
            f"{number}/{len(rows)} {name}{note}, {spent:.0f} s, about {left:.0f} s left",
            flush=True,
        )
    table = records.load(scenario.folder("original").parent.parent)
    return table[table["method"].isin([name for name, _, _ in rows])].reset_index(drop=True)


def load_model(scenario: Scenario, name: str, run: int = 0) -> nn.Module:
    """The model of a record of this scenario, in eval mode; for `sisa` the ensemble of its shards. Nothing is trained.

    Raises: ForgetError if it was not made yet, has no model or one of another shape.
    """
    shared = scenario.parsed.original_name if name == "original" else None
    return read_model(scenario, scenario.folder(name, run, request=shared))


def read_model(scenario: Scenario, folder: Path) -> nn.Module:
    """The model of a record in any folder, in eval mode; see `load_model`."""
    state = records.read_state(folder)
    if is_ensemble(state):
        return ensemble_of(state, scenario.new_model, read_record(folder)["settings"]["vote"]).eval()
    model = scenario.new_model(0)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        advice = "delete the folder and run again"
        raise ForgetError(f"{folder}: the weights do not fit {scenario.model}; {advice}.") from error
    return model.eval()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def provenance_table(
    begun: float, scenario: Scenario | None = None, *, profile: str = "", checksums: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """The last table of every notebook: commit, versions, data, seeds and the time it took.

    Args: begun: `time.perf_counter()` at the start. checksums: SHA-256 by data set, where there is no scenario.
    """
    source = records.provenance()
    rows = {
        "profile": profile,
        "commit": source["commit"],
        "system": f"{source['system']} {source['machine']}",
    } | source["versions"]
    if scenario is not None:
        checksums = {scenario.data.name: scenario.data.checksum}
        rows |= {
            "request": scenario.parsed.name,
            "draw": scenario.draw,
            "seed": scenario.seed,
            "device": str(scenario.torch_device),
        }
    rows |= {f"SHA-256 of {name}": value for name, value in (checksums or {}).items()}
    rows["seconds"] = f"{time.perf_counter() - begun:.1f}"
    return pd.DataFrame({"value": {name: str(value) for name, value in rows.items()}})


def losses(scenario: Scenario, name: str, run: int = 0) -> dict[str, np.ndarray]:
    """Cross-entropy (nats) of each forget and unseen sample under a recorded model: float [n] by "forget" and "unseen".

    Raises: ForgetError if the record has no predictions.
    """
    arrays = records.read_predictions(scenario.folder(name, run))
    parts = ("forget", "unseen")
    return {part: cross_entropy(arrays[f"{part}_logits"], arrays[f"{part}_labels"]) for part in parts}


plugins.load_from_environment()

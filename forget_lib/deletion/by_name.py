"""`forget_lib.train`, `.unlearn` and `.methods`: the methods on tensors that are at hand, and what there is."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import torch
from torch import nn

from forget_lib.datasets.requests import Request
from forget_lib.deletion import given
from forget_lib.models.own import OwnModel
from forget_lib.models.recipe import Recipe, make_recipe
from forget_lib.models.train import predict
from forget_lib.models.train import train as by_recipe
from forget_lib.unlearning import UnlearningTask, get_method, list_methods
from forget_lib.unlearning import unlearn as run_method


def train(net: nn.Module, data: Any, recipe: Recipe | Mapping[str, Any], seed: int = 0) -> nn.Module:
    """A trained copy of a net, in eval mode; data: (x, y), or a torch Dataset. Raises: ForgetError; DivergedError."""
    sets, faults = given.read_sets({"data": data})
    trained = copy.deepcopy(net).eval() if isinstance(net, nn.Module) else net
    given.refuse(faults + given.faults_of_net(trained, sets, "net"))
    by_recipe(trained, sets["data"], make_recipe(recipe) if isinstance(recipe, Mapping) else recipe, seed)
    return trained.eval()


def unlearn(
    method: str,
    model: nn.Module,
    forget: Any,
    retain: Any,
    validation: Any = None,
    *,
    recipe: Recipe | Mapping[str, Any] | None = None,
    fresh: Callable[[], nn.Module] | None = None,
    seed: int = 0,
    **settings: Any,
) -> nn.Module:
    """A copy of the model after a method of `methods()`, in eval mode; settings are the method's own.

    Args: forget, retain, validation: (x, y), or a torch Dataset; validation (never trained on) for methods that need
        it. recipe: how the model was trained, for methods that retrain. fresh: makes an untrained net where the model's
        layers cannot be drawn anew.
    Raises: ForgetError with all mistakes in the inputs; NotApplicableError with what the method needs.
    """
    wanted = {"forget": forget, "retain": retain} | ({} if validation is None else {"validation": validation})
    sets, faults = given.read_sets(wanted)
    quiet = copy.deepcopy(model).eval() if isinstance(model, nn.Module) else model  # a method sets the mode itself
    given.refuse(faults + given.faults_of_net(quiet, sets))
    start, generator = given.in_form(quiet, sets["forget"]), torch.Generator().manual_seed(seed)
    sets.setdefault("validation", sets["retain"].subset(torch.arange(0)))
    classes = given.classes_gone(sets)
    share = len(sets["forget"]) / (len(sets["forget"]) + len(sets["retain"]))
    given_out: dict[str, Any] = {name: dataclasses.replace(each, generator=generator) for name, each in sets.items()}
    task = UnlearningTask(
        Request("class", tuple(map(str, classes))) if classes else Request("random", fraction=share),
        **given_out,
        number_of_classes=predict(start, sets["forget"]).shape[1],
        fresh_model=given.fresh_like(start, fresh),
        recipe=(make_recipe(recipe) if isinstance(recipe, Mapping) else recipe) or Recipe(known=False),
        classes=classes,
        seed=seed,
        generator=generator,
        device=sets["forget"].labels.device,
    )
    unlearned = run_method(method, start, task, **settings)
    return unlearned.net if isinstance(unlearned, OwnModel) and not isinstance(model, OwnModel) else unlearned


def methods() -> pd.DataFrame:
    """The methods of unlearning: what each uses and needs, its settings with defaults, the idea."""
    entries = [get_method(name) for name in list_methods()]
    rows = [(m.name, m.title, m.family, m.uses, ", ".join(m.needs), m.paper, m.settings, m.idea) for m in entries]
    return pd.DataFrame(rows, columns=["name", "title", "family", "uses", "needs", "paper", "settings", "idea"])

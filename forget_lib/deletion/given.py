"""What a caller gives from Python, checked at the door: samples as tensors, arrays or a torch Dataset, and a net.

All mistakes are told at once. Floats go into the net as they are; uint8 images [N, C, H, W] as the study gives them,
(x / 255 - 0.5) / 0.25.
"""

import copy
import hashlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import one_line
from forget_lib.datasets.samples import Samples, normalise
from forget_lib.models.nets import Classifier
from forget_lib.models.own import OwnClassifier, OwnModel, wrapped
from forget_lib.models.train import predict

FEWEST = 10
"""Samples of the forget and of the unseen set from which an attack says anything."""
TRIED = 8
"""Samples on which a net is tried."""
Sets = dict[str, Samples]
Fresh = Callable[[int], nn.Module]


def read_sets(given: Mapping[str, Any]) -> tuple[Sets, list[str]]:
    """The sets that can be read, and all that is wrong with them. given: (x, y) or a torch Dataset, by name."""
    sets, faults = {}, []
    for name, values in given.items():
        try:
            x, y = values if isinstance(values, tuple | list) else _stacked(values)
            x, y = torch.as_tensor(x).detach(), torch.as_tensor(y).detach()
        except Exception as error:  # a Dataset is code of the user's
            expected = "expected (x, y) of tensors or arrays, or a Dataset of such pairs (of images: add ToTensor())"
            faults.append(f"{name} cannot be read: {one_line(error)}; {expected}.")
            continue
        wrong = _wrong_with(x, y)
        faults += [f"{name}: {fault}" for fault in wrong]
        if not wrong:
            sets[name] = Samples(x if x.dtype == torch.uint8 else x.float(), y.long().to(x.device))
    return sets, faults


def _stacked(dataset: Any) -> tuple[Tensor, Tensor]:
    pairs = [dataset[place] for place in range(len(dataset))]
    first, second = (torch.stack([torch.as_tensor(value) for value in column]) for column in zip(*pairs, strict=True))
    return first, second


def _wrong_with(x: Tensor, y: Tensor) -> list[str]:
    """Faults of one set's tensors."""
    faults = []
    if not (x.is_floating_point() or x.dtype == torch.uint8):
        faults.append(f"x is {x.dtype}; expected floats as the net takes them, or uint8 images. Write x.float().")
    elif x.dtype == torch.uint8 and x.ndim != 4:
        faults.append(f"x is uint8 of shape {list(x.shape)}; expected images [N, C, H, W]. Add the missing axis.")
    elif not bool(torch.isfinite(x).all()):
        faults.append("x holds NaN or infinite values; expected finite numbers. Leave these samples out.")
    if y.ndim != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        expected = "expected whole numbers [N], a class each. Write y.long(), or y.argmax(1) for one-hot labels"
        faults.append(f"labels are {y.dtype} of shape {list(y.shape)}; {expected}.")
    elif x.ndim == 0 or len(x) != len(y):
        faults.append(f"x has shape {list(x.shape)} and there are {len(y)} labels; expected one label a sample.")
    elif len(y) == 0:
        faults.append("the set is empty; expected samples.")
    elif int(y.min()) < 0:
        faults.append(
            f"the smallest label is {int(y.min())}; expected classes from 0 on. Leave unlabelled samples out."
        )
    return faults


def faults_of_sets(sets: Sets) -> list[str]:
    """What is wrong with sets beside each other: too few samples, or one sample in two sets."""
    faults = []
    for name in ("forget", "unseen"):
        if name in sets and len(sets[name]) < FEWEST:
            least = f"expected at least {FEWEST}, and some hundred for a narrow interval"
            faults.append(f"{name} holds {len(sets[name])} samples; {least}. Give more samples.")
    places = {name: _places(samples) for name, samples in sets.items()}
    for one, two in itertools.combinations(places, 2):
        common = sorted(places[one].keys() & places[two].keys(), key=places[one].__getitem__)
        if common:
            where = f"row {places[one][common[0]]} of {one} is row {places[two][common[0]]} of {two}"
            expected = f"expected none. Take them out of {two}"
            faults.append(f"{len(common)} samples are in both {one} and {two} ({where}); {expected}.")
    if {"forget", "unseen"} <= set(sets):
        missing = sorted(set(sets["forget"].labels.tolist()) - set(sets["unseen"].labels.tolist()))
        if missing:
            advice = "Add samples of these classes that were never trained on"
            faults.append(f"unseen has no sample of the classes {missing} that forget has. {advice}.")
    return faults


def _places(samples: Samples) -> dict[bytes, int]:
    """The first row of each sample, by a digest of its numbers."""
    rows = samples.images.cpu().flatten(1).numpy()
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
    return {digest: place for place, digest in reversed(list(enumerate(digests)))}


def faults_of_net(net: Any, sets: Sets, title: str = "model") -> list[str]:
    """What is wrong with a net on these sets."""
    if not isinstance(net, nn.Module):
        return [f"The {title} is a {type(net).__name__}; expected a torch.nn.Module."]
    faults = []
    if net.training:
        why = "batch norm and dropout would answer by chance"
        faults.append(f"The {title} is in train mode: {why}; expected eval mode. Call .eval() on it.")
    here = next((each.device for each in net.parameters()), None)
    elsewhere = {name: each.images.device for name, each in sets.items() if here not in (None, each.images.device)}
    for name, there in elsewhere.items():
        faults.append(f"The {title} is on {here} and {name} on {there}; expected one device. Use .to({str(here)!r}).")
    if not sets or elsewhere:
        return faults
    quiet = copy.deepcopy(net).eval()
    try:
        with torch.inference_mode():
            output = quiet(normalise(next(iter(sets.values())).images[:TRIED]))
    except Exception as error:  # the user's code can raise anything
        return [*faults, f"The {title} fails on a batch of samples: {one_line(error)}. Expected x as the net takes it."]
    return faults + _wrong_outputs(quiet, output, sets, title)


def _wrong_outputs(net: nn.Module, output: Any, sets: Sets, title: str) -> list[str]:
    if not isinstance(output, Tensor):
        what = f"returns a {type(output).__name__}"
        return [f"The {title} {what}; expected one tensor of logits [B, C]. Wrap it in a module that returns these."]
    rows = min(TRIED, len(next(iter(sets.values()))))
    if output.ndim != 2 or len(output) != rows or output.shape[1] < 2:
        return [f"The {title} gives {list(output.shape)} for {rows} samples; expected logits [{rows}, classes >= 2]."]
    faults = []
    if bool((output >= 0).all()) and torch.allclose(output.sum(1), torch.ones(rows, device=output.device), atol=1e-3):
        advice = "Leave out the softmax at its end: the attacks apply it themselves"
        faults.append(f"The {title} gives probabilities; expected logits. {advice}.")
    for name, samples in sets.items():
        if int(samples.labels.max()) >= output.shape[1]:
            has = f"the {title} has {output.shape[1]} classes"
            faults.append(f"{name} has the label {int(samples.labels.max())}, and {has}; expected labels below that.")
        bad = int((~torch.isfinite(predict(net, samples))).any(1).sum())
        if bad:
            advice = "Its training or unlearning diverged: lower the learning rate"
            faults.append(f"The {title} gives NaN or infinite logits for {bad} samples of {name}. {advice}.")
    return faults


def refuse(faults: list[str]) -> None:
    """Raises: ForgetError with all faults, if there are any."""
    if faults:
        raise ForgetError("\n".join(faults))


def in_form(net: nn.Module, samples: Samples) -> nn.Module:
    """A copy of the net, with `features` and `head` where it ends in a linear layer; nets of the study have them."""
    own = copy.deepcopy(net).eval()
    return own if isinstance(own, Classifier | OwnModel) else wrapped(own, normalise(samples.images[:TRIED]))


def fresh_like(net: nn.Module, fresh: Callable[[], nn.Module] | None = None) -> Fresh:
    """Untrained nets like this one (of `in_form`) by seed: made by `fresh`, or all its layers drawn anew; frozen ones
    stay. They raise a ForgetError for weights that no `reset_parameters` draws."""
    layers = [(each, list(each.parameters(recurse=False))) for each in net.modules()]
    drawn = {type(each) for each, weights in layers if any(weight.requires_grad for weight in weights)}
    stuck = sorted(kind.__name__ for kind in drawn if not hasattr(kind, "reset_parameters"))

    def make(seed: int) -> nn.Module:
        if fresh is None and stuck:
            what = f"Weights of {', '.join(stuck)} cannot be drawn anew"
            raise ForgetError(f"{what}. Give fresh=, a function that makes an untrained net, such as lambda: MyNet().")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            new = copy.deepcopy(net)
            if fresh is not None:
                inner = new.net if isinstance(new, OwnModel) else new
                inner.load_state_dict(fresh().state_dict())
                return new
            module: Any
            for module in new.modules():
                if type(module) in drawn:
                    module.reset_parameters()
        return new

    return make


def has_features(net: nn.Module) -> bool:
    """Whether the embedding of this net (of `in_form`) can be read."""
    return isinstance(net, Classifier | OwnClassifier)


def classes_gone(sets: Sets) -> tuple[int, ...]:
    """The classes of the forget set where none of them stays, else none: whether whole classes are to be forgotten."""
    gone = set(sets["forget"].labels.tolist())
    return () if gone & set(sets["retain"].labels.tolist()) else tuple(sorted(gone))

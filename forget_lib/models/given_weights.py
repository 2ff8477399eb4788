"""Weights that a user gives: read without running anything in the file, put into a net, and compared with the data.

A file of weights does not say how its images were normalised, nor which output is which class. Where these cannot be
known they are asked for, and the accuracy on the training images shows whether they fit.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from forget_lib.core.errors import DataError
from forget_lib.core.names import split_options
from forget_lib.core.paths import locate, one_line
from forget_lib.core.user_code import naming_failure
from forget_lib.datasets.image_data import ImageData
from forget_lib.datasets.samples import Samples
from forget_lib.models.own import OwnModel
from forget_lib.models.train import not_finite, predict

SHOWN = 8
PROGRAMS = {
    "torch.export": ("serialized_exported_program", "archive_format", "/models/"),
    "TorchScript": ("/code/", "constants.pkl\n"),
}
"""What the names of an archive's files hold where it is more than weights."""
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
AS_SAFETENSORS = (
    "save it with safetensors.torch.save_file(model.state_dict(), FILE) or torch.save(model.state_dict(), FILE)"
)
BETTER_THAN_GUESSING = 0.05
"""Least share of the way from guessing to no error that given weights must have come, in mean accuracy by class."""
MOVED = (0.5, 0.25)
"""Classes have another order if more than this share of their images get another output, and so much more than their
own."""


def weights_file(path: str | Path) -> Path:
    """Where a file of weights lies. Raises: DataError if there is none, or a folder; its files of weights are named."""
    path = locate(path, "weights")
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES)
        raise DataError(f"{path.name} is a folder; give the path of one file of weights. In it: {_some(inside)}.")
    return path


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a file: safetensors, or what torch.save wrote of a state dict, opened with weights_only=True.

    A checkpoint that holds one state dict beside other things gives that one.
    Raises: DataError, with the reason, for files that can execute code (pickled models, TorchScript, torch.export),
        damaged files, and several state dicts (their keys).
    """
    path = weights_file(path)
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {one_line(error)}.") from error
    return _read_safetensors(path) if start[8:9] == b"{" and start[:2] != b"PK" else _read_torch(path)


def _some(names: Sequence[str]) -> str:
    left = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {left} more" if left > 0 else "") if names else "none"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path.name} is truncated or damaged ({one_line(error)}).") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    _refuse_programs(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if any(word in str(error) for word in ("Unsupported", "WeightsUnpickler", "weights_only")):
            raise DataError(
                f"{path.name} holds pickled objects, not only tensors, and is not opened: unpickling can execute code. "
                f"Where you trust it, {AS_SAFETENSORS}."
            ) from error
        raise DataError(f"{path.name} is damaged, or no file of weights ({one_line(error)}).") from error
    found = dict(_state_dicts(content))
    if len(found) > 1:
        raise DataError(f"{path.name} holds several state dicts: {_some(list(found))}. Save the one that is meant.")
    if not found:
        raise DataError(f"{path.name} is not a state dict (tensors by name); {AS_SAFETENSORS}.")
    return next(iter(found.values()))


def _state_dicts(content: Any, name: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """What consists of tensors by name, in the content of a checkpoint or deeper in it, by the keys that lead there."""
    if not isinstance(content, Mapping) or not content:
        return
    if all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        yield name, dict(content)
        return
    for key, value in content.items():
        if isinstance(key, str):  # an optimizer keeps its tensors by number
            yield from _state_dicts(value, f"{name}.{key}".lstrip("."))


def _refuse_programs(path: Path) -> None:
    """TorchScript and torch.export files are archives that hold a program besides the weights."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        names = "".join(f"/{name}\n" for name in archive.namelist())
    for kind, marks in PROGRAMS.items():
        if any(mark in names for mark in marks):
            raise DataError(
                f"{path.name} is a {kind} program and is not opened: it can execute code. Of the model inside, "
                f"{AS_SAFETENSORS}."
            )


def put_weights(model: nn.Module, path: str | Path, name: str) -> nn.Module:
    """Puts the weights of a file into a net; a prefix that all its names have in the file is left out.

    Args: name: of the model, for messages.
    Raises: DataError that names the keys that are missing, too many, of another shape or type, or not finite where the
        net's own value is finite.
    """
    net = model.net if isinstance(model, OwnModel) else model
    wanted, path = net.state_dict(), Path(path)
    state = _fitting(read_weights(path), wanted, path.name)
    masks, both = not_finite(net), [key for key in wanted if key in state]
    faults = {
        "missing": [key for key in wanted if key not in state],
        "not in the model": [key for key in state if key not in wanted],
        "of another shape": [
            f"{key} ({list(state[key].shape)} in the file, {list(wanted[key].shape)} in the model)"
            for key in both
            if state[key].shape != wanted[key].shape
        ],
        "of another type": [
            f"{key} ({_kind(state[key])} in the file, {_kind(wanted[key])} in the model)"
            for key in both
            if _numbers(state[key]) != _numbers(wanted[key])
        ],
        "not finite": [key for key in both if key not in masks and not bool(state[key].isfinite().all())],
    }
    said = [f"{title}: {_some(names)}" for title, names in faults.items() if names]
    if said:
        raise DataError(f"{path.name} does not fit {name}; {'; '.join(said)}.")
    net.load_state_dict(state)
    return model


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _numbers(tensor: Tensor) -> tuple[bool, bool]:
    """Whether it holds decimals, and whether complex ones: between these nothing is converted in silence."""
    return tensor.is_floating_point(), tensor.is_complex()


def _fitting(state: dict[str, Tensor], wanted: Mapping[str, Tensor], file: str) -> dict[str, Tensor]:
    """The state dict, or the part of it whose names are those wanted behind one prefix: `module.` of DataParallel,
    `_orig_mod.` of torch.compile, the attribute of a Lightning module.

    Raises: DataError if there are several such parts.
    """
    if not wanted or set(state) == set(wanted):
        return state
    first = next(iter(wanted))
    prefixes = [key.removesuffix(first) for key in state if key.endswith(f".{first}")]
    parts = {prefix: {key for key in state if key.startswith(prefix)} for prefix in prefixes}
    fitting = [prefix for prefix, part in parts.items() if part == {prefix + key for key in wanted}]
    if not fitting:
        return state
    if len(fitting) > 1:
        raise DataError(f"{file} holds several nets: {_some(fitting)}. Save the state dict of the one that is meant.")
    left = [key for key in state if not key.startswith(fitting[0])]
    print(f"{file}: the names without {fitting[0]!r} are the net's; not used: {_some(left)}.")
    return {key: state[fitting[0] + key] for key in wanted}


# --- what no file of weights says -------------------------------------------------------------------------------------


def require_described(model: nn.Module, model_name: str, data: ImageData, data_name: str) -> None:
    """Asks for what has to be known of the weights of a user's own net: how its images were normalised, and which
    output is which class where folders are in one order as numbers and in another as text.

    Raises: DataError with all that is missing, and the words to write.
    """
    if not isinstance(model, OwnModel):
        return
    asked = []
    if not (model.spec.options.mean and model.spec.options.std):
        asked.append(
            "How were the images normalised that the weights were trained on? Add to the name of the model: "
            f"{_joint(model_name)}mean=0&std=1 for pixels from 0 to 1 (ToTensor alone, or a net that normalises by "
            f"itself), {_joint(model_name)}mean=0.485,0.456,0.406&std=0.229,0.224,0.225 for those of ImageNet, "
            f"{_joint(model_name)}mean=0.5&std=0.25 for those of a net trained here, or your own numbers."
        )
    as_text = tuple(sorted(data.classes))
    if data.source == "own files" and as_text != data.classes and "classes" not in split_options(data_name)[1]:
        asked.append(
            "Which output of the weights is which class? Add the order of their training to the name of the data: "
            f"{_joint(data_name)}classes={_listed(as_text)} as torchvision's ImageFolder sorts names (as text), or "
            f"{_joint(data_name)}classes={_listed(data.classes)} (as numbers)."
        )
    if asked:
        raise DataError("The file of weights does not say everything. " + " ".join(asked))


def _joint(name: str) -> str:
    return "&" if "?" in name else "?"


def _listed(classes: Sequence[str]) -> str:
    """Classes as the option `classes` is written."""
    return json.dumps(list(classes)) if any("," in title for title in classes) else ",".join(classes)


def check_given(model: nn.Module, samples: Samples, classes: Sequence[str]) -> None:
    """Prints how good given weights are on the images that they were trained on, before anything else is computed.

    Raises: DataError for probabilities in place of logits, for outputs that are those of other classes, with the order
        that fits, and for weights that are no better than guessing.
    """
    with naming_failure(f"The net {type(getattr(model, 'net', model)).__name__} fails on the training images"):
        logits, labels = predict(model, samples), samples.labels.cpu().numpy()
    counts = np.zeros((len(classes), logits.shape[1]), dtype=np.int64)
    np.add.at(counts, (labels, logits.argmax(1).numpy()), 1)
    rates, present = counts / np.maximum(counts.sum(1, keepdims=True), 1), np.flatnonzero(counts.sum(1))
    by_class, guessing = float(np.mean(np.diag(rates)[present])), 1 / len(classes)
    said = f"The given weights are right on {np.trace(counts) / len(labels):.1%} of the {len(labels):,} training images"
    print(f"{said}; guessing: {guessing:.1%}. Is that what you measured when you trained them?", flush=True)
    if bool((logits >= 0).all()) and bool((logits <= 1).all()):
        raise DataError(
            "All outputs of the given weights lie between 0 and 1: they are probabilities; expected logits. Leave out "
            "the softmax or sigmoid at the end of the net."
        )
    order = _order(rates, present)
    if order is not None:
        told = [classes[index] for index in np.argsort(order)]
        raise DataError(
            f"{said}. They were trained with another order of the classes. Here it is {_listed(classes)}; by these "
            f"images that of the weights is {_listed(told)}. For own data add it to the name: classes={_listed(told)}."
        )
    if by_class < guessing + BETTER_THAN_GUESSING * (1 - guessing):
        raise DataError(
            f"{said}, as a mean over classes on {by_class:.1%}, which is no better than guessing ({guessing:.1%}). "
            "Mend mean and std, the order of classes, or give the weights that were trained on these images."
        )


def _order(rates: np.ndarray, present: np.ndarray) -> np.ndarray | None:
    """The output of each class by which most images are right, where that is another one than the class's own.

    Args: rates: float [K, K], share of the images of each class that gets each output. present: classes with images.
    Returns: a permutation int [K], or None where no other order fits clearly better.
    """
    _, order = linear_sum_assignment(-rates)
    moved = present[order[present] != present]
    if len(moved) == 0:
        return None
    there, here = rates[moved, order[moved]].mean(), rates[moved, moved].mean()
    share, more = MOVED
    return order if there > share and there > here + more else None

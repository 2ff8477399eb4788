"""The one training loop, prediction, deterministic seeding, and the meter of sample passes."""

import copy
import ctypes
import dataclasses
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from forget_lib.core.errors import DivergedError, ForgetError
from forget_lib.core.user_code import load_function, naming_failure
from forget_lib.datasets.samples import Samples
from forget_lib.models.optimizers import clear_gradients, make_optimizer
from forget_lib.models.recipe import Recipe, rate_at, require_recipe

TRAINING_VERSION = 1
"""Raised when training gives other numbers; records of before are then made again."""

CHECKPOINT_SECONDS = 5.0
"""A training with less than this left is not worth a checkpoint."""
OnEpoch = Callable[[int, nn.Module], None]
PREDICTED = 1000
"""Images of a batch where no gradient is needed."""
MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_MAX = -1, -4
"""Numbers of options in glibc's malloc.h."""


def set_threads(threads: int = 1) -> None:
    """Deterministic algorithms on a fixed number of threads: on a CPU the same seed then gives the same bits."""
    torch.set_num_threads(threads)
    # The same as use_deterministic_algorithms(True, warn_only=True), which also imports the compiler (seconds).
    torch.set_deterministic_debug_mode("warn")
    # Deterministic mode would write NaN into every new tensor before it is computed.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set by its module's class
    # The C library keeps freed memory for the next tensor, where it can: to give the activations of a small net back to
    # the system at every step takes a fifth of its time.
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(MALLOC_MMAP_MAX, 0)  # a tensor with a mapping of its own is given back whenever it is freed
        set_option(MALLOC_TRIM_THRESHOLD, 2**30)


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA, else Apple's MPS, else the CPU. Raises: ForgetError for a device that is not available."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if there[device])
    if not there.get(name.split(":")[0], False):
        have = ", ".join(device for device, present in there.items() if present)
        raise ForgetError(f"Device {name!r} is not available. Available: {have}. Set device in the config, or auto.")
    return torch.device(name)


def fast_precision(device: torch.device) -> str:
    """The precision in which `device` trains faster: bfloat16, or float32 where it has no instructions for that."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    here = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return "bfloat16" if any(here.get(each) for each in ("avx512_bf16", "amx_bf16", "bf16")) else "float32"


class Meter:
    """Counts sample passes (forward = 1, backward = 2, per sample) of every model it is attached to, and time.

    CPU time is that of all threads of this process, and does not depend on what else the machine does; wall time does.
    """

    def __init__(self) -> None:
        self.passes = 0
        self._on = True
        self._start = _clocks()

    def attach(self, model: nn.Module) -> nn.Module:
        """Counts all later passes of `model`, and of copies made of it."""

        def after_forward(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not self._on:
                return
            size = len(inputs[0])
            self.passes += size
            if output.requires_grad:
                output.register_hook(lambda _gradient: self.add(2 * size))

        model.register_forward_hook(after_forward)
        return model

    def add(self, passes: int) -> None:
        """Counts passes that no hook sees, such as per-sample gradients under vmap."""
        if self._on:
            self.passes += passes

    @contextmanager
    def paused(self) -> Any:
        """Leaves out what happens inside: evaluation is not part of a method's cost."""
        self._on, before = False, _clocks()
        try:
            yield
        finally:
            self._on = True
            self._start += _clocks() - before

    @property
    def wall_seconds(self) -> float:
        """Wall time since the meter was made, without the pauses."""
        return float((_clocks() - self._start)[1])

    @property
    def cost(self) -> dict[str, float]:
        """What goes into a record: CPU seconds as `seconds`, wall seconds, sample passes."""
        cpu, wall = (_clocks() - self._start).tolist()
        return {"seconds": cpu, "wall_seconds": wall, "sample_passes": self.passes}


def _clocks() -> np.ndarray:
    """CPU and wall seconds."""
    return np.array([time.process_time(), time.perf_counter()])


def detach_meters(model: nn.Module) -> nn.Module:
    """Takes all hooks of meters off `model`."""
    model._forward_hooks.clear()
    return model


def train_mode(model: nn.Module, *, batch_norm: bool = True) -> nn.Module:
    """Train mode, but for frozen batch norm: where all its weights are frozen, its running statistics are too, and it
    normalises by them. With `batch_norm=False` that holds for every batch norm.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            weights = list(module.parameters(recurse=False))
            frozen = bool(weights) and not any(weight.requires_grad for weight in weights)
            if not batch_norm or frozen:
                module.eval()
    return model


def not_finite(model: nn.Module) -> list[str]:
    """Names of the weights and buffers with a value that is not finite: a mask of -inf, or a model has diverged."""
    return [name for name, value in model.state_dict().items() if not bool(value.isfinite().all())]


def require_trainable(model: nn.Module, recipe: Recipe) -> None:
    """Raises: ForgetError where all weights are frozen, or batches of one image meet batch norm; a last batch of one
    joins the one before it."""
    if not recipe.function and not any(parameter.requires_grad for parameter in model.parameters()):
        raise ForgetError("every weight of the net is frozen, so it cannot be trained; unfreeze some of them.")
    if recipe.batch_size == 1 and not recipe.function and any(isinstance(each, _BatchNorm) for each in model.modules()):
        norm = "the net has batch norm, which cannot train on a single image"
        raise ForgetError(f"batch_size of the recipe is 1, and {norm}; expected at least 2.")


def train(
    model: nn.Module,
    samples: Samples,
    recipe: Recipe,
    seed: int,
    *,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
    title: str = "",
) -> pd.DataFrame:
    """Trains `model` in place with cross-entropy; the same seed gives the same bits on a CPU.

    Args: samples: their batch size, order and augmentation are the recipe's and the seed's. checkpoint: file that keeps
        the state after each epoch; the training goes on there if it holds the state of this very one. on_epoch: called
        with the number of epochs done and the model. title: printed with the progress of a long training, if any.
    Returns: one row an epoch: epoch, loss (nats, mean over the epoch), accuracy (share, while training), seconds.
    Raises: ForgetError for an empty set; NotApplicableError for an unknown recipe; DivergedError as soon as a loss is
        not finite.
    """
    if len(samples) == 0:
        raise ForgetError("There is nothing to train on: the set of samples is empty.")
    require_recipe(recipe)
    require_trainable(model, recipe)
    # What a net derives from data, such as whitening, comes from what it is trained on, and from nothing else.
    prepare = getattr(model, "prepare", None)
    if callable(prepare):
        prepare(samples)
    if recipe.function:
        return _trained_by_function(model, samples, recipe, seed)
    # Dropout draws from the global generator: it is set by the seed here, and left as it was for others.
    with torch.random.fork_rng(devices=[]):
        return _train(model, samples, recipe, seed, checkpoint, on_epoch, title)


def _trained_by_function(model: nn.Module, samples: Samples, recipe: Recipe, seed: int) -> pd.DataFrame:
    """A training by the user's own function; one row, for the whole of it."""
    start, function = time.perf_counter(), load_function(recipe.function, "recipe")
    given = dataclasses.replace(samples, batch_size=recipe.batch_size, generator=torch.Generator().manual_seed(seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        before = not_finite(model)
        with naming_failure(f"The recipe {recipe.function} failed"):
            function(model, given, recipe, seed)
    if set(not_finite(model)) - set(before):
        raise DivergedError(f"The recipe {recipe.function} left weights that are not finite.")
    logits, labels = predict(model, samples), samples.labels.cpu()
    row = {"epoch": recipe.epochs, "loss": float(functional.cross_entropy(logits, labels))}
    row |= {"accuracy": float((logits.argmax(1) == labels).double().mean()), "seconds": time.perf_counter() - start}
    return pd.DataFrame([row])


def _train(
    model: nn.Module,
    samples: Samples,
    recipe: Recipe,
    seed: int,
    checkpoint: Path | None,
    on_epoch: OnEpoch | None,
    title: str,
) -> pd.DataFrame:
    """The loop of `train`."""
    generator = torch.Generator().manual_seed(seed)
    samples = dataclasses.replace(
        samples, batch_size=recipe.batch_size, augmentation=recipe.augmentation, generator=generator
    )
    optimizer = make_optimizer(model, recipe)
    steps = recipe.epochs * max(1, -(-len(samples) // recipe.batch_size))
    rows, step = _resume(checkpoint, model, optimizer, generator, recipe, seed)
    mixed = torch.autocast(samples.labels.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    if title and recipe.precision != "float32" and fast_precision(samples.labels.device) == "float32":
        print(f"{title}: {samples.labels.device} has no fast {recipe.precision}; precision: float32 is faster here.")
    start = time.perf_counter()
    for epoch in range(len(rows) + 1, recipe.epochs + 1):
        train_mode(model)
        torch.manual_seed(1000 * seed + epoch)
        losses, outputs, targets = [], [], []
        for images, labels in samples.batches(first_epoch=epoch - 1):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(recipe, min(step / steps, 1.0))
            with mixed:
                logits = model(images).float()
            loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
            clear_gradients(optimizer)
            loss.backward()
            optimizer.step()
            # Kept as they are and added up once: a few small operations less a step.
            losses.append(loss.detach())
            outputs.append(logits.detach())
            targets.append(labels)
            step += 1
        sizes = torch.tensor([len(labels) for labels in targets], dtype=torch.float32)
        mean_loss = float(torch.stack(losses).float().cpu() @ sizes) / len(samples)
        if not np.isfinite(mean_loss):
            raise DivergedError(
                f"The loss is {mean_loss} in epoch {epoch}. Lower learning_rate (now {recipe.learning_rate:g})."
            )
        seconds = time.perf_counter() - start
        correct = float((torch.cat(outputs).argmax(1) == torch.cat(targets)).sum())
        rows.append({"epoch": epoch, "loss": mean_loss, "accuracy": correct / len(samples), "seconds": seconds})
        left = seconds / epoch * (recipe.epochs - epoch)
        if title and (seconds + left > 5):
            progress = f"epoch {epoch}/{recipe.epochs}, loss {mean_loss:.3f}, accuracy {rows[-1]['accuracy']:.3f}"
            print(f"{title}: {progress}, {left:.0f} s left", flush=True)
        if checkpoint is not None and left > CHECKPOINT_SECONDS:
            _save(checkpoint, model, optimizer, generator, recipe, seed, rows, step)
        if on_epoch is not None:
            on_epoch(epoch, model)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return pd.DataFrame(rows)


def _save(
    checkpoint: Path, model: nn.Module, optimizer: Any, generator: Any, recipe: Recipe, seed: int, rows: list, step: int
) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_name(f".{checkpoint.name}-{os.getpid()}")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "generator": generator.get_state()}
    torch.save(state | {"key": repr((recipe, seed)), "rows": rows, "step": step}, partial)
    partial.replace(checkpoint)


def _resume(
    checkpoint: Path | None, model: nn.Module, optimizer: Any, generator: Any, recipe: Recipe, seed: int
) -> tuple[list, int]:
    """Rows and step of an interrupted training of the same recipe and seed, whose state is put back, or none."""
    if checkpoint is None or not checkpoint.is_file():
        return [], 0
    fresh = copy.deepcopy((model.state_dict(), optimizer.state_dict(), generator.get_state()))
    try:
        state = torch.load(checkpoint, weights_only=True, map_location=next(model.parameters()).device)
        if state["key"] != repr((recipe, seed)):
            return [], 0
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"].cpu())
        return list(state["rows"]), state["step"]
    except Exception as error:
        print(f"The checkpoint {checkpoint.name} cannot be used ({type(error).__name__}); the training starts again.")
        model.load_state_dict(fresh[0])  # some of it may have been put back before it failed
        optimizer.load_state_dict(fresh[1])
        generator.set_state(fresh[2])
        return [], 0


def predict(model: nn.Module, samples: Samples, batch_size: int = PREDICTED) -> Tensor:
    """Logits float32 [N, K] on the CPU, in eval mode, in order, not augmented; the model's mode is put back."""
    return _outputs(model, model, samples, batch_size)


def embed(model: nn.Module, samples: Samples, batch_size: int = PREDICTED) -> Tensor:
    """Penultimate features float32 [N, D], as `predict` gives logits. Raises: ForgetError for a model without any."""
    features = getattr(model, "features", None)
    if not callable(features):
        raise ForgetError(f"{type(model).__name__} has no method features(images); probes of the embedding need it.")
    return _outputs(model, features, samples, batch_size)


def as_half(outputs: Tensor) -> np.ndarray:
    """Outputs as float16 to store, cut at ±60,000: float16 ends at 65504, and a method that diverges goes beyond."""
    return outputs.clamp(-6e4, 6e4).numpy().astype(np.float16)


@torch.inference_mode()
def _outputs(model: nn.Module, function: Callable[[Tensor], Tensor], samples: Samples, batch_size: int) -> Tensor:
    """What `function` of the model gives for all samples, one after the other; [0, 0] for an empty set."""
    was_training = model.training
    model.eval()
    try:
        batches = samples.batches(batch_size=batch_size, shuffle=False, augment=False)
        parts = [function(images).float().cpu() for images, _ in batches]
    finally:
        model.train(was_training)
    return torch.cat(parts) if parts else torch.empty(0, 0)


def accuracy(model: nn.Module, samples: Samples) -> float:
    """Share of samples whose largest logit is at the label; not a number for an empty set."""
    if len(samples) == 0:
        return float("nan")
    return float((predict(model, samples).argmax(1) == samples.labels.cpu()).float().mean())

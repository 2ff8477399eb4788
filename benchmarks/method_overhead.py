"""CPU time of each method against a bare loop over the very same forward and backward passes.

    python benchmarks/method_overhead.py [--dataset mnist --model mlp --request class:5 --methods finetune scrub]

Each forward pass of a method is recorded: of which net, its size, its mode, whether a backward pass followed and
whether the optimiser then took a step. The bare loop starts from copies of the nets and replays the record on
tensors in memory: index, normalise, forward, cross-entropy, backward, and a step of the same fused optimiser over the
same parameters. Method and bare loop run in turn; the ratio is the median over the pairs. 1: the method costs no
more than its passes.

What a method does in each step by definition and is no pass is replayed too, in as few operations as we know (the last
column says what: a penalty on all weights, a clipped gradient, a mask on all weights, a sum of squared gradients, a
Kullback-Leibler divergence from ready targets instead of or beside the cross-entropy); `plain` is the ratio without it.
"""

import argparse
import copy
import dataclasses
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_pre_hook

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from forget_lib.datasets.samples import Samples, normalise  # noqa: E402
from forget_lib.models.train import Meter  # noqa: E402
from forget_lib.study import run as study  # noqa: E402
from forget_lib.unlearning import list_methods, unlearn, why_not_applicable  # noqa: E402
from forget_lib.unlearning.common import train_mode  # noqa: E402

RECIPE = {"epochs": 2, "batch_size": 64, "learning_rate": 0.02}


@dataclass
class Pass:
    """A forward pass and what came of it."""

    net: int
    size: int
    mode: tuple[bool, bool]  # train mode, and whether batch norm is in it too
    trainable: tuple[str, ...]
    backward: bool = False
    optimizer: str = ""


class Recorder(Meter):
    """Keeps each forward pass of the nets that it is attached to."""

    def __init__(self) -> None:
        super().__init__()
        self.record: list[Pass] = []
        self.nets: list[nn.Module] = []

    def attach(self, model: nn.Module) -> nn.Module:
        # A plain function: a copy of the net then reports to this recorder and not to a copy of it.
        def after(net: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            if not any(net is known for known in self.nets):
                self.nets.append(net)
            number = next(index for index, known in enumerate(self.nets) if net is known)
            norms = [m.training for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
            free = tuple(name for name, p in net.named_parameters() if p.requires_grad)
            done = Pass(number, len(inputs[0]), (net.training, all(norms)), free)
            self.record.append(done)
            if output.requires_grad:
                output.register_hook(lambda _gradient: setattr(done, "backward", True))

        model.register_forward_hook(after)
        return model

    def stepped(self, optimizer: torch.optim.Optimizer, _arguments: tuple, _named: dict) -> None:
        """Notes that the last backward pass was followed by a step."""
        self.record[-1].optimizer = type(optimizer).__name__


class Bare:
    """The bare loop over a record: copies of the nets and an optimiser for each that moves."""

    def __init__(self, nets: list[nn.Module], extra: str) -> None:
        self.nets = [copy.deepcopy(net) for net in nets]
        self.extra = extra
        self.modes: dict[int, tuple[bool, bool]] = {}
        self.names: dict[int, tuple[str, ...]] = {}
        self.optimizers: dict[tuple, torch.optim.Optimizer] = {}
        self.ones = [torch.ones_like(p) for p in self.nets[0].parameters()]
        self.sums = [torch.zeros_like(p) for p in self.nets[0].parameters()]
        self.target = torch.rand(4096, self.nets[0].head.out_features).log_softmax(1)
        self.noise: dict[int, torch.Tensor] = {}

    def prepare(self, done: Pass) -> nn.Module:
        """The net of a pass in the mode it was in, with the same parameters trainable."""
        net = self.nets[done.net]
        if self.modes.get(done.net) != done.mode:
            self.modes[done.net] = done.mode
            train_mode(net, batch_norm=done.mode[1]) if done.mode[0] else net.eval()
        if done.backward and self.names.get(done.net) != done.trainable:
            self.names[done.net] = done.trainable
            for name, parameter in net.named_parameters():
                parameter.requires_grad_(name in done.trainable)
        return net

    def run(self, done: Pass, images: torch.Tensor, labels: torch.Tensor) -> None:
        """One pass."""
        net = self.prepare(done)
        if done.backward and not done.trainable:  # by the images, which are moved themselves if a step follows
            images = images.requires_grad_() if not done.optimizer else self.noise.setdefault(done.size, images)
            images.requires_grad_()
        with torch.set_grad_enabled(done.backward):
            logits = net(images)
        if not done.backward:
            return
        loss = functional.cross_entropy(logits, labels)
        if self.extra == "KL":
            target = self.target[: done.size]
            loss = functional.kl_div(logits.log_softmax(1), target, reduction="batchmean", log_target=True)
        elif self.extra == "CE + KL" and done.mode[1]:
            target = self.target[: done.size]
            loss = loss + functional.kl_div(logits.log_softmax(1), target, reduction="batchmean", log_target=True)
        net.zero_grad(set_to_none=True)
        loss.backward()
        self.after(net)
        if done.optimizer:
            key = (done.net, done.optimizer, bool(done.trainable), 0 if done.trainable else done.size)
            if key not in self.optimizers:
                free = [p for p in net.parameters() if p.requires_grad] if done.trainable else [images]
                more = {"momentum": 0.9, "weight_decay": 5e-4} if done.optimizer == "SGD" else {}
                self.optimizers[key] = getattr(torch.optim, done.optimizer)(free, 1e-6, fused=True, **more)
            self.optimizers[key].step()

    @torch.no_grad()
    def after(self, net: nn.Module) -> None:
        """What a method does to gradients or weights by definition, in as few operations as we know."""
        weights = [p for p in net.parameters() if p.grad is not None]
        gradients = [p.grad for p in weights]
        if self.extra == "penalty":
            torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=1e-12)
        elif self.extra == "clip":
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            torch._foreach_mul_(gradients, (1 / norm).clamp(max=1))
        elif self.extra == "mask" and net.training:
            torch._foreach_addcmul_(weights, weights, self.ones, value=1e-12)
        elif self.extra == "squares":
            torch._foreach_addcmul_(self.sums, gradients, gradients)


EXTRA = {
    "l1_sparse": "penalty",
    "negative_gradient": "clip",
    "salun": "mask",
    "ssd": "squares",
    "lfssd": "squares",
    "adaptive_ssd": "squares",
    "bad_teacher": "KL",
    "delete_distillation": "KL",
    "scrub": "CE + KL",
    "scrub_rewind": "CE + KL",
}


def replay(nets: list[nn.Module], samples: Samples, record: list[Pass], extra: str = "") -> float:
    """CPU seconds of the bare loop."""
    order, start = torch.randperm(len(samples)).repeat(2), 0
    begun = time.process_time()
    bare = Bare(nets, extra)
    for done in record:
        part = order[start % len(samples) :][: done.size]
        start += done.size
        bare.run(done, normalise(samples.images[part]), samples.labels[part])
    return time.process_time() - begun


def measure(name: str, scenario: study.Scenario, repeats: int) -> dict[str, object]:
    """One row of the table: medians over the repeats, and the extremes of the ratio."""
    original, recorder = study.original(scenario), Recorder()
    handle = register_optimizer_step_pre_hook(recorder.stepped)
    unlearn(name, original, dataclasses.replace(study.make_task(scenario), meter=recorder))
    handle.remove()
    fresh, extra = [scenario.new_model(0) for _ in recorder.nets], EXTRA.get(name, "")
    own, bare, plain = [], [], []
    replay(fresh, scenario.samples["trained"], recorder.record[:1])  # its first step imports the compiler
    for _ in range(repeats):
        task = study.make_task(scenario)
        begun = time.process_time()
        unlearn(name, original, task)
        own.append(time.process_time() - begun)
        plain.append(replay(fresh, scenario.samples["trained"], recorder.record))
        bare.append(replay(fresh, scenario.samples["trained"], recorder.record, extra) if extra else plain[-1])
    ratios, alone = ([a / b for a, b in zip(own, other, strict=True)] for other in (bare, plain))
    row = {"method": name, "passes": task.meter.passes, "method_ms": 1e3 * statistics.median(own)}
    row |= {"bare_ms": 1e3 * statistics.median(bare), "ratio": statistics.median(ratios), "lowest": min(ratios)}
    return row | {"highest": max(ratios), "plain": statistics.median(alone), "bare_loop_also_has": extra}


def main() -> None:
    """Prints the table as it is made, and adds it to a file if one is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--request", default="class:5")
    parser.add_argument("--methods", nargs="*", help="left out: all")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, help="CSV file; rows of other data sets, models and methods stay")
    options = vars(parser.parse_args())
    chosen, repeats, out = (options.pop(name) for name in ("methods", "repeats", "out"))
    scenario = study.make_scenario(REPOSITORY / "results" / "benchmark", RECIPE, (), start="sample", **options)
    original, rows = study.original(scenario), []
    for name in chosen or list_methods():
        if name != "do_nothing" and not why_not_applicable(name, original, study.make_task(scenario)):
            rows.append(options | measure(name, scenario, repeats))
            print(
                " ".join(f"{v:10.2f}" if isinstance(v, float) else f"{v!s:>12}" for v in rows[-1].values()), flush=True
            )
    if out:
        keys = ["dataset", "model", "request", "method"]
        table = pd.concat([pd.read_csv(out) if out.is_file() else pd.DataFrame(), pd.DataFrame(rows)])
        table.drop_duplicates(keys, keep="last").round(3).to_csv(out, index=False)


if __name__ == "__main__":
    main()

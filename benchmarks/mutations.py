"""Breaks one method at a time in a copy of the library and asks whether the tests notice.

    python benchmarks/mutations.py

prints the test that caught each change; the exit status is the number of changes that no test caught.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ["tests/test_unlearning_definitions.py", "tests/test_unlearning_weights.py"]
# What is broken, in which module, which text, and the text in its place.
MUTATIONS = [
    (
        "negative_gradient: sign flipped",
        "basic",
        "-functional.cross_entropy(model(images), labels), clip",
        "functional.cross_entropy(model(images), labels), clip",
    ),
    ("negative_gradient_plus: sign flipped", "basic", "- (1 - alpha) * ascent", "+ (1 - alpha) * ascent"),
    (
        "negative_gradient_plus: retain and forget swapped",
        "basic",
        "pairs(task.retain, task.forget)",
        "pairs(task.forget, task.retain)",
    ),
    ("random_label: the true label allowed", "basic", "randint(0 if allow_true else 1,", "randint(0,"),
    ("retrain: starts from the original", "basic", "task.fresh_model(task.seed).to(task.device)", "model"),
    (
        "uniform_kl: direction reversed",
        "uniform",
        'if direction == "uniform_to_model"',
        'if direction != "uniform_to_model"',
    ),
    ("bad_teacher: teachers swapped", "distillation", "bad(images), good(images)", "good(images), bad(images)"),
    ("scrub: max-step's sign flipped", "distillation", "-distillation(teacher(images)", "distillation(teacher(images)"),
    ("scrub: min-steps before max-steps", "distillation", "epoch < max_epochs", "epoch >= epochs - max_epochs"),
    (
        "scrub_rewind: farthest checkpoint",
        "distillation",
        "return min(range(len(errors))",
        "return max(range(len(errors))",
    ),
    ("delete: the true class kept", "distillation", "logits.scatter(1, labels[:, None], -torch.inf)", "logits"),
    (
        "unsir: noise that the model likes",
        "unsir",
        "return -functional.cross_entropy",
        "return functional.cross_entropy",
    ),
    (
        "unsir: all noise labelled as the first class",
        "unsir",
        "torch.tensor(task.classes).repeat_interleave(count)",
        "torch.tensor(task.classes[:1]).repeat(count * len(task.classes))",
    ),
    (
        "eu_k: statistics and buffers left out of the reset",
        "layers",
        "load_state_dict(fresh.get_submodule(name).state_dict())",
        "load_state_dict(dict(fresh.get_submodule(name).named_parameters()), strict=False)",
    ),
    (
        "eu_k: head left out of the reset",
        "layers",
        "for name in names:\n        model.get_submodule(name).load",
        "for name in names[:-1]:\n        model.get_submodule(name).load",
    ),
    (
        "cf_k: head left frozen",
        "layers",
        "return own[own.index(counted[-k]) :]",
        "return own[own.index(counted[-k]) : -1]",
    ),
    ("l1_sparse: penalty does not fade", "sparse", "alpha * (1 - epoch / (epochs - without))", "alpha"),
    ("salun: no mask", "saliency", "mask.hold(optimizer)", "pass"),
    (
        "salun: smallest gradients",
        "saliency",
        "flat.topk(round(share * len(flat)))",
        "flat.topk(round(share * len(flat)), largest=False)",
    ),
    ("mask: momentum of held weights not cleared", "common", "value.mul_(free)", "pass"),
    (
        "ssd: retain and forget swapped",
        "dampening",
        "chosen = forget[name] > alpha * everything[name]",
        "chosen = everything[name] > alpha * forget[name]",
    ),
    (
        "ssd: against the retain set alone",
        "dampening",
        "weighted_mean(forget, len(task.forget), retain, len(task.retain))",
        "retain",
    ),
    (
        "ssd: importances not squared",
        "dampening",
        "sample_cross_entropy, 2, importance, batch_size), alpha",
        "sample_cross_entropy, 1, importance, batch_size), alpha",
    ),
    (
        "ssd: batch norm's importances without its scale",
        "importance",
        "(entered - module.running_mean.view(shape)) * scale",
        "(entered - module.running_mean.view(shape))",
    ),
    (
        "boundary_shrink: towards the class",
        "boundary",
        "+ reach * PIXEL * gradient.sign()",
        "- reach * PIXEL * gradient.sign()",
    ),
    ("boundary_shrink: the true class allowed", "boundary", ".scatter(1, labels[:, None], -torch.inf)", ""),
    ("all: batch norm trains on the forget set alone", "common", "if not batch_norm or frozen", "if frozen"),
    ("all: frozen batch norm keeps moving", "common", "if not batch_norm or frozen", "if not batch_norm"),
]


def caught_by(module: str, old: str, new: str) -> str:
    """The first test that fails once `old` is replaced; empty if none does."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for folder in ("forget_lib", "tests"):
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
        source = copy / "forget_lib" / "unlearning" / f"{module}.py"
        text = source.read_text()
        if text.count(old) < 1:
            raise SystemExit(f"{module}.py no longer holds {old!r}: bring this list up to date.")
        source.write_text(text.replace(old, new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *TESTS]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return failed[0].split("::")[-1].split(" - ")[0] if failed else ""


def main() -> int:
    """Runs all mutations."""
    missed = 0
    for what, module, old, new in MUTATIONS:
        test = caught_by(module, old, new)
        missed += not test
        print(f"{what}: {test or 'NOT CAUGHT'}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())

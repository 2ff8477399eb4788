"""Breaks one method at a time in a copy of the library and asks whether the tests notice.

    python benchmarks/mutations.py [words that the change's description holds]

prints the test that caught each change; the exit status is the number of changes that no test caught.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ["tests/unlearning", "--ignore=tests/unlearning/test_digits.py"]
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
        "pairs(task.retain, task.forget, second_size",
        "pairs(task.forget, task.retain, second_size",
    ),
    ("random_label: the true label allowed", "basic", "randint(0 if allow_true else 1,", "randint(0,"),
    ("retrain: starts from the original", "basic", "task.fresh_model(task.seed).to(task.device)", "model"),
    (
        "uniform_kl: direction reversed",
        "uniform",
        'if direction == "uniform_to_model"',
        'if direction != "uniform_to_model"',
    ),
    ("bad_teacher: teachers swapped", "distillation", "(bad, task.forget), (good, ", "(good, task.forget), (bad, "),
    ("scrub: max-step's sign flipped", "distillation", "-weight * divergence", "weight * divergence"),
    ("teachers: targets of other samples", "common", "known[positions] if ready", "known[: len(labels)] if ready"),
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
    ("salun: no mask", "saliency", "mask.hold()", "pass"),
    (
        "salun: smallest gradients",
        "saliency",
        "flat.topk(round(share * len(flat)))",
        "flat.topk(round(share * len(flat)), largest=False)",
    ),
    ("mask: free and held weights swapped", "common", "p.detach() * ~free[name]", "p.detach() * free[name]"),
    ("l1_sparse: weights pushed away from 0", "common", "alpha=l1)", "alpha=-l1)"),
    ("negative_gradient: gradients not clipped", "common", "if norm > largest:", "if norm < 0:"),
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
        "sample_cross_entropy, 2, **settings",
        "sample_cross_entropy, 1, **settings",
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

# The same for the second part of the methods, which has tests of its own.
SECOND_MUTATIONS = [
    ("amnesiac: updates added", "amnesiac", "parameter.double() - log.update", "parameter.double() + log.update"),
    ("fisher: squares not weighted by probability", "fisher", "-logs.detach().exp().sqrt() * logs", "-logs"),
    ("influence: away from the optimum", "influence", "parameter.add_(part_of_change", "parameter.sub_(part_of_change"),
    ("jit_lipschitz: gradient through the noisy copy", "jit", "with torch.no_grad():", "if True:"),
    (
        "boundary_expand: towards a class that stays",
        "boundary_expand",
        "torch.full_like(labels, task.number_of_classes)",
        "torch.zeros_like(labels)",
    ),
    ("lotus: colder where it should be warmer", "lotus", "math.exp(alpha * (", "math.exp(-alpha * ("),
    ("task_negation: forwards", "negation", "parameter.sub_(scale", "parameter.add_(scale"),
    (
        "negmerge: no agreement asked for",
        "negation",
        "* (parts.sign().sum(0).abs() == len(vectors))",
        "",
    ),
    ("guided_unlearning: another choice", "guided", "task.forget.labels).argmax(1)", "task.forget.labels).argmin(1)"),
    ("sfron: mask inverted", "sfron", ">= gamma", "< gamma"),
    ("sfron: down the forget loss", "sfron", "(-loss).backward()", "loss.backward()"),
    (
        "dlfd: distance without a gradient",
        "dlfd",
        "features.detach() if literal else features",
        "features.detach()",
    ),
    ("certified_removal: step reversed", "certified", "return weights + change", "return weights - change"),
    ("certified_removal: bound too small", "certified", "CURVATURE = 0.25", "CURVATURE = 0.0025"),
    ("sisa: goes on after the first touched slice", "sisa", "touched[0])", "touched[-1])"),
    ("rum: the most memorised first", "rum", "argsort(stable=True)", "argsort(stable=True, descending=True)"),
    ("msg: largest gradients renewed", "winners", "flat)), largest=False)", "flat)))"),
    ("cfw: frequent classes weigh more", "winners", "task.number_of_classes, -1.0)", "task.number_of_classes, 1.0)"),
    ("prmq: not rounded", "winners", "parameter.half()", "parameter"),
    ("convolution_transpose: mirrored", "winners", "weight.transpose(2, 3)", "weight.flip(2)"),
    (
        "fcs: no uniform stage",
        "winners",
        "step(uniform, uniform_divergence(model(images)))",
        "pass",
    ),
    ("opc: away from the origin", "outputs", "+ weight * length", "- weight * length"),
    ("regun: the true class kept", "outputs", "targets.fill_diagonal_(0)", "pass"),
    (
        "amun: neighbours under the true label",
        "adversarial",
        "torch.cat([said, task.retain.labels])",
        "torch.cat([task.forget.labels, task.retain.labels])",
    ),
    ("attack_and_reset: all other filters", "adversarial", "ratio >= limit", "ratio < limit"),
]


def caught_by(module: str, old: str, new: str, tests: list[str]) -> str:
    """The first of these tests that fails once `old` is replaced; empty if none does."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for folder in ("forget_lib", "tests"):
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
        source = copy / "forget_lib" / "unlearning" / f"{module}.py"
        text = source.read_text()
        if text.count(old) < 1:
            raise SystemExit(f"{module}.py no longer holds {old!r}: bring this list up to date.")
        source.write_text(text.replace(old, new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return failed[0].split("::")[-1].split(" - ")[0] if failed else ""


def main() -> int:
    """Runs all mutations, or those that the command line names."""
    missed, words = 0, sys.argv[1:]
    for what, module, old, new in MUTATIONS + SECOND_MUTATIONS:
        if words and not any(word in what for word in words):
            continue
        test = caught_by(module, old, new, TESTS)
        missed += not test
        print(f"{what}: {test or 'NOT CAUGHT'}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())

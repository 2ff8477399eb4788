"""From a person to pixels: head geometry, hair, pose, and a small z-buffer rasteriser. Only numpy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from face_people import Look, Person, Style, smoothstep

SKIN, EYE, EYE_CAVITY, MOUTH, HAIR, LONG_HAIR = range(6)
HEAD_AGES = (-1 / 3, 0.0, 1 / 3, 2 / 3, 1.0)
BLOCKS = ("cheek", "chin", "ear", "eye-", "eyebrows", "forehead", "head", "mouth", "nose")  # inherited as wholes
DEGREE = np.pi / 180
HEAD_HEIGHT = 231.0  # mm from chin to crown of the reference head
NOISE = np.random.default_rng(12345).random((64, 512))
# Hairline of the reference head: elevation (degrees, seen from inside the skull) over azimuth (degrees from the front).
HAIRLINE_AZIMUTH = (0, 18, 32, 44, 54, 63, 70, 77, 84, 95, 110, 125, 142, 180)
HAIRLINE = (33, 33.5, 32, 27, 19, 5, -14, -18, -6, 2, -4, -26, -44, -50)
HAIRLINE_RECESSION = (1, 1.15, 1.55, 0.9, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0)
EXPRESSIONS = (  # probability and strengths
    (0.42, {"smile": 0.6, "squint": 0.3}),
    (0.16, {"smile": 0.85, "jaw_open": 0.13, "lip_up": 0.25, "squint": 0.4}),
    (0.08, {"jaw_open": 0.2, "brow_up": 0.4, "eyes_wide": 0.3}),
    (0.05, {"frown": 0.35, "brow_down": 0.35}),
    (0.04, {"pucker": 0.4}),
    (0.25, {}),
)


def noise(x: np.ndarray, y: np.ndarray | float = 0.0, row: int = 0) -> np.ndarray:
    """Smooth noise in -0.5..0.5 with one random value a unit square; `row` gives independent fields."""
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    f, g = smoothstep(0, 1, x - i), smoothstep(0, 1, y - j)

    def at(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return NOISE[(b + row) % 64, (a * 7 + b * 13) % 512]

    near = at(i, j) * (1 - f) + at(i + 1, j) * f
    return near * (1 - g) + (at(i, j + 1) * (1 - f) + at(i + 1, j + 1) * f) * g - 0.5


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals float [N, 3], averaged over the faces (int [F, 3]) around each vertex."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    face_normals = np.cross(b - a, c - a)
    sums = [np.bincount(faces.T.ravel(), np.tile(face_normals[:, axis], 3), len(vertices)) for axis in range(3)]
    normals = np.stack(sums, 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


class Head:
    """The head file in memory.

    `reference` float [N, 3]: place of each vertex on the reference head in mm, from between the eyes, x to the person's
    left, y to the back, z up. Skin is painted there, so that its features follow the shape.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for name in ("body", "weight", "gene", "expression"):
            scale = arrays[f"{name}_scale"]
            setattr(self, name, arrays[name].astype(np.float32) * scale[..., None, None])
        self.base, self.faces = arrays["base"].astype(float), arrays["faces"].astype(int)
        self.material, self.on_head = arrays["material"].astype(int), arrays["on_head"]
        self.gene_names = [str(name) for name in arrays["gene_names"]]
        self.expression_names = [str(name) for name in arrays["expression_names"]]
        self.blocks = np.array(
            [next(i for i, b in enumerate(BLOCKS) if name.startswith(b)) for name in self.gene_names[:-1]]
        )
        self.eyes = [np.flatnonzero(arrays["eye"] == side) for side in (1, 2)]
        origin = np.mean(self.eye_centres(self.base), axis=0) * [0, 1, 1]
        self.reference = (self.base - origin) * 1000
        self.masks = arrays["masks"] / 255
        rim = self.reference[arrays["rim"]]
        self.lid = np.sqrt(((self.reference[:, None] - rim[None]) ** 2).sum(-1).min(1))
        offset = self.reference - [0, 70, 15]
        self.azimuth = np.arctan2(offset[:, 0], -offset[:, 1]) / DEGREE
        self.elevation = np.arcsin(offset[:, 2] / np.linalg.norm(offset, axis=1)) / DEGREE
        self.chin = np.flatnonzero(
            (np.abs(self.reference[:, 0]) < 6) & (np.abs(self.reference[:, 2] + 105) < 8) & (self.reference[:, 1] < 0)
        )
        self.occlusion = self._occlusion()

    def eye_centres(self, vertices: np.ndarray) -> np.ndarray:
        """float [2, 3]: middle of each eyeball."""
        return np.stack([(vertices[eye].min(0) + vertices[eye].max(0)) / 2 for eye in self.eyes])

    def _occlusion(self) -> np.ndarray:
        """Share of ambient light that reaches each vertex, from how hollow the surface is there."""
        edges = np.concatenate([self.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))])
        counts = np.maximum(np.bincount(edges[:, 0], minlength=len(self.base)), 1)
        smooth = self.base
        for _ in range(4):
            smooth = np.stack(
                [np.bincount(edges[:, 0], smooth[edges[:, 1], axis], len(counts)) / counts for axis in range(3)], 1
            )
        hollow = ((smooth - self.base) * vertex_normals(self.base, self.faces)).sum(1) * 1000
        return np.clip(1 - 0.22 * np.clip(hollow, -0.6, 2.2), 0.45, 1.08)

    def shape(self, look: Look, age: float) -> tuple[np.ndarray, float]:
        """Vertices float [N, 3] in metres with the eyes open and no expression, and the size of the face beside the
        reference."""
        years = np.interp(age, [0, 1, 5, 12, 18, 25, 80], [-0.05, 0, 0.12, 1 / 3, 0.53, 2 / 3, 0.97])
        step = int(np.clip(np.searchsorted(HEAD_AGES, years) - 1, 0, 3))
        part = (years - HEAD_AGES[step]) / (HEAD_AGES[step + 1] - HEAD_AGES[step])
        grown = (
            self.body[step, int(look.male is False)] * (1 - part) + self.body[step + 1, int(look.male is False)] * part
        )
        vertices = self.base + grown[0] * (1 - look["ancestry"]) + grown[1] * look["ancestry"]
        left, right = self.eye_centres(vertices)
        size = abs(left[0] - right[0]) / abs(np.subtract(*self.eye_centres(self.base))[0])
        weight = (
            2 * np.clip(look["weight"] + np.interp(age, [0, 4, 12, 20, 50], [0.03, 0.02, -0.04, -0.03, 0.1]), 0.05, 1)
            - 1
        )
        vertices += size * abs(weight) * self.weight[int(weight > 0)]
        strengths = look.genes * np.interp(age, [0, 6, 14, 20], [0.75, 0.8, 0.95, 1])
        strengths[self.gene_names.index("eye-scale-incr")] += np.interp(age, [0, 3, 12, 20], [0.55, 0.45, 0.2, 0])
        strengths = np.append(strengths, np.interp(age, [30, 80], [0, 0.75]))
        return vertices + size * np.tensordot(strengths, self.gene, 1), float(size)


@dataclass(frozen=True)
class Surface:
    """Triangles to draw.

    Attributes: vertices: float [V, 3], posed, metres. reference: places on the reference head, [V, 3], mm. faces: int
        [F, 3], with a material each. normals: unit, [V, 3]. hair: [V, 2], degrees above the hairline and azimuth.
        height: of the head. centre: of the face. eyes: centres, [2, 3].
    """

    vertices: np.ndarray
    reference: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    normals: np.ndarray
    hair: np.ndarray
    height: float
    centre: np.ndarray
    eyes: np.ndarray


def build_surface(head: Head, person: Person, age: float, rng: np.random.Generator) -> Surface:
    """The head with an expression, its hair, in a pose."""
    vertices, size = head.shape(person.look, age)
    kind = rng.choice(len(EXPRESSIONS), p=[share for share, _ in EXPRESSIONS])
    strength, blink = rng.uniform(0.6, 1.2), rng.random() < 0.04
    for name, value in (EXPRESSIONS[kind][1] | ({"blink": 0.9} if blink else {})).items():
        vertices = vertices + size * value * strength * head.expression[head.expression_names.index(name)]
    eyes, top, chin = head.eye_centres(vertices), vertices[head.on_head, 2].max(), vertices[head.chin, 2].min()
    height, style = top - chin, person.style(age)
    above = head.elevation - np.interp(
        np.abs(head.azimuth), HAIRLINE_AZIMUTH, np.add(HAIRLINE, style.recede * np.array(HAIRLINE_RECESSION))
    )
    above = above + _fringe(head, style, person)
    above[(head.masks[:, 2] > 0.3) | ~head.on_head] = -99
    shell_faces = head.faces[
        (above[head.faces].max(1) > -6) & (above[head.faces].min(1) > -40) & (head.material == SKIN)
    ]
    centre = np.array([0, eyes[:, 1].mean() + 0.33 * height, eyes[:, 2].mean() + 0.07 * height])
    shell = vertices + _thickness(head, style, above, centre, vertices)[
        :, None
    ] * height / HEAD_HEIGHT / 1000 * _outwards(head, vertices, centre)
    pieces = [
        (vertices, head.faces, head.material, head.reference, np.stack([np.full(len(vertices), 99.0), head.azimuth], 1))
    ]
    pieces.append(
        (shell, shell_faces, np.full(len(shell_faces), HAIR), head.reference, np.stack([above, head.azimuth], 1))
    )
    if style.length > 0:
        pieces.append(_long_hair(style, person, vertices[head.on_head], centre, height, chin))
    neck = smoothstep(-185, -95, head.reference[:, 2] + 0.25 * np.clip(head.reference[:, 1], 0, 120))
    turns = [neck, np.ones(len(shell))] + [
        np.clip(smoothstep(-0.9, 0.1, (piece[0][:, 2] - chin) / height), 0, 1) for piece in pieces[2:]
    ]
    return _posed(pieces, turns, np.array([0, centre[1], chin]), eyes, height, (top + chin) / 2, rng)


def _fringe(head: Head, style: Style, person: Person) -> np.ndarray:
    """Degrees by which hair hangs below the hairline."""
    azimuth = np.abs(head.azimuth)
    if style.fringe > 0:
        return (
            style.fringe
            * 26
            * (1 - smoothstep(38, 58, azimuth))
            * (0.75 + 0.35 * np.cos((head.azimuth - style.part) * DEGREE * 2.2))
        )
    if style.length > 0:
        return (
            15
            * smoothstep(2, 34, np.abs(head.azimuth - style.part))
            * (1 - smoothstep(48, 66, azimuth))
            * (0.5 + 0.5 * person.habits[11])
        )
    return np.zeros(len(azimuth))


def _outwards(head: Head, vertices: np.ndarray, centre: np.ndarray) -> np.ndarray:
    radial = vertices - centre
    radial /= np.linalg.norm(radial, axis=1, keepdims=True)
    return 0.5 * radial + 0.5 * vertex_normals(vertices, head.faces)


def _thickness(head: Head, style: Style, above: np.ndarray, centre: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """How far hair stands off the skin, in mm of the reference head."""
    lift = 0.45 + 0.55 * smoothstep(-30, 55, head.elevation)
    thick = style.top * lift * (1 + 0.25 * np.sin((head.azimuth - style.part) * DEGREE)) * smoothstep(-1, 16, above)
    thick = np.where(head.elevation < 0, np.minimum(thick, 7), thick) + 2.2 * smoothstep(-8, 2, above)
    return thick + style.curl * 7 * smoothstep(2, 14, above) * (
        noise(head.azimuth / 13 + 40, head.elevation / 13 + 40, 7) + 0.35
    )


def _long_hair(
    style: Style, person: Person, skull: np.ndarray, centre: np.ndarray, height: float, chin: float
) -> tuple[np.ndarray, ...]:
    """A curtain around the back and the sides of the head, as a grid of azimuth × height."""
    around, down = 49, 15
    opening = 62 - 8 * person.habits[12]
    azimuth, t = np.meshgrid(np.linspace(opening, 360 - opening, around), np.linspace(0, 1, down), indexing="ij")
    eye_level, crown = centre[2] - 0.07 * height, skull[:, 2].max() - 0.1 * height
    wide = np.abs(skull[np.abs(skull[:, 2] - eye_level) < 0.03 * height, 0]).max()
    deep = skull[:, 1].max() - centre[1]
    ends = np.interp(style.length, [0, 1.3], [eye_level - 0.25 * height, chin - 0.38 * height])
    falls = np.clip(t / 0.22, 0, 1)
    spread = 0.55 + 0.45 * np.sqrt(falls * (2 - falls))
    wave = noise(azimuth / 15, 0.0, 11 + int(person.habits[12] * 20))
    bulge = 0.97 + 0.09 * np.sin(np.pi * np.clip(t * 0.9 + 0.12, 0, 1)) + 0.1 * style.curl
    radius_x = (wide * bulge + style.top * 0.0003 * height / 0.231) * spread
    cosine = np.cos(azimuth * DEGREE)
    x = radius_x * np.sin(azimuth * DEGREE) * (1 + 0.05 * wave * t)
    y = centre[1] - deep * (1.03 + 0.04 * t) * spread * cosine * np.where(cosine > 0, 0.75, 1.0)
    z = crown + (ends - crown) * t * (1 + 0.12 * wave)
    index = np.arange(around * down).reshape(around, down)
    a, b, c, d = index[:-1, :-1].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel(), index[:-1, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    vertices = np.stack([x, y, z], -1).reshape(-1, 3)
    reference = np.stack([azimuth.ravel(), np.full(azimuth.size, 120.0), 100 * t.ravel()], 1)
    above = 60 * (1 - t) - 1.5 + (np.abs(azimuth - 180) < 164 - opening)
    return vertices, faces, np.full(len(faces), LONG_HAIR), reference, np.stack([above.ravel(), azimuth.ravel()], 1)


def _posed(
    pieces: list[tuple[np.ndarray, ...]],
    turns: list[np.ndarray],
    pivot: np.ndarray,
    eyes: np.ndarray,
    height: float,
    middle: float,
    rng: np.random.Generator,
) -> Surface:
    """Turns the head on its neck: yaw up to 38°, pitch 14°, roll 9°."""
    angles = np.clip(rng.normal(0, (15, 6, 4)), (-38, -14, -9), (38, 14, 9)) * DEGREE
    (cy, cp, cr), (sy, sp, sr) = np.cos(angles), np.sin(angles)
    turn = (
        np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
        @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        @ np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    )
    posed, normals, faces, start = [], [], [], 0
    for (vertices, piece_faces, *_), share in zip(pieces, turns, strict=True):
        moved = share[:, None] * ((vertices - pivot) @ turn.T) + (1 - share[:, None]) * (vertices - pivot)
        posed.append(moved)
        normals.append(vertex_normals(moved, piece_faces))
        faces.append(piece_faces + start)
        start += len(moved)
    reference, hair = (np.concatenate([piece[place] for piece in pieces]) for place in (3, 4))
    centre = turn @ (np.array([0, eyes[:, 1].mean(), middle]) - pivot)
    return Surface(
        np.concatenate(posed),
        reference,
        np.concatenate(faces),
        np.concatenate([piece[2] for piece in pieces]),
        np.concatenate(normals),
        hair,
        float(height),
        centre,
        (eyes - pivot) @ turn.T,
    )


def rasterise(
    surface: Surface, screen: np.ndarray, resolution: int, strands: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which triangle is seen in each pixel: (pixels int [P], triangles int [P], barycentric weights float [P, 3]).

    Triangles that face away are left out, but for hair; of hair, what is below its ragged line is left out.
    Args: screen: float [V, 3], right, down (pixels) and depth (larger is nearer). strands: row of noise.
    """
    faces, hairy = surface.faces, surface.material >= HAIR
    x, y = screen[:, 0][faces], screen[:, 1][faces]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    first_x, first_y = (np.maximum(np.ceil(v.min(1) - 0.5), 0).astype(int) for v in (x, y))
    last_x, last_y = (np.minimum(np.floor(v.max(1) - 0.5), resolution - 1).astype(int) for v in (x, y))
    wanted = np.flatnonzero((last_x >= first_x) & (last_y >= first_y) & ((area < -1e-9) | (hairy & (area > 1e-9))))
    wide = (last_x - first_x + 1)[wanted]
    counts = wide * (last_y - first_y + 1)[wanted]
    triangle = np.repeat(wanted, counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    column, row = (
        first_x[triangle] + place % np.repeat(wide, counts),
        first_y[triangle] + place // np.repeat(wide, counts),
    )
    corner_x, corner_y = x[triangle] - column[:, None] - 0.5, y[triangle] - row[:, None] - 0.5
    first, second = (
        (corner_x[:, a] * corner_y[:, b] - corner_x[:, b] * corner_y[:, a]) / area[triangle]
        for a, b in ((1, 2), (2, 0))
    )
    inside = np.flatnonzero((first >= 0) & (second >= 0) & (first + second <= 1))
    triangle, pixel = triangle[inside], (row * resolution + column)[inside]
    weights = np.stack([first[inside], second[inside], 1 - first[inside] - second[inside]], 1)
    above, azimuth = np.einsum("pcd,pc->dp", surface.hair[faces[triangle]], weights)
    below = np.flatnonzero((surface.material[triangle] >= HAIR) & (above < 3))
    ragged = 3.2 * (noise(azimuth[below] / 7, 0.0, strands) + 0.6 * noise(azimuth[below] / 3, 0.0, strands + 1))
    unseen = below[above[below] + ragged <= 0]
    triangle, weights, pixel = np.delete(triangle, unseen), np.delete(weights, unseen, 0), np.delete(pixel, unseen)
    order = np.argsort(np.einsum("pc,pc->p", screen[:, 2][faces[triangle]], weights), kind="stable")
    nearest = np.full(resolution * resolution, -1)
    nearest[pixel[order]] = order  # of equal indices the last one, the nearest, stays
    pixels = np.flatnonzero(nearest >= 0)
    return pixels, triangle[nearest[pixels]], weights[nearest[pixels]]

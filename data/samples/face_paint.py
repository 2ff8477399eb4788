"""Skin, brows, eyes, wrinkles, glasses, hair, clothes, light and camera: colours for a rasterised head's pixels."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from face_people import Person, smoothstep
from face_renderer import (
    DEGREE,
    EYE,
    EYE_CAVITY,
    HAIR,
    LONG_HAIR,
    MOUTH,
    SKIN,
    Head,
    Surface,
    build_surface,
    noise,
    rasterise,
)

SUPERSAMPLING = 2


def linear(*rgb: float) -> np.ndarray:
    """A display colour (0..1) as linear light."""
    return np.array(rgb) ** 2.2


def mix(a: np.ndarray, b: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """a where share is 0, b where it is 1."""
    return a + (b - a) * share


HAIR_COLOURS = np.stack(
    [linear(0.07, 0.06, 0.06), linear(0.26, 0.16, 0.10), linear(0.45, 0.28, 0.15), linear(0.74, 0.58, 0.36)]
)
SKIN_TONES = np.stack(
    [linear(0.97, 0.83, 0.75), linear(0.90, 0.72, 0.60), linear(0.72, 0.52, 0.39), linear(0.47, 0.31, 0.23)]
)
IRIS_COLOURS = np.stack(
    [linear(0.15, 0.09, 0.07), linear(0.34, 0.22, 0.12), linear(0.35, 0.42, 0.28), linear(0.38, 0.52, 0.66)]
)


def along(colours: np.ndarray, place: float) -> np.ndarray:
    """The colour at 0..1 on a scale of colours."""
    at = np.linspace(0, 1, len(colours))
    return np.array([np.interp(place, at, channel) for channel in colours.T])


@dataclass
class Pixels:
    """What is seen in each of P pixels.

    Attributes: index: pixel number. x, y, z: place on the reference head (mm). place, normal: float [P, 3] in the
        world (m). material: see face_renderer. lips, ear: 0..1. lid: mm from the lid's rim. occlusion: share of ambient
        light. above: degrees above the hairline. azimuth: degrees. albedo: the colour so far, linear, float [P, 3].
        groove: how much a wrinkle darkens.
    """

    index: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    place: np.ndarray
    normal: np.ndarray
    material: np.ndarray
    lips: np.ndarray
    ear: np.ndarray
    lid: np.ndarray
    occlusion: np.ndarray
    above: np.ndarray
    azimuth: np.ndarray
    albedo: np.ndarray = field(init=False)
    groove: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.albedo = np.zeros((len(self.x), 3))
        self.groove = np.zeros(len(self.x))
        self.skin = self.material == SKIN
        self.hair = self.material >= HAIR
        self.front = self.skin & (self.y < 45)

    def tint(self, share: np.ndarray, colour: tuple[float, ...] | np.ndarray, strength: float = 1.0) -> None:
        """Multiplies the colour, where share is 1, by `colour`."""
        self.albedo *= 1 - (share * strength)[:, None] * (1 - np.asarray(colour))

    def cover(self, share: np.ndarray, colour: np.ndarray) -> None:
        """Paints over, opaque where share is 1."""
        self.albedo = mix(self.albedo, colour, np.clip(share, 0, 1)[:, None])

    def spot(self, x: float, z: float, width: float, height: float, both: bool = False) -> np.ndarray:
        """A soft spot on the front of the face; `both`: mirrored."""
        side = np.abs(self.x) if both else self.x
        return np.exp(-(((side - x) / width) ** 2) - ((self.z - z) / height) ** 2) * self.front

    def line(self, points: list[tuple[float, float]], strength: float, width: float, both: bool = True) -> None:
        """A wrinkle along points (x, z), thin at its ends."""
        if strength <= 0.03:
            return
        across, up = np.transpose(points)
        side = np.abs(self.x) if both else self.x
        near_x = (side > across.min() - 3 * width) & (side < across.max() + 3 * width)
        near = np.flatnonzero(self.front & near_x & (self.z > up.min() - 3 * width) & (self.z < up.max() + 3 * width))
        side, z = side[near], self.z[near]
        for number, ((x0, z0), (x1, z1)) in enumerate(pairwise(points)):
            dx, dz = x1 - x0, z1 - z0
            t = np.clip(((side - x0) * dx + (z - z0) * dz) / (dx * dx + dz * dz), 0, 1)
            distance = np.hypot(side - x0 - t * dx, z - z0 - t * dz)
            taper = np.sin(np.pi * np.clip(0.05 + 0.9 * (number + t) / (len(points) - 1), 0, 1)) ** 0.6
            depth = strength * taper * np.exp(-((distance / width) ** 2))
            self.groove[near] = np.maximum(self.groove[near], depth)


def render(head: Head, person: Person, years: int, rng: np.random.Generator, size: int) -> np.ndarray:
    """A photograph of a person at an age, uint8 [size, size, 3]; pose, expression and light come from `rng`."""
    age = person.seen_age(years)
    surface = build_surface(head, person, age, rng)
    resolution = size * SUPERSAMPLING
    zoom = 0.83 * rng.uniform(0.93, 1.08) * resolution / surface.height
    shift = rng.normal(0, 0.018, 2) * resolution
    moved = (surface.vertices - surface.centre * [0.75, 1, 1]) * zoom
    screen = np.stack(
        [resolution / 2 + moved[:, 0] + shift[0], resolution * 0.49 - moved[:, 2] + shift[1], -moved[:, 1]], 1
    )
    pixels = pixels_of(head, surface, *rasterise(surface, screen, resolution, int(person.habits[13] * 60)))
    paint_skin(pixels, person, age)
    paint_wrinkles(pixels, person, age)
    paint_brows_and_lids(pixels, person, age)
    paint_eyes_and_mouth(pixels, person, age, surface, rng)
    paint_hair(pixels, person, age)
    paint_clothes(pixels, rng)
    if person.wears_glasses(age) and rng.random() < 0.9:
        paint_glasses(pixels, person)
    image = background(resolution, rng)
    image.reshape(-1, 3)[pixels.index] = lit(pixels, age, rng)
    return developed(image, size, rng)


def pixels_of(head: Head, surface: Surface, index: np.ndarray, triangle: np.ndarray, weights: np.ndarray) -> Pixels:
    """Interpolates what the vertices know; normals of hair are turned to the viewer."""
    extra = len(surface.vertices) - len(head.base)
    per_vertex = np.column_stack([head.masks[:, 0], head.masks[:, 2], head.lid, head.occlusion])
    per_vertex = np.concatenate([per_vertex, np.tile([0.0, 0.0, 50.0, 1.0], (extra, 1))])
    table = np.column_stack([surface.reference, surface.vertices, surface.normals, surface.hair, per_vertex])
    values = np.einsum("pcd,pc->pd", table[surface.faces[triangle]], weights)
    material, normal = surface.material[triangle], values[:, 6:9]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    normal[(normal[:, 1] > 0) & (material >= HAIR)] *= -1
    x, y, z = values[:, :3].T
    return Pixels(
        index, x, y, z, values[:, 3:6], normal, material, *values[:, [11, 12, 13, 14]].T, *values[:, [9, 10]].T
    )


def paint_skin(p: Pixels, person: Person, age: float) -> None:
    """Tone, cheeks, lips, beard shadow, moles and age spots."""
    look, old, young = person.look, smoothstep(35, 75, age), 1 - smoothstep(6, 18, age)
    tone = along(SKIN_TONES, np.clip(0.95 * look["melanin"] + 0.04 * look.male - 0.06 * young, 0, 1))
    p.albedo[:] = tone
    p.tint(p.spot(42, -33, 17, 15, both=True), (1, 0.72, 0.70), 0.25 + 0.55 * young + 0.2 * person.habits[14])
    p.tint(p.spot(0, -42, 11, 10), (1, 0.75, 0.72), 0.3)
    p.tint(p.ear, (1, 0.78, 0.74), 0.5)
    p.tint(p.spot(31, -1, 17, 9, both=True), (0.86, 0.76, 0.74), 0.25 + 0.5 * old)
    field_ = noise(p.x / 9 + 50, p.z / 9 + 50, 3) + 0.5 * noise(p.x / 4 + 50, p.z / 4 + 50, 9)
    p.albedo *= (1 + 0.06 * field_ * (0.5 + old))[:, None]
    marks = np.random.default_rng(int(person.habits[15] * 2**32))
    for _ in range(int(marks.poisson(1.2))):
        x, z, radius = marks.uniform(-50, 50), marks.uniform(-92, 42), marks.uniform(1.2, 2.2)
        if age > 5:
            p.cover(0.85 * smoothstep(radius * 1.3, radius * 0.6, np.hypot(p.x - x, p.z - z)) * p.front, tone * 0.25)
    for _ in range(int(9 * smoothstep(52, 78, age))):
        x, z, radius = marks.uniform(-62, 62), marks.uniform(-70, 65), marks.uniform(1.8, 4.2)
        p.tint(np.exp(-((np.hypot(p.x - x, p.z - z) / radius) ** 4)) * p.front, (0.72, 0.6, 0.5), 0.55)
    if look.male:
        _paint_beard(p, person, age)
    red = mix(np.array([0.92, 0.56, 0.55]), np.array([0.9, 0.70, 0.68]), old) * (1 - 0.12 * look["lip_red"])
    lip = tone * red
    if not look.male and 16 < age < 68 and person.habits[6] < 0.6:
        lip = mix(lip, linear(0.72, 0.22 + 0.12 * person.habits[7], 0.26), 0.45)
    p.cover(smoothstep(0.25, 0.75, p.lips), lip)


def _paint_beard(p: Pixels, person: Person, age: float) -> None:
    side = np.abs(p.x)
    jaw = smoothstep(-70, -84, p.z) + smoothstep(48, 62, side) * smoothstep(-45, -62, p.z)
    moustache = 0.9 * np.exp(-(((p.z + 58) / 7) ** 2)) * (side < 30)
    grown = smoothstep(15, 21, age) * (0.2 + 0.5 * person.habits[7])
    if person.habits[14] > 0.8 and age > 24:  # a full beard
        grown = 1.5
    colour = mix(along(HAIR_COLOURS, person.look["hair_colour"]) * 2 + 0.25, np.full(3, 0.85), person.greying(age))
    share = np.clip((jaw + moustache) * smoothstep(30, 48, -p.z), 0, 1) * (1 - p.lips) * (p.y < 60) * p.skin
    p.tint(share, np.clip(colour, 0, 1), min(0.6 * grown, 0.95))


def paint_wrinkles(p: Pixels, person: Person, age: float) -> None:
    """Forehead, mouth folds, crow's feet, bags under the eyes, and the double fold of the lid."""
    depth = 1 + 0.25 * person.wrinkles
    forehead = 0.8 * smoothstep(27, 60, age) * depth[0]
    for number, share in enumerate((1, 0.85, 0.6)):
        z, bend = 38 + 11 * number + 1.5 * person.wrinkles[1], person.wrinkles[2]
        p.line(
            [(-38 + 4 * number, z - 2), (-14, z + 1.5 + bend), (14, z + 1.5 - bend), (38 - 4 * number, z - 2)],
            forehead * share,
            1.5,
            both=False,
        )
    p.line(
        [(15, -44), (24, -56), (30, -70), (31, -78)],
        (0.15 * smoothstep(16, 25, age) + 0.85 * smoothstep(25, 60, age)) * depth[3],
        2.2,
    )
    p.line([(27, -84), (29, -92), (28, -101)], 0.8 * smoothstep(48, 74, age) * depth[4], 2.0)
    for x0, z0, x1, z1 in ((52, 2, 63, 8), (52, -3, 65, -3), (51, -8, 62, -15)):
        p.line([(x0, z0), (x1, z1)], 0.8 * smoothstep(29, 58, age) * depth[5], 1.2)
    bags = (0.15 + 0.85 * smoothstep(29, 64, age)) * (0.25 + 0.75 * smoothstep(12, 30, age)) * depth[6]
    p.line([(15, -10), (24, -17), (36, -17), (45, -11)], bags, 2.0)
    p.line([(17, -15), (26, -22), (37, -21)], 0.7 * smoothstep(50, 75, age), 1.8)
    p.line([(4.5, 14), (5.5, 26)], 0.6 * smoothstep(38, 66, age) * depth[7], 1.2)
    p.line([(58, -62), (46, -84)], 0.5 * smoothstep(58, 78, age), 4.0)
    crease = person.look["crease"]
    p.line(
        [(17, 5), (24, 9.5 + 2 * crease), (34, 10 + 2 * crease), (45, 5)],
        0.1 + 0.75 * crease * smoothstep(2, 10, age),
        1.2,
    )


def hair_colour(person: Person, age: float) -> np.ndarray:
    """Linear colour without grey; babies are lighter."""
    return along(HAIR_COLOURS, np.clip(person.look["hair_colour"] + 0.15 * (age < 5), 0, 1))


def paint_brows_and_lids(p: Pixels, person: Person, age: float) -> None:
    """Brows in the colour of the hair, lashes and lid margins."""
    look, side = person.look, np.abs(p.x)
    along_brow = np.clip((side - 7 - 4 * look["brow_gap"]) / 43, -0.2, 1.2)
    arch = 1 + 5 * look["brow_arch"] - 1.2 * look.male
    middle = (
        15.5 + 5 * look["brow_height"] + arch * np.sin(np.clip(along_brow, 0, 1) * np.pi * 0.72) - 3.2 * along_brow**2
    )
    thick = (2.9 + 3.2 * look["brow_width"] + 1.6 * look.male) * np.interp(age, [0, 6, 20], [0.5, 0.68, 1])
    thick = (
        thick
        * (0.95 - 0.62 * np.clip(along_brow, 0, 1))
        * smoothstep(-0.03, 0.09, along_brow)
        * (1 - smoothstep(0.9, 1.04, along_brow))
    )
    share = smoothstep(1, 0.35, np.abs(p.z - middle) / np.maximum(thick, 1e-3)) * p.front * (thick > 0.1)
    p.cover(
        share * (0.85 - 0.3 * (age < 3)),
        mix(hair_colour(person, age), linear(0.6, 0.59, 0.58), 0.6 * person.greying(age)),
    )
    p.tint(smoothstep(2.4, 0.5, p.lid) * (p.z > -2.5) * p.front, (0.16, 0.12, 0.11), 0.7 if look.male else 0.88)
    p.tint(smoothstep(1.6, 0.4, p.lid) * (p.z <= -2.5) * p.front, (0.55, 0.42, 0.40), 0.6)


def paint_eyes_and_mouth(p: Pixels, person: Person, age: float, surface: Surface, rng: np.random.Generator) -> None:
    """White, iris, pupil and the lid's shadow on them; teeth."""
    gaze = np.array([rng.normal(0, 0.1), -1.0, rng.normal(0, 0.05)])
    gaze /= np.linalg.norm(gaze)
    for side, centre in enumerate(surface.eyes):
        eye = np.flatnonzero((p.material == EYE) & ((p.x > 0) == (side == 0)))
        if not len(eye):
            continue
        direction = p.place[eye] - centre
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        angle = np.arccos(np.clip(direction @ gaze, -1, 1))
        radius = 0.47 * np.interp(age, [0, 10, 20], [1.14, 1.05, 1.0])
        colour = np.tile(linear(0.90, 0.87, 0.85) * (1 - 0.12 * smoothstep(35, 75, age)), (len(eye), 1))
        light_eyes = person.look["iris"] * (0.3 + 0.7 * person.look["ancestry"]) * (1 - 0.7 * person.look["melanin"])
        iris = along(IRIS_COLOURS, light_eyes) * (0.6 + 0.5 * smoothstep(radius, radius / 2, angle))[:, None]
        colour = mix(colour, iris, smoothstep(radius + 0.04, radius - 0.04, angle)[:, None])
        colour = mix(colour, np.full(3, 0.006), smoothstep(0.2, 0.13, angle)[:, None])
        colour *= (1 - 0.6 * smoothstep(0.15, 0.42, direction[:, 2]))[:, None]
        glint = np.linalg.norm(direction - gaze * 0.9 - [0.12, 0, 0.22], axis=1)
        p.albedo[eye] = colour + 0.5 * smoothstep(0.22, 0.08, glint)[:, None]
    p.albedo[p.material == EYE_CAVITY] = linear(0.3, 0.18, 0.15)
    mouth = p.material == MOUTH
    p.albedo[mouth] = linear(0.25, 0.08, 0.08)
    p.albedo[mouth & (p.z > -76) & (p.y < -12) & (np.abs(p.x) < 20)] = linear(0.85, 0.82, 0.76)


def paint_hair(p: Pixels, person: Person, age: float) -> None:
    """Strands, grey among them; the scalp is darkened where hair is thin."""
    style, grey, base = person.style(age), person.greying(age), hair_colour(person, age)
    row = int(person.habits[13] * 60)
    strands = noise(p.azimuth / 2.6, 0.0, row + 4) + 0.6 * noise(p.azimuth / 1.1, p.above / 40, row + 5)
    silver = np.clip(grey * (1.1 + 0.9 * strands), 0, 0.97)[:, None]
    colour = mix(base, linear(0.82, 0.81, 0.80), silver) * (1 + 0.7 * strands)[:, None]
    if not person.look.male and 19 < age < 50 and person.habits[2] > 0.75:
        colour = mix(colour, linear(0.45, 0.25, 0.15), 0.6)
    if style.curl > 0:
        curls = noise(p.azimuth / 5 + 90, p.above / 5 + 90, row)
        colour = colour * (1 + style.curl * curls)[:, None]
    tone = np.median(p.albedo[p.skin], axis=0)
    scalp = smoothstep(-5, 3, p.above) * p.skin * (p.ear < 0.3) * (p.above < 90)
    p.cover(0.75 * style.cover * scalp, mix(base, linear(0.82, 0.81, 0.80), grey))
    thin = (p.material == HAIR) & (noise(p.azimuth / 2.2 + 80, p.above / 1.3 + 80, row) + 0.5 > style.cover + 0.1)
    colour = np.where((thin & (style.cover < 1))[:, None], mix(colour, tone, 0.7), colour)
    p.albedo[p.hair] = np.clip(colour, 0.004, 1)[p.hair]


def paint_clothes(p: Pixels, rng: np.random.Generator) -> None:
    """A plain or striped collar; another one on each photograph."""
    colour, stripe, collar = (
        linear(*rng.uniform(0.08, 0.92, 3)),
        linear(*rng.uniform(0.1, 0.95, 3)),
        -150 - 12 * rng.random(),
    )
    cloth = p.skin & (p.z < collar + 0.1 * np.clip(p.y - 40, 0, 200) - 10 * np.exp(-((p.x / 45) ** 2)))
    p.albedo[cloth] = colour
    if rng.random() < 0.3:
        p.albedo[cloth & (np.floor(p.z / 7) % 2 == 0)] = stripe
    p.groove[cloth] = 0


def paint_glasses(p: Pixels, person: Person) -> None:
    """Frames painted on the reference head: a rounded ring around each eye, a bridge and temples."""
    width, line = 20 + 3 * person.habits[11], 1.2 + 1.4 * person.habits[9]
    tall, power = width * (0.66 + 0.3 * person.habits[12]), 2.4 + 2 * person.habits[8]
    side, front = np.abs(p.x), (p.material != HAIR) & (p.material != LONG_HAIR)
    ring = (np.abs((side - 32) / width) ** power + np.abs((p.z + 2) / tall) ** power) ** (1 / power)
    frame = smoothstep(line * 1.3, line * 0.6, np.abs(ring - 1) * (width + tall) / 2) * (p.y < 35)
    bridge = (side < 32 - width) * smoothstep(line * 1.2, line * 0.5, np.abs(p.z - 2)) * (p.y < 10)
    temple = (side > 30 + width) * smoothstep(line * 1.4, line * 0.7, np.abs(p.z - 4)) * (p.y < 95) * (p.y > -10)
    colour = (linear(0.05, 0.05, 0.05), linear(0.25, 0.12, 0.08), linear(0.5, 0.46, 0.4), linear(0.1, 0.1, 0.22))[
        int(person.habits[4] * 4)
    ]
    p.cover(np.maximum.reduce([frame, bridge, temple]) * front, colour)


def lit(p: Pixels, age: float, rng: np.random.Generator) -> np.ndarray:
    """Linear colours float [P, 3] under a lamp and a sky: wrapped diffuse light on skin, less sky in hollows."""
    around, up = rng.uniform(-65, 65) * DEGREE, rng.uniform(5, 55) * DEGREE
    lamp = np.array([np.sin(around) * np.cos(up), -np.cos(around) * np.cos(up), np.sin(up)])
    key, ambient = rng.uniform(0.55, 1.0), rng.uniform(0.36, 0.55)
    warmth = 1 + rng.normal(0, 0.045) * np.array([1, 0, -1.2])
    wrap = np.array([0.32, 0.20, 0.15]) * p.skin[:, None]
    diffuse = np.clip(((p.normal @ lamp)[:, None] + wrap) / (1 + wrap), 0, 1)
    shade = 1 - 0.45 * smoothstep(-96, -118, p.z) * (p.y > -75) * p.skin  # under the chin
    shade = shade * (1 - 0.35 * smoothstep(-7, -1, p.above) * (p.above < 1) * p.skin)  # under the hair
    sky = ambient * (0.72 + 0.28 * p.normal[:, 2]) * np.where(p.skin, p.occlusion, 1) * (0.6 + 0.4 * shade)
    colour = p.albedo * (key * diffuse * shade[:, None] * warmth + sky[:, None])
    half = lamp - np.array([0, 1, 0])
    shine = np.clip(p.normal @ (half / np.linalg.norm(half)), 0, 1)
    gloss = np.where(p.skin, 0.05 * shine**14 + 0.045 * shine**45, np.where(p.hair, 0.05 * shine**10, 0))
    colour += (key * gloss * shade * (1.15 - 0.4 * smoothstep(35, 75, age)))[:, None]
    colour[p.hair] *= (0.55 + 0.45 * smoothstep(-4, 14, p.above))[p.hair][:, None]
    return colour * (1 - 0.42 * np.clip(p.groove, 0, 1.2) * p.skin)[:, None]


def background(resolution: int, rng: np.random.Generator) -> np.ndarray:
    """A soft gradient with a few blurred shapes, float [resolution, resolution, 3], linear."""

    def colour() -> np.ndarray:
        return linear(*np.clip(rng.uniform(0.2, 0.92) + rng.normal(0, 0.06, 3), 0.04, 0.98))

    row, column = np.mgrid[0:resolution, 0:resolution] / resolution
    angle = rng.uniform(0, 2 * np.pi)
    image = mix(
        colour(), colour(), np.clip(0.5 + (column - 0.5) * np.cos(angle) + (row - 0.5) * np.sin(angle), 0, 1)[..., None]
    )
    for _ in range(int(rng.integers(0, 6))):
        x, y, wide, tall, soft = rng.uniform((-0.1, -0.1, 0.08, 0.08, 0.01), (1, 1, 0.5, 0.6, 0.08))
        inside = smoothstep(-soft, soft, wide / 2 - np.abs(column - x)) * smoothstep(
            -soft, soft, tall / 2 - np.abs(row - y)
        )
        image = mix(image, colour(), (inside * rng.uniform(0.3, 0.9))[..., None])
    return image


def developed(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Exposure, tone curve, grain and, now and then, a soft lens: uint8 [size, size, 3]."""
    image = image.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3).mean((1, 3)) * rng.uniform(0.85, 1.15)
    image = 1.12 * image / (1 + 0.18 * image)
    if rng.random() < 0.25:
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
        around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        image = mix(image, around / 4, rng.uniform(0.2, 0.6))
    image = np.clip(image, 0, 1) ** (1 / 2.2) + rng.normal(0, rng.uniform(0.003, 0.012), image.shape)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)

"""Synthetic people for `make_faces.py`: inherited looks, families, hair styles, and the photographs taken of them."""

from dataclasses import dataclass, replace

import numpy as np

CLASS_YEARS = {
    "a": (0, 6),
    "b": (7, 12),
    "c": (13, 19),
    "d": (20, 30),
    "e": (31, 45),
    "f": (46, 55),
    "g": (56, 66),
    "h": (67, 80),
}
GENE_SPREAD, GENE_LIMIT = 0.27, 0.6  # wider shapes stop looking human
TRAITS = (
    "ancestry",
    "weight",
    "melanin",
    "hair_colour",
    "iris",
    "crease",
    "brow_height",
    "brow_arch",
    "brow_width",
    "brow_gap",
    "lip_red",
)


def age_class(years: int) -> str:
    """MUFAC's class of an age: a (0-6 years) to h (67-80)."""
    return next(name for name, (low, high) in CLASS_YEARS.items() if low <= years <= high)


def smoothstep(low: float, high: float, x: np.ndarray | float) -> np.ndarray:
    """0 below `low`, 1 above `high` (or the other way round if low > high), smooth between."""
    t = np.clip((np.asarray(x, float) - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Look:
    """What children take after: face shapes float [G] in units of the head model, and traits in 0..1 (TRAITS)."""

    male: bool
    genes: np.ndarray
    traits: np.ndarray

    def __getitem__(self, trait: str) -> float:
        return float(self.traits[TRAITS.index(trait)])


@dataclass(frozen=True)
class Style:
    """Hair: height on top (mm), curl and fringe 0..1, length 0..1.3 (1 is below the chin), parting and recession
    (degrees), and how much of the scalp it covers (0..1)."""

    top: float = 14.0
    curl: float = 0.0
    fringe: float = 0.0
    length: float = 0.0
    part: float = 0.0
    recede: float = 0.0
    cover: float = 1.0


@dataclass(frozen=True)
class Person:
    """One person. `habits` (float [16], uniform in 0..1) settle all that is neither inherited nor due to age."""

    family: int
    role: str
    years: int
    look: Look
    habits: np.ndarray
    wrinkles: np.ndarray

    def seen_age(self, years: int) -> float:
        """How old the face looks: some people look older than the calendar says, by up to two years."""
        return float(
            np.clip(years + 3 * (self.habits[0] - 0.5) * np.interp(years, [0, 8, 20, 45], [0.1, 0.35, 0.7, 1.2]), 0, 84)
        )

    def greying(self, age: float) -> float:
        """Share of grey hair, 0..1."""
        starts = 43 + 11 * self.habits[1]
        dyed = self.habits[2] < (0.15 if self.look.male else 0.35) and age < 66
        return float(smoothstep(starts - 6, starts + 16, age)) * (0.2 if dyed else 1.0)

    def style(self, age: float) -> Style:
        """The hair style at an age; it changes with the phase of life and is the same on all photographs of a phase."""
        habit, part = self.habits, float(self.habits[4] - 0.5) * 50
        if age < 1.5:
            return Style(top=3 + 3 * habit[3], cover=0.35 + 0.4 * habit[5], recede=4.0)
        if self.look.male:
            bald = max(0.0, habit[6] - 0.35) * smoothstep(32, 72, age)
            fringe = (
                0.3 + 0.6 * habit[5] if age < 13 else 0.9 * habit[5] if age < 31 else 0.5 * habit[5] * (habit[7] < 0.45)
            )
            top = 13 + 18 * habit[3] - 6 * smoothstep(50, 75, age)
            return Style(
                top, 0.5 * (habit[8] > 0.8), fringe * (1 - bald), 0.0, part, 40 * bald + 4 * habit[9], 1 - 0.9 * bald
            )
        phase = int(np.searchsorted([7, 31, 56], age, side="right"))
        lengths = ((0, 0.45, 0.75, 1.0), (0.35, 0.8, 1.1, 1.3), (0.2, 0.5, 0.8, 1.1), (0, 0, 0.25, 0.4))[phase]
        fringe = max(0.0, habit[5] - 0.35) * 1.4
        curl = (0.0, 0.5 * (habit[8] > 0.8), 0.6 * (habit[8] > 0.6), 0.9 if habit[8] < 0.75 else 0.2)[phase]
        return Style(12 + 8 * habit[3], curl, fringe, lengths[int(habit[9] * 4)], part)

    def wears_glasses(self, age: float) -> bool:
        """Whether the person owns glasses at that age."""
        return self.habits[10] < np.interp(age, [5, 9, 15, 40, 60, 75], [0, 0.12, 0.28, 0.3, 0.38, 0.45])


def founder(rng: np.random.Generator, genes: int, male: bool, origin: np.ndarray | None = None) -> Look:
    """Someone without parents in the set; `origin` float [2] (ancestry, melanin): a family's founders share it."""
    origin = rng.random(2) if origin is None else origin
    traits = rng.random(len(TRAITS))
    traits[TRAITS.index("ancestry")] = origin[0]
    traits[TRAITS.index("melanin")] = origin[1]
    traits[TRAITS.index("weight")] = 0.5 + 0.14 * rng.normal()
    traits[TRAITS.index("hair_colour")] = rng.beta(1.2, 1.6) * (0.35 + 0.85 * origin[0]) * (1 - 0.6 * origin[1])
    traits[:4] += rng.normal(0, 0.05, 4)
    return Look(male, np.clip(rng.normal(0, GENE_SPREAD, genes), -GENE_LIMIT, GENE_LIMIT), np.clip(traits, 0.02, 0.98))


def child(rng: np.random.Generator, blocks: np.ndarray, male: bool, father: Look, mother: Look) -> Look:
    """Parts of the face (`blocks` int [G]: nose, mouth, …) come mostly from one parent, traits from between both."""
    takes = np.where(
        rng.random(blocks.max() + 1) < 0.5, rng.uniform(0.8, 1, blocks.max() + 1), rng.uniform(0, 0.2, blocks.max() + 1)
    )[blocks]
    genes = takes * father.genes + (1 - takes) * mother.genes + rng.normal(0, 0.08, len(blocks))
    share = rng.uniform(0.2, 0.8, len(TRAITS))
    share[6:] = np.round(share[6:])  # brows and lips: one parent's
    traits = share * father.traits + (1 - share) * mother.traits + rng.normal(0, 0.05, len(TRAITS))
    return Look(male, np.clip(genes, -GENE_LIMIT, GENE_LIMIT), np.clip(traits, 0.02, 0.98))


def make_family(seed: int, family: int, blocks: np.ndarray) -> list[Person]:
    """Parents, one to three children and up to four grandparents; roles as in MUFAC (F, M, D, S, D2, GF, GM2, …)."""
    rng = np.random.default_rng([seed, family])
    origin, genes = rng.random(2), len(blocks)
    low, high = ((27, 38), (38, 52), (52, 80))[int(rng.choice(3, p=[0.42, 0.28, 0.3]))]
    years = {"F": int(rng.integers(low, high))}
    years["M"] = int(np.clip(years["F"] - rng.integers(-2, 5), 25, 80))
    looks: dict[str, Look] = {}
    for parent, mark in (("F", ""), ("M", "2")):
        looks[parent] = founder(rng, genes, parent == "F", origin)
        if rng.random() < 0.22 and years[parent] < 54:
            grandfather, grandmother = founder(rng, genes, True, origin), founder(rng, genes, False, origin)
            looks[parent] = child(rng, blocks, parent == "F", grandfather, grandmother)
            for role, look in (("GF", grandfather), ("GM", grandmother)):
                if rng.random() < 0.75:
                    looks[role + mark] = look
                    years[role + mark] = int(np.clip(years[parent] + rng.integers(24, 36), 58, 80))
    age, counts = years["M"] - int(rng.integers(22, 30)), {"S": 0, "D": 0}
    for _ in range(int(rng.choice([1, 2, 3], p=[0.35, 0.5, 0.15]))):
        if age < 0:
            break
        kind = "S" if rng.random() < 0.5 else "D"
        counts[kind] += 1
        role = kind + (str(counts[kind]) if counts[kind] > 1 else "")
        looks[role], years[role] = child(rng, blocks, kind == "S", looks["F"], looks["M"]), min(age, 50)
        age = years[role] - int(rng.integers(2, 6))
    return [
        Person(family, role, years[role], look, rng.random(16), rng.normal(0, 1, 8)) for role, look in looks.items()
    ]


def photograph_years(rng: np.random.Generator, years: int) -> list[int]:
    """The person's age on each of five to eight photographs: most are recent, some come from years before."""
    ages = []
    for _ in range(int(rng.integers(5, 9))):
        recent = rng.random() < 0.62 or years < 4
        back = int(rng.integers(0, 2)) if recent else int(rng.integers(2, 26 if years > 30 else 13))
        ages.append(max(0, years - back))
    return sorted(ages)


def aged(person: Person, years: int) -> Person:
    """The same person at another calendar age."""
    return replace(person, years=years)

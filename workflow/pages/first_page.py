"""The first page of the answer to a deletion request: for people who must decide, on one sheet of paper."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from forget_lib.deletion.purge import BY_HAND, REMOVE, Artefact
from forget_lib.deletion.verdict import EMBEDDING, FAIL, OUTPUTS, PASS, UNDECIDED
from forget_lib.unlearning import get_method
from workflow.pages.page import PAGE

CLASS = {PASS: "pass", FAIL: "fail", UNDECIDED: "open"}
WORDS = {
    PASS: (
        "Passed",
        "In what was checked below, the model equals models trained without these images, within the margin.",
    ),
    FAIL: ("Failed", "The model still differs from models that were trained without these images."),
    UNDECIDED: ("Not decided", "The evidence is too little to say whether the images are forgotten."),
}
NEXT = {
    PASS: "Use the unlearned model (unlearned/model.safetensors) in place of the old one, and delete what is listed "
    "below.",
    FAIL: "Do not use this model. Ask again with method: retrain in the request, or let the program try the next "
    "method and in the end train anew: ./run_all.sh forget REQUEST --until-pass",
    UNDECIDED: "Do not use this model yet. It would be enough to have: ",
}
TERMS = {
    "Model trained anew": "trained by the same recipe without the images to be forgotten; it never saw them.",
    "Share left": "how much of what the images did to the model is still in it: 0 % is a model trained anew, 100 % "
    "the old one.",
    "Inside": "what the layers before the answer still hold; a model can hide an answer and know it inside.",
    "Margin": "the largest share left that counts as none; it was fixed before anything was measured.",
    "Unlearning": "changing a trained model so that it is as if it had never seen the images.",
}
READINGS = {OUTPUTS: "In its answers", EMBEDDING: "Inside"}
MOST_LISTED = 5


def first_page(content: Mapping[str, Any], found: Sequence[Artefact]) -> str:
    """HTML of the first page.

    content: of report.json (`deletion.report.build`). found: what still carries the data (`deletion.purge.artefacts`).
    """
    outcome, method = content["verdict"]["outcome"], content["method"]
    word, sentence = WORDS[outcome]
    return PAGE.get_template("deletion.html.j2").render(
        title=content["request"]["title"] or f"Forget {subject_of(content)}",
        subject=subject_of(content),
        label="synthetic data" if content["data"]["synthetic"] else "",
        images=content["images"],
        people=content["people"],
        model=content["model"]["name"],
        data=content["data"]["title"],
        date=content["times"]["written"][:10],
        method=f"{get_method(method['method']).title} ({method['method']})",
        cost=f"{method['cost_in_retrainings']:.0%}",
        kind=CLASS[outcome],
        word=f"{word}.",
        sentence=sentence,
        next_step=next_step(content),
        checked=checks_of(content),
        remaining=remaining_of(found),
        contact=content["request"].get("contact") or "Whoever runs this model. The request names nobody (contact: …).",
        terms=TERMS,
    )


def next_step(content: Mapping[str, Any]) -> str:
    """What to do after this verdict; where it is open, what would be enough."""
    outcome = content["verdict"]["outcome"]
    return NEXT[outcome] + (f"{'; '.join(content['verdict']['needed'])}." if outcome == UNDECIDED else "")


def subject_of(content: Mapping[str, Any]) -> str:
    """What is to be forgotten, as the request names it; names of files are counted, not listed."""
    asked = content["request"]["forget"]
    if isinstance(asked, str):
        kind, _, name = asked.partition(":")
        return f"{kind} {name}"
    ((kind, names),) = asked.items()
    return f"{len(names)} files named in the request" if kind == "files" else f"{kind} {', '.join(map(str, names))}"


def checks_of(content: Mapping[str, Any]) -> list[str]:
    """Four lines: the share left in both readings, the rule on known models, and what would have been noticed."""
    lines = []
    for name, where in READINGS.items():
        each = content["verdict"]["findings"][name]
        share, low, high = (f"{100 * each[key]:.0f} %" for key in ("value", "low", "high"))
        lines.append(
            f"{where}: share left {share} (90 % interval {low} to {high}); up to {each['margin']:.0%} is none."
        )
    told = [f"{name}: {each['outcome']}" for name, each in content["controls"].items()]
    lines.append(f"The same rule on models whose past is known: {'; '.join(told)}.")
    noticed = {name: share for name, share in content["smallest_noticed"].items() if share}
    if not noticed:
        return [*lines, "No attack would surely have noticed images that were left in: this test is weak here."]
    attack = min(noticed, key=noticed.__getitem__)
    chance = f"with a chance of {content['rule']['power']:.0%} or more"
    return [*lines, f"Had {noticed[attack]:.0%} of the images been left in, {attack} would have noticed it {chance}."]


def remaining_of(found: Sequence[Artefact]) -> list[str]:
    """What the program removes on request, in one line, and what is to be removed by hand, a line each."""
    derived = [each.path.name for each in found if each.action == REMOVE]
    lines = (
        [f"With ./run_all.sh purge: {', '.join(derived)} (made from the images, or showing them)"] if derived else []
    )
    rows = [each for each in found if each.action == BY_HAND]
    lines += [f"By hand: {each.path.name}, {re.sub(r';.*', '', each.why)}" for each in rows[:MOST_LISTED]]
    more = [f"By hand: {len(rows) - MOST_LISTED} more, see the list below"] if len(rows) > MOST_LISTED else []
    return [*lines, *more, "By hand: every copy and backup of the images outside of this project"]

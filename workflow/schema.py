"""What people write in YAML as JSON schemas, by which an editor completes and checks it.

    python -m workflow.schema

writes them anew into workflow/config/schemas.
"""

import json
from typing import Any, Literal

from pydantic import TypeAdapter

from forget_lib.core.paths import REPOSITORY
from forget_lib.deletion.request import Asked
from forget_lib.deletion.verdict import Rule
from forget_lib.models.recipe import Recipe
from forget_lib.study.tuning import Space
from workflow.config_check import Config

FOLDER = REPOSITORY / "workflow" / "config" / "schemas"


def schemas() -> dict[str, dict[str, Any]]:
    """Each schema, by name of its file."""
    recipe = TypeAdapter(Recipe).json_schema()
    request, config = Asked.model_json_schema(), Config.model_json_schema()
    for section in (request, config["$defs"]["Scenario"]):
        section["properties"]["recipe"] |= {"properties": recipe["properties"], "additionalProperties": False}
    spaces = TypeAdapter(dict[str, dict[Literal["class", "subset"], Space]]).json_schema()
    rule = Rule.model_json_schema()
    return {"config": config, "recipe": recipe, "request": request, "spaces": spaces, "verdict": rule}


def text_of(schema: dict[str, Any]) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (FOLDER / f"{name}.json").write_text(text_of(schema), encoding="utf-8")

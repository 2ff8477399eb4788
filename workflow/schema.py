"""What people write as JSON schemas, by which an editor completes and checks the YAML.

    python -m workflow.schema

writes them anew into workflow/config/schemas.
"""

import json
from typing import Any

from pydantic import TypeAdapter

from forget_lib.core.paths import REPOSITORY
from forget_lib.deletion.request import Asked
from forget_lib.models.recipe import Recipe

FOLDER = REPOSITORY / "workflow" / "config" / "schemas"


def schemas() -> dict[str, str]:
    """The text of each schema, by name of its file."""
    recipe = TypeAdapter(Recipe).json_schema()
    request = Asked.model_json_schema()
    request["properties"]["recipe"] |= {"properties": recipe["properties"], "additionalProperties": False}
    return {"recipe.json": _text(recipe), "request.json": _text(request)}


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")

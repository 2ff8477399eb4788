"""The JSON schemas that editors read."""

import pytest

from workflow import schema


@pytest.mark.parametrize("name", ["recipe.json", "request.json"])
def test_schemas_are_those_of_the_models(name):
    text = (schema.FOLDER / name).read_text(encoding="utf-8")
    assert text == schema.schemas()[name], "python -m workflow.schema writes it anew"


def test_every_example_of_a_request_names_its_schema():
    for path in (schema.FOLDER.parent / "requests").glob("*.yaml"):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        named = path.parent / first.removeprefix("# yaml-language-server: $schema=")
        assert named.resolve() == schema.FOLDER / "request.json"

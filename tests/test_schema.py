"""The JSON schemas that editors read."""

import json

import jsonschema
import pytest
import yaml

from forget_lib.core.paths import REPOSITORY
from workflow import schema
from workflow.config_check import Config

CONFIG = REPOSITORY / "workflow" / "config"
MODELINE = "# yaml-language-server: $schema="
TEMPLATES = REPOSITORY / "workflow" / "templates"
WRITTEN = [path for path in sorted(CONFIG.rglob("*.yaml")) if path.parent.name != "settings"]
WRITTEN += sorted(TEMPLATES.glob("*.yaml"))
"""What people edit; the files of tuned settings are written by a command."""


@pytest.mark.parametrize("name", schema.schemas())
def test_schemas_are_those_of_the_models(name):
    text = (schema.FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert text == schema.text_of(schema.schemas()[name]), "python -m workflow.schema writes it anew"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_what_people_edit_names_its_schema_and_fits_it(path):
    text = path.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert first.startswith(MODELINE)
    named = path.parent / first.removeprefix(MODELINE)
    assert named.resolve().parent == schema.FOLDER
    jsonschema.validate(yaml.safe_load(text), json.loads(named.read_text(encoding="utf-8")))


def test_an_editor_sees_a_wrong_key_and_a_wrong_recipe():
    config = yaml.safe_load((CONFIG / "smoke.yaml").read_text(encoding="utf-8"))
    scenario = config["scenarios"]["mnist"]
    for change in ({"method": {}}, {"recipe": {"epoch": 1}}, {"recipe": {"epochs": 0}}, {"groups": "2"}):
        wrong = config | {"scenarios": {"mnist": scenario | change}}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema.schemas()["config"])


def test_every_key_of_a_config_says_what_it_means():
    sections = {"Config": Config.model_json_schema(), **Config.model_json_schema()["$defs"]}
    for title, section in sections.items():
        for key, about in section["properties"].items():
            assert "$ref" in about or about.get("description"), f"{title}.{key}"

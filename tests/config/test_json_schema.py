"""The schema that editors use: current, described throughout, closed."""

import json
import subprocess
import sys
from pathlib import Path

from lstmcli.config import json_schema

SHIPPED = Path(__file__).parents[2] / "configs" / "schema.json"


def test_the_schema_beside_the_recipes_is_current():
    assert SHIPPED.read_text(encoding="utf-8") == json.dumps(json_schema(), indent=1) + "\n"


def test_every_setting_and_section_has_a_title_and_a_description_on_one_line():
    schema = json_schema()
    for section in [schema, *schema["$defs"].values()]:
        named = {section["title"]: section} | section["properties"]
        for name, setting in named.items():
            shown = schema["$defs"][setting["$ref"][8:]] if "$ref" in setting else setting
            assert shown.get("title"), name
            assert len(shown.get("description", "")) > 5, name
            assert "\n" not in shown["description"], name


def test_unknown_keys_are_not_allowed_in_any_section():
    schema = json_schema()
    for section in [schema, *schema["$defs"].values()]:
        assert section["additionalProperties"] is False


def test_the_config_package_imports_neither_torch_nor_more_than_a_caller_needs():
    code = (
        "import sys, lstmcli.config as c; assert 'pydantic' not in sys.modules; "
        "c.load_config, c.Config, c.json_schema(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SHIPPED.parents[1])

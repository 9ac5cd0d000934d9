"""Writing the report, reading it back, and holding it to its schema."""

import json
import math
from pathlib import Path
from typing import Any

from verification.report.html import render_page
from verification.report.identity import repeated

SCHEMA_PATH = Path(__file__).with_name("schema.json")

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def write_report(document: dict[str, Any], folder: Path) -> Path:
    """Writes report.json and the self-contained report.html into the folder.

    report.json is written before the check, so that the numbers of an ill-formed run are kept.

    Args:
        document: the results document (schema.json describes it); it is not changed.
        folder: where to write; made where it is missing.

    Returns:
        The path of report.html.

    Raises:
        ValueError: the document breaks schema.json, or two of its parts cannot be told apart; the
            message lists where.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plain = to_json(document)
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    broken = violations(plain)
    broken = broken or [f"more than one part is called {one!r}" for one in repeated(plain)]
    if broken:
        raise ValueError("the results document breaks schema.json:\n" + "\n".join(broken))
    page = folder / "report.html"
    page.write_text(render_page(plain, folder), encoding="utf-8", newline="\n")
    return page


def read_report(path: Path) -> dict[str, Any]:
    """Returns the document of a report.json; numbers that JSON lacks stay strings, e.g. 'inf'.

    Raises:
        ValueError: it is no report, or one of a form that is not known here.
    """
    document = json.loads(Path(path).read_text(encoding="utf-8"))
    known = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))["properties"]["schema"]["enum"]
    form = document.get("schema") if isinstance(document, dict) else None
    # True is equal to 1, and a boolean is no version.
    if isinstance(form, bool) or form not in known:
        raise ValueError(f"{path} has the schema {form!r}; this program reads {known}")
    return document


def to_json(value: Any) -> Any:
    """Returns the value in JSON's own types; NumPy is unpacked, inf and nan become strings."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def violations(document: Any, schema: dict[str, Any] | None = None) -> list[str]:
    """Returns where a document breaks the schema, one line each; empty when it conforms.

    Knows the keywords that schema.json uses: type, enum, anyOf, required, properties,
    additionalProperties, items, minItems, maxItems, minimum and $ref into $defs.
    """
    root = json.loads(SCHEMA_PATH.read_text(encoding="utf-8")) if schema is None else schema
    return _violations(document, root, root, "document")


def _violations(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str) -> list[str]:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        branches = [_violations(value, branch, root, path) for branch in schema["anyOf"]]
        return [] if any(not found for found in branches) else [f"{path}: {value!r} fits no form"]
    allowed = schema.get("type", [])
    allowed = [allowed] if isinstance(allowed, str) else allowed
    if allowed and not any(_is_type(value, name) for name in allowed):
        return [f"{path}: expected {' or '.join(allowed)}, got {value!r:.80}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path}: expected one of {schema['enum']}, got {value!r:.80}"]
    if "minimum" in schema and value < schema["minimum"]:
        return [f"{path}: expected at least {schema['minimum']}, got {value!r}"]
    found = []
    if isinstance(value, dict):
        found += [f"{path}: no {key!r}" for key in schema.get("required", []) if key not in value]
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties", {})
        for key, item in value.items():
            found += _violations(item, properties.get(key, rest), root, f"{path}.{key}")
    if isinstance(value, list):
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        if not least <= len(value) <= most:
            found += [f"{path}: expected {least} to {most} items, got {len(value)}"]
        for index, item in enumerate(value):
            found += _violations(item, schema.get("items", {}), root, f"{path}[{index}]")
    return found


def _is_type(value: Any, name: str) -> bool:
    # Python counts True as an int; JSON does not.
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])

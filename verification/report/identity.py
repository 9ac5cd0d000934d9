"""What tells one part of the report from another, in this report and in all others.

An id is made of what a thing is, never of where it stands or of what was measured, so that an
address into one report leads to the same thing in the next.
"""

from typing import Any

from verification.report.parts import anchor

__all__ = ["check_id", "fault_id", "repeated", "reproduction_id"]


def check_id(result: dict[str, Any]) -> str:
    """Returns the id of a check: name, kind, label, dtype, and the property of an invariant."""
    # The field of any other check is that of its worst error, which may move.
    field = result.get("field") if result["kind"] == "invariant" else None
    parts = (result["name"], result["kind"], result.get("label"), result["dtype"], field)
    return anchor(":".join(part for part in parts if part))


def fault_id(fault: dict[str, Any]) -> str:
    """Returns the id of a planted fault: what it was planted in, and its name."""
    return anchor(f"{fault['target']}:fault:{fault['name']}")


def reproduction_id(entry: dict[str, Any]) -> str:
    """Returns the id of a result of a paper that was measured again."""
    return anchor(f"reproduction:{entry['title']}")


def repeated(document: dict[str, Any]) -> list[str]:
    """Returns the ids that stand for more than one part of a document, each once."""
    ids = [anchor(entry["name"]) for entry in document["names"]]
    ids += [check_id(result) for result in document["results"]]
    ids += [fault_id(fault) for fault in document["faults"]]
    ids += [reproduction_id(entry) for entry in document["reproductions"]]
    return sorted({one for one in ids if ids.count(one) > 1})

"""Reading what clouds answer, which may be anything; pure."""

import re
from typing import Any
from xml.etree import ElementTree as ET

from conpaassql.errors import IaasError

Json = Any  # nested mappings, lists and texts


def part(body: Json, *keys: str) -> Json:
    """Return what lies in an answer under these keys.

    Raises:
        IaasError: it does not, so the answer is not one of the service that was asked.
    """
    for key in keys:
        if not isinstance(body, dict) or key not in body:
            raise IaasError(f"the cloud's answer has no {key}; is its address right?")
        body = body[key]
    return body


def plain(element: ET.Element) -> Json:
    """Return XML as mappings, lists (of ``item`` elements) and texts, without namespaces."""
    children = [(child.tag.rpartition("}")[2], child) for child in element]
    if not children:
        return element.text or ""
    if all(name == "item" for name, _ in children):
        return [plain(child) for _, child in children]
    return {name: plain(child) for name, child in children}


def fault(body: Json) -> str:
    """Return the text of a fault: ``{"badRequest": {"message": ...}}``, ``{"message": ...}`` or a page."""
    if not isinstance(body, dict):
        return re.sub(r"<[^>]*>", " ", str(body or ""))
    inner = next((value for value in body.values() if isinstance(value, dict)), body)
    return str(inner.get("message") or inner.get("detail") or inner)

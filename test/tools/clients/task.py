"""The questions that every client asks, and the checks of the answers. The model is the toy of the repository."""

import json
import os
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ORIGIN = os.environ["TRAMONTANE_ORIGIN"]
MODEL = os.environ["TRAMONTANE_MODEL"]
API_KEY = os.environ["TRAMONTANE_API_KEY"]
# The form of a key with a wrong MAC: the gateway refuses it with 401.
WRONG_KEY = API_KEY[:-1] + ("A" if API_KEY[-1] != "A" else "B")

GREETING = "Hello!"
WEATHER_QUESTION = "What is the weather in Oslo?"
WEATHER_RESULT = "sunny"


class Rating(BaseModel):
    """The everyday bounds of pydantic: a number between 0 and 1, a short text, a choice."""

    model_config = ConfigDict(extra="forbid")
    label: Literal["good", "bad"]
    confidence: float = Field(ge=0, le=1)
    stars: int = Field(ge=1, le=5)
    reason: str = Field(max_length=16)


RATING_QUESTION = "Rate this."


def weather_of(city: str) -> str:
    """Get the weather for a city"""
    assert city == "Oslo", city
    return WEATHER_RESULT


WEATHER_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather for a city",
        "parameters": WEATHER_PARAMETERS,
    },
}


def check_greeting(text: str | None) -> None:
    assert text and "toy model" in text, f"not a greeting: {text!r}"


def check_deltas(deltas: list[str]) -> None:
    assert len([delta for delta in deltas if delta]) > 2, f"not streamed in pieces: {deltas}"
    check_greeting("".join(deltas))


def check_weather(text: str | None) -> None:
    assert text and WEATHER_RESULT in text.lower(), f"without the tool's result: {text!r}"


def check_rating(rating: object) -> None:
    assert isinstance(rating, Rating), f"not a Rating: {rating!r}"
    # Validated again, because some clients build the object without validation.
    Rating.model_validate(rating.model_dump())


def check_usage(prompt_tokens: int | None, output_tokens: int | None) -> None:
    assert prompt_tokens and output_tokens, f"without usage: {prompt_tokens}, {output_tokens}"


def raised(kind: type[Exception], call) -> Exception:
    """Returns the exception of `call`, which must be of this class."""
    try:
        answer = call()
    except Exception as error:
        assert isinstance(error, kind), f"{type(error).__name__} in place of {kind.__name__}: {error}"
        return error
    raise AssertionError(f"accepted a wrong key: {answer!r}")


def check_wrong_key(error: Exception) -> None:
    assert "key" in str(error).lower(), f"does not name the key: {error}"


def json_of(text: str) -> dict[str, Any]:
    return json.loads(text)

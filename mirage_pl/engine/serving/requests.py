"""OpenAI's chat protocol: what a request says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mirage_pl.engine.serving.chat import Options, Question
from mirage_pl.engine.serving.json_values import expect, read_object
from mirage_pl.engine.serving.limits import Limits
from mirage_pl.engine.serving.messages import read_messages
from mirage_pl.engine.serving.refusals import Refusal

READ = {"model", "messages", "stream", "stream_options", "n", "marks", "max_tokens", "max_completion_tokens"}
READ |= {"temperature", "top_p", "seed", "stop"}
WITHOUT_EFFECT = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"}
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "parallel_tool_calls": (False, True),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
"""What isn't done, with the values that ask for nothing."""
MOST_STOPS = 4


@dataclass(frozen=True)
class Request:
    """A chat request.

    Attributes:
        question: what is asked.
        stream: whether the answer is sent as it comes.
        usage: whether a stream ends with counts of tokens.
    """

    question: Question
    stream: bool = False
    usage: bool = False


def read_request(body: bytes, model: str, limits: Limits) -> Request:
    """Read a request.

    Args:
        body: JSON.
        model: the name of the one model there is.
        limits: of texts and images.

    Raises:
        Refusal: what is wrong with it, and where.
    """
    given = read_object(body)
    if unknown := given.keys() - READ - WITHOUT_EFFECT - NEUTRAL.keys():
        name = min(unknown)
        raise Refusal(f"unknown parameter {name!r:.100}", code="unknown_parameter", param=name[:100])
    for name, values in NEUTRAL.items():
        if name in given and given[name] not in values:
            raise unsupported(name, f"{name} isn't supported; leave it out")
    asked = expect(given, "model", str, "the name of a model, as a string")
    if asked is None:
        raise Refusal(f"model is missing; the model is {model!r}", code="missing_parameter", param="model")
    if asked != model:
        raise Refusal(f"no model {asked!r:.200}; the model is {model!r}", 404, "model_not_found", "model")
    if expect(given, "n", int, "1", 1) != 1:
        raise unsupported("n", "n must be 1: one answer is written; ask again for another")
    stream = expect(given, "stream", bool, "true or false", False)
    more = expect(given, "stream_options", dict, "an object", {})
    if more and not stream:
        raise Refusal("stream_options is for stream=true only", param="stream_options")
    usage = expect(more, "include_usage", bool, "true or false", False, "stream_options.")
    marks = expect(given, "marks", bool, "true or false", False)
    question = Question(read_messages(given.get("messages"), limits), read_options(given), marks)
    return Request(question, stream, usage)


def unsupported(param: str, message: str) -> Refusal:
    """A refusal of what isn't done here."""
    return Refusal(message, code="unsupported_value", param=param)


def read_options(given: Mapping[str, Any]) -> Options:
    """Read how to answer.

    Raises:
        Refusal: a value of another type, or out of its range.
    """
    length = "max_completion_tokens" if given.get("max_completion_tokens") is not None else "max_tokens"
    ranges = {
        length: (int, 1, 10**9, "a whole number of 1 or more"),
        "temperature": ((int, float), 0, 2, "a number from 0 to 2"),
        "top_p": ((int, float), 1e-9, 1, "a number above 0 and at most 1"),
        "seed": (int, -(2**63), 2**63 - 1, "a whole number of 64 bits"),
    }
    values = {}
    for name, (kind, low, high, words) in ranges.items():
        values[name] = value = expect(given, name, kind, words)
        if value is not None and not low <= value <= high:
            raise Refusal(f"{name} must be {words}, got {str(value)[:50]}", code="invalid_value", param=name)
    return Options(
        max_tokens=values[length],
        temperature=values["temperature"],
        top_p=values["top_p"],
        seed=values["seed"],
        stop=read_stops(given.get("stop")),
    )


def read_stops(value: Any) -> tuple[str, ...] | None:
    """Read the strings that end an answer.

    Raises:
        Refusal: no string and no short list of them.
    """
    if value is None:
        return None
    stops = [value] if isinstance(value, str) else value
    strings = isinstance(stops, list) and all(isinstance(stop, str) and stop for stop in stops)
    if not strings or len(stops) > MOST_STOPS:
        words = f"a string, or up to {MOST_STOPS} of them, none empty"
        raise Refusal(f"stop must be {words}", code="invalid_value", param="stop")
    return tuple(stops)

import litellm
from task import *

litellm.num_retries = 0
greeting = [{"role": "user", "content": GREETING}]
openai = {"model": f"openai/{MODEL}", "api_base": f"{ORIGIN}/v1", "api_key": API_KEY}
anthropic = {"model": f"anthropic/{MODEL}", "api_base": ORIGIN, "api_key": API_KEY, "max_tokens": 400}
mistral = {"model": f"mistral/{MODEL}", "api_base": f"{ORIGIN}/mistral/v1", "api_key": API_KEY}


def asked_by(provider):
    answer = litellm.completion(messages=greeting, **provider)
    check_greeting(answer.choices[0].message.content)
    check_usage(answer.usage.prompt_tokens, answer.usage.completion_tokens)


def streamed_by(provider):
    chunks = list(litellm.completion(messages=greeting, stream=True, **provider))
    check_deltas([chunk.choices[0].delta.content or "" for chunk in chunks])


def tool_by(provider):
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    asked = litellm.completion(messages=messages, tools=[WEATHER_TOOL], **provider)
    [call] = asked.choices[0].message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": weather_of(**json_of(call.function.arguments))}
    messages += [asked.choices[0].message, result]
    check_weather(litellm.completion(messages=messages, tools=[WEATHER_TOOL], **provider).choices[0].message.content)


def structured_by(provider):
    messages = [{"role": "user", "content": RATING_QUESTION}]
    answer = litellm.completion(messages=messages, response_format=Rating, **provider)
    check_rating(Rating.model_validate_json(answer.choices[0].message.content))


def refused_by(provider):
    wrong = {**provider, "api_key": WRONG_KEY}
    check_wrong_key(raised(litellm.AuthenticationError, lambda: litellm.completion(messages=greeting, **wrong)))


def chat():
    asked_by(openai)


def stream():
    streamed_by(openai)


def tool():
    tool_by(openai)


def structured():
    structured_by(openai)


def error():
    refused_by(openai)


def also_anthropic():
    for case in (asked_by, streamed_by, tool_by, refused_by):
        case(anthropic)


def also_mistral():
    for case in (asked_by, streamed_by, tool_by, structured_by, refused_by):
        case(mistral)

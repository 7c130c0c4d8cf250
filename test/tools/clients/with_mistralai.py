from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from task import *

client = Mistral(server_url=f"{ORIGIN}/mistral", api_key=API_KEY)
greeting = [{"role": "user", "content": GREETING}]
options = {"model": MODEL, "temperature": 0}


def chat():
    answer = client.chat.complete(messages=greeting, **options)
    check_greeting(answer.choices[0].message.content)
    check_usage(answer.usage.prompt_tokens, answer.usage.completion_tokens)


def stream():
    with client.chat.stream(messages=greeting, **options) as events:
        chunks = [event.data for event in events]
    check_deltas([chunk.choices[0].delta.content or "" for chunk in chunks])
    check_usage(chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)


def tool():
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    asked = client.chat.complete(messages=messages, tools=[WEATHER_TOOL], **options)
    assert asked.choices[0].finish_reason == "tool_calls"
    [call] = asked.choices[0].message.tool_calls
    result = {"role": "tool", "name": "get_weather", "tool_call_id": call.id, "content": weather_of(**json_of(call.function.arguments))}
    messages += [asked.choices[0].message, result]
    check_weather(client.chat.complete(messages=messages, tools=[WEATHER_TOOL], **options).choices[0].message.content)


def structured():
    messages = [{"role": "user", "content": RATING_QUESTION}]
    check_rating(client.chat.parse(model=MODEL, messages=messages, response_format=Rating).choices[0].message.parsed)


def error():
    wrong = Mistral(server_url=f"{ORIGIN}/mistral", api_key=WRONG_KEY)
    refusal = raised(SDKError, lambda: wrong.chat.complete(messages=greeting, **options))
    assert refusal.status_code == 401, refusal.status_code
    check_wrong_key(refusal)


def also_thinking():
    answer = client.chat.complete(
        model=MODEL, messages=[{"role": "user", "content": "What is 478 + 356?"}], reasoning_effort="high"
    )
    assert [chunk.type for chunk in answer.choices[0].message.content] == ["thinking", "text"]

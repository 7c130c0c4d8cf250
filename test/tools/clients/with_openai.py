import openai
from openai import OpenAI
from task import *

client = OpenAI(base_url=f"{ORIGIN}/v1", api_key=API_KEY, max_retries=0)
greeting = [{"role": "user", "content": GREETING}]


def chat():
    answer = client.chat.completions.create(model=MODEL, messages=greeting, temperature=0)
    check_greeting(answer.choices[0].message.content)
    check_usage(answer.usage.prompt_tokens, answer.usage.completion_tokens)


def stream():
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=greeting, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    check_deltas([chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices])
    check_usage(chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)


def tool():
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    options = {"model": MODEL, "tools": [WEATHER_TOOL], "temperature": 0}
    asked = client.chat.completions.create(messages=messages, **options)
    assert asked.choices[0].finish_reason == "tool_calls"
    [call] = asked.choices[0].message.tool_calls
    result = weather_of(**json_of(call.function.arguments))
    messages += [asked.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": result}]
    check_weather(client.chat.completions.create(messages=messages, **options).choices[0].message.content)


def structured():
    messages = [{"role": "user", "content": RATING_QUESTION}]
    answer = client.chat.completions.parse(model=MODEL, messages=messages, response_format=Rating)
    check_rating(answer.choices[0].message.parsed)


def error():
    wrong = client.with_options(api_key=WRONG_KEY)
    check_wrong_key(
        raised(openai.AuthenticationError, lambda: wrong.chat.completions.create(model=MODEL, messages=greeting))
    )


def also_responses():
    answer = client.responses.create(model=MODEL, input=GREETING, temperature=0)
    check_greeting(answer.output_text)
    with client.responses.stream(model=MODEL, input=GREETING, temperature=0) as events:
        check_deltas([event.delta for event in events if event.type == "response.output_text.delta"])


def also_responses_structured():
    check_rating(client.responses.parse(model=MODEL, input=RATING_QUESTION, text_format=Rating).output_parsed)


def also_responses_tool():
    function = {"type": "function", **WEATHER_TOOL["function"], "strict": True}
    options = {"model": MODEL, "tools": [function], "temperature": 0}
    asked = client.responses.create(input=WEATHER_QUESTION, **options)
    [call] = [item for item in asked.output if item.type == "function_call"]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": weather_of(**json_of(call.arguments))}
    answer = client.responses.create(input=[output], previous_response_id=asked.id, **options)
    check_weather(answer.output_text)


def also_structured_stream():
    messages = [{"role": "user", "content": RATING_QUESTION}]
    with client.chat.completions.stream(model=MODEL, messages=messages, response_format=Rating) as events:
        check_rating(events.get_final_completion().choices[0].message.parsed)

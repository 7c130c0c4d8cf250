import anthropic
from anthropic import Anthropic
from task import *

client = Anthropic(base_url=ORIGIN, api_key=API_KEY, max_retries=0)
greeting = [{"role": "user", "content": GREETING}]
question = [{"role": "user", "content": RATING_QUESTION}]
options = {"model": MODEL, "max_tokens": 400}


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def chat():
    message = client.messages.create(messages=greeting, **options)
    check_greeting(text_of(message))
    check_usage(message.usage.input_tokens + message.usage.cache_read_input_tokens, message.usage.output_tokens)


def stream():
    with client.messages.stream(messages=greeting, **options) as events:
        check_deltas(list(events.text_stream))
        check_greeting(text_of(events.get_final_message()))


def tool():
    tools = [{"name": "get_weather", "description": "Get the weather for a city", "input_schema": WEATHER_PARAMETERS}]
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    asked = client.messages.create(messages=messages, tools=tools, **options)
    assert asked.stop_reason == "tool_use", asked.stop_reason
    [call] = [block for block in asked.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": weather_of(**call.input)}
    messages += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
    check_weather(text_of(client.messages.create(messages=messages, tools=tools, **options)))


class Unbounded(BaseModel):
    label: Literal["good", "bad"]
    confidence: float


def structured():
    # `parse` removes bounds from the schema, because Anthropic's own API takes none.
    parsed = client.messages.parse(messages=question, output_format=Unbounded, **options).parsed_output
    assert isinstance(parsed, Unbounded), parsed


def also_structured_with_bounds():
    output = {"format": {"type": "json_schema", "schema": Rating.model_json_schema()}}
    message = client.messages.create(messages=question, output_config=output, **options)
    check_rating(Rating.model_validate_json(text_of(message)))


def error():
    wrong = client.with_options(api_key=WRONG_KEY)
    check_wrong_key(
        raised(anthropic.AuthenticationError, lambda: wrong.messages.create(messages=greeting, **options))
    )


def also_count_tokens():
    counted = client.messages.count_tokens(model=MODEL, messages=greeting).input_tokens
    usage = client.messages.create(messages=greeting, **options).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens, (counted, usage)

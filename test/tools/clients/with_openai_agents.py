import asyncio

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from task import *

# Traces would go to OpenAI.
set_tracing_disabled(True)
# The loop of `run_sync`, too: an HTTP client that outlives its loop logs an error.
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
get_weather = function_tool(weather_of, name_override="get_weather")


def agent(kind=OpenAIChatCompletionsModel, api_key=API_KEY, **options):
    client = openai.AsyncOpenAI(base_url=f"{ORIGIN}/v1", api_key=api_key, max_retries=0)
    model = kind(model=MODEL, openai_client=client)
    return Agent(name="checker", model=model, model_settings=ModelSettings(temperature=0), **options)


async def deltas_of(asked):
    events = Runner.run_streamed(asked, GREETING).stream_events()
    raw = [event.data async for event in events if event.type == "raw_response_event"]
    return [event.delta for event in raw if event.type == "response.output_text.delta"]


def all_with(kind):
    check_greeting(Runner.run_sync(agent(kind), GREETING).final_output)
    check_deltas(loop.run_until_complete(deltas_of(agent(kind))))
    check_weather(Runner.run_sync(agent(kind, tools=[get_weather]), WEATHER_QUESTION).final_output)
    check_rating(Runner.run_sync(agent(kind, output_type=Rating), RATING_QUESTION).final_output)


def chat():
    result = Runner.run_sync(agent(), GREETING)
    check_greeting(result.final_output)
    usage = result.context_wrapper.usage
    check_usage(usage.input_tokens, usage.output_tokens)


def stream():
    check_deltas(loop.run_until_complete(deltas_of(agent())))


def tool():
    check_weather(Runner.run_sync(agent(tools=[get_weather]), WEATHER_QUESTION).final_output)


def structured():
    check_rating(Runner.run_sync(agent(output_type=Rating), RATING_QUESTION).final_output)


def error():
    check_wrong_key(
        raised(openai.AuthenticationError, lambda: Runner.run_sync(agent(api_key=WRONG_KEY), GREETING))
    )


def also_responses():
    all_with(OpenAIResponsesModel)

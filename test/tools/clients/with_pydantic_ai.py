from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.exceptions import ModelAuthenticationError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.mistral import MistralModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.mistral import MistralProvider
from pydantic_ai.providers.openai import OpenAIProvider
from task import *


def openai(kind=OpenAIChatModel, api_key=API_KEY):
    return kind(MODEL, provider=OpenAIProvider(base_url=f"{ORIGIN}/v1", api_key=api_key))


def agent_of(model, **options):
    return Agent(model, model_settings={"temperature": 0, "max_tokens": 400}, **options)


def with_tool(model):
    agent = agent_of(model)
    agent.tool_plain(weather_of, name="get_weather")
    return agent.run_sync(WEATHER_QUESTION).output


def chat():
    result = agent_of(openai()).run_sync(GREETING)
    check_greeting(result.output)
    check_usage(result.usage.input_tokens, result.usage.output_tokens)


def stream():
    result = agent_of(openai()).run_stream_sync(GREETING)
    check_deltas(list(result.stream_text(delta=True, debounce_by=None)))


def tool():
    check_weather(with_tool(openai()))


def structured():
    for form in (NativeOutput, ToolOutput):
        check_rating(agent_of(openai(), output_type=form(Rating)).run_sync(RATING_QUESTION).output)


def error():
    refusal = raised(ModelAuthenticationError, lambda: agent_of(openai(api_key=WRONG_KEY)).run_sync(GREETING))
    assert refusal.status_code == 401
    check_wrong_key(refusal)


def also_responses():
    model = openai(OpenAIResponsesModel)
    check_greeting(agent_of(model).run_sync(GREETING).output)
    check_weather(with_tool(model))
    check_rating(agent_of(model, output_type=NativeOutput(Rating)).run_sync(RATING_QUESTION).output)


def also_anthropic():
    model = AnthropicModel(MODEL, provider=AnthropicProvider(base_url=ORIGIN, api_key=API_KEY))
    check_greeting(agent_of(model).run_sync(GREETING).output)
    check_weather(with_tool(model))
    check_rating(agent_of(model, output_type=ToolOutput(Rating)).run_sync(RATING_QUESTION).output)


def also_mistral():
    model = MistralModel(MODEL, provider=MistralProvider(base_url=f"{ORIGIN}/mistral", api_key=API_KEY))
    check_greeting(agent_of(model).run_sync(GREETING).output)
    check_weather(with_tool(model))

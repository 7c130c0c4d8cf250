from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool as as_tool
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import OpenAIAuthenticationError
from task import *


def model(api_key=API_KEY, **options):
    return ChatOpenAI(
        model=MODEL, base_url=f"{ORIGIN}/v1", api_key=api_key, temperature=0, max_retries=0, **options
    )


get_weather = as_tool("get_weather")(weather_of)


def chat():
    answer = model().invoke(GREETING)
    check_greeting(answer.content)
    check_usage(answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"])


def stream():
    check_deltas([chunk.content for chunk in model().stream(GREETING)])


def tool():
    messages = create_agent(model(), [get_weather]).invoke({"messages": [("user", WEATHER_QUESTION)]})["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    check_weather(messages[-1].content)


def structured():
    for method in ("json_schema", "function_calling"):
        check_rating(model().with_structured_output(Rating, method=method).invoke(RATING_QUESTION))


def error():
    check_wrong_key(raised(OpenAIAuthenticationError, lambda: model(WRONG_KEY).invoke(GREETING)))


def also_responses():
    responses = model(use_responses_api=True)
    check_greeting(responses.invoke(GREETING).text)
    check_rating(responses.with_structured_output(Rating).invoke(RATING_QUESTION))


def also_streamed_tool_call():
    whole = None
    for chunk in model().bind_tools([get_weather]).stream(WEATHER_QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert isinstance(whole, AIMessage) and [call["args"] for call in whole.tool_calls] == [{"city": "Oslo"}], whole

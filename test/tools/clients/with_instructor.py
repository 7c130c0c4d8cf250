import instructor
import openai
from instructor.core.exceptions import InstructorRetryException
from task import *


def client(mode=instructor.Mode.TOOLS, api_key=API_KEY):
    return instructor.from_openai(
        openai.OpenAI(base_url=f"{ORIGIN}/v1", api_key=api_key, max_retries=0), mode=mode
    )


greeting = [{"role": "user", "content": GREETING}]
question = [{"role": "user", "content": RATING_QUESTION}]


def chat():
    answer = client().chat.completions.create(model=MODEL, messages=greeting, response_model=None, temperature=0)
    check_greeting(answer.choices[0].message.content)


def stream():
    # The gateway streams a tool call whole, but an answer by a schema in pieces.
    partial = list(client(instructor.Mode.JSON_SCHEMA).chat.completions.create_partial(model=MODEL, messages=question, response_model=Rating))
    assert len(partial) > 2, "not streamed in pieces"
    check_rating(Rating.model_validate(partial[-1].model_dump()))


def tool():
    rating, answer = client().chat.completions.create_with_completion(
        model=MODEL, messages=question, response_model=Rating, max_retries=0
    )
    check_rating(rating)
    assert answer.choices[0].message.tool_calls[0].function.name == "Rating"


def structured():
    rating = client(instructor.Mode.JSON_SCHEMA).chat.completions.create(
        model=MODEL, messages=question, response_model=Rating, max_retries=0
    )
    check_rating(rating)


def error():
    ask = lambda: client(api_key=WRONG_KEY).chat.completions.create(
        model=MODEL, messages=question, response_model=Rating, max_retries=0
    )
    refusal = raised(InstructorRetryException, ask)
    assert isinstance(refusal.__cause__, openai.AuthenticationError) or "401" in str(refusal)
    check_wrong_key(refusal)

"""Prompts of chat templates: `python template.py input.json output.json`.

Each of `chats` (with `messages`, `tools`, `reasoning_effort`) becomes a text, or the reason of a refusal: by `template`, and
by the template that mistral-common generates for tokenizer version 15. The environment is that of transformers, which vLLM
uses as well.
"""

import json
import sys
from pathlib import Path

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from mistral_common.integrations.chat_templates.template_generator import TemplateConfig, build_chat_template
from mistral_common.tokens.tokenizers.base import TokenizerVersion


def raise_exception(message: str) -> None:
    raise TemplateError(message)


def environment() -> ImmutableSandboxedEnvironment:
    jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    jinja.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    jinja.globals["raise_exception"] = raise_exception
    return jinja


def generated() -> str:
    config = TemplateConfig(
        version=TokenizerVersion.v15,
        image_support=True,
        thinking_support=True,
        use_special_token_variables=True,
        reasoning_effort_values=("none", "high"),
        reasoning_effort_default="none",
    )
    return build_chat_template(config)


def rendered(source: str, chats: list[dict]) -> list[dict]:
    template = environment().from_string(source)

    def one(chat: dict) -> dict:
        try:
            return {"text": template.render(bos_token="<s>", eos_token="</s>", **chat)}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"[:300]}

    return [one(chat) for chat in chats]


def main(source: str, target: str) -> None:
    asked = json.loads(Path(source).read_text(encoding="utf-8"))
    answer = {
        "ours": rendered(asked["template"].rstrip(), asked["chats"]),
        "theirs": rendered(generated(), asked["chats"]),
    }
    Path(target).write_text(json.dumps(answer), encoding="utf-8")


main(*sys.argv[1:])

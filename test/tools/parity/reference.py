"""Answers of mistral-common: `python reference.py input.json output.json`.

`texts` are tokenised; `chats` (with `messages`, `tools`, `reasoning_effort`) become the tokens of a whole prompt of
tokenizer version 15, the version of Mistral Small 4, made from the vocabulary that mistral-common brings along.
`images` are sizes in pixels, which become numbers of tokens. `bodies` (values, or JSON texts) are in OpenAI's form, as vLLM reads them: each becomes tokens, or the reason of a refusal. They are validated in
serving mode, which is stricter than vLLM's test mode: it also counts the results of the last calls.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import mistral_common
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

VOCABULARY = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
CONTROL = {
    32: "[ARGS]",
    33: "[CALL_ID]",
    34: "[THINK]",
    35: "[/THINK]",
    36: "[MODEL_SETTINGS]",
    37: "[/MODEL_SETTINGS]",
}
FIRST = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] [IMG]"
    " <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"
).split(" ")


def small4(mode: ValidationMode = ValidationMode.test) -> MistralTokenizer:
    data = json.loads(VOCABULARY.read_text(encoding="utf-8"))
    names = {**dict(enumerate(FIRST)), **CONTROL}
    data["special_tokens"] = [
        {"rank": id, "token_str": names.get(id, f"<SPECIAL_{id}>"), "is_control": True} for id in range(1000)
    ]
    data["config"]["version"] = "v15"
    data["model_settings_builder"] = {
        "reasoning_effort": {"type": "enum", "values": ["none", "high"], "accepts_none": True, "default": "none"}
    }
    for name in ("image", "multimodal", "audio"):
        data.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tekken.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        return MistralTokenizer.from_file(str(path), mode=mode)


# The fields that vLLM passes on.
PASSED = ("messages", "tools", "reasoning_effort", "continue_final_message")


def from_openai(tokenizer: MistralTokenizer, body: dict) -> dict:
    try:
        request = ChatCompletionRequest.from_openai(model="m", **{name: body[name] for name in PASSED if name in body})
        return {"tokens": tokenizer.encode_chat_completion(request).tokens}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}


class Sized:
    def __init__(self, size: list[int]) -> None:
        self.size = size


def image_tokens(size: list[int]) -> int:
    ids = SpecialImageIDs(img=10, img_break=12, img_end=13)
    encoder = ImageEncoder(ImageConfig(image_patch_size=14, max_image_size=1540, spatial_merge_size=2), ids)
    columns, rows = encoder._image_to_num_tokens(Sized(size))
    return rows * (columns + 1)


def main(source: str, target: str) -> None:
    asked = json.loads(Path(source).read_text(encoding="utf-8"))
    answer = {"version": mistral_common.__version__, "vocabulary": str(VOCABULARY)}
    if asked:
        tokenizer = small4()
        tekken = tokenizer.instruct_tokenizer.tokenizer
        tekken.encode("warm", bos=False, eos=False)
        started = time.perf_counter()
        answer["ids"] = [tekken.encode(text, bos=False, eos=False) for text in asked.get("texts", [])]
        answer["ms"] = (time.perf_counter() - started) * 1000
        answer["chats"] = [
            tokenizer.encode_chat_completion(ChatCompletionRequest(**chat)).tokens for chat in asked.get("chats", [])
        ]
        serving = small4(ValidationMode.serving)
        answer["images"] = [image_tokens(size) for size in asked.get("images", [])]
        answer["bodies"] = [from_openai(serving, json.loads(body) if isinstance(body, str) else body) for body in asked.get("bodies", [])]
    Path(target).write_text(json.dumps(answer), encoding="utf-8")


main(*sys.argv[1:])

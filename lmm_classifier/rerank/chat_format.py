"""The chat format of a checkpoint: a prompt becomes the text that its model was trained to answer."""

from __future__ import annotations

import re
from typing import Any

from lmm_classifier.core.errors import RerankerError
from lmm_classifier.rerank.prompts import PromptVariant

_CHAT_ML = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_KNOWN = {"qwen2_vl": _CHAT_ML, "qwen2_5_vl": _CHAT_ML}  # what these were trained on, for checkpoints without the file
_WORDS = ("first", "second", "third")


class ChatFormat:
    """Writes a prompt in the chat format of a checkpoint.

    Args:
        processor: the processor of the checkpoint, with its chat template and its tokenizer.
        model_type: of the checkpoint.

    Raises:
        RerankerError: the checkpoint has no chat template.
    """

    def __init__(self, processor: Any, model_type: str) -> None:
        self._tokenizer = processor.tokenizer
        self._template = processor.chat_template or self._tokenizer.chat_template or _KNOWN.get(model_type)
        if not self._template:
            raise RerankerError(
                "The checkpoint has no chat template, so it is unknown how its model wants to be asked. "
                "Set rerank.model_name to one that was trained to follow instructions."
            )
        self._control = _control_tokens(self._tokenizer)
        self._keeps_order = self._is_in_order(self._written([_WORDS[0], None, _WORDS[1], None, _WORDS[2]]))

    def text(self, prompt: PromptVariant) -> str:
        """Return the text of a prompt, with the model's own placeholder for each image.

        Raises:
            RerankerError: the template moves images, so that they cannot belong to an option.
        """
        parts = [self._harmless(part) if isinstance(part, str) else None for part in prompt.parts]
        if parts.count(None) > 1 and not self._keeps_order:
            raise RerankerError(
                "The chat template of the checkpoint moves all images before the text, so an image cannot belong to "
                "an option. Set rerank.prompt.mode: names."
            )
        return self._written(parts)

    def starts_with_bos(self, text: str) -> bool:
        """Return whether a text has the token of its beginning already, so that the tokenizer must not add one."""
        bos = self._tokenizer.bos_token
        return bool(bos) and text.startswith(bos)

    def _written(self, parts: list[str | None]) -> str:
        content = [{"type": "image"} if part is None else {"type": "text", "text": part} for part in parts]
        return str(
            self._tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # of models that think before they answer; others ignore it
            )
        )

    def _is_in_order(self, text: str) -> bool:
        found = re.search("(.*)".join(_WORDS), text, re.DOTALL)
        return found is not None and all(between.strip() for between in found.groups())

    def _harmless(self, text: str) -> str:
        """Return the text with a space inside each control token of this tokenizer, so that it is read as text."""
        return self._control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text) if self._control else text


def _control_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    added = {token.content: token.special for token in tokenizer.added_tokens_decoder.values()}
    added |= dict.fromkeys(tokenizer.all_special_tokens, True)
    control = [token for token, special in added.items() if len(token) > 1 and (special or token[0] in "<[")]
    return re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True)))) if control else None

"""Run `transformers serve` with the tiny Qwen2-VL: the library's own server with an image-only processor.

The library's processor for Qwen2-VL needs torchvision for videos, which images do not need.
"""

import sys

from transformers import AutoProcessor, Qwen2VLProcessor
from transformers.processing_utils import ProcessorMixin


class ImageProcessor(Qwen2VLProcessor):
    """Qwen2-VL's processor without its video part."""

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs):
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    @classmethod
    def from_folder(cls, folder, **_):
        """Load the parts, and the chat format that the checkpoint was trained with."""
        from transformers import Qwen2Tokenizer, Qwen2VLImageProcessorPil

        tokenizer = Qwen2Tokenizer.from_pretrained(folder)
        tokenizer.chat_template = CHAT_TEMPLATE
        return cls(Qwen2VLImageProcessorPil.from_pretrained(folder), tokenizer, chat_template=CHAT_TEMPLATE)


CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if 'text' in part %}{{ part['text'] }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

if __name__ == "__main__":
    AutoProcessor.from_pretrained = classmethod(lambda _, folder, **options: ImageProcessor.from_folder(folder))
    from transformers.cli.transformers import main

    sys.exit(main())

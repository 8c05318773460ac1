"""Two drawn questions with a known answer, which show whether a model, or a server, answers as it should."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image, ImageDraw

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions, PromptVariant, make_prompts


def drawn_questions(
    prompt_options: PromptOptions, budget: VisualTokenBudget
) -> list[tuple[RerankRequest, list[PromptVariant]]]:
    """Return two questions by names whose first candidate is right, each with its prompts in two orders.

    A blind model fails at least one.
    """
    by_name = replace(prompt_options, mode="names", orders=2, none_option=False)
    questions = []
    for shape, rival in (("circle", "triangle"), ("triangle", "circle")):
        request = RerankRequest(_draw(shape), (Candidate(shape, 0.5, ()), Candidate(rival, 0.5, ())))
        questions.append((request, [budget.fit(prompt) for prompt in make_prompts(by_name, request)]))
    return questions


def _draw(shape: str) -> Image.Image:
    image = Image.new("RGB", (224, 224), (240, 225, 200))
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse((48, 48, 176, 176), fill=(40, 60, 160))
    else:
        draw.polygon([(112, 40), (32, 168), (192, 168)], fill=(40, 60, 160))
    return image

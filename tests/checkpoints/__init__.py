"""Checkpoints for the tests, and the code that makes them."""

# the question by names that tiny_qwen2_vl was trained on; a model this small needs the options before the picture
TRAINED_TEMPLATE = "Which of these does the picture show?\n{options}\n{image}\nAnswer with the letter of one option."

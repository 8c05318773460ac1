"""The shapes of JSON answers, as JSON Schema; read `answers.py` first."""

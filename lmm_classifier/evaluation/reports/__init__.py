"""HTML pages for people: contact sheet, evaluation, audit, reranking.

Start with `page`.
"""

"""HTML pages for people: contact sheet, evaluation, audit, reranking.

Start with `page`. The markup is in `templates`, the style in `style.css`; a page is one file without scripts.
"""

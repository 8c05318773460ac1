"""HTML pages for people: contact sheet, evaluation, audit, reranking.

Start with `contact_sheet`. Each page is one file without scripts; its parts come from the room `html`.
"""

"""Parts of HTML that pages and notebooks share: cards, tables, charts, images.

Start with `page` (a whole page) and `fragment` (a part of a notebook). The markup is in `templates`. `style.css` is the
style of pages, `notebook.css` that of fragments; neither has scripts.
"""

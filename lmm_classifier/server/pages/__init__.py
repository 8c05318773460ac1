"""The pages for people: one file per page, templates, and static files; read `environment.py` first."""

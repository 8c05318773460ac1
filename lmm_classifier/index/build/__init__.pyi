from .builder import build_index_from_directory as build_index_from_directory
from .editor import IndexEditor as IndexEditor

from .builder import build_index_from_directory as build_index_from_directory
from .editor import IndexEditor as IndexEditor
from .editor import sync_index as sync_index
from .reports import BuildReport as BuildReport
from .reports import EditReport as EditReport

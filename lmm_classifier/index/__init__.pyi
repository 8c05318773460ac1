from .build.builder import build_index_from_directory as build_index_from_directory
from .build.editor import IndexEditor as IndexEditor
from .build.editor import sync_index as sync_index
from .doctor import Finding as Finding
from .doctor import check_index as check_index
from .opening import open_index as open_index
from .vector_index import Index as Index

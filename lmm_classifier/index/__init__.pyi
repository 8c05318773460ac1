from .build.editor import IndexEditor as IndexEditor
from .doctor import examine as examine
from .opening import open_index as open_index
from .opening import require_encoder as require_encoder
from .vector_index import ExactIndex as ExactIndex

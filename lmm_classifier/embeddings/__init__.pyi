from .registry import compatible_backends as compatible_backends
from .registry import open_encoder as open_encoder
from .view import CenterView as CenterView

from .registry import backends_of as backends_of
from .registry import open_encoder as open_encoder

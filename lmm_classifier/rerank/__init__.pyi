from .config import RerankConfig as RerankConfig
from .registry import open_reranker as open_reranker

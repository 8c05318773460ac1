from .config import PipelineConfig as PipelineConfig
from .core.datatypes import Candidate as Candidate
from .core.datatypes import Classification as Classification
from .core.datatypes import Decision as Decision
from .core.datatypes import Example as Example
from .core.datatypes import Neighbor as Neighbor
from .core.errors import LmmClassifierError as LmmClassifierError
from .index.build.builder import build_index_from_directory as build_index_from_directory
from .index.build.editor import IndexEditor as IndexEditor
from .index.build.reports import BuildReport as BuildReport
from .index.build.reports import EditReport as EditReport
from .logging_config import configure_logging as configure_logging
from .pipeline.classifier import HybridClassifier as HybridClassifier

__version__: str
__all__: list[str]

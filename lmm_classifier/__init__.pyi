from .batching.classifier_queue import ClassifierQueue as ClassifierQueue
from .calibration.request import CalibrationRequest as CalibrationRequest
from .config import PipelineConfig as PipelineConfig
from .core.datatypes import Candidate as Candidate
from .core.datatypes import Classification as Classification
from .core.datatypes import Decision as Decision
from .core.datatypes import Example as Example
from .core.datatypes import Neighbor as Neighbor
from .core.errors import Cancelled as Cancelled
from .core.errors import LmmClassifierError as LmmClassifierError
from .core.progress import Progress as Progress
from .embeddings.function import FunctionEncoder as FunctionEncoder
from .evaluation.audit import Audit as Audit
from .evaluation.audit import audit_index as audit_index
from .evaluation.evaluate import evaluate_folder as evaluate_folder
from .evaluation.reports.audit_page import write_audit_page as write_audit_page
from .evaluation.reports.contact_sheet import write_contact_sheet as write_contact_sheet
from .evaluation.reports.cost_page import write_cost_page as write_cost_page
from .evaluation.reports.evaluation_page import write_evaluation_page as write_evaluation_page
from .evaluation.results import Evaluation as Evaluation
from .evaluation.results import LabeledResult as LabeledResult
from .index.build.builder import build_index_from_directory as build_index_from_directory
from .index.build.editor import IndexEditor as IndexEditor
from .index.build.editor import sync_index as sync_index
from .index.build.reports import BuildReport as BuildReport
from .index.build.reports import EditReport as EditReport
from .index.doctor import Finding as Finding
from .index.doctor import check_index as check_index
from .logging_config import configure_logging as configure_logging
from .pipeline.calibrator import CalibrationReport as CalibrationReport
from .pipeline.calibrator import calibrate_index as calibrate_index
from .pipeline.classifier import HybridClassifier as HybridClassifier
from .pipeline.index_info import describe_index as describe_index
from .pipeline.rerank_calibrator import measure_reranker as measure_reranker

__version__: str
__all__: list[str]

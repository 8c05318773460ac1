from .confusion import ConfusionDisplay as ConfusionDisplay
from .cost_ladder import CostLadderDisplay as CostLadderDisplay
from .reliability import ReliabilityDisplay as ReliabilityDisplay
from .risk_coverage import RiskCoverageDisplay as RiskCoverageDisplay
from .unknowns import UnknownsDisplay as UnknownsDisplay

__all__: list[str]

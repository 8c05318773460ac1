from .classifier import HybridClassifier as HybridClassifier

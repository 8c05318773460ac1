from .image_encoder import ImageEncoder as ImageEncoder
from .train_free_classifier import TrainFreeClassifier as TrainFreeClassifier

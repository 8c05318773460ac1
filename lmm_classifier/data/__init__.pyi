from .image_folder import scan_image_folder as scan_image_folder
from .images import read_image as read_image
from .limits import ImageLimits as ImageLimits
from .readers.dataset_spec import DatasetSpec as DatasetSpec

from .image_folder import scan_corpus as scan_corpus
from .images import ImageLimits as ImageLimits
from .images import read_picture as read_picture

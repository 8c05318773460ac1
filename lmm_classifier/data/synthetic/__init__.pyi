from .catalog import KNOWN as KNOWN
from .catalog import UNKNOWN as UNKNOWN
from .catalog import draw as draw

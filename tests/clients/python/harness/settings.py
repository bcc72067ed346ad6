"""What both harnesses start daemons with; `bursts` takes more clips at once than phones send."""

import json
from pathlib import Path

SETTINGS = json.loads((Path(__file__).parents[2] / "world.json").read_text())

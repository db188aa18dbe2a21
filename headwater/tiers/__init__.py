"""Where an object's bytes are, and reading them from there.

`Residency` is the fact, a tier is its name: `warm` bytes are in a local file, `cold` ones a request away.
"""

from headwater.tiers.pages import MappedFile
from headwater.tiers.residency import Residency, Tier, open_object

__all__ = ["MappedFile", "Residency", "Tier", "open_object"]

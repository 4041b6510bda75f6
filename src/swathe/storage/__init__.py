"""Object stores, and the files and addresses a deployment names. Nothing but this package and `rasters` does I/O."""

from swathe.storage.credentials import Credentials, from_place
from swathe.storage.sources import SourceFiles
from swathe.storage.stores import ObjectStores

__all__ = ["Credentials", "ObjectStores", "SourceFiles", "from_place"]

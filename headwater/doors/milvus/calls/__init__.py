"""The calls of the protocol, a file to a topic; importing this registers them all."""

import importlib
import pkgutil

__all__: list[str] = []

for _topic in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_topic.name}")

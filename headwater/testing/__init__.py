"""What backends and applications test with: conformance suites, a store that fails on purpose, an S3 server.

The suites import pytest, so each is a module of its own: `headwater.testing.object_store.ObjectStoreTests`.
"""

from headwater.store import Fault, FaultyStore

__all__ = ["Fault", "FaultyStore"]

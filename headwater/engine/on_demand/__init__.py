"""Compute on demand: a process that starts, answers from a lake it has never seen, and leaves.

`handle.py` is what a user holds; `calls.py` is a question as a value, `answering.py` answers it; `messages.py` the
bytes between two processes; `processes.py` and `on_ray.py` start workers and bound them; `worker.py` and `actor.py` are
these. Nothing is kept, written or tended: the policy is `TierPolicy.ON_DEMAND` for every object, and the store refuses
writes.
"""

from headwater.engine.on_demand.handle import OnDemand, OnDemandCollection
from headwater.engine.on_demand.places import Origin

__all__ = ["OnDemand", "OnDemandCollection", "Origin"]

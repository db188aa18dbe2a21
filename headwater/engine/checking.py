"""Settings whose words are those of this room, checked before anything is opened by them."""

from __future__ import annotations

from headwater.engine.maintaining import in_window
from headwater.engine.policies import tier_policy, warmup_mode
from headwater.engine.priority import check_priority
from headwater.settings import Settings

__all__ = ["check_settings"]


def check_settings(settings: Settings) -> None:
    """See that settings say what there is.

    Raises:
        InvalidArgument: one does not; names it.
    """
    tier_policy(settings.tiers.policy, "setting tiers.policy")
    warmup_mode(settings.tiers.warmup, "setting tiers.warmup")
    in_window(settings.maintenance.window, 0)
    check_priority(settings.maintenance.priority)

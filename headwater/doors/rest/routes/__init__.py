"""Every route, in the order of the document."""

from headwater.doors.rest.route import Route
from headwater.doors.rest.routes import (
    access,
    aliases,
    cluster,
    collections,
    creation,
    databases,
    entities,
    imports,
    indexes,
    jobs,
    partitions,
    schema_changes,
    searching,
    tiers,
)

__all__ = ["ROUTES"]

ROUTES: tuple[Route, ...] = (
    *databases.ROUTES,
    *creation.ROUTES,
    *collections.ROUTES,
    *schema_changes.ROUTES,
    *partitions.ROUTES,
    *indexes.ROUTES,
    *aliases.ROUTES,
    *entities.ROUTES,
    *searching.ROUTES,
    *access.ROUTES,
    *jobs.ROUTES,
    *imports.ROUTES,
    *cluster.ROUTES,
    *tiers.ROUTES,
)
"""The routes of the RESTful API v2, and `tiers/describe`."""

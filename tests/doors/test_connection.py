"""Connecting with an unmodified client."""

from __future__ import annotations

import pytest
from pymilvus import MilvusClient, MilvusException


def test_a_client_connects_and_learns_the_version(client: MilvusClient) -> None:
    assert client.get_server_version() == "3.0.2"
    assert client.list_collections() == []


def test_a_call_that_is_not_served_says_so_in_its_status(client: MilvusClient) -> None:
    with pytest.raises(MilvusException, match="not served by Headwater: operation not supported") as raised:
        client.update_replicate_configuration(clusters=[], cross_cluster_topology=[])
    assert raised.value.code == 3000

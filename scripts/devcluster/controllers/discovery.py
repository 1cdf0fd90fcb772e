"""What kinds the API server serves, so that garbage collection and namespace deletion miss none."""

import asyncio

from devcluster.client import Client, Resource

_NEEDED = {"list", "watch", "delete"}


async def deletable(client: Client) -> dict[tuple[str, str], Resource]:
    """Return (apiVersion, kind) -> resource of everything that can be listed, watched and deleted, Events excepted."""
    core, groups = await asyncio.gather(client.get("/api/v1"), client.get("/apis"))
    versions = [group["preferredVersion"]["groupVersion"] for group in groups["groups"]]
    lists = await asyncio.gather(*(client.get(f"/apis/{version}") for version in versions))
    found = {}
    for version, listed in zip(["v1", *versions], [core, *lists], strict=True):
        group, _, short = version.rpartition("/")
        for item in listed["resources"]:
            if "/" not in item["name"] and set(item["verbs"]) >= _NEEDED and item["kind"] != "Event":
                resource = Resource(group, short, item["name"], namespaced=item["namespaced"])
                found[version, item["kind"]] = resource
    return found

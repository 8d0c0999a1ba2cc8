"""The server of one node: uploads go there, or the node that takes them copies them by scp."""

import dataclasses

from builder.proxmox.api import Api
from builder.proxmox.connection import Pinned
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.inventory import inspect_addresses, inspect_nodes, inspect_version

# what leaves the server that is there already as the better choice
_STAY = frozenset(
    {Trouble.FORBIDDEN, Trouble.UNREACHABLE, Trouble.UNTRUSTED, Trouble.UNKNOWN, Trouble.REFUSED}
)


def connect_node(api: Api, node: str) -> Api:
    """The server of `node` itself, or `api` where that one is not known or not reachable.

    Its address is in /cluster/status (Sys.Audit on /), its certificate's fingerprint in /nodes:
    both come through a connection that is trusted already. Raises PveError.
    """
    try:
        addresses = {address.node: address for address in inspect_addresses(api)}
        target = addresses.get(node)
        pins = {one.name: one.fingerprint for one in inspect_nodes(api)}
        if target is None or target.local or not target.ip or not pins.get(node):
            return api
        connection = dataclasses.replace(
            api.connection, host=target.ip, trust=Pinned(fingerprint=pins[node])
        )
        own = Api(connection, api.clock)
        inspect_version(own)
    except PveError as error:
        if error.trouble not in _STAY:
            raise
        return api
    return own

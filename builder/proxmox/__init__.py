"""Proxmox VE: what a node holds and may do, and what winseed asks of it.

`api.py` is the transport and the only module that knows proxmoxer and requests; `inventory.py`,
`tasks.py`, `upload.py`, `vm.py` and `agent.py` are the calls, each giving a frozen value of
`facts.py`; `failures.py` says what went wrong; `rights.py` and `preflight.py` judge, and ask
nothing.
"""

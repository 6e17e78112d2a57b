"""Networks as bytes."""

import json

import zstandard

from gamepipe.scheduling.network import Network


def pack_network(network: Network) -> bytes:
    return zstandard.compress(json.dumps(network.document()).encode())


def unpack_network(data: bytes) -> Network:
    return Network.read(json.loads(zstandard.decompress(data)))

"""What runs in the environment of a peer, or in our own: standard library, NumPy, and the peer.

`python -m verification.peers.side KIND` answers requests; nothing here may import what only our
own environment has.
"""

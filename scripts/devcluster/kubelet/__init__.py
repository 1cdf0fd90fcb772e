"""Process kubelet: runs the containers of a node's pods as processes of this machine.

Nothing is imported here, because the container shim starts from this package once per container.
"""

"""The container shim: one small process per container, between the kubelet and the container's first process.

It builds the container's view of the file system, starts the command, writes the CRI log, passes signals on and
reports how the command ended. It lives outside the kubelet so that forking never happens in a process that runs an
event loop and threads, and so that a killed kubelet leaves no container behind: the shim ends with its standard input.
Standard library only, and little of it: its start-up is part of every container's.
"""

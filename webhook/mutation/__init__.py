"""The mutation: pure functions from a pod and what was decided about it to the pod as it should be.

A pod that asks for GPUs is changed in two steps. `create.prepare` does everything that does not depend on where the
pod will run: mounts, environment, resources, toleration. The allocator then plans with the prepared pod, and
`create.finish` adds the answer: annotations, pin, or the gate. A pod granted at admission and one granted later
from the queue differ in nothing else.

Every function finds its own earlier work and leaves it in place: the API server calls a webhook again after others
have changed the pod, and a second pass may change nothing new.
"""

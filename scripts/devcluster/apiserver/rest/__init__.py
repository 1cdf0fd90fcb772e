"""The verbs: reading, writing, deleting, subresources."""

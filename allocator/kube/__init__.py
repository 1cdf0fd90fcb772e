"""Access to the Kubernetes API; the only importer of kubernetes_asyncio."""

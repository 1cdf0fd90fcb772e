"""A small Kubernetes control plane and kubelet for the demo and the tests: see README.md beside this file."""

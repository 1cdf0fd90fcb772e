"""The node agent: inventory, installation of the interposer, truth from the node."""

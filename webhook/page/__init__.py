"""The web page: the fleet's GPUs at a glance, read only, on a port of its own and only where one is set."""

"""What HAMi's metrics call things, for the dashboards of those who come from it. Pure."""

from typing import Final

ZONE: Final = "vGPU"
"""Value of the label `zone` on all of them."""


def device_type(model: str) -> str:
    """HAMi's name of a GPU model."""
    return f"NVIDIA-{model}"

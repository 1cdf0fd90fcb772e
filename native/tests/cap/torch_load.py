"""PyTorch at work: torch_load.py matmul|decode SECONDS prints steps per second."""

import sys
import time
from collections.abc import Callable

import torch

WIDTH = 2048
LAYERS = 16


def matmul() -> Callable[[], object]:
    """One product of half-precision matrices."""
    left = torch.randn(WIDTH, WIDTH, device="cuda", dtype=torch.half)
    right = torch.randn(WIDTH, WIDTH, device="cuda", dtype=torch.half)
    return lambda: torch.matmul(left, right)


def decode() -> Callable[[], None]:
    """A decoder's step at batch 1, captured once: many small kernels in one graph."""
    weights = [torch.randn(WIDTH, WIDTH, device="cuda", dtype=torch.half) / WIDTH for _ in range(LAYERS * 4)]
    x = torch.randn(1, WIDTH, device="cuda", dtype=torch.half)

    def step() -> torch.Tensor:
        y = x
        for weight in weights:
            y = torch.nn.functional.gelu(torch.nn.functional.layer_norm(y @ weight, (WIDTH,)))
        return y

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def main() -> None:
    """Run for the time given, a wait every few steps as a training loop has it."""
    step, seconds = {"matmul": matmul, "decode": decode}[sys.argv[1]](), float(sys.argv[2])
    begin, start, steps = time.monotonic() + 1.0, 0.0, 0
    while not start or time.monotonic() < start + seconds:
        for _ in range(20):
            step()
        torch.cuda.synchronize()
        if start:
            steps += 20
        elif time.monotonic() > begin:
            start = time.monotonic()
    print(steps / (time.monotonic() - start))


main()

"""PyTorch behind a slice: with_torch.py [graph | triton | nccl]; allocator settings by environment."""

import os
import sys

import torch
from common import report_health, report_seen, take_until_refused


def product_is_right() -> bool:
    """A matrix product on the GPU agrees with the CPU."""
    left, right = torch.randn(256, 256), torch.randn(256, 256)
    return torch.allclose((left.cuda() @ right.cuda()).cpu(), left @ right, atol=1e-2)


def graph_is_right() -> bool:
    """A captured graph with allocations inside gives the same as eager code."""
    x = torch.randn(512, 512, device="cuda")
    step = lambda: torch.relu(x @ x.t()) + torch.ones(512, 512, device="cuda")  # noqa: E731 - captured below
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()
    x.copy_(torch.randn(512, 512))
    graph.replay()
    return torch.allclose(result, step(), atol=1e-2)


def triton_is_right() -> bool:
    """A Triton kernel compiles, launches and adds."""
    import triton
    from triton_kernel import add

    x = torch.randn(100_000, device="cuda")
    out = torch.empty_like(x)
    add[(triton.cdiv(x.numel(), 1024),)](x, x, out, x.numel(), BLOCK=1024)
    return torch.allclose(out, x + x)


def nccl_is_right() -> bool:
    """An all-reduce of one rank through NCCL returns its input."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29531"}
    torch.distributed.init_process_group("nccl", rank=0, world_size=1)
    x = torch.arange(1000.0, device="cuda")
    torch.distributed.all_reduce(x)
    right = torch.equal(x.cpu(), torch.arange(1000.0))
    torch.distributed.destroy_process_group()
    return right


WORK = {"graph": graph_is_right, "triton": triton_is_right, "nccl": nccl_is_right}


def main() -> None:
    """Runs the work before and after the wall."""
    work = WORK[sys.argv[1]] if len(sys.argv) > 1 else product_is_right
    before = work()
    free, total = torch.cuda.mem_get_info()
    if torch.cuda.get_device_properties(0).total_memory != total:
        print("device properties show another size than mem_get_info")
    report_seen(total=total, free=free)
    kept = take_until_refused(
        lambda size: torch.ones(size, dtype=torch.uint8, device="cuda"), (torch.OutOfMemoryError,)
    )
    del kept
    torch.cuda.empty_cache()
    after = product_is_right() if len(sys.argv) > 1 and sys.argv[1] == "nccl" else work()
    report_health(healthy=before and after)


main()

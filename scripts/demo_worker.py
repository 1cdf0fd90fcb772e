#!/usr/bin/env python3
"""The demo's GPU program: holds memory, multiplies half-precision matrices, and tells what it sees.

An ordinary CUDA program as any other: it knows nothing of vramshare and is run in the demo's pods as it stands. It
uses the CUDA driver by ctypes, so that it needs neither PyTorch nor a toolkit, and carries its kernel as PTX.

    worker.py --hold 1500 --size 1024     hold 1,500 MiB, multiply 1024 x 1024 matrices until stopped
    worker.py --hold 500 --take 4096      hold 500 MiB, then ask for 4,096 MiB more and say what comes back
"""

import argparse
import ctypes
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1024**2
OUT_OF_MEMORY: Final = 2
SIMULATED: Final = Path(os.environ.get("FAKEGPU_DIR", "/run/fakegpu"))
"""Where the simulated driver keeps its state: there is no arithmetic behind it to check."""
ONE, HALF = 0x3C00, 0x3800  # 1.0 and 0.5 in half precision
TILE: Final = 16

# One thread per element of the product, sums in single precision. The comment is for the simulated driver.
KERNEL: Final = b"""
.version 6.0
.target sm_50
.address_size 64
// fakegpu: ns=0 ns_per_block=250
.visible .entry matmul(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
{
    .reg .pred %p<4>;
    .reg .b16 %h<4>;
    .reg .f32 %f<4>;
    .reg .b32 %r<12>;
    .reg .b64 %d<12>;
    ld.param.u64 %d1, [a];
    ld.param.u64 %d2, [b];
    ld.param.u64 %d3, [c];
    ld.param.u32 %r1, [n];
    cvta.to.global.u64 %d1, %d1;
    cvta.to.global.u64 %d2, %d2;
    cvta.to.global.u64 %d3, %d3;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r5, %r2, %r3, %r4;
    mov.u32 %r2, %ctaid.y;
    mov.u32 %r3, %ntid.y;
    mov.u32 %r4, %tid.y;
    mad.lo.u32 %r6, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    setp.ge.u32 %p2, %r6, %r1;
    or.pred %p1, %p1, %p2;
    @%p1 bra DONE;
    mul.lo.u32 %r7, %r6, %r1;
    mul.wide.u32 %d4, %r7, 2;
    add.u64 %d5, %d1, %d4;
    mul.wide.u32 %d6, %r5, 2;
    add.u64 %d7, %d2, %d6;
    mul.wide.u32 %d8, %r1, 2;
    add.u64 %d9, %d3, %d4;
    add.u64 %d9, %d9, %d6;
    mov.f32 %f1, 0f00000000;
    mov.u32 %r8, 0;
NEXT:
    ld.global.b16 %h1, [%d5];
    ld.global.b16 %h2, [%d7];
    cvt.f32.f16 %f2, %h1;
    cvt.f32.f16 %f3, %h2;
    fma.rn.f32 %f1, %f2, %f3, %f1;
    add.u64 %d5, %d5, 2;
    add.u64 %d7, %d7, %d8;
    add.u32 %r8, %r8, 1;
    setp.lt.u32 %p3, %r8, %r1;
    @%p3 bra NEXT;
    cvt.rn.f16.f32 %h3, %f1;
    st.global.b16 [%d9], %h3;
DONE:
    ret;
}
"""


class CudaError(Exception):
    """A call of the CUDA driver failed. `code` is its CUresult."""

    def __init__(self, call: str, code: int, name: str) -> None:
        self.code = code
        self.name = name
        super().__init__(f"{call}: {name} ({code})")


class Cuda:
    """The few calls of libcuda that the program needs, with a context on the first GPU."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self._call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        name = ctypes.create_string_buffer(100)
        self._call("cuDeviceGetName", name, len(name), device)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self.model = name.value.decode()

    def take(self, size: int) -> int:
        """Allocate `size` bytes; the address."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        """Let an allocation go."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def memory(self) -> tuple[int, int]:
        """Used and total bytes, as the program is shown them."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return total.value - free.value, total.value

    def fill(self, address: int, value: int, *, count: int) -> None:
        """Set `count` half-precision numbers."""
        self._call("cuMemsetD16_v2", ctypes.c_uint64(address), ctypes.c_ushort(value), ctypes.c_size_t(count))

    def half_at(self, address: int) -> int:
        """Read one half-precision number's bits."""
        value = ctypes.c_ushort()
        self._call("cuMemcpyDtoH_v2", ctypes.byref(value), ctypes.c_uint64(address), ctypes.c_size_t(2))
        return value.value

    def kernel(self, ptx: bytes, name: bytes) -> ctypes.c_void_p:
        """Load a kernel out of PTX."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(ptx))
        self._call("cuModuleGetFunction", ctypes.byref(function), module, ctypes.c_char_p(name))
        return function

    def launch(self, function: ctypes.c_void_p, *, blocks: int, addresses: tuple[int, ...], size: int) -> None:
        """Start a kernel over a square of blocks."""
        values = [*(ctypes.c_uint64(one) for one in addresses), ctypes.c_uint32(size)]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(one) for one in values))
        grid = (blocks, blocks, 1, TILE, TILE, 1)
        self._call("cuLaunchKernel", function, *grid, 0, None, pointers, None)

    def wait(self) -> None:
        """Until all that was started is done."""
        self._call("cuCtxSynchronize")

    def _call(self, function: str, *args: object) -> None:
        code = getattr(self._library, function)(*args)
        if code:
            name = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(name))
            raise CudaError(function, code, (name.value or b"unknown error").decode())


@dataclass(frozen=True)
class Matrices:
    """Two factors and their product, of `size` x `size` half-precision numbers each."""

    cuda: Cuda
    size: int
    addresses: tuple[int, int, int]
    function: ctypes.c_void_p

    @classmethod
    def made(cls, cuda: Cuda, size: int) -> "Matrices":
        """Factors of ones and of halves, so that every element of the product is size / 2, exactly."""
        left, right, product = (cuda.take(size * size * 2) for _ in range(3))
        cuda.fill(left, ONE, count=size * size)
        cuda.fill(right, HALF, count=size * size)
        cuda.fill(product, 0, count=size * size)
        return cls(cuda, size, (left, right, product), cuda.kernel(KERNEL, b"matmul"))

    def multiply(self) -> None:
        """Start one product."""
        self.cuda.launch(self.function, blocks=-(-self.size // TILE), addresses=self.addresses, size=self.size)

    def right(self) -> bool:
        """Whether the product's first and last elements are what they must be."""
        product = self.addresses[2]
        expected = int.from_bytes(struct.pack("<e", self.size / 2), "little")
        last = product + 2 * (self.size * self.size - 1)
        return all(self.cuda.half_at(address) == expected for address in (product, last))


def work(cuda: Cuda, *, size: int, say: Callable[[str], None], stopped: Callable[[], bool]) -> None:
    """Multiply until stopped, and tell every second how many and how much memory is used."""
    matrices = Matrices.made(cuda, size)
    matrices.multiply()
    cuda.wait()
    if SIMULATED.exists():
        say("this GPU is simulated: kernels take time and memory is real to the driver's books, nothing is computed")
    elif not matrices.right():
        raise SystemExit(f"the product of two {size} x {size} matrices is wrong")
    done, second = 1, time.monotonic()
    while not stopped():
        for _ in range(4):
            matrices.multiply()
            done += 1
        cuda.wait()
        if time.monotonic() >= second:
            second = time.monotonic() + 1.0
            used, total = cuda.memory()
            say(f"products {done} of {size}x{size}, memory used {used // MIB} MiB of {total // MIB} MiB")


def overreach(cuda: Cuda, *, take: int, say: Callable[[str], None]) -> Iterator[int]:
    """Ask for more than there is; then for little, to see that the process is none the worse for it."""
    for size in (take, 1):
        try:
            yield cuda.take(size * MIB)
        except CudaError as reason:
            say(f"asked for {size} MiB: {reason.name}")
            if reason.code != OUT_OF_MEMORY:
                raise
        else:
            say(f"asked for {size} MiB: granted")


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="worker")
    parser.add_argument("--hold", type=int, required=True, metavar="MIB", help="memory to hold, matrices included")
    parser.add_argument("--size", type=int, default=1024, help="rows of the matrices")
    parser.add_argument("--take", type=int, metavar="MIB", help="then ask for so much more")
    args = parser.parse_args()

    def say(text: str) -> None:
        print(f"{args.name}: {text}", flush=True)

    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    try:
        cuda = Cuda()
        cuda.take(args.hold * MIB - 3 * 2 * args.size**2)
        used, total = cuda.memory()
        say(f"on {cuda.model}, holding {args.hold} MiB; memory used {used // MIB} MiB of {total // MIB} MiB")
        held = list(overreach(cuda, take=args.take, say=say)) if args.take else []
        say(f"going on with {len(held)} more" if args.take else "working")
        work(cuda, size=args.size, say=say, stopped=lambda: bool(stop))
    except (CudaError, OSError) as reason:
        say(f"failed: {reason}")
        return 1
    say("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())

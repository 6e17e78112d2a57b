"""Keep a GPU busy: `python cuda_load.py BYTES`, by the driver alone; no package is needed.

Takes so much of the first device that CUDA shows, writes over it again and again, and prints one
line once it has begun: how many devices CUDA shows, and the UUID of the first, as NVML writes it.
It ends when its standard input is closed.
"""

import ctypes
import select
import sys
import uuid


def call(name: str, *arguments: object) -> None:
    status = getattr(_CUDA, name)(*arguments)
    if status:
        raise SystemExit(f"{name}: CUDA error {status}")


def main(size: int) -> None:
    device, context, count = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_int()
    name, memory = (ctypes.c_ubyte * 16)(), ctypes.c_uint64()
    call("cuInit", 0)
    call("cuDeviceGetCount", ctypes.byref(count))
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDeviceGetUuid", name, device)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(size))
    print(count.value, f"GPU-{uuid.UUID(bytes=bytes(name))}", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        for value in range(64):
            call("cuMemsetD8_v2", memory, ctypes.c_ubyte(value), ctypes.c_size_t(size))
        call("cuCtxSynchronize")


if __name__ == "__main__":
    _CUDA = ctypes.CDLL("libcuda.so.1")
    main(int(sys.argv[1]))

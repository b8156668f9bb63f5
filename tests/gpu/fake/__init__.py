"""CUDA devices that compute nothing, so that torch's CUDA code runs where there is no GPU.

A shared library (`source/`), loaded before torch, stands before CUDA's driver and runtime, cuBLAS,
cuBLASLt, cuDNN and NVML. Memory is host memory that nobody touches, kernels are counted instead of
run, captures keep CUDA's rules. So all of torch's CUDA code runs (dispatch, autocast, allocator,
CUDA graphs, inductor and Triton included): what raises on a card raises here, and launches, copies,
waits and bytes can be counted. Numbers are garbage; nothing follows about values, speed, or what a
kernel does. Known to work with CUDA 13 builds of torch from 2.14 on. Not covered: NCCL, cuFFT,
cuSOLVER, profilers.

- `library.py` builds it, or says why not.
- `running.py` runs a function or a command on such devices, in a process of its own.
- `log.py`, in that process, tells what the devices did.

Of its variables, FAKE_GPUS, FAKE_GPU_BYTES and FAKE_GPU_COUNTS are set by `running.environment`;
FAKE_GPU_NO_CAPTURE=begin|end|instantiate makes captures fail, and may change at any time.
"""

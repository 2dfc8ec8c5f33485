"""How libraries say that memory ran out, directly or by what they raise for it; and what only sounds like it."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from SAMoraLib.system.out_of_memory import is_out_of_memory

SAID = [
    MemoryError(), MemoryError("Unable to allocate 9 GiB for an array"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), RuntimeError("HIP out of memory."),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    RuntimeError("could not create a primitive"), RuntimeError("could not create a primitive descriptor"),
    RuntimeError("could not execute a primitive"), RuntimeError("could not create a memory object"),
    RuntimeError("std::bad_alloc"), RuntimeError("bad allocation"),
    RuntimeError("Exception thrown in SimpleITK ImageFileReader_Execute: Failed to allocate memory for image."),
    RuntimeError("INTEL MKL ERROR: Memory allocation failed"), RuntimeError("OMP: Error #34: Cannot allocate memory"),
    RuntimeError("unable to mmap 8 bytes from file <m.safetensors>: Cannot allocate memory (12)"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ImportError("libmkl.so: cannot allocate memory in static TLS block"),
    ImportError("/lib/_C.so: cannot create shared object descriptor: Cannot allocate memory"),
    ImportError("DLL load failed: Not enough memory resources are available to process this command."),
    SystemError("error return: Cannot allocate memory"),
]
OTHER = [
    ValueError("the volume 'out of memory.nii.gz' is damaged"), OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.ENOENT, "No such file", "out of memory.nii.gz"), ImportError("No module named 'torch'"),
    RuntimeError("CUDA error: device-side assert triggered"), RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    KeyError("out of memory"),
]


@pytest.mark.parametrize("error", SAID, ids=str)
def test_it_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_what_led_to_an_error_counts() -> None:
    for cause in (RuntimeError("std::bad_alloc"), MemoryError()):
        try:
            raise ValueError("'ct.nrrd' cannot be read; it is damaged.") from cause
        except ValueError as error:
            assert is_out_of_memory(error)
    try:
        try:
            raise MemoryError
        except MemoryError:
            raise ImportError("numpy failed") from None
    except ImportError as error:
        assert is_out_of_memory(error)


def test_errors_that_lead_to_each_other_end() -> None:
    one, other = ValueError("a"), ValueError("b")
    one.__cause__, other.__cause__ = other, one
    assert not is_out_of_memory(one)


def test_the_system_and_numpy_say_so() -> None:
    with pytest.raises(MemoryError) as error:
        np.empty(1 << 60, np.uint8)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))

"""What the processor of this machine computes fast."""

import pathlib

CPU_INFO = pathlib.Path("/proc/cpuinfo")
# Of these sets of instructions a processor needs one: Intel's and AMD's, three; ARM's.
BFLOAT16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}


def emulates_bfloat16():
    """Whether the processor is known to have no instructions for bfloat16.

    It then computes in it by way of float32, and takes longer. Linux alone says what a processor
    has; elsewhere this is False.
    """
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return False
    has = [
        line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))
    ]
    return bool(has) and BFLOAT16.isdisjoint(has[0])

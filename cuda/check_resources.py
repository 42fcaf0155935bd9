#!/usr/bin/env python3
"""Compiles every kernel and fails on register spills or on more registers than its file may use,
and on a kernel that does not wait for its predecessor (device/early_launch.cuh).

Usage: check_resources.py [--nvcc PATH]. Needs no GPU.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

# The limit that each file's launch bounds imply; a kernel that grows past it loses resident blocks.
LIMITS = {
    "adamw": 128,
    "attention_backward": 168,
    "cross_entropy": 64,
    "dequantize_rows": 64,
    "gemm_s8": 168,
    "gemm_s8_config": 0,
    "qkv_rope": 96,
    "qkv_rope_backward": 128,
    "quantize_gradient": 128,
    "rms_norm_backward": 128,
    "rms_norm_quant": 128,
    "ternarize": 64,
}


def kernels_without_wait(folder: pathlib.Path) -> list[str]:
    """Kernels that do not wait; launched early they would read what is still being written."""
    found = []
    for source in [*folder.glob("kernels/*.cu"), *folder.glob("device/*.cuh")]:
        for text in source.read_text().split("__global__")[1:]:
            body = text[: text.find("\n}\n")]
            if "wait_for_predecessor();" not in body:
                name = re.search(r"(\w+_kernel)\(", body)
                found.append(f"{source.name}: {name.group(1) if name else body[:60]}")
    return found


def main() -> int:
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nvcc", default="/usr/local/cuda/bin/nvcc")
    nvcc = parser.parse_args().nvcc
    failures = 0
    for source in sorted((here / "kernels").glob("*.cu")):
        limit = LIMITS[source.stem]
        with tempfile.TemporaryDirectory() as folder:
            report = subprocess.run(
                [
                    nvcc,
                    "-std=c++17",
                    "-O3",
                    "-gencode=arch=compute_90a,code=sm_90a",
                    f"-I{here}",
                    "-Xptxas",
                    "-v",
                    "-c",
                    source,
                    "-o",
                    f"{folder}/object.o",
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stderr
        spilled = [int(n) for n in re.findall(r"(\d+) bytes spill stores", report)]
        registers = [int(n) for n in re.findall(r"Used (\d+) registers", report)]
        worst, spills = max(registers, default=0), max(spilled, default=0)
        serialised = "wgmma.mma_async instructions are serialized" in report
        bad = worst > limit or spills > 0 or serialised
        failures += bad
        verdict = ", wgmma serialised" * serialised + "  FAILED" * bad
        print(
            f"{source.stem:20} {len(registers):3} kernels, "
            f"at most {worst:3} of {limit:3} registers, {spills} bytes spilled{verdict}"
        )
    for kernel in kernels_without_wait(here):
        failures += 1
        print(f"{kernel} does not call wait_for_predecessor()  FAILED")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

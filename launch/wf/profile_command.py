"""`wf profile`: where the time of one training step on a GPU went."""

import json
from pathlib import Path

from wf.error import Error

# A kernel belongs to the first phase one of whose words its name holds.
PHASES = {
    "attention": ("sdpa", "flash", "fmha", "attention_"),
    "ternary products": ("gemm_s8",),
    "other products": ("nvjet", "gemm", "cutlass", "cublas", "xmma"),
    "head's loss": ("cross_entropy", "softmax"),
    "optimizer": ("adamw", "adam", "ternarize", "sum_weights", "delta_kernel", "lpnorm", "lp_norm"),
    "norms and quantisers": ("norm", "quantize", "transpose", "rope"),
}
REST = "other element-wise"


def phase_of(name: str) -> str:
    lower = name.lower()
    for phase, words in PHASES.items():
        if any(word in lower for word in words):
            return phase
    return REST


def gpu_events(trace: Path) -> list[tuple[str, float, float]]:
    """Name, begin and end in microseconds of everything that ran on the GPU, by begin."""
    try:
        events = json.loads(trace.read_text())["traceEvents"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Error(
            f"{trace}: not a trace that wftrain wrote with log.profile_step ({error})"
        ) from None
    kinds = ("kernel", "gpu_memcpy", "gpu_memset")
    found = [(e["name"], e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") in kinds]
    if not found:
        raise Error(f"{trace}: nothing ran on a GPU in this step")
    return sorted(found, key=lambda event: event[1])


def breakdown(events: list[tuple[str, float, float]]) -> tuple[dict[str, float], float, float]:
    """Milliseconds by phase; idle; wall. Wall is first begin to last end."""
    phases: dict[str, float] = {}
    busy, reached = 0.0, events[0][1]
    for name, begin, end in events:
        phases[phase_of(name)] = phases.get(phase_of(name), 0) + (end - begin) / 1e3
        busy += max(0.0, end - max(begin, reached)) / 1e3
        reached = max(reached, end)
    wall = (reached - events[0][1]) / 1e3
    return phases, wall - busy, wall


def table(events: list[tuple[str, float, float]], top: int) -> str:
    phases, idle, wall = breakdown(events)
    rows = sorted(phases.items(), key=lambda row: -row[1]) + [("idle", idle)]
    lines = [f"{wall:9.2f} ms in all, {len(events)} launches"]
    lines += [f"{ms:9.2f} ms {100 * ms / wall:5.1f} %  {phase}" for phase, ms in rows]
    kernels: dict[str, list[float]] = {}
    for name, begin, end in events:
        kernels.setdefault(name, []).append((end - begin) / 1e3)
    lines.append("the longest, by kernel:")
    for name, times in sorted(kernels.items(), key=lambda row: -sum(row[1]))[:top]:
        lines.append(f"{sum(times):9.2f} ms {len(times):6d} x  {name[:100]}")
    return "\n".join(lines)


def add_to(commands) -> None:
    parser = commands.add_parser(
        "profile", help="where a step's time on the GPU went", description=__doc__
    )
    parser.add_argument("trace", type=Path, help="trace.json of a run folder (log.profile_step=N)")
    parser.add_argument("--top", type=int, default=15, help="kernels to list (default 15)")
    parser.set_defaults(run=run)


def run(options) -> None:
    print(table(gpu_events(options.trace), options.top))

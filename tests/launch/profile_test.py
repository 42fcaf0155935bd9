"""`wf profile` on a trace whose answer is known by hand."""

import json

from wf.command import main


def event(name, begin, duration, category="kernel"):
    return {"ph": "X", "cat": category, "name": name, "ts": begin, "dur": duration}


def write(path, events):
    path.write_text(json.dumps({"traceEvents": events}))
    return str(path)


def test_phases_and_idle_add_up_to_the_wall(tmp_path, capsys):
    trace = write(
        tmp_path / "trace.json",
        [
            event("wf::kernels::gemm_s8_kernel<256>", 1000, 3000),
            event("cudnn_sdpa_sm90_flash_fprop", 5000, 2000),  # 1 ms after the product
            event("rms_norm_quant_kernel", 6500, 1500),  # half a millisecond beside attention
            event("aten::mm", 0, 9000, "cpu_op"),  # not on the GPU
            event("Memset", 9000, 1000, "gpu_memset"),
        ],
    )
    assert main(["profile", trace]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["9.00", "ms", "in", "all,", "4", "launches"]
    found = {line.split("%")[1].strip(): line.split()[0] for line in lines[1:6]}
    assert found == {
        "ternary products": "3.00",
        "attention": "2.00",
        "norms and quantisers": "1.50",
        "other element-wise": "1.00",
        "idle": "2.00",  # 4000-5000 and 8000-9000
    }
    assert "1 x  wf::kernels::gemm_s8_kernel<256>" in lines[7]


def test_what_is_no_trace_is_said_so(tmp_path, capsys):
    for text in ("", "{}", '{"traceEvents": []}'):
        file = tmp_path / "trace.json"
        file.write_text(text)
        assert main(["profile", str(file)]) == 1
        assert str(file) in capsys.readouterr().err
    assert main(["profile", str(tmp_path / "none.json")]) == 1

"""xllamacpp's server as a program: the few options of llama-server that `wf serve` passes on."""

import argparse
import signal
import sys

import xllamacpp


def main() -> int:
    parser = argparse.ArgumentParser(prog="wf.xllamacpp_server", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--threads-batch", type=int, required=True)
    parser.add_argument("--ctx-size", type=int, default=0)
    parser.add_argument("--cache-type-k", choices=["f32"])
    parser.add_argument("--cache-type-v", choices=["f32"])
    parser.add_argument("--flash-attn", choices=["off"])
    options = parser.parse_args()

    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.n_parallel = options.parallel
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads_batch
    parameters.n_ctx = options.ctx_size
    if options.cache_type_k:
        parameters.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
    if options.cache_type_v:
        parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    if options.flash_attn:
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before the engine's threads start
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    signal.sigwait(signals)
    del server
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

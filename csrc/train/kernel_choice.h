// Which kernels serve a run: one explicit choice, made and told at the start.
#pragma once
#include "nn/decoder.h"
#include "train/hardware.h"
#include "train/run_config.h"

namespace wf {

struct KernelChoice {
  Int8 int8;
  std::string text;  // for the log: what serves which operation, or why the reference path does
};

// deterministic=true: the same bits in every run on a GPU. Call before anything runs there.
void require_deterministic_operations();

KernelChoice choose_kernels(const RunConfig& config, const Hardware& hardware,
                            const DecoderConfig& model);

}  // namespace wf

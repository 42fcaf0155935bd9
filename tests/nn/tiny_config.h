// A model small enough to train in milliseconds, of sides that the kernels serve.
#pragma once
#include "shape/decoder_config.h"

namespace wf {

inline DecoderConfig tiny_config() {
  DecoderConfig c;
  c.vocab_size = 64;
  c.hidden_size = 64;
  c.intermediate_size = 128;
  c.num_layers = 2;
  c.num_heads = 2;
  c.num_kv_heads = 1;
  c.head_dim = 32;
  c.max_positions = 64;
  c.sub_norm = true;
  return c;
}

}  // namespace wf

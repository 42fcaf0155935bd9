// How rotary position embeddings are stretched beyond the context of pre-training.
#pragma once

namespace wf {

// Llama 3.1's rescaling of low frequencies; linear divides every frequency by `factor`.
struct RopeScaling {
  enum class Kind { kLinear, kLlama3 };
  Kind kind = Kind::kLinear;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // kLlama3
  double original_context = 8192;                    // kLlama3
};

// The frequency of a pair after scaling, from the one before: θ^(−2i/head_dim).
double scaled_frequency(double frequency, const RopeScaling& scaling);

}  // namespace wf

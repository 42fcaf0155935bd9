// Held-out loss.
#pragma once
#include "data/held_out.h"
#include "nn/decoder.h"
#include "parallel/context.h"

namespace wf {

// Mean cross-entropy in nats over the held-out rows of all ranks, at quantisation strength `quant`
// (0 full precision, 1 ternary). Changes nothing: no counters, no gradients.
double evaluate(Decoder& model, HeldOut& held_out, double quant, ParallelContext& parallel);

}  // namespace wf

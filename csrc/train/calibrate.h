// Gains for freshly inserted sub-norms, so that at λ = 0 the model stays close to the one it was
// made of.
#pragma once
#include "data/source.h"
#include "nn/decoder.h"
#include "parallel/context.h"
#include "train/balance.h"

namespace wf {

// Closed form: for every channel the least-squares gain g that makes g·norm(a·x) closest to x, x
// being what `original` feeds its o_proj and down_proj on the next `rows` sequences of `data`, and
// a the `scales` by which the student's channels differ from it.
void fit_gains(Decoder& student, Decoder& original, const ChannelScales& scales, DataSource& data,
               int64_t rows, ParallelContext& parallel);

// Then: the gains alone, trained for `steps` steps of KL(original ‖ student) at λ = 0, by AdamW
// with a learning rate that falls along a cosine. Reports its loss now and then.
void train_gains(Decoder& student, Decoder& original, DataSource& data, int64_t steps, double lr,
                 ParallelContext& parallel);

}  // namespace wf

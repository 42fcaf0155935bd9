// Who has to load the result in the end, and what they cannot: found out before any money is spent.
#pragma once
#include <string>
#include <vector>

#include "shape/decoder_config.h"
#include "train/run_config.h"

namespace wf {

// Sentences saying why `target` cannot load a ternary model of this shape, each with the way out;
// empty when it can.
std::vector<std::string> target_problems(const DecoderConfig& config, Target target);

// Throws Error with all of them.
void require_target(const DecoderConfig& config, Target target);

}  // namespace wf

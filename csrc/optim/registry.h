// The optimizers a configuration can name.
#pragma once
#include <vector>

#include "config/registry.h"
#include "optim/optimizer.h"

namespace wf {

const config::Registry<Optimizer, std::vector<Parameter>>& optimizers();

}  // namespace wf

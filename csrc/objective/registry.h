// The objectives a configuration can name.
#pragma once
#include "config/registry.h"
#include "objective/objective.h"

namespace wf {

const config::Registry<Objective>& objectives();

}  // namespace wf

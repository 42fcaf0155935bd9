// The formats a configuration can name.
#pragma once
#include "config/registry.h"
#include "exporter/exporter.h"

namespace wf {

const config::Registry<Exporter>& exporters();

}  // namespace wf

// The data sources a configuration can name.
#pragma once
#include "config/registry.h"
#include "data/data_shape.h"
#include "data/source.h"

namespace wf {

const config::Registry<DataSource, const DataShape&>& data_sources();

}  // namespace wf

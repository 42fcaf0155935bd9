// Writes what was planned: tensor by tensor from the folder's mapping, on all threads.
#pragma once
#include "gguf/gguf_plan.h"

namespace wf {

// The file appears only when complete; with TL1 or TL2 a kernel_config.ini is beside it then.
// `sync`: flushed to the disk first. Memory: some MB a thread, and for I2_S,
// TL1 and TL2 one matrix.
void write_gguf(const GgufPlan& plan, const HfFolder& folder, const std::filesystem::path& path,
                bool sync, const ShowProgress& progress);

}  // namespace wf

#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "formats/stored_tensor.h"

namespace wf {

// Writes tensors one at a time: no value is held longer than its bytes take to be written. The
// bytes equal those of the `safetensors` package. Not atomic: callers write into a folder that is
// renamed when complete. `transformers` wants the metadata "format": "pt".
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<WritableTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace wf

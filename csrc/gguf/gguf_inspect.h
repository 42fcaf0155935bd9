// What is in a GGUF file, for a person.
#pragma once
#include <filesystem>
#include <iosfwd>

namespace wf {

// Metadata, then every tensor with type, shape and, of ternary matrices, the share of zeros and the
// scale.
void inspect_gguf(const std::filesystem::path& path, std::ostream& out);

}  // namespace wf

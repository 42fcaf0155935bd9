#include "formats/json.h"

#include "base/error.h"
#include "base/file.h"

namespace wf {

nlohmann::json read_json(const std::filesystem::path& path) {
  try {
    return nlohmann::json::parse(read_text(path));
  } catch (const nlohmann::json::exception& problem) {
    fail("{}: not valid JSON: {}", path.string(), problem.what());
  }
}

nlohmann::json read_json_or_empty(const std::filesystem::path& path) {
  return std::filesystem::is_regular_file(path) ? read_json(path) : nlohmann::json::object();
}

void write_json(const std::filesystem::path& path, const nlohmann::json& value) {
  write_text(path, value.dump(2) + "\n");
}

}  // namespace wf

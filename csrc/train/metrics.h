// run/<name>/metrics.jsonl: one JSON object a line, appended; a resumed run writes on, the last
// line of a step counts.
#pragma once
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace wf {

class Metrics {
 public:
  // `active` is false on ranks that do not narrate: they write nothing.
  Metrics(const std::filesystem::path& file, bool active);

  // Adds "kind" and writes the line out at once. Kinds: start, train, eval, layers, end.
  void write(const char* kind, nlohmann::ordered_json values);

 private:
  std::ofstream out_;
};

}  // namespace wf

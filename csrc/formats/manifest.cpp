#include "formats/manifest.h"

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"

namespace wf {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {
constexpr auto kManifest = "manifest.json";
}

void write_manifest(const fs::path& folder, int64_t step, std::optional<double> loss) {
  json files = json::object();
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      files[entry.path().lexically_relative(folder).string()] = {
          {"bytes", entry.file_size()}, {"sha256", sha256_hex_of_file(entry.path())}};
  write_json(folder / kManifest,
             {{"step", step}, {"loss", loss ? json(*loss) : json()}, {"files", files}});
}

CheckpointManifest read_manifest(const fs::path& folder) {
  if (!fs::exists(folder / kManifest))
    fail("{}: has no {}, so it was never completed", folder.string(), kManifest);
  const json text = read_json(folder / kManifest);
  try {
    CheckpointManifest manifest;
    manifest.step = text.at("step").get<int64_t>();
    if (!text.at("loss").is_null()) manifest.loss = text.at("loss").get<double>();
    for (const auto& [name, file] : text.at("files").items())
      manifest.files[name] = {file.at("bytes").get<uint64_t>(),
                              file.at("sha256").get<std::string>()};
    return manifest;
  } catch (const json::exception& problem) {
    fail("{}/{}: is not the manifest of a checkpoint: {}", folder.string(), kManifest,
         problem.what());
  }
}

}  // namespace wf

#include "checkpoint/leftovers.h"

#include <string>
#include <vector>

namespace wf {
namespace fs = std::filesystem;

void set_aside(const fs::path& folder, std::string_view suffix) {
  const fs::path target = folder.string() + std::string(suffix);
  fs::remove_all(target);
  fs::rename(folder, target);
}

void remove_folder(const fs::path& folder) {
  set_aside(folder, ".deleted");
  fs::remove_all(folder.string() + ".deleted");
}

void remove_leftovers(const fs::path& parent) {
  if (!fs::exists(parent)) return;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(parent)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".partial" || extension == ".deleted") leftovers.push_back(entry.path());
  }
  for (const auto& leftover : leftovers) fs::remove_all(leftover);
}

}  // namespace wf

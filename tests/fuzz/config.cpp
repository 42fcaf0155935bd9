#include <cstdlib>

#include "base/file.h"
#include "tests/base/temporary_folder.h"
#include "tests/config/example.h"
#include "tests/fuzz/target.h"

// What is read is printed and read again, and has to be the same.
void wf::fuzz::read_all(const std::filesystem::path& file) {
  static const TemporaryFolder folder;  // `extends:` looks for files beside this one
  std::filesystem::remove(folder / "a.yaml");
  folder.write("a.yaml", read_text(file));
  const auto config = config::load<example::RunConfig>(folder / "a.yaml", {"optim.lr=0.5"});
  const std::string text = config::print_config(config);
  if (config::print_config(config::parse<example::RunConfig>(text)) != text) std::abort();
}

// The independent truth: what the Python packages say.
#pragma once
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace wf::test {

// Runs a script in the pinned Python environment and returns what it printed.
inline std::string python(const std::string& script, const std::filesystem::path& folder) {
  std::ofstream(folder / "script.py") << script;
  const std::string command =
      "cd '" + folder.string() + "' && '" WF_PYTHON "' script.py 2>stderr.txt";
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  std::array<char, 4096> part;
  while (const std::size_t size = std::fread(part.data(), 1, part.size(), pipe))
    output.append(part.data(), size);
  EXPECT_EQ(pclose(pipe), 0) << std::ifstream(folder / "stderr.txt").rdbuf();
  return output;
}

}  // namespace wf::test

// JSON files, with errors that name the file.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>

namespace wf {

nlohmann::json read_json(const std::filesystem::path& path);
nlohmann::json read_json_or_empty(const std::filesystem::path& path);  // {} where there is no file

// Two-space indent, keys sorted, written aside and renamed.
void write_json(const std::filesystem::path& path, const nlohmann::json& value);

}  // namespace wf

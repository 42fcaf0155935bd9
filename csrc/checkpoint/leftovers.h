// Folders on their way in or out.
#pragma once
#include <filesystem>
#include <string_view>

namespace wf {

// Renames `folder` to itself + `suffix`, in one step; an older one of that name is removed first.
void set_aside(const std::filesystem::path& folder, std::string_view suffix);

// Removes a folder so that a part of it is never taken for the whole: renamed to .deleted first.
void remove_folder(const std::filesystem::path& folder);

// Removes what an interrupted writing (.partial) or removal (.deleted) left in `parent`.
void remove_leftovers(const std::filesystem::path& parent);

}  // namespace wf

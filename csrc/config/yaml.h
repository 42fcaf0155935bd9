// YAML text to tree and back. Of YAML: maps, lists and scalars in any style. Not: anchors and
// aliases, tags, several documents. To share lines between files there is `extends:`.
#pragma once
#include <string>
#include <string_view>

#include "config/problems.h"
#include "config/tree.h"

namespace wf::config {

// `file` names the text in messages. A key written twice is added to `problems`; text that is not
// YAML throws Error.
Tree parse_yaml(const std::string& text, const std::string& file, Problems& problems);

// Block style, one key a line; lists of scalars on one line. Parsing the result gives an equal
// tree.
std::string to_yaml(const Tree& tree);

// Whether the tree is written on one line: a scalar, null, a list of those, an empty map.
bool is_flow(const Tree& tree);
std::string to_flow(const Tree& tree);

std::string quote(const std::string& text);  // in double quotes, on one line

}  // namespace wf::config

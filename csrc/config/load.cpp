#include "config/load.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace wf::config {
namespace fs = std::filesystem;

namespace {

constexpr std::uintmax_t kMaxBytes = 1 << 20;  // a larger file is data named by mistake

// `chain`: the files that extend this one, outermost first.
Tree load_file(const fs::path& file, std::vector<fs::path> chain, Problems& problems) {
  if (std::error_code error; fs::file_size(file, error) > kMaxBytes && !error)
    fail("{}: larger than 1 MiB; is this a configuration?", file.string());
  Tree own = parse_yaml(read_text(file), file.string(), problems);
  chain.push_back(fs::weakly_canonical(file));
  const auto at = std::find(own.keys.begin(), own.keys.end(), "extends") - own.keys.begin();
  if (at == std::ssize(own.keys)) return own;

  const Tree extends = own.items[at];
  own.keys.erase(own.keys.begin() + at);
  own.items.erase(own.items.begin() + at);
  const std::string where = extends.origin.str() + ": extends";
  if (extends.kind != Tree::Kind::kScalar)
    fail("{}: expected the path of one file, got {}", where, describe(extends));
  const fs::path parent = (file.parent_path() / extends.scalar).lexically_normal();
  if (std::error_code error; !fs::is_regular_file(parent, error))
    fail("{}: there is no file {}", where, parent.string());
  if (std::find(chain.begin(), chain.end(), fs::weakly_canonical(parent)) != chain.end())
    fail("{}: {} already extends this file: a circle", where, parent.string());

  Tree merged = load_file(parent, std::move(chain), problems);
  if (merged.kind == Tree::Kind::kNull) merged.kind = Tree::Kind::kMap;
  merged.origin = own.origin;  // a required key is missing here, not in the parent
  if (own.kind == Tree::Kind::kMap) merge(merged, own);
  return merged;
}

// Sets the part of `root` that "a.b[0].c" leads to; sections on the way appear when they are
// missing.
void assign(Tree& root, const std::string& key, Tree value, Problems& problems) {
  const Origin origin{std::string(kCommandLine)};
  const auto path = split_path(key);
  auto step = path.begin();
  Tree* at = &root;
  for (; step != path.end(); ++step) {
    Tree* found = child(*at, *step);
    if (!found) break;
    at = found;
  }
  // What is not there yet must fit in where the way ends, and can only be sections.
  if (step != path.end() && at->kind != Tree::Kind::kMap && at->kind != Tree::Kind::kNull)
    return problems.add(origin, key, fmt::format("{} has no '{}'", describe(*at), *step));
  if (std::any_of(step, path.end(), [](std::string_view s) { return s.starts_with('['); }))
    return problems.add(origin, key, "the list is not in the file; write all of it");
  for (; step != path.end(); ++step) {
    at->kind = Tree::Kind::kMap;
    Tree empty;
    empty.origin = origin;
    at->insert(*step, std::move(empty));
    at = &at->items.back();
  }
  merge(*at, value);
}

// `kind` is merged with its section, so that the old kind's options go.
void apply_override(Tree& root, const std::string& text, Problems& problems) {
  const Origin origin{std::string(kCommandLine)};
  const auto equals = text.find('=');
  if (equals == text.npos || equals == 0) return problems.add(origin, text, "expected key=value");
  std::string key = text.substr(0, equals);
  Tree value;
  try {
    value = parse_yaml(text.substr(equals + 1), std::string(kCommandLine), problems);
  } catch (const Error& error) {
    return problems.add(origin, key,
                        std::string_view(error.what()).substr(kCommandLine.size() + 2));
  }
  if (key.ends_with(".kind")) {
    Tree section = Tree::map();
    section.origin = origin;
    section.insert("kind", std::move(value));
    value = std::move(section);
    key.resize(key.size() - std::string_view(".kind").size());
  }
  assign(root, key, std::move(value), problems);
}

}  // namespace

Tree load_tree(const fs::path& file, const std::vector<std::string>& overrides,
               Problems& problems) {
  Tree tree = load_file(file, {}, problems);
  for (const std::string& text : overrides) apply_override(tree, text, problems);
  return tree;
}

std::string help_table(const Help& help, std::string_view section) {
  std::vector<HelpLine> lines;
  std::vector<std::string> keys;
  for (const HelpLine& line : help.lines) {
    keys.push_back(line.key);
    keys.push_back(line.key.substr(0, line.key.rfind('.')));  // its section, which may have no line
    const auto next = section.size();
    if (section.empty() ||
        (line.key.starts_with(section) &&
         (line.key.size() == next || line.key[next] == '.' || line.key[next] == '[')))
      lines.push_back(line);
  }
  if (lines.empty())
    fail("there is no section or option '{}'{}", section, suggestion(section, keys));
  lines.insert(lines.begin(), {"key", "type", "default", "help"});

  std::size_t key = 0, type = 0, value = 0;
  for (const HelpLine& line : lines) {
    key = std::max(key, line.key.size());
    type = std::max(type, line.type.size());
    value = std::max(value, line.value.size());
  }
  std::string out;
  for (const HelpLine& line : lines) {
    std::string row = fmt::format("{:<{}}  {:<{}}  {:<{}}  {}", line.key, key, line.type, type,
                                  line.value, value, line.help);
    row.erase(row.find_last_not_of(' ') + 1);
    out += row + "\n";
  }
  return out;
}

std::string Change::str() const { return fmt::format("{}: {} -> {}", key, before, after); }

std::vector<Change> changes(const Tree& before, const Tree& after) {
  const std::string absent = "(absent)";
  const auto old_leaves = flatten(before), new_leaves = flatten(after);
  auto text = [&](const std::vector<Leaf>& leaves, const std::string& key) {
    for (const Leaf& leaf : leaves)
      if (leaf.key == key) return leaf.text;
    return absent;
  };
  std::vector<Change> out;
  for (const Leaf& leaf : new_leaves)
    if (const auto was = text(old_leaves, leaf.key); was != leaf.text)
      out.push_back({leaf.key, was, leaf.text});
  for (const Leaf& leaf : old_leaves)
    if (text(new_leaves, leaf.key) == absent) out.push_back({leaf.key, leaf.text, absent});
  return out;
}

}  // namespace wf::config

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <optional>
#include <sstream>
#include <unordered_set>

#include "base/error.h"
#include "config/yaml.h"

namespace wf::config {
namespace {

constexpr std::size_t kMaxDepth = 64;  // recursion over a tree stays far from the end of the stack

Origin place(const std::string& file, int line) { return {file, file == kCommandLine ? 0 : line}; }

// Builds the tree from the parser's events. The parser's own node type would lose quotes, follow
// aliases into cycles and merge keys that are written twice.
class Builder : public YAML::EventHandler {
 public:
  Builder(const std::string& file, Problems& problems) : file_(file), problems_(problems) {}

  Tree take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) refuse(mark, "one document per file, please: a second one starts here");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check(mark, "?", anchor);
    if (wants_key()) refuse(mark, "a key is missing before ':'");
    add(make(Tree::Kind::kNull, mark));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "anchors (&) and aliases (*) are not supported; write the value out");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check(mark, tag, anchor);
    if (wants_key()) return begin_key(mark, value);
    Tree scalar = make(Tree::Kind::kScalar, mark);
    scalar.scalar = value;
    scalar.quoted = tag == "!";
    add(std::move(scalar));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Tree::Kind::kList);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Tree::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {  // a list or map that is not complete yet
    Tree tree;
    std::optional<std::string> key;  // its value comes next
    Origin key_origin;
    std::unordered_set<std::string> seen;
  };

  Origin origin(const YAML::Mark& mark) const { return place(file_, mark.line + 1); }

  [[noreturn]] void refuse(const YAML::Mark& mark, std::string_view what) const {
    fail("{}: {}", origin(mark).str(), what);
  }

  void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != 0) OnAnchor(mark);
    if (tag != "?" && tag != "!" && !tag.empty())
      refuse(mark, "tags (!) are not supported; leave it out");
  }

  void OnAnchor(const YAML::Mark& mark) const {
    refuse(mark, "anchors (&) and aliases (*) are not supported; write the value out");
  }

  Tree make(Tree::Kind kind, const YAML::Mark& mark) const {
    Tree tree;
    tree.kind = kind;
    tree.origin = origin(mark);
    return tree;
  }

  bool wants_key() const {
    return !open_.empty() && open_.back().tree.kind == Tree::Kind::kMap && !open_.back().key;
  }

  void begin_key(const YAML::Mark& mark, const std::string& name) {
    if (name.empty() || name.find_first_of("\n\t") != name.npos) refuse(mark, "a key is a word");
    open_.back().key = name;
    open_.back().key_origin = origin(mark);
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            Tree::Kind kind) {
    check(mark, tag, anchor);
    if (wants_key())
      refuse(mark, "a key is a word, not a list or a section (or is a bracket not closed?)");
    if (open_.size() == kMaxDepth) refuse(mark, "nested too deeply");
    open_.push_back({make(kind, mark), {}, {}, {}});
  }

  void close() {
    Tree done = std::move(open_.back().tree);
    open_.pop_back();
    add(std::move(done));
  }

  void add(Tree value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& frame = open_.back();
    if (frame.tree.kind == Tree::Kind::kList) {
      frame.tree.items.push_back(std::move(value));
      return;
    }
    value.origin = frame.key_origin;  // messages point at the key
    const std::string key = std::move(*frame.key);
    frame.key.reset();
    if (frame.seen.insert(key).second)
      frame.tree.insert(key, std::move(value));
    else
      problems_.add(value.origin, key, "written twice in one section");
  }

  const std::string& file_;
  Problems& problems_;
  Tree root_;
  std::vector<Frame> open_;
  int documents_ = 0;
};

// The parser takes 0x04 for the end of the file and guesses UTF-16 from zero bytes.
void refuse_control_characters(const std::string& text, const std::string& file) {
  int line = 1;
  for (const unsigned char c : text) {
    if (c == '\n') ++line;
    if (c < 0x20 && c != '\n' && c != '\t' && c != '\r')
      fail("{}: a control character (0x{:02x}); is this a YAML file?", place(file, line).str(), c);
  }
}

}  // namespace

Tree parse_yaml(const std::string& text, const std::string& file, Problems& problems) {
  refuse_control_characters(text, file);
  Builder builder(file, problems);
  try {
    std::istringstream in(text);
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    fail("{}: not to be read as YAML: {}", place(file, error.mark.line + 1).str(), error.msg);
  }
  Tree tree = builder.take();
  if (tree.origin.file.empty()) tree.origin = place(file, 1);
  return tree;
}

}  // namespace wf::config

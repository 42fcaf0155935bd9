#include "config/yaml.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/config/example.h"

namespace wf::config {
namespace {

Tree parse_text(const std::string& text) {
  Problems problems;
  Tree tree = parse_yaml(text, "a.yaml", problems);
  problems.throw_if_any();
  return tree;
}

std::string complaint_about(const std::string& text) {
  return example::complaint([&] { parse_text(text); });
}

TEST(Yaml, RemembersLinesAndQuotes) {
  const Tree tree =
      parse_text("# a comment\na: 1\nb:\n  - x\n  - 'y'\nc: \"2\"\nd: |\n  two\n  lines\n");
  EXPECT_EQ(tree.find("a")->origin.str(), "a.yaml:2");
  EXPECT_EQ(tree.find("b")->origin.str(), "a.yaml:3");
  EXPECT_EQ(tree.find("b")->items[1].origin.str(), "a.yaml:5");
  EXPECT_FALSE(tree.find("a")->quoted);
  EXPECT_FALSE(tree.find("b")->items[0].quoted);
  EXPECT_TRUE(tree.find("b")->items[1].quoted);
  EXPECT_TRUE(tree.find("c")->quoted);
  EXPECT_EQ(tree.find("d")->scalar, "two\nlines\n");
}

TEST(Yaml, RefusesWhatItDoesNotRead) {
  const std::string anchors = "anchors (&) and aliases (*) are not supported; write the value out";
  EXPECT_EQ(complaint_about("a: &x 1\nb: *x\n"), "a.yaml:1: " + anchors);
  EXPECT_EQ(complaint_about("a: &x [*x]\n"), "a.yaml:1: " + anchors);
  EXPECT_EQ(complaint_about("a: !!str 1\n"), "a.yaml:1: tags (!) are not supported; leave it out");
  EXPECT_EQ(complaint_about("a: 1\n---\nb: 2\n"),
            "a.yaml:2: one document per file, please: a second one starts here");
  EXPECT_EQ(complaint_about("{[a]: 1}"),
            "a.yaml:1: a key is a word, not a list or a section (or is a bracket not closed?)");
  EXPECT_EQ(complaint_about("~: 1"), "a.yaml:1: a key is missing before ':'");
  EXPECT_EQ(complaint_about("a: 1\nb: \x04\nc: 2"),
            "a.yaml:2: a control character (0x04); is this a YAML file?");
  EXPECT_EQ(complaint_about("a: [1, 2"),
            "a.yaml:1: not to be read as YAML: end of sequence flow not found");
}

TEST(Yaml, AKeyWrittenTwiceIsAProblem) {
  EXPECT_EQ(complaint_about("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n"),
            "a.yaml:4: c: written twice in one section\n"
            "a.yaml:5: a: written twice in one section");
}

TEST(Yaml, DeepNestingIsRefusedBeforeTheStackEnds) {
  EXPECT_EQ(complaint_about(std::string(100000, '[') + std::string(100000, ']')),
            "a.yaml:1: nested too deeply");
  std::string sections;
  for (int i = 0; i < 1000; ++i) sections += std::string(i, ' ') + "a:\n";
  EXPECT_EQ(complaint_about(sections), "a.yaml:65: nested too deeply");
  EXPECT_EQ(complaint_about(std::string(60, '[') + std::string(60, ']')), "no complaint");
}

TEST(Yaml, TextIsQuotedExactlyWhenItWouldReadAsSomethingElse) {
  auto printed = [](const std::string& text) { return to_flow(Tree::text(text)); };
  for (const char* bare : {"cross_entropy", "run/smollm2 135m", "a-b_c.yaml", "me@host", "/tmp/x",
                           "../x", "v1.58", "x"})
    EXPECT_EQ(printed(bare), bare);
  EXPECT_EQ(printed(""), "\"\"");
  EXPECT_EQ(printed("null"), "\"null\"");
  EXPECT_EQ(printed("True"), "\"True\"");
  EXPECT_EQ(printed("no"), "\"no\"");
  EXPECT_EQ(printed("1.5e3"), "\"1.5e3\"");
  EXPECT_EQ(printed("2024-01-01"), "\"2024-01-01\"");
  EXPECT_EQ(printed("..."), "\"...\"");
  EXPECT_EQ(printed("-x"), "\"-x\"");
  EXPECT_EQ(printed(" x"), "\" x\"");
  EXPECT_EQ(printed("x "), "\"x \"");
  EXPECT_EQ(printed("a: b"), "\"a: b\"");
  EXPECT_EQ(printed("a #b"), "\"a #b\"");
  EXPECT_EQ(printed("[a"), "\"[a\"");
  EXPECT_EQ(printed("say \"hi\"\\\n\t\x01"), "\"say \\\"hi\\\"\\\\\\n\\t\\x01\"");
  EXPECT_EQ(printed("Größe"), "\"Größe\"");
}

TEST(Yaml, NumbersPrintInFullAndReadBackTheSame) {
  auto printed = [](double value) { return to_flow(Codec<double>::write(value)); };
  EXPECT_EQ(printed(3e-4), "0.0003");
  EXPECT_EQ(printed(1e-5), "1.0e-05");
  EXPECT_EQ(printed(1), "1.0");
  EXPECT_EQ(printed(1e22), "1.0e+22");
  EXPECT_EQ(printed(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(to_flow(Codec<float>::write(0.1f)), "0.1");
}

TEST(Yaml, PathsLeadIntoListsAndSections) {
  EXPECT_EQ(split_path("a.b[2][0].c"),
            (std::vector<std::string_view>{"a", "b", "[2]", "[0]", "c"}));
  Tree tree = parse_text("a:\n  b:\n    - x\n    - c: 1\n");
  EXPECT_EQ(origin_of(tree, "a.b[1].c").str(), "a.yaml:4");
  EXPECT_EQ(origin_of(tree, "a.b[1].d").str(), "a.yaml:4");
  EXPECT_EQ(origin_of(tree, "a.b[7].d").str(), "a.yaml:2");
  EXPECT_EQ(origin_of(tree, "z").str(), "a.yaml:1");
}

}  // namespace
}  // namespace wf::config

#include "config/field.h"

#include <gtest/gtest.h>

#include "tests/config/example.h"

// What the field list asks of the compiler is checked by the compiler.
namespace wf::config {
namespace {

enum class Letter { kA };
struct Inner {
  int x = 1;
  std::string y;
};
struct Many {
  std::optional<double> first;
  bool a = true;
  std::string b;
  std::filesystem::path c;
  std::vector<int> d;
  Letter e = Letter::kA;
  Inner f;
  std::vector<Inner> g;
  std::optional<std::string> h;
  std::optional<Inner> i;
  int64_t j = 0;
  Choice<example::objectives> k{"cross_entropy"};
  float l = 0;
  uint32_t m = 0;
  Choice<example::objectives> n;
  std::vector<std::vector<double>> o;
  std::vector<bool> p;
  std::optional<std::vector<int>> q;
  double r = 0, s = 0, t = 0, u = 0, v = 0, w = 0;
  std::vector<Choice<example::objectives>> last;
};
static_assert(detail::member_count<Many>() == 25);
static_assert(detail::member_count<Inner>() == 2);
static_assert(detail::member_name<&Many::k>() == "k");
static_assert(detail::member_name<&Many::first>() == "first");
static_assert(detail::member_name<&Inner::x>() == "x");

template <class T>
struct Only {
  T value;
};
static_assert(detail::member_count<Only<bool>>() == 1);
static_assert(detail::member_count<Only<std::string>>() == 1);
static_assert(detail::member_count<Only<std::optional<double>>>() == 1);
static_assert(detail::member_count<Only<std::vector<Inner>>>() == 1);
static_assert(detail::member_count<Only<std::vector<std::string>>>() == 1);
static_assert(detail::member_count<Only<Choice<example::objectives>>>() == 1);
static_assert(detail::member_name<&Only<std::string>::value>() == "value");

struct Nothing {
  static constexpr auto fields() { return config::fields<Nothing>(); }
};
static_assert(detail::member_count<Nothing>() == 0);
static_assert(Section<Nothing> && !Section<Inner>);

struct Wide {
  std::vector<int> a;
  std::optional<int> b;
  int c = 3, d = 4, e = 5, f = 6, g = 7, h = 8, i = 9, j = 10, k = 11, l = 12, m = 13, n = 14;
  Nothing o;
  std::vector<Nothing> p;
  std::optional<std::vector<double>> q;
  std::vector<std::vector<double>> r;
  std::vector<bool> s;
  uint8_t t = 20;
  std::optional<double> u;
  static constexpr auto fields() {
    using C = Wide;
    return config::fields<C>(field<&C::a>(""), field<&C::b>(""), field<&C::c>(""), field<&C::d>(""),
                             field<&C::e>(""), field<&C::f>(""), field<&C::g>(""), field<&C::h>(""),
                             field<&C::i>(""), field<&C::j>(""), field<&C::k>(""), field<&C::l>(""),
                             field<&C::m>(""), field<&C::n>(""), field<&C::o>(""), field<&C::p>(""),
                             field<&C::q>(""), field<&C::r>(""), field<&C::s>(""), field<&C::t>(""),
                             field<&C::u>(""));
  }
};

TEST(Field, SectionsOfTwentyMembersReadAndPrint) {
  const std::string text =
      "a: [1]\nb: null\nc: 3\nd: 4\ne: 5\nf: 6\ng: 7\nh: 8\ni: 9\nj: 10\nk: 11\nl: 12\nm: 13\n"
      "n: 14\no: {}\np: [{}, {}]\nq: [0.5]\nr: [[1.0, 2.0], []]\ns: [true, false]\nt: 200\n"
      "u: 2.5\n";
  EXPECT_EQ(print_config(parse<Wide>(text)), text);
}

TEST(Field, NumbersThatDoNotFitTheMemberAreRefused) {
  EXPECT_EQ(example::complaint([] { parse<Wide>("t: 256", "a.yaml"); }),
            "a.yaml:1: t: expected a whole number from 0 to 255, got '256'");
  EXPECT_EQ(example::complaint([] { parse<Wide>("t: -1", "a.yaml"); }),
            "a.yaml:1: t: expected a whole number from 0 to 255, got '-1'");
}

}  // namespace
}  // namespace wf::config

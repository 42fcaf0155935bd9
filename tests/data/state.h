// A source's state by name, on its way into another source.
#pragma once
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "data/source.h"

namespace wf::test {

class Saved : public StateVisitor {
 public:
  explicit Saved(DataSource& source) { source.state(*this); }

  void load_into(DataSource& source) {
    loading_ = true;
    left_ = values_.size();
    source.state(*this);
    EXPECT_EQ(left_, 0u);
  }
  std::size_t size() const { return values_.size(); }

  void operator()(const std::string& name, int64_t& value) override {
    if (loading_) {
      value = values_.at(name);
      --left_;
    } else {
      EXPECT_TRUE(values_.emplace(name, value).second) << name << " was visited twice";
    }
  }
  void operator()(const std::string& name, torch::Tensor&) override { FAIL() << name; }
  void operator()(const std::string& name, double&) override { FAIL() << name; }

 private:
  bool loading_ = false;
  std::size_t left_ = 0;
  std::map<std::string, int64_t> values_;
};

}  // namespace wf::test

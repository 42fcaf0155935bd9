#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace wf::test {

// Runs `action`, which must throw wf::Error with a text that contains every one of `parts`.
template <class Action>
void expect_error(Action&& action, const std::initializer_list<std::string>& parts) {
  try {
    action();
  } catch (const Error& error) {
    for (const auto& part : parts) EXPECT_THAT(error.what(), testing::HasSubstr(part));
    return;
  }
  ADD_FAILURE() << "nothing was thrown; expected an error about " << *parts.begin();
}

}  // namespace wf::test

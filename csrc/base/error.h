// The one exception type. Its text is a sentence a user can act on: what, where, what to do.
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace wf {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace wf

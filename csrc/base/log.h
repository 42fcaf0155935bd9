// What a person reads. Rank 0 narrates; the other ranks speak only to fail.
#pragma once
#include <fmt/format.h>

#include <string_view>

namespace wf::log {

// Whether this process narrates; set once by main. Failures are printed whatever it is.
void set_narrating(bool narrating);
bool is_terminal();  // standard error is one

void line(std::string_view text);  // one line on standard error; ends a live line first
void live(std::string_view text);  // rewrites the last line of a terminal, as far as it fits
                                   // (ASCII); nothing in a file

template <class... Args>
void say(fmt::format_string<Args...> text, Args&&... args) {
  line(fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace wf::log

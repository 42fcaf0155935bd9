// Work on all cores.
#pragma once
#include <cstdint>
#include <functional>

namespace wf {

// action(0), ..., action(count − 1), each once, in no order and on as many threads as there are
// cores; returns when all are done. An action must not call parallel_for. What an action throws is
// thrown here, and those that have not begun are left out. One caller at a time.
void parallel_for(int64_t count, const std::function<void(int64_t)>& action);

}  // namespace wf

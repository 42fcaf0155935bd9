// Binary search among items that lie one after another.
#pragma once

namespace wf::kernels {

// Index of the last of `count` items whose first() is at most `position`.
template <class First>
__device__ __forceinline__ int last_starting_at(int count, int position, First first) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (first(middle) <= position) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace wf::kernels

#pragma once

namespace wf {

// Of the gated feed-forward half.
enum class Activation { kSilu, kRelu2 };  // relu2(x) = max(x, 0)²

}  // namespace wf

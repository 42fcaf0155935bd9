#include "data/snapshot.h"

namespace wf {
namespace {

// Both walk the same values, because a source visits the same ones in the same order.
template <class Action>
class EachValue : public StateVisitor {
 public:
  explicit EachValue(Action action) : action_(action) {}
  void operator()(const std::string&, torch::Tensor& value) override { action_(value); }
  void operator()(const std::string&, int64_t& value) override { action_(value); }
  void operator()(const std::string&, double& value) override { action_(value); }

 private:
  Action action_;
};

}  // namespace

Snapshot::Snapshot(DataSource& source) {
  EachValue save([this](auto& value) {
    if constexpr (std::is_same_v<decltype(value), torch::Tensor&>)
      values_.emplace_back(value.clone());  // the source goes on writing to its own
    else
      values_.emplace_back(value);
  });
  source.state(save);
}

void Snapshot::restore(DataSource& source) const {
  auto saved = values_.begin();
  EachValue load([&saved](auto& value) {
    using Value = std::remove_reference_t<decltype(value)>;
    if constexpr (std::is_same_v<Value, torch::Tensor>)
      value.copy_(std::get<Value>(*saved++));
    else
      value = std::get<Value>(*saved++);
  });
  source.state(load);
}

}  // namespace wf

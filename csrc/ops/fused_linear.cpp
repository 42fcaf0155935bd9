#include "ops/fused_linear.h"

#include <torch/torch.h>

#include "base/error.h"

#ifdef WF_CUDA
#include "kernels/rms_norm_backward.h"
#include "kernels/rms_norm_quant.h"
#include "ops/autograd.h"
#include "ops/linear_products.h"
#endif

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

#ifdef WF_CUDA

namespace {

// What a norm leaves in forward.
struct Normed {
  Tensor h;        // what was normalised: x + delta, or x itself
  NormedRows out;  // its codes; with a λ, the blend
  Tensor rstd;     // fp32 [N]
};

// Empty outputs for rows [N, width] like `like`.
Normed make_normed(const Tensor& like, int64_t width, bool blend) {
  const auto wide = like.options().dtype(torch::kFloat);
  Normed out;
  out.out.rows = torch::empty({like.size(0), width},
                              like.options().dtype(blend ? torch::kBFloat16 : torch::kChar));
  if (!blend) out.out.scale = torch::empty({like.size(0)}, wide);
  out.rstd = torch::empty({like.size(0)}, wide);
  return out;
}

Normed add_norm_forward(const Tensor& x, const std::optional<Tensor>& delta, const Tensor& gain,
                        double eps, const Tensor& lambda) {
  const bool blend = lambda.defined();
  const int rows = int(x.size(0)), width = int(x.size(1));
  Normed n = make_normed(x, width, blend);
  n.h = delta ? torch::empty_like(x) : x;
  const auto* g = gain.const_data_ptr<float>();
  const float e = float(eps);
  auto* rstd = n.rstd.data_ptr<float>();
  const auto stream = current_stream();
  if (blend) {
    const auto* l = lambda.const_data_ptr<float>();
    launched(delta ? kernels::add_rms_norm_blend(bf16(x), bf16(*delta), g, e, l, bf16(n.h),
                                                 bf16(n.out.rows), rstd, rows, width, stream)
                   : kernels::rms_norm_blend(bf16(x), g, e, l, bf16(n.out.rows), rstd, rows, width,
                                             stream),
             "rms_norm_blend");
    return n;
  }
  auto* q = n.out.rows.data_ptr<int8_t>();
  auto* s = n.out.scale.data_ptr<float>();
  launched(delta ? kernels::add_rms_norm_quant(bf16(x), bf16(*delta), g, e, bf16(n.h), q, s, rstd,
                                               rows, width, stream)
                 : kernels::rms_norm_quant(bf16(x), g, e, q, s, rstd, rows, width, stream),
           "rms_norm_quant");
  return n;
}

Tensor norm_backward_workspace(const Tensor& like) {
  return torch::empty({int64_t(kernels::rms_norm_backward_workspace_bytes())},
                      like.options().dtype(torch::kByte));
}

struct NormGradients {
  Tensor dx, dgain;
};

// `residual`: what reaches x by another way, undefined for nothing. `made_by`: whose output delta
// was.
NormGradients norm_backward(const Tensor& dn, const Tensor& h, const Tensor& rstd,
                            const Tensor& gain, const Tensor& residual, FusedLinear* made_by,
                            const Noise& noise) {
  const Tensor added = residual.defined() ? residual.contiguous() : residual;
  NormGradients out{torch::empty_like(h), torch::empty_like(gain)};
  launched(kernels::rms_norm_backward(
               bf16(dn), bf16(h), rstd.const_data_ptr<float>(), gain.const_data_ptr<float>(),
               added.defined() ? bf16(added) : nullptr, bf16(out.dx), out.dgain.data_ptr<float>(),
               false, norm_backward_workspace(h).data_ptr(), int(h.size(0)), int(h.size(1)),
               hand_over(made_by, out.dx, noise), current_stream()),
           "rms_norm_backward");
  return out;
}

kernels::GluActivation glu(Activation activation) {
  return activation == Activation::kSilu ? kernels::GluActivation::kSilu
                                         : kernels::GluActivation::kRelu2;
}

// Gradients in the order of a function's arguments: `first`, one per master, nothing for the rest.
variable_list with_weights(variable_list first, const Tensor& dw, const TernaryGroup& group,
                           size_t arguments) {
  int64_t begin = 0;
  for (const int64_t end : group.ends) first.push_back(dw.slice(0, std::exchange(begin, end), end));
  first.resize(arguments);
  return first;
}

// The masters are arguments for their gradients' sake only.
struct AddNormLinear : torch::autograd::Function<AddNormLinear> {
  static constexpr size_t kArguments = 10;

  static variable_list forward(AutogradContext* ctx, const Tensor& stream,
                               const std::optional<Tensor>& delta, const Tensor& gain,
                               const Tensor&, const std::optional<Tensor>&,
                               const std::optional<Tensor>&, double eps,
                               const FusedLinearPtr& made_by, const FusedLinearPtr& linear,
                               const FusedPass& pass) {
    const Normed n = add_norm_forward(stream, delta, gain, eps, pass.lambda);
    const Tensor y = forward_product(*linear, n.out);
    ctx->save_for_backward(
        {n.h, gain, n.rstd, n.out.rows, n.out.scale, linear->group.blend, pass.noise.counter});
    remember(ctx, "linear", linear);
    remember(ctx, "made_by", made_by);
    remember_seed(ctx, pass.noise);
    if (!delta) return {y};
    return {y, n.h};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    FusedLinear& linear = *remembered(ctx, "linear");
    const Noise noise = remembered_noise(ctx, saved[6]);
    const LinearBackward products(linear, grads[0], {saved[3], saved[4]}, saved[5], noise);
    const Tensor dw = products.weight();
    const bool has_delta = grads.size() > 1;
    const auto [dx, dgain] =
        norm_backward(products.input(), saved[0], saved[2], saved[1],
                      has_delta ? grads[1] : Tensor(), remembered(ctx, "made_by"), noise);
    return with_weights({dx, has_delta ? dx : Tensor(), dgain}, dw, linear.group, kArguments);
  }
};

struct GluNormLinear : torch::autograd::Function<GluNormLinear> {
  static constexpr size_t kArguments = 8;

  static Tensor forward(AutogradContext* ctx, const Tensor& gate_up, const Tensor& gain,
                        const Tensor&, double eps, Activation activation,
                        const FusedLinearPtr& made_by, const FusedLinearPtr& linear,
                        const FusedPass& pass) {
    const int rows = int(gate_up.size(0)), width = int(gate_up.size(1) / 2);
    const Normed n = make_normed(gate_up, width, pass.lambda.defined());
    const auto* g = gain.const_data_ptr<float>();
    auto* rstd = n.rstd.data_ptr<float>();
    if (pass.lambda.defined())
      launched(kernels::glu_norm_blend(bf16(gate_up), glu(activation), g, float(eps),
                                       pass.lambda.const_data_ptr<float>(), bf16(n.out.rows), rstd,
                                       rows, width, current_stream()),
               "glu_norm_blend");
    else
      launched(kernels::glu_norm_quant(bf16(gate_up), glu(activation), g, float(eps),
                                       n.out.rows.data_ptr<int8_t>(), n.out.scale.data_ptr<float>(),
                                       rstd, rows, width, current_stream()),
               "glu_norm_quant");
    ctx->save_for_backward(
        {gate_up, gain, n.rstd, n.out.rows, n.out.scale, linear->group.blend, pass.noise.counter});
    ctx->saved_data["activation"] = int64_t(activation);
    remember(ctx, "linear", linear);
    remember(ctx, "made_by", made_by);
    remember_seed(ctx, pass.noise);
    return forward_product(*linear, n.out);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &gate_up = saved[0], &gain = saved[1];
    FusedLinear& linear = *remembered(ctx, "linear");
    const Noise noise = remembered_noise(ctx, saved[6]);
    const LinearBackward products(linear, grads[0], {saved[3], saved[4]}, saved[5], noise);
    const Tensor dw = products.weight();
    const Tensor dn = products.input();
    FusedLinear* made_by = remembered(ctx, "made_by");
    const Tensor dgate_up = written_for(made_by, gate_up.sizes(), gate_up.options(), noise);
    Tensor dgain = torch::empty_like(gain);
    launched(kernels::glu_norm_backward(
                 bf16(dn), bf16(gate_up), glu(Activation(ctx->saved_data["activation"].toInt())),
                 saved[2].const_data_ptr<float>(), gain.const_data_ptr<float>(),
                 written_to(dgate_up), dgain.data_ptr<float>(), false,
                 norm_backward_workspace(gate_up).data_ptr(), int(gate_up.size(0)),
                 int(gate_up.size(1) / 2), hand_over(made_by, dgate_up, noise), current_stream()),
             "glu_norm_backward");
    return with_weights({dgate_up, dgain}, dw, linear.group, kArguments);
  }
};

struct AddNorm : torch::autograd::Function<AddNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& stream,
                        const std::optional<Tensor>& delta, const Tensor& gain, double eps,
                        const FusedLinearPtr& made_by, const Noise& noise) {
    const Tensor lambda = torch::zeros({1}, gain.options());
    const Normed n = add_norm_forward(stream, delta, gain, eps, lambda);
    ctx->save_for_backward({n.h, gain, n.rstd, noise.counter});
    ctx->saved_data["has_delta"] = delta.has_value();
    remember(ctx, "made_by", made_by);
    remember_seed(ctx, noise);
    return n.out.rows;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto [dx, dgain] =
        norm_backward(grads[0].contiguous(), saved[0], saved[2], saved[1], {},
                      remembered(ctx, "made_by"), remembered_noise(ctx, saved[3]));
    return {dx, ctx->saved_data["has_delta"].toBool() ? dx : Tensor(), dgain, {}, {}, {}};
  }
};

}  // namespace

ResidualAndRows add_norm_linear(const Residual& in, const Tensor& gain, double eps,
                                const FusedLinearPtr& linear, const FusedPass& pass) {
  const auto& weights = linear->group.weights;
  const auto master = [&](size_t i) {
    return i < weights.size() ? std::optional(weights[i]) : std::nullopt;
  };
  const auto out = AddNormLinear::apply(in.stream, given(in.delta), gain, weights[0], master(1),
                                        master(2), eps, in.made_by, linear, pass);
  return {in.delta.defined() ? out[1] : in.stream, out[0]};
}

Tensor glu_norm_linear(const Tensor& gate_up, const FusedLinearPtr& made_by, Activation activation,
                       const Tensor& gain, double eps, const FusedLinearPtr& linear,
                       const FusedPass& pass) {
  return GluNormLinear::apply(gate_up, gain, linear->group.weights[0], eps, activation, made_by,
                              linear, pass);
}

Tensor add_norm(const Residual& in, const Tensor& gain, double eps, const Noise& noise) {
  return AddNorm::apply(in.stream, given(in.delta), gain, eps, in.made_by, noise);
}

#else

ResidualAndRows add_norm_linear(const Residual&, const Tensor&, double, const FusedLinearPtr&,
                                const FusedPass&) {
  fail("this build has no CUDA kernels");
}
Tensor glu_norm_linear(const Tensor&, const FusedLinearPtr&, Activation, const Tensor&, double,
                       const FusedLinearPtr&, const FusedPass&) {
  fail("this build has no CUDA kernels");
}
Tensor add_norm(const Residual&, const Tensor&, double, const Noise&) {
  fail("this build has no CUDA kernels");
}

#endif

}  // namespace wf::ops

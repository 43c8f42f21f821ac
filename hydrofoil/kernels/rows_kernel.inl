// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/rows_tiers.h"
#include "hydrofoil/kernels/wide.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

// visit(offset, count) for sixteen elements at a time, fewer at the end.
template <class Visit>
HYDROFOIL_LANES void each_wide(size_t count, const Visit& visit) {
  size_t i = 0;
  for (; i + kWide <= count; i += kWide) visit(i, kWide);
  if (i < count) visit(i, count - i);
}
HYDROFOIL_LANES Wide take(const float* from, size_t count) {
  return count == kWide ? load_wide(from) : load_wide(from, count);
}
HYDROFOIL_LANES void put(float* to, const Wide& x, size_t count) {
  if (count == kWide)
    store_wide(to, x);
  else
    store_wide(to, x, count);
}

// Zeros in place of the lanes beyond the first `count`.
HYDROFOIL_LANES Wide only(const Wide& x, size_t count) {
  if (count == kWide) return x;
  alignas(64) float lanes[kWide];
  store_wide(lanes, x);
  return load_wide(lanes, count);
}

HYDROFOIL_LANES Wide sigmoid(const Wide& x) {
  return wide(1) / (wide(1) + exponential(wide(0) - x));
}

HYDROFOIL_LANES float inverse_root(float x) {
  return 1.0f / sqrt(splat(x))[0];
}

HYDROFOIL_LANES float mean_square(const float* x, size_t count) {
  Wide squares = wide(0);
  each_wide(count, [&](size_t i, size_t n) {
    const Wide v = take(x + i, n);
    squares = fma(v, v, squares);
  });
  return sum_of(squares) / static_cast<float>(count);
}

// An activation and its derivative.
struct WithSlope {
  Wide value, slope;
};
struct Silu {
  static HYDROFOIL_LANES WithSlope at(const Wide& x) {
    const Wide s = sigmoid(x), value = x * s;
    return {value, fma(value, wide(1) - s, s)};
  }
};
// tanh(y) = 2 sigmoid(2 y) - 1.
struct GeluTanh {
  static HYDROFOIL_LANES WithSlope at(const Wide& x) {
    constexpr float kTwice = 2 * 0.7978845608f, kCubic = 0.044715f;
    const Wide square = x * x;
    const Wide s = sigmoid(fma(x * square, wide(kCubic), x) * wide(kTwice)), value = x * s;
    const Wide inner = fma(square, wide(3 * kCubic), wide(1)) * wide(kTwice);
    return {value, fma(value * (wide(1) - s), inner, s)};
  }
};

// The error function by Abramowitz and Stegun 7.1.26: 1.5e-7 at most.
struct Gelu {
  static HYDROFOIL_LANES WithSlope at(const Wide& x) {
    constexpr float kSeries[] = {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
    const Wide y = larger(x, wide(0) - x) * wide(0.70710678f);
    const Wide t = wide(1) / fma(y, wide(0.3275911f), wide(1));
    Wide series = wide(1.061405429f);
    for (const float c : kSeries) series = fma(series, t, wide(c));
    const Wide bell = exponential(wide(0) - y * y);
    const Wide tail = series * t * bell * wide(0.5f);  // beyond |x|
    const Wide share =
        each_pack([&](size_t p) { return x.v[p] < 0 ? tail.v[p] : 1.0f - tail.v[p]; });
    return {x * share, fma(x * bell, wide(0.3989422804f), share)};
  }
};
struct Relu {
  static HYDROFOIL_LANES WithSlope at(const Wide& x) {
    return {larger(wide(0), x),  // in this order NaN stays NaN
            each_pack([&](size_t p) { return x.v[p] <= 0 ? splat(0.0f) : splat(1.0f); })};
  }
};

template <class Visit>
HYDROFOIL_LANES void with(Activation activation, const Visit& visit) {
  switch (activation) {
    case Activation::kGeluTanh:
      return visit(GeluTanh());
    case Activation::kGelu:
      return visit(Gelu());
    case Activation::kSilu:
      return visit(Silu());
    case Activation::kRelu:
      return visit(Relu());
  }
}

// Of a row, and what it is scaled by.
struct Moments {
  float mean, factor;
};
HYDROFOIL_LANES Moments moments_of(const float* x, size_t count, float epsilon) {
  Wide sum = wide(0);
  each_wide(count, [&](size_t i, size_t n) { sum = sum + take(x + i, n); });
  const float mean = sum_of(sum) / static_cast<float>(count);
  Wide squares = wide(0);
  each_wide(count, [&](size_t i, size_t n) {
    const Wide apart = only(take(x + i, n) - wide(mean), n);
    squares = fma(apart, apart, squares);
  });
  return {mean, inverse_root(sum_of(squares) / static_cast<float>(count) + epsilon)};
}

}  // namespace

void rms_norm(const float* x, const float* weight, size_t count, float epsilon, float* out) {
  const Wide factor = wide(inverse_root(mean_square(x, count) + epsilon));
  each_wide(count, [&](size_t i, size_t n) {
    put(out + i, take(x + i, n) * factor * take(weight + i, n), n);
  });
}

void rms_norm_backward(const float* x, const float* weight, const float* grad, size_t count,
                       float epsilon, float* grad_x, float* grad_weight) {
  const float square = mean_square(x, count) + epsilon, factor = inverse_root(square);
  Wide along = wide(0);  // the gradient along x
  each_wide(count, [&](size_t i, size_t n) {
    const Wide v = take(x + i, n), g = take(grad + i, n);
    along = fma(g * take(weight + i, n), v, along);
    put(grad_weight + i, fma(g * v, wide(factor), take(grad_weight + i, n)), n);
  });
  const float back = sum_of(along) / (static_cast<float>(count) * square);
  each_wide(count, [&](size_t i, size_t n) {
    const Wide across = take(grad + i, n) * take(weight + i, n) - take(x + i, n) * wide(back);
    put(grad_x + i, across * wide(factor), n);
  });
}

void layer_norm(const float* x, const float* weight, const float* bias, size_t count, float epsilon,
                float* out) {
  const auto [mean, factor] = moments_of(x, count, epsilon);
  each_wide(count, [&](size_t i, size_t n) {
    const Wide scaled = (take(x + i, n) - wide(mean)) * wide(factor) * take(weight + i, n);
    put(out + i, bias ? scaled + take(bias + i, n) : scaled, n);
  });
}

void layer_norm_backward(const float* x, const float* weight, const float* grad, size_t count,
                         float epsilon, float* grad_x, float* grad_weight, float* grad_bias) {
  const auto [mean, factor] = moments_of(x, count, epsilon);
  const auto normal = [&](size_t i, size_t n) {
    return (take(x + i, n) - wide(mean)) * wide(factor);
  };
  Wide sum = wide(0), along = wide(0);  // of the gradient of `normal`, and along it
  each_wide(count, [&](size_t i, size_t n) {
    const Wide y = normal(i, n), g = take(grad + i, n), d = g * take(weight + i, n);
    sum = sum + d;
    along = fma(d, y, along);
    put(grad_weight + i, fma(g, y, take(grad_weight + i, n)), n);
    if (grad_bias) put(grad_bias + i, take(grad_bias + i, n) + g, n);
  });
  const Wide back = wide(sum_of(sum) / static_cast<float>(count));
  const Wide back_along = wide(sum_of(along) / static_cast<float>(count));
  each_wide(count, [&](size_t i, size_t n) {
    const Wide d = take(grad + i, n) * take(weight + i, n);
    put(grad_x + i, (d - back - normal(i, n) * back_along) * wide(factor), n);
  });
}

void rotate(float* x, const float* cosines, const float* sines, size_t pairs) {
  each_wide(pairs, [&](size_t i, size_t n) {
    const Wide a = take(x + i, n), b = take(x + pairs + i, n);
    const Wide c = take(cosines + i, n), s = take(sines + i, n);
    put(x + i, a * c - b * s, n);
    put(x + pairs + i, b * c + a * s, n);
  });
}

void rotate_neighbours(float* x, const float* cosines, const float* sines, size_t pairs) {
  for (size_t i = 0; i < pairs; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cosines[i] - b * sines[i];
    x[2 * i + 1] = b * cosines[i] + a * sines[i];
  }
}

void activate(Activation activation, const float* x, size_t count, float* out) {
  with(activation, [&](auto function) {
    each_wide(count,
              [&](size_t i, size_t n) { put(out + i, function.at(take(x + i, n)).value, n); });
  });
}

void activate_backward(Activation activation, const float* x, const float* grad, size_t count,
                       float* grad_x) {
  with(activation, [&](auto function) {
    each_wide(count, [&](size_t i, size_t n) {
      put(grad_x + i, take(grad + i, n) * function.at(take(x + i, n)).slope, n);
    });
  });
}

void gated(Activation activation, const float* gate, const float* up, size_t count, float* out) {
  with(activation, [&](auto function) {
    each_wide(count, [&](size_t i, size_t n) {
      put(out + i, function.at(take(gate + i, n)).value * take(up + i, n), n);
    });
  });
}

void gated_backward(Activation activation, const float* gate, const float* up, const float* grad,
                    size_t count, float* grad_gate, float* grad_up) {
  with(activation, [&](auto function) {
    each_wide(count, [&](size_t i, size_t n) {
      const auto [value, slope] = function.at(take(gate + i, n));
      const Wide g = take(grad + i, n);
      const Wide of_up = g * value;
      put(grad_gate + i, g * take(up + i, n) * slope, n);
      put(grad_up + i, of_up, n);
    });
  });
}

void softcap(float* x, size_t count, float cap) {
  each_wide(count, [&](size_t i, size_t n) {
    put(x + i, wide(cap) * hyperbolic_tangent(take(x + i, n) * wide(1 / cap)), n);
  });
}

// The sum of e^(x - shift): floats in runs, the runs in double.
double exponentials(const float* x, size_t count, float shift) {
  constexpr size_t kRun = 1024;
  double total = 0;
  for (size_t first = 0; first < count; first += kRun) {
    Wide run = wide(0);
    each_wide(count - first < kRun ? count - first : kRun, [&](size_t i, size_t n) {
      run = run + only(exponential(take(x + first + i, n) - wide(shift)), n);
    });
    total += static_cast<double>(sum_of(run));
  }
  return total;
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER

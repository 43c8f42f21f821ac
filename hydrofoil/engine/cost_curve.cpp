// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/cost_curve.h"

#include <algorithm>
#include <utility>

namespace hydrofoil::engine {
namespace {

constexpr double kHardlyMore = 1.1;    // of a step twice as long: the bend has been passed
constexpr double kNearly = 0.9;        // of the most tokens a second
constexpr double kLongSeconds = 0.25;  // of a step

double rate(const CostCurve::Point& point) {
  return point.tokens / point.seconds;
}

}  // namespace

CostCurve::CostCurve(std::vector<Point> points) : points_(std::move(points)) {}

CostCurve CostCurve::measure(const std::function<double(size_t)>& seconds_of, size_t most) {
  std::vector<Point> points;
  seconds_of(1);  // touches what steps need
  for (size_t tokens = 1; tokens <= most; tokens *= 2) {
    const double seconds = std::min(seconds_of(tokens), seconds_of(tokens));
    points.push_back({static_cast<double>(tokens), seconds});
    const bool bent =
        points.size() > 4 && rate(points.back()) < kHardlyMore * rate(points[points.size() - 2]);
    if (bent || seconds > kLongSeconds) break;
  }
  return CostCurve(std::move(points));
}

double CostCurve::seconds(double tokens) const {
  if (points_.size() == 1) return points_.front().seconds;
  size_t i = 1;
  while (i + 1 < points_.size() && points_[i].tokens < tokens) ++i;
  const Point &a = points_[i - 1], &b = points_[i];
  const double slope = (b.seconds - a.seconds) / (b.tokens - a.tokens);
  return std::max(a.seconds + slope * (tokens - a.tokens), 0.0);
}

size_t CostCurve::best_step() const {
  const double best = rate(*std::ranges::max_element(points_, {}, rate));
  const auto found =
      std::ranges::find_if(points_, [&](const Point& p) { return rate(p) >= kNearly * best; });
  return static_cast<size_t>(found->tokens);
}

}  // namespace hydrofoil::engine

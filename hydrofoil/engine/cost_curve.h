// SPDX-License-Identifier: Apache-2.0
// What a step costs by its number of tokens: flat while reading the weights is what takes time,
// then a line. A step is best just behind the bend: beyond it there is little to gain but longer
// waits.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace hydrofoil::engine {

class CostCurve {
 public:
  struct Point {
    double tokens = 0, seconds = 0;
  };
  // By rising tokens, at least one.
  explicit CostCurve(std::vector<Point> points);
  // Times steps of 1, 2, 4 .. tokens until more tokens a step are hardly more tokens a second, a
  // step takes a quarter of a second, or `most` is reached.
  static CostCurve measure(const std::function<double(size_t tokens)>& seconds_of, size_t most);

  double seconds(double tokens) const;  // straight between points and beyond the last
  // The smallest step, of those that were measured, with nearly the most tokens a second.
  size_t best_step() const;

 private:
  std::vector<Point> points_;
};

}  // namespace hydrofoil::engine

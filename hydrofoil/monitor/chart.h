// SPDX-License-Identifier: Apache-2.0
// Small charts as inline SVG, coloured by the classes of the page they stand in.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hydrofoil::monitor {

// For text and attributes of HTML and SVG; what is not UTF-8 becomes U+FFFD.
std::string escaped_html(std::string_view text);

struct Series {
  std::string style;                              // class of the line
  std::vector<std::pair<double, double>> points;  // x ascending; a y that is not finite is a gap
};
// Lines over one x axis; at most a few hundred points a line are drawn, each the mean of its
// bucket.
std::string line_chart(const std::string& title, const std::vector<Series>& series);

}  // namespace hydrofoil::monitor

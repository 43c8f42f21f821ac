// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "hydrofoil/monitor/format.h"

namespace hydrofoil::monitor {
namespace {

constexpr double kChartWidth = 640, kChartHeight = 200, kLeft = 58, kRight = 18, kTop = 8,
                 kBottom = 22;
constexpr size_t kMostPoints = 400;

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
  // Room for a line that is constant.
  void open() {
    if (low < high) return;
    const double half = low == 0 ? 1 : std::fabs(low) / 2;
    low -= half;
    high += half;
  }
};

std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& all) {
  const size_t bucket = (all.size() + kMostPoints - 1) / kMostPoints;
  if (bucket <= 1) return all;
  std::vector<std::pair<double, double>> result;
  for (size_t first = 0; first < all.size(); first += bucket) {
    double sum = 0;
    size_t count = 0;
    for (size_t i = first; i < std::min(first + bucket, all.size()); ++i)
      if (std::isfinite(all[i].second)) sum += all[i].second, ++count;
    result.emplace_back(all[first].first, count ? sum / static_cast<double>(count) : std::nan(""));
  }
  return result;
}

// Multiples of 1, 2 or 5 times a power of ten, about `wanted` of them.
std::vector<double> ticks(const Range& range, int wanted) {
  const double raw = (range.high - range.low) / wanted,
               power = std::pow(10, std::floor(std::log10(raw)));
  const double step = power * (raw / power < 1.5   ? 1
                               : raw / power < 3.5 ? 2
                               : raw / power < 7.5 ? 5
                                                   : 10);
  std::vector<double> all;
  for (double tick = std::ceil(range.low / step) * step; tick <= range.high + step * 1e-9;
       tick += step)
    all.push_back(std::fabs(tick) < step * 1e-9 ? 0 : tick);
  return all;
}

// From values to the page.
struct Frame {
  Range x, y;
  double left(double value) const {
    return kLeft + (value - x.low) / (x.high - x.low) * (kChartWidth - kLeft - kRight);
  }
  double top(double value) const {
    return kChartHeight - kBottom -
           (value - y.low) / (y.high - y.low) * (kChartHeight - kTop - kBottom);
  }
};

std::string label(double value) {
  return std::fabs(value) >= 10000 ? human_count(value) : print("%.4g", value);
}

std::string axes(const Frame& frame) {
  std::string svg;
  for (const double tick : ticks(frame.y, 4)) {
    const std::string at = print("%.1f", frame.top(tick));
    svg += "<line class=\"grid\" x1=\"" + print("%.0f", kLeft) + "\" x2=\"" +
           print("%.0f", kChartWidth - kRight) + "\" y1=\"" + at + "\" y2=\"" + at +
           "\"/><text x=\"" + print("%.0f", kLeft - 5) + "\" y=\"" +
           print("%.1f", frame.top(tick) + 4) + "\" text-anchor=\"end\">" + label(tick) + "</text>";
  }
  for (const double tick : ticks(frame.x, 6))
    svg += "<text x=\"" + print("%.1f", frame.left(tick)) + "\" y=\"" +
           print("%.0f", kChartHeight - 5) + "\" text-anchor=\"middle\">" + label(tick) + "</text>";
  return svg;
}

std::string path(const Frame& frame, const Series& series) {
  std::string d;
  bool pen_down = false;
  for (const auto& [x, y] : thinned(series.points)) {
    const bool finite = std::isfinite(y);
    if (finite) {
      d += pen_down ? 'L' : 'M';
      d.append(print("%.1f", frame.left(x))).append(" ").append(print("%.1f", frame.top(y)));
    }
    pen_down = finite;
  }
  return "<path class=\"" + escaped_html(series.style) + "\" d=\"" + d + "\"/>";
}

}  // namespace

std::string escaped_html(std::string_view text) {
  std::string result;
  for (const char c : valid_utf8(text)) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '"')
      result += "&quot;";
    else if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t')
      result += c;  // no other control character may stand in XML
  }
  return result;
}

std::string line_chart(const std::string& title, const std::vector<Series>& series) {
  Frame frame;
  for (const auto& one : series)
    for (const auto& [x, y] : one.points) {
      frame.x.add(x);
      frame.y.add(y);
    }
  std::string html = "<figure><figcaption>" + escaped_html(title) + "</figcaption>";
  if (frame.x.empty() || frame.y.empty()) return html + "<p>no finite values</p></figure>\n";
  frame.x.open();
  frame.y.open();
  html += "<svg viewBox=\"0 0 " + print("%.0f", kChartWidth) + " " + print("%.0f", kChartHeight) +
          "\" role=\"img\" aria-label=\"" + escaped_html(title) + "\">" + axes(frame);
  for (const auto& one : series) html += path(frame, one);
  return html + "</svg></figure>\n";
}

}  // namespace hydrofoil::monitor

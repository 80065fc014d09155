// SPDX-License-Identifier: Apache-2.0
// Defines `scatter` and `scatter_svg`: scatter plots of float and quantized values, as 50x25 characters or as SVG.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/report/format.hpp"
#include "qwq/report/metrics.hpp"

namespace qwq {

namespace detail {

/// Range of both axes: the joint minimum and maximum of the finite points, extended by 5 % on each side.
struct scatter_axis {
  double low = 0, high = 0;

  scatter_axis(std::span<const float> reference, std::span<const float> value) {
    double lowest = infinity, highest = -infinity;
    for (std::size_t i = 0; i < reference.size(); ++i) {
      if (!drawn(reference[i], value[i])) continue;
      lowest = std::min({lowest, double{reference[i]}, double{value[i]}});
      highest = std::max({highest, double{reference[i]}, double{value[i]}});
    }
    if (lowest > highest) lowest = highest = 0;
    const double interval = highest > lowest ? highest - lowest : 1;
    low = lowest - interval * 0.05;
    high = highest + interval * 0.05;
  }

  static bool drawn(float reference, float value) { return std::isfinite(reference) && std::isfinite(value); }
  /// Index of `v`'s cell among `cells`. Half a cell is rounded up, also if rounding errors put it slightly below.
  std::size_t cell(double v, std::size_t cells) const {
    return static_cast<std::size_t>((v - low) / (high - low) * static_cast<double>(cells - 1) + 0.5 + 0.5e-8);
  }
  double tick(std::size_t i, std::size_t ticks) const {
    const double step = (high - low) / static_cast<double>(ticks - 1), at = low + static_cast<double>(i) * step;
    return std::abs(at) < 1e-9 * step ? 0 : at;  // otherwise rounding can label the zero "-0.0"
  }
  /// `ticks` labels with one decimal more than needed to distinguish neighbours; no decimals if all are integers.
  std::vector<std::string> labels(std::size_t ticks) const {
    int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(2 * (tick(1, ticks) - low)))));
    const auto rounded = [&](std::size_t i) { return std::floor(tick(i, ticks) * std::pow(10, decimals) + 0.5); };
    bool integers = true, apart = true;
    for (std::size_t i = 0; i < ticks; ++i) {
      integers &= tick(i, ticks) == std::trunc(tick(i, ticks));
      apart &= i == 0 || rounded(i) != rounded(i - 1);
    }
    decimals += apart ? 0 : 1;
    const bool plain = decimals <= 8 && std::max(std::abs(low), std::abs(high)) < 1e7;
    std::vector<std::string> result;
    for (std::size_t i = 0; i < ticks; ++i)
      result.push_back(plain ? fixed(tick(i, ticks), integers ? 0 : decimals + 1)
                             : number(tick(i, ticks), std::chars_format::scientific, 3));
    return result;
  }
};

}  // namespace detail

/// Plots the reference on x and the value on y with equal axes, so that equal values are on the diagonal. 25 lines of
/// at most 50 characters (UTF-8), as TICO prints the plot with plotext. Pairs with a NaN or an infinity are not drawn;
/// a line below gives their number. Throws `error` if the sizes differ.
inline std::string scatter(std::span<const float> reference, std::span<const float> value) {
  detail::check_same_size("scatter", reference, value);
  constexpr std::size_t columns = 50, rows = 25, y_ticks = 7, x_ticks = 5;
  const detail::scatter_axis axis(reference, value);

  const std::vector<std::string> y_labels = axis.labels(y_ticks);
  std::size_t margin = 0;
  for (const std::string& label : y_labels) margin = std::max(margin, label.size());
  const std::size_t width = columns - 2 - margin, height = rows - 3;

  std::array<std::array<bool, columns>, rows> dots{};
  std::size_t hidden = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    if (detail::scatter_axis::drawn(reference[i], value[i]))
      dots[axis.cell(value[i], height)][axis.cell(reference[i], width)] = true;
    else
      ++hidden;
  }

  // A label on x is centred on its tick as far as the free columns allow. It is dropped, with its tick, if it would
  // touch another label.
  std::string label_row(columns, ' ');
  std::array<bool, columns> x_tick{};
  const std::vector<std::string> x_labels = axis.labels(x_ticks);
  for (std::size_t i = 0; i < x_ticks; ++i) {
    const std::size_t column = axis.cell(axis.tick(i, x_ticks), width), at = margin + 1 + column;
    const std::string& label = x_labels[i];
    const std::size_t l = label.size(), begin = at + 1 > l ? at + 1 - l : 0, end = std::min(at + l, columns - 1);
    const std::size_t first = label_row.find(' ', begin), last = label_row.rfind(' ', end - 1);
    if (first >= end || first + last + 1 < l) continue;
    const std::size_t start = (first + last + 1 - l) / 2, from = start > 0 ? start - 1 : 0;
    if (start + l > columns || label_row.find_first_not_of(' ', from) < start + l + 1) continue;
    label_row.replace(start, l, label);
    x_tick[column] = true;
  }
  label_row.erase(label_row.find_last_not_of(' ') + 1);

  std::string plot = std::string(margin, ' ') + "┌";
  for (std::size_t x = 0; x < width; ++x) plot += "─";
  plot += "┐\n";
  for (std::size_t y = height; y-- > 0;) {
    std::size_t tick = 0;
    while (tick < y_ticks && axis.cell(axis.tick(tick, y_ticks), height) != y) ++tick;
    plot += detail::right(tick < y_ticks ? y_labels[tick] : "", margin) + (tick < y_ticks ? "┤" : "│");
    for (std::size_t x = 0; x < width; ++x) plot += dots[y][x] ? "•" : " ";
    plot += "│\n";
  }
  plot += std::string(margin, ' ') + "└";
  for (std::size_t x = 0; x < width; ++x) plot += x_tick[x] ? "┬" : "─";
  plot += "┘\n" + label_row + '\n';
  if (hidden > 0) plot += detail::grouped(hidden) + " pairs are not finite and not drawn\n";
  return plot;
}

/// The same plot as an SVG document whose size is independent of the number of points: cells of a 200x200 grid, in
/// eight shades, darker for more points (logarithmic scale), and the diagonal. Throws `error` if the sizes differ.
inline std::string scatter_svg(std::span<const float> reference, std::span<const float> value,
                               std::string_view title = {}) {
  detail::check_same_size("scatter_svg", reference, value);
  constexpr std::size_t cells = 200, scale = 2, side = cells * scale, left = 70, top = 30, ticks = 5;
  const detail::scatter_axis axis(reference, value);

  std::vector<std::uint32_t> counts(cells * cells);
  std::uint32_t most = 1;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    if (!detail::scatter_axis::drawn(reference[i], value[i])) continue;
    auto& count = counts[axis.cell(value[i], cells) * cells + axis.cell(reference[i], cells)];
    most = std::max(most, ++count);
  }

  const auto text = [](std::size_t x, std::size_t y, std::string_view anchor, std::string_view content) {
    std::string s = "<text x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) + "\" text-anchor=\"";
    s.append(anchor).append("\">");
    for (const char c : content) {
      if (c == '<')
        s += "&lt;";
      else if (c == '&')
        s += "&amp;";
      else
        s += c;
    }
    return s += "</text>\n";
  };
  const auto px = [](std::size_t n) { return std::to_string(n); };

  std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + px(left + side + 20) + ' ' +
                    px(top + side + 50) + "\" font-family=\"sans-serif\" font-size=\"11\">\n" +
                    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n" + "<rect x=\"" + px(left) + "\" y=\"" +
                    px(top) + "\" width=\"" + px(side) + "\" height=\"" + px(side) +
                    "\" fill=\"none\" stroke=\"gray\"/>\n" + "<line x1=\"" + px(left) + "\" y1=\"" + px(top + side) +
                    "\" x2=\"" + px(left + side) + "\" y2=\"" + px(top) + "\" stroke=\"lightgray\"/>\n";
  const std::vector<std::string> labels = axis.labels(ticks);
  for (std::size_t i = 0; i < ticks; ++i) {
    const std::size_t at = i * side / (ticks - 1);
    svg += text(left + at, top + side + 16, "middle", labels[i]);
    svg += text(left - 6, top + side - at + 4, "end", labels[i]);
  }
  svg += text(left + side / 2, top - 10, "middle", title);
  svg += text(left + side / 2, top + side + 36, "middle", "x: float, y: quantized");
  const std::string square = 'h' + px(scale) + 'v' + px(scale) + "h-" + px(scale) + 'z';
  std::array<std::string, 8> shades;
  for (std::size_t y = 0; y < cells; ++y)
    for (std::size_t x = 0; x < cells; ++x)
      if (const std::uint32_t count = counts[y * cells + x]; count > 0) {
        const double share = most == 1 ? 1 : std::log(count) / std::log(most);
        shades[static_cast<std::size_t>(share * (shades.size() - 1))] +=
            'M' + px(left + x * scale) + ' ' + px(top + side - (y + 1) * scale) + square;
      }
  for (std::size_t i = 0; i < shades.size(); ++i)
    if (!shades[i].empty())
      svg += "<path fill=\"#1f5fa8\" fill-opacity=\"" + detail::fixed(0.3 + 0.1 * static_cast<double>(i), 1) +
             "\" d=\"" + shades[i] + "\"/>\n";
  return svg += "</svg>\n";
}

}  // namespace qwq

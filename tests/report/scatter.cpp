// SPDX-License-Identifier: Apache-2.0
// The scatter plot against what plotext 5.3.2 prints for the same points (colours and trailing blanks removed).
#include <qwq/report/scatter.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace {

using row = std::vector<float>;

std::size_t occurrences(const std::string& s, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = s.find(what); at != std::string::npos; at = s.find(what, at + 1)) ++n;
  return n;
}

/// The plot as the raw strings below begin: with a line of its own.
std::string plotted(const row& x, const row& y) { return std::string("\n").append(qwq::scatter(x, y)); }

/// Lines, and the most columns that one takes (a UTF-8 continuation byte takes none).
std::pair<std::size_t, std::size_t> extent(const std::string& plot) {
  std::size_t lines = 0, widest = 0, column = 0;
  for (const char c : plot)
    if (c == '\n') {
      ++lines;
      widest = std::max(widest, column);
      column = 0;
    } else {
      column += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }
  return {lines, widest};
}

}  // namespace

TEST_CASE("scatter: a diagonal staircase") {
  row x, y;
  for (int i = 0; i <= 32; ++i) {
    x.push_back(static_cast<float>(i) / 8 - 2);
    y.push_back(std::nearbyint(x.back() * 2) / 2);
  }
  CHECK(plotted(x, y) == R"(
     ┌───────────────────────────────────────────┐
 2.20┤                                           │
     │                                      •••  │
     │                                           │
 1.47┤                                  •• •     │
     │                                           │
     │                                           │
     │                            •• •••         │
 0.73┤                                           │
     │                         •••               │
     │                                           │
 0.00┤                   •••••                   │
     │                                           │
     │                                           │
     │               •••                         │
-0.73┤                                           │
     │         ••• ••                            │
     │                                           │
-1.47┤                                           │
     │     • ••                                  │
     │                                           │
     │  •••                                      │
-2.20┤                                           │
     └┬──────────┬─────────┬──────────┬─────────┬┘
    -2.2       -1.1       0.0        1.1      2.2
)");
}

TEST_CASE("scatter: labels of different widths, one dropped") {
  CHECK(plotted(row{-12345.75f, 3.0f}, row{4.0f, 99999.5f}) == R"(
        ┌────────────────────────────────────────┐
105616.8┤                                        │
        │      •                                 │
        │                                        │
 85020.1┤                                        │
        │                                        │
        │                                        │
        │                                        │
 64423.5┤                                        │
        │                                        │
        │                                        │
 43826.9┤                                        │
        │                                        │
        │                                        │
        │                                        │
 23230.2┤                                        │
        │                                        │
        │                                        │
  2633.6┤                                        │
        │  •                                     │
        │                                        │
        │                                        │
-17963.0┤                                        │
        └┬─────────┬─────────┬────────┬──────────┘
     -17963.0   12931.9   43826.9  74721.8
)");
}

TEST_CASE("scatter: one point, no interval") {
  CHECK(plotted(row{1.0f, 1.0f}, row{1.0f, 1.0f}) == R"(
     ┌───────────────────────────────────────────┐
1.050┤                                           │
     │                                           │
     │                                           │
1.033┤                                           │
     │                                           │
     │                                           │
     │                                           │
1.017┤                                           │
     │                                           │
     │                                           │
1.000┤                     •                     │
     │                                           │
     │                                           │
     │                                           │
0.983┤                                           │
     │                                           │
     │                                           │
0.967┤                                           │
     │                                           │
     │                                           │
     │                                           │
0.950┤                                           │
     └┬──────────┬─────────┬──────────┬─────────┬┘
    0.950      0.975     1.000      1.025   1.050
)");
}

TEST_CASE("scatter: small values") {
  CHECK(plotted(row{0.0f, 3.0517578125e-05f}, row{3.814697265625e-06f, 3.0517578125e-05f}) == R"(
          ┌──────────────────────────────────────┐
 0.0000320┤                                      │
          │                                   •  │
          │                                      │
 0.0000264┤                                      │
          │                                      │
          │                                      │
          │                                      │
 0.0000209┤                                      │
          │                                      │
          │                                      │
 0.0000153┤                                      │
          │                                      │
          │                                      │
          │                                      │
 0.0000097┤                                      │
          │                                      │
          │                                      │
 0.0000041┤                                      │
          │  •                                   │
          │                                      │
          │                                      │
-0.0000015┤                                      │
          └┬────────┬─────────┬────────┬─────────┘
      -0.0000015  0.0000069 0.0000153 0.0000237
)");
}

TEST_CASE("scatter: ticks that are integers") {
  CHECK(plotted(row{-100.0f, 100.0f}, row{-100.0f, 90.0f}) == R"(
      ┌──────────────────────────────────────────┐
 110.0┤                                          │
      │                                          │
      │                                       •  │
  73.3┤                                          │
      │                                          │
      │                                          │
      │                                          │
  36.7┤                                          │
      │                                          │
      │                                          │
   0.0┤                                          │
      │                                          │
      │                                          │
      │                                          │
 -36.7┤                                          │
      │                                          │
      │                                          │
 -73.3┤                                          │
      │                                          │
      │                                          │
      │  •                                       │
-110.0┤                                          │
      └┬─────────┬──────────┬─────────┬─────────┬┘
     -110       -55         0        55       110
)");
}

TEST_CASE("scatter: nothing but finite pairs are drawn, and the others counted") {
  constexpr float inf = std::numeric_limits<float>::infinity(), not_a_number = std::numeric_limits<float>::quiet_NaN();
  const std::string plot = qwq::scatter(row{1, 2, 3, inf, 5}, row{1, not_a_number, 3, 4, -inf});
  CHECK(occurrences(plot, "•") == 2);
  CHECK(plot.ends_with("\n3 pairs are not finite and not drawn\n"));
  CHECK(plot.starts_with(qwq::scatter(row{1, 3}, row{1, 3})));
  CHECK(occurrences(qwq::scatter(row{}, row{}), "•") == 0);
}

TEST_CASE("scatter: fits 50 columns and 25 lines whatever the range") {
  for (int exponent = -45; exponent <= 38; ++exponent)
    for (const double offset : {-2.5, 0.0, 0.5, 1000.0}) {
      const auto scale = static_cast<float>(std::pow(10.0, exponent));
      const auto low = static_cast<float>(offset * scale), high = static_cast<float>((offset + 1) * scale);
      if (!std::isfinite(low) || !std::isfinite(high)) continue;
      const std::string plot = qwq::scatter(row{low, high}, row{high, low});
      CAPTURE(plot);
      CHECK(extent(plot).first == 25);
      CHECK(extent(plot).second <= 50);
      CHECK(occurrences(plot, "•") == (low == high ? 1 : 2));
      CHECK(occurrences(plot, "┬") >= 2);
      CHECK(occurrences(plot, "┤") == 7);
    }
}

TEST_CASE("scatter_svg: cells of a grid, shaded by how many points they hold") {
  // The axes go from -0.25 to 5.25: 0 falls on cell 9 of 0..199 (9.05), 5 on cell 190 (189.95).
  row x(100, 0), y(100, 0);
  x.push_back(5);
  y.push_back(5);
  const std::string svg = qwq::scatter_svg(x, y, "a<b & c");
  CHECK(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  CHECK(svg.ends_with("</svg>\n"));
  CHECK(svg.find(">a&lt;b &amp; c</text>") != std::string::npos);
  CHECK(occurrences(svg, "<path ") == 2);
  CHECK(svg.find("fill-opacity=\"0.3\" d=\"M450 48h2v2h-2z\"") != std::string::npos);
  CHECK(svg.find("fill-opacity=\"1.0\" d=\"M88 410h2v2h-2z\"") != std::string::npos);
  CHECK(svg.find(">-0.2</text>") != std::string::npos);
  CHECK(occurrences(qwq::scatter_svg(row{}, row{}), "<path ") == 0);
}

TEST_CASE("scatter_svg: bounded, however many points") {
  row x, y;
  for (int i = 0; i < 500; ++i)
    for (int j = 0; j < 500; ++j) {
      x.push_back(static_cast<float>(i));
      y.push_back(static_cast<float>(j));
    }
  CHECK(qwq::scatter_svg(x, y).size() < 800'000);
}

TEST_CASE("scatter: sizes that differ are refused") {
  CHECK_THROWS_WITH_AS(qwq::scatter(row{1, 2}, row{1}),
                       "scatter: expected two spans of one size, found 2 reference and 1 quantized values", qwq::error);
  CHECK_THROWS_WITH_AS(qwq::scatter_svg(row{1, 2}, row{1}),
                       "scatter_svg: expected two spans of one size, found 2 reference and 1 quantized values",
                       qwq::error);
}

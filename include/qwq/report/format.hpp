// SPDX-License-Identifier: Apache-2.0
// Defines number formatting for reports: independent of the locale, with "-" for values that were not measured.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace qwq::detail {

inline std::string number(double value, std::chars_format form, int precision) {
  if (std::isnan(value)) return "-";
  std::array<char, 64> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, form, precision).ptr;
  return {buffer.data(), end};
}

/// Four significant digits, with an exponent if that is shorter.
inline std::string significant(double value) { return number(value, std::chars_format::general, 4); }
/// `digits` (at most 17) after the decimal point; four significant digits if more than seven would precede it.
inline std::string fixed(double value, int digits) {
  return std::abs(value) < 1e7 ? number(value, std::chars_format::fixed, digits) : significant(value);
}
/// A ratio in percent, with two digits after the decimal point.
inline std::string percent(double ratio) {
  return std::isfinite(ratio) ? fixed(100 * ratio, 2) + " %" : significant(ratio);
}

/// Formats 151936 as "151,936".
inline std::string grouped(std::uint64_t value) {
  std::string s = std::to_string(value);
  for (std::size_t at = s.size(); at > 3; at -= 3) s.insert(at - 3, 1, ',');
  return s;
}

/// Formats 1536 as "1.5 KiB".
inline std::string byte_text(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  constexpr std::array<std::string_view, 4> units{" KiB", " MiB", " GiB", " TiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1023.95 && unit + 1 < units.size(); ++unit) value /= 1024;  // 1023.95 would print as 1024.0
  return fixed(value, 1).append(units[unit]);
}

/// Formats 75 as "1:15", 3675 as "1:01:15"; less than ten seconds as "4.2 s".
inline std::string time_text(double seconds) {
  if (!(seconds >= 9.95)) return fixed(seconds, 1) + " s";
  const auto s = static_cast<std::uint64_t>(std::llround(seconds));
  const auto two = [](std::uint64_t n) { return std::string(n < 10 ? ":0" : ":").append(std::to_string(n)); };
  return (s < 3600 ? std::to_string(s / 60) : std::to_string(s / 3600) + two(s / 60 % 60)) + two(s % 60);
}

/// Pads to `width`, left-aligned.
inline std::string left(std::string_view s, std::size_t width) {
  return std::string(s).append(s.size() < width ? width - s.size() : 0, ' ');
}
/// Pads to `width`, right-aligned.
inline std::string right(std::string_view s, std::size_t width) {
  return std::string(s.size() < width ? width - s.size() : 0, ' ').append(s);
}
/// At most `width` characters: the middle of a longer name is replaced by "...".
inline std::string shortened(std::string_view s, std::size_t width) {
  if (s.size() <= width) return std::string(s);
  const std::size_t tail = (width - 3) / 2;
  return std::string(s.substr(0, width - 3 - tail)).append("...").append(s.substr(s.size() - tail));
}

}  // namespace qwq::detail

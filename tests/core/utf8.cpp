// SPDX-License-Identifier: Apache-2.0
// UTF-8: every code point there and back, and where U+FFFD goes.
#include <qwq/core/utf8.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace detail = qwq::detail;

namespace {
std::string repaired(std::string_view bytes) {
  std::string out;
  if (detail::append_repaired(out, bytes) > 0) out += "\uFFFD";
  return out;
}

std::size_t cut_off(std::string_view bytes) {
  std::string out;
  return detail::append_repaired(out, bytes);
}
}  // namespace

TEST_CASE("one U+FFFD per maximal subpart: The Unicode Standard 15.0, tables 3-8 to 3-11") {
  CHECK(repaired("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41");
  CHECK(repaired("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41");
  CHECK(repaired("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41\uFFFD\uFFFD\x42");
  CHECK(repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41") == "\uFFFD\uFFFD\uFFFD\uFFFD\x41");
}

TEST_CASE("only what more bytes could complete counts as cut off") {
  CHECK(cut_off("a\xF0\x9F\x99") == 3);
  CHECK(cut_off("a\xE2\x82") == 2);
  CHECK(cut_off("a\xC3") == 1);
  CHECK(cut_off("a\xF0\x8F") == 0);
  CHECK(cut_off("a\xC0") == 0);
  CHECK(cut_off("a\x80") == 0);
  CHECK(cut_off("") == 0);
}

TEST_CASE("every code point survives UTF-8 and UTF-16") {
  std::size_t count = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string bytes, back;
    detail::append_utf8(bytes, c);
    const auto step = detail::read_utf8(bytes);
    detail::append_utf8(back, detail::to_utf16(bytes));
    count += step.code_point == c && step.length == bytes.size() && !step.cut_off && back == bytes;
  }
  CHECK(count == 0x110000 - 0x800);
}

TEST_CASE("UTF-16 of ill-formed UTF-8 has U+FFFD, also for what the end cuts off") {
  CHECK(detail::to_utf16("a\xFF\xE2\x82") == u"a\uFFFD\uFFFD");
  CHECK(detail::to_utf16("\xF0\x9F\x99\x82") == u"\U0001F642");
}

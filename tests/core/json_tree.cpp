// SPDX-License-Identifier: Apache-2.0
// JSON as a tree: the same values and the same problems in a constant expression and at run time.
#include <qwq/core/json_tree.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <string_view>

namespace {

/// What is wrong with a text, as the file "f".
std::string refusal(std::string_view text) {
  const qwq::json_tree tree(text);
  return tree.problem().ok() ? "" : tree.problem().message("f");
}

constexpr bool is_json(std::string_view text) { return qwq::json_tree(text).problem().ok(); }

constexpr qwq::json_problem problem_of(std::string_view text) { return qwq::json_tree(text).problem(); }

constexpr std::string_view document =
    R"({"a": [0, -1, 2.5, 1e3, {"x": true}], "b": {}, "c\u00e9\"": "\ud83d\ude00\n", "": null, "l": []})";

constexpr bool reads_document() {
  qwq::json_tree tree(document);
  const qwq::json_value root = tree.root();
  const auto a = root["a"].elements();
  return root.size() == 5 && a.size() == 5 && a[1].integer() == -1 && !a[2].integer() && a[2].number() == 2.5 &&
         a[3].number() == 1000 && !a[3].integer() && a[4]["x"].is_true() && a[4]["x"].path() == "a[4].x" &&
         root["b"].kind() == qwq::json_kind::object && root["c\xC3\xA9\""].is("\xF0\x9F\x98\x80\n") &&
         root[""].is_null() && root["none"].is_null() && root["none"]["deeper"].path() == "none" &&
         root["l"].elements().empty() && root["l"].found() == "a list of 0" && tree.problem().ok();
}

/// The bits of a number, from a text.
constexpr std::uint64_t bits(std::string_view number) {
  return std::bit_cast<std::uint64_t>(*qwq::detail::nearest_double(number));
}
constexpr std::uint64_t bits(double number) { return std::bit_cast<std::uint64_t>(number); }

}  // namespace

TEST_CASE("a constant expression reads values of every kind") {
  static_assert(reads_document());
  CHECK(reads_document());
}

TEST_CASE("what is no JSON is refused with its line and column") {
  static_assert(problem_of("{\n \"a\": tru}").where == "invalid JSON at line 2, column 7");
  CHECK(refusal("") == "f: invalid JSON at line 1, column 1: expected a value, found the end");
  CHECK(refusal("{\n \"a\": tru}") == "f: invalid JSON at line 2, column 7: expected a value, found \"t\"");
  CHECK(refusal("{\"a\": 1,}") == "f: invalid JSON at line 1, column 9: expected a key, found \"}\"");
  CHECK(refusal("[1 2]") == "f: invalid JSON at line 1, column 4: expected ',' or ']', found \"2\"");
  CHECK(refusal("{\"a\" 1}") == "f: invalid JSON at line 1, column 6: expected ':', found \"1\"");
  CHECK(refusal("[\"a") == "f: invalid JSON at line 1, column 4: expected '\"', found the end");
  CHECK(refusal("[\"\t\"]") ==
        "f: invalid JSON at line 1, column 3: expected an escape for a control character, found \"\\x09\"");
  CHECK(refusal("[\"\\x\"]") == "f: invalid JSON at line 1, column 4: expected an escape, found \"x\"");
  CHECK(refusal("[\"\\ud800\"]").starts_with("f: invalid JSON at line 1, column 9: expected both halves"));
  CHECK(refusal("[\"\\u12g4\"]").starts_with("f: invalid JSON at line 1, column 7: expected four hexadecimal digits"));
  CHECK(refusal("[\"\xC3\"]") == "f: invalid JSON at line 1, column 3: expected UTF-8, found \"\\xc3\"");
  CHECK(refusal(std::string("{}\0{}", 5)) ==
        "f: invalid JSON at line 1, column 3: expected nothing more, found \"\\x00\"");
  CHECK(refusal(std::string("[\0]", 3)) == "f: invalid JSON at line 1, column 2: expected a value, found \"\\x00\"");
  for (const char* text :
       {"01", "1.", ".5", "+1", "1e", "1e+", "-", "NaN", "[1,]", "[,1]", "{,}", "{\"a\":}", "nul", "1 1"})
    CHECK_FALSE(is_json(text));
}

TEST_CASE("duplicate keys and deep nesting are refused") {
  static_assert(problem_of(R"({"a": 1, "b": 2, "\u0061": 3})").where == "key \"a\"");
  CHECK(refusal(R"({"a": 1, "b": 2, "\u0061": 3})") == "f: key \"a\": expected once, found twice");
  CHECK(refusal(R"([{"x": {"k": 1, "k": 1}}])") == "f: key \"k\": expected once, found twice");
  CHECK(is_json(R"([{"k": 1}, {"k": 2, "l": {"k": 3}}])"));
  CHECK(is_json(std::string(64, '[') + std::string(64, ']')));
  CHECK(refusal(std::string(65, '[') + std::string(65, ']')) ==
        "f: invalid JSON at line 1, column 65: expected at most 64 levels of nesting, found more");
  CHECK(refusal(std::string(1'000'000, '[')).find("64 levels") != std::string::npos);
}

TEST_CASE("integers are exact or none") {
  using qwq::detail::exact_integer;
  static_assert(exact_integer("9223372036854775807") == INT64_MAX &&
                exact_integer("-9223372036854775808") == INT64_MIN);
  static_assert(exact_integer("-0") == 0 && exact_integer("1280") == 1280);
  static_assert(!exact_integer("9223372036854775808") && !exact_integer("-9223372036854775809"));
  static_assert(!exact_integer("99999999999999999999999") && !exact_integer("1.0") && !exact_integer("1e3"));
}

TEST_CASE("numbers are the nearest doubles, in a constant expression too") {
  static_assert(bits("1e-06") == bits(1e-06) && bits("1000000.0") == bits(1e6) && bits("-0") == bits(-0.0));
  static_assert(bits("9.999999974752427e-07") == bits(9.999999974752427e-07));
  static_assert(bits("0.1000000000000000055511151231257827021181583404541015625") == bits(0.1));
  static_assert(bits("9007199254740993") == bits(9007199254740992.0));  // a tie, to even
  static_assert(bits("9007199254740993.0000000000000000001") == bits(9007199254740994.0));
  static_assert(bits("1.7976931348623157e308") == bits(1.7976931348623157e308));
  static_assert(bits("5e-324") == 1 && bits("2.4703282292062327e-324") == 0 && bits("2.4703282292062328e-324") == 1);
  static_assert(bits("2.2250738585072011e-308") == bits(2.2250738585072011e-308));  // the largest subnormal
  static_assert(bits("1e-400") == 0 && bits("1e-99999999999999999999") == 0 && bits("0e99999999999") == 0);
  static_assert(!qwq::detail::nearest_double("1.8e308") && !qwq::detail::nearest_double("1e99999999999999999999"));
  CHECK_FALSE(qwq::detail::nearest_double(std::string(401, '1')));
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    char number[64];
    const auto any = std::bit_cast<double>(random());
    if (!(any - any == 0)) continue;  // no number
    const int digits = 1 + static_cast<int>(random() % 25);
    std::snprintf(number, sizeof number, "%.*e", digits,
                  i % 2 == 0 ? any : std::bit_cast<double>(bits(1.0) + random() % (bits(1e20) - bits(1.0))));
    double expected = 0;
    const std::string_view text = number;
    if (std::from_chars(text.data(), text.data() + text.size(), expected).ec != std::errc{}) continue;
    CAPTURE(number);
    REQUIRE(bits(text) == bits(expected));
  }
}

// SPDX-License-Identifier: Apache-2.0
// The reader of weight files' headers takes what nlohmann's parser takes, and nothing else.
#include <qwq/io/json_reader.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "scratch.hpp"

namespace {

std::string refusal(std::string_view text) {
  return complaint([&] {
    qwq::detail::json_reader reader(text, "f");
    reader.skip();
    reader.end();
  });
}

/// What the reader makes of a value: the tree, as nlohmann would hold it.
nlohmann::json tree(qwq::detail::json_reader& reader) {
  nlohmann::json value;
  switch (reader.peek()) {
    case '{':
      value = nlohmann::json::object();
      reader.object([&](const std::string& key) { value[key] = tree(reader); });
      return value;
    case '[':
      value = nlohmann::json::array();
      reader.list([&] { value.push_back(tree(reader)); });
      return value;
    case '"':
      return reader.string();
    default:
      return nlohmann::json::parse(reader.skip());
  }
}

const std::vector<std::string> documents{
    R"({"a": [0, -1, 2.5, 1e3, -0.25E-2, true, false, null], "b": {}, "c": [], "": {"x": [[]]}})",
    R"(["\"\\\/\b\f\n\r\t", "\u0041\u00e9\u20AC\ud83d\ude00", "\u0000"])",
    "[\"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \xEF\xBF\xBD \x7F\"]", "\t\r\n {\"k\" :\t0 ,\"l\":\n-0 } "};

}  // namespace

TEST_CASE("values are read as nlohmann reads them") {
  for (const std::string& text : documents) {
    qwq::detail::json_reader reader(text, "f");
    CHECK(tree(reader) == nlohmann::json::parse(text));
    CHECK(complaint([&] { reader.end(); }) == "");
  }
}

TEST_CASE("what is one byte away from JSON is refused when nlohmann refuses it, and only then") {
  constexpr std::string_view bytes("{}[]\":,\\/ \n\x1f\0-+.eE019tfnudD\x7f\x80\xA0\xC0\xC3\xE0\xED\xEF\xF0\xF4\xFF",
                                   40);
  int accepted = 0, refused = 0;
  const auto agree = [&](const std::string& text) {
    const std::string found = refusal(text);
    if (found.ends_with("expected once, found twice")) return;                        // nlohmann keeps one of them
    const bool sound = nlohmann::json::accept(text) && text.find('\0') == text.npos;  // nlohmann stops at a NUL
    CAPTURE(text);
    REQUIRE(found.empty() == sound);
    ++(sound ? accepted : refused);
  };
  for (const std::string& text : documents)
    for (std::size_t at = 0; at <= text.size(); ++at) {
      agree(text.substr(0, at));
      for (const char byte : bytes) {
        agree(text.substr(0, at) + byte + text.substr(at));
        if (at < text.size()) agree(text.substr(0, at) + byte + text.substr(at + 1));
      }
      if (at < text.size()) agree(text.substr(0, at) + text.substr(at + 1));
    }
  CHECK(accepted > 1000);
  CHECK(refused > 10000);
}

TEST_CASE("the message has the byte, what was expected there, and what was found") {
  const std::string at = "f: invalid JSON at byte ";
  CHECK(refusal("") == at + "1: expected a value, found the end");
  CHECK(refusal("[1 2]") == at + "4: expected ',' or ']', found \"2\"");
  CHECK(refusal("{\"a\":1") == at + "7: expected ',' or '}', found the end");
  CHECK(refusal("{a:1}") == at + "2: expected a key, found \"a\"");
  CHECK(refusal("{\"a\" 1}") == at + "6: expected ':', found \"1\"");
  CHECK(refusal("-") == at + "2: expected a digit, found the end");
  CHECK(refusal("01") == at + "2: expected nothing more, found \"1\"");
  CHECK(refusal("nul") == at + "1: expected a value, found \"n\"");
  CHECK(refusal("\"abc") == at + "5: expected '\"', found the end");
  CHECK(refusal("\"\n\"") == at + "2: expected an escape for a control character, found \"\\x0a\"");
  CHECK(refusal("\"\\x\"") == at + "3: expected an escape, found \"x\"");
  CHECK(refusal("\"\\u12g4\"") == at + "4: expected four hexadecimal digits, found \"1\"");
  CHECK(refusal("\"\\udc00\"") == at + "8: expected both halves of a surrogate pair, found \"\"\"");
  CHECK(refusal("\"\\ud800x\"") == at + "8: expected both halves of a surrogate pair, found \"x\"");
  CHECK(refusal("\"\xE2\x82\"") == at + "2: expected UTF-8, found \"\\xe2\"");
}

TEST_CASE("duplicate keys and deep nesting are refused wherever they are") {
  CHECK(refusal(R"([{"a": {"b": 1, "b": 2}}])") == "f: key \"b\": expected once, found twice");
  CHECK(refusal(R"({"a": {"b": 1}, "b": {"a": 2}})") == "");
  CHECK(refusal(std::string(64, '[') + std::string(64, ']')) == "");
  CHECK(refusal(std::string(65, '[') + std::string(65, ']')) ==
        "f: invalid JSON: expected at most 64 levels of nesting, found more");
}

TEST_CASE("what was found is said in words") {
  const auto found = [](std::string_view text) { return qwq::detail::json_reader(text, "f").found(); };
  CHECK(found("{\"a\":[]}") == "an object");
  CHECK(found("[1,[2,3],{}]") == "a list of 3");
  CHECK(found(R"("a\n")") == R"("a\x0a")");
  CHECK(found("-1.50e3 ") == "-1.50e3");
  CHECK(found("null") == "null");
}

TEST_CASE("an unsigned integer is digits that fit") {
  CHECK(qwq::detail::unsigned_integer("0") == 0u);
  CHECK(qwq::detail::unsigned_integer("18446744073709551615") == 18446744073709551615u);
  for (const char* other : {"18446744073709551616", "-1", "-0", "1.0", "1e2", "", "\"1\"", "true"})
    CHECK_FALSE(qwq::detail::unsigned_integer(other));
}

// SPDX-License-Identifier: Apache-2.0
// Calibration rows of every kind, and broken lines named by their number.
#include <qwq/text/sample.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../io/scratch.hpp"

namespace {
std::string refusal(const std::string& text) {
  return complaint([&] { qwq::parse_jsonl(text, "f"); });
}
const std::string good = R"({"text": "a"})";
}  // namespace

TEST_CASE("question and answer rows of a real file") {
  const auto rows = qwq::read_jsonl(QWQ_TEST_DATA "/text/calib.jsonl");
  REQUIRE(rows.size() == 64);
  CHECK(rows[0].type == qwq::sample::kind::qa);
  CHECK(rows[0].question == "Lily reads 6 pages every day. How many pages does Lily read in 4 days?");
  CHECK(rows[0].answer == "In 4 days Lily reads 6 * 4 = <<6*4=24>>24 pages.\n#### 24");
  CHECK(rows[0].text.empty());
  for (const auto& row : rows) CHECK(row.type == qwq::sample::kind::qa);
}

TEST_CASE("token rows of a real file") {
  const auto rows = qwq::read_jsonl(QWQ_TEST_DATA "/text/eval_tokens.jsonl");
  REQUIRE(rows.size() == 64);
  for (const auto& row : rows) {
    CHECK(row.type == qwq::sample::kind::ids);
    CHECK(row.ids.back() == 1214);
    REQUIRE(row.answer_start.has_value());
    CHECK(*row.answer_start < row.ids.size());
  }
}

TEST_CASE("one row of each kind") {
  const auto rows = qwq::parse_jsonl(R"({"text": "a\nb", "source": {"page": 1}}
{"messages": [{"role":"system", "content":""}, {"role":"user", "content":"hi"}, {"role":"assistant", "content":"yo"}]}
{"ids": [0, 2147483647]}
{"answer": "4", "question": "2+2"}
{"answer_start": 1, "ids": [1, 2]})",
                                     "f");
  REQUIRE(rows.size() == 5);
  CHECK(rows[0].text == "a\nb");
  CHECK(rows[1].messages == std::vector<qwq::message>{{"system", ""}, {"user", "hi"}, {"assistant", "yo"}});
  CHECK(rows[2].ids == std::vector<std::int32_t>{0, 2147483647});
  CHECK(rows[2].answer_start == std::nullopt);
  CHECK(rows[3].question == "2+2");
  CHECK(rows[3].answer == "4");
  CHECK(rows[4].answer_start == 1);
}

TEST_CASE("a line ends at a line feed and nowhere else") {
  const std::string separators =
      "a\xc2\x85"
      "b\xe2\x80\xa8"
      "c\xe2\x80\xa9"
      "d";
  const auto rows = qwq::parse_jsonl("{\"text\": \"" + separators + "\"}\r\n" + good + "\r\n", "f");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].text == separators);
  CHECK(rows[1].text == "a");
}

TEST_CASE("blank lines are skipped, and lines keep their numbers") {
  CHECK(qwq::parse_jsonl(good, "f").size() == 1);
  CHECK(qwq::parse_jsonl(good + "\n", "f").size() == 1);
  CHECK(qwq::parse_jsonl(good + "\n\n \t\r\n", "f").size() == 1);
  CHECK(qwq::parse_jsonl(good + "\n\n\r\n" + good, "f").size() == 2);
  CHECK(qwq::parse_jsonl("\n \n" + good, "f").size() == 1);
  CHECK(refusal("\n" + good + "\n\n{}").starts_with("f:4: expected one of "));
}

TEST_CASE("null is absent, and numbers that JSON does not have may be in keys that are ignored") {
  const auto rows = qwq::parse_jsonl(
      R"({"text": "a", "ids": null, "messages": null, "question": null}
{"text": null, "ids": [1, 2], "answer_start": null}
{"score": NaN, "text": "NaN \"Infinity\\", "range": [-Infinity, Infinity]})",
      "f");
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].text == "a");
  CHECK(rows[1].ids == std::vector<std::int32_t>{1, 2});
  CHECK(rows[2].text == "NaN \"Infinity\\");
  CHECK(refusal(R"({"text": NaN})") ==
        R"(f:1: expected one of "question", "text", "messages", "ids", found 0 of them)");
  CHECK(refusal(R"({"ids": [1, NaN]})") == "f:1: ids[1]: expected a token id >= 0, found null");
  CHECK(refusal(R"({"text": "a", "score": nan})").starts_with("f:1: invalid JSON at byte "));
  CHECK(refusal(R"({"text": "NaN)").starts_with("f:1: invalid JSON at byte "));
}

TEST_CASE("a file without rows is an error") {
  const scratch temp;
  const auto path = temp.put("calib.jsonl", "");
  CHECK(complaint([&] { qwq::read_jsonl(path); }) == path.string() + ": expected at least one row, found none");
  CHECK(refusal("\n \n") == "f: expected at least one row, found none");
  CHECK(complaint([&] { qwq::read_jsonl(temp / "missing"); }) ==
        (temp / "missing").string() + ": cannot open: No such file or directory");
}

TEST_CASE("a broken line is named by file and number") {
  const scratch temp;
  const auto path = temp.put("calib.jsonl", good + '\n' + good + "\n{\"text\": \"cut");
  CHECK(complaint([&] { qwq::read_jsonl(path); }).starts_with(path.string() + ":3: invalid JSON at byte 14: "));
  const auto second = [](const std::string& line) {
    const std::string message = refusal(good + '\n' + line + '\n' + good);
    REQUIRE(message.starts_with("f:2: "));
    return message.substr(5);
  };
  CHECK(second("{\"text\": \"\xff\"}").starts_with("invalid JSON at byte "));
  CHECK(second(good + good).starts_with("invalid JSON at byte "));
  CHECK(second(good + std::string("\0 {garbage", 10)) == "invalid JSON at byte 14: expected text, found \"\\x00\"");
  CHECK(second("[1]") == "expected a JSON object, found a list of 1");
  CHECK(second(R"({"text": "a", "text": "b"})") == "key \"text\": expected once, found twice");
  const std::string kinds = R"(expected one of "question", "text", "messages", "ids", found )";
  CHECK(second("{}") == kinds + "0 of them");
  CHECK(second(R"({"text": "a", "ids": [1]})") == kinds + "2 of them");
  CHECK(second(R"({"text": 7})") == "text: expected a string, found 7");
  CHECK(second(R"({"text": ""})") == "text: expected text, found \"\"");
  CHECK(second(R"({"question": "a"})") == "answer: expected a string, found null");
  CHECK(second(R"({"question": "", "answer": "b"})") == "question: expected text, found \"\"");
  CHECK(second(R"({"messages": []})") == "messages: expected at least one element, found a list of 0");
  CHECK(second(R"({"messages": {}})") == "messages: expected a list, found an object");
  CHECK(second(R"({"messages": ["a"]})") == "messages[0]: expected an object, found \"a\"");
  CHECK(second(R"({"messages": [{"role": "tool", "content": "a"}]})") ==
        R"(messages[0].role: expected "system", "user" or "assistant", found "tool")");
  CHECK(second(R"({"messages": [{"role": "user", "content": "a"}, {"role": "user"}]})") ==
        "messages[1].content: expected a string, found null");
  CHECK(second(R"({"ids": []})") == "ids: expected at least one element, found a list of 0");
  CHECK(second(R"({"ids": "1 2"})") == "ids: expected a list, found \"1 2\"");
  CHECK(second(R"({"ids": [1, -1]})") == "ids[1]: expected a token id >= 0, found -1");
  CHECK(second(R"({"ids": [1.5]})") == "ids[0]: expected a token id >= 0, found 1.5");
  CHECK(second(R"({"ids": [2147483648]})") == "ids[0]: expected a token id >= 0, found 2147483648");
  CHECK(second(R"({"ids": [1], "answer_start": 1})") == "answer_start: expected an index below 1, found 1");
  CHECK(second(R"({"ids": [1], "answer_start": "0"})") == "answer_start: expected an index below 1, found \"0\"");
}

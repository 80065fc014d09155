// SPDX-License-Identifier: Apache-2.0
// The tokenizer against Hugging Face's, its corner cases, and files that are wrong.
#include <qwq/text/tokenizer.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <qwq/text/stream_decoder.hpp>

#include "../io/scratch.hpp"

namespace {

using qwq::detail::json;
using ids = std::vector<std::int32_t>;

const qwq::tokenizer& tiny() {
  static const auto tokenizer = qwq::tokenizer::open(QWQ_TEST_DATA "/tinyqwen");
  return tokenizer;
}

/// tokenizer.json, to be changed.
const json& tiny_file() {
  static const json file = json::parse(slurp(QWQ_TEST_DATA "/tinyqwen/tokenizer.json"));
  return file;
}

const std::string& qwen3_regex() {
  return tiny_file()["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"].get_ref<const std::string&>();
}

std::vector<json> rows(const std::string& name) {
  std::istringstream file(slurp(QWQ_TEST_DATA "/text/" + name));
  std::vector<json> result;
  for (std::string line; std::getline(file, line);) result.push_back(json::parse(line));
  return result;
}

std::vector<std::string> pieces(const qwq::detail::splitter& splitter, std::string_view text) {
  std::vector<std::string> result;
  splitter.split(qwq::detail::nfc(qwq::detail::to_utf16(text)),
                 [&](std::u16string_view piece) { qwq::detail::append_utf8(result.emplace_back(), piece); });
  return result;
}

std::string streamed(const ids& tokens, bool skip_special) {
  qwq::stream_decoder decoder(tiny(), skip_special);
  std::string all;
  for (const auto id : tokens) {
    const std::string text(decoder.push(id));
    std::string checked;
    CHECK(qwq::detail::append_repaired(checked, text) == 0);
    CHECK(checked == text);
    all += text;
  }
  all += decoder.finish();
  CHECK(decoder.finish().empty());
  return all;
}

/// What `parse` says to tokenizer.json after `change`.
template <class Change>
std::string refusal(Change&& change) {
  json file = tiny_file();
  change(file);
  return complaint([&] { qwq::tokenizer::parse(file.dump(), "t"); });
}

template <class Change>
qwq::tokenizer changed(Change&& change) {
  json file = tiny_file();
  change(file);
  return qwq::tokenizer::parse(file.dump(), "t");
}

}  // namespace

TEST_CASE("texts become the ids of Hugging Face's tokenizer and come back") {
  const qwq::detail::splitter splitter(qwen3_regex(), "regex");
  int count = 0;
  for (const json& row : rows("tokenizer.jsonl")) {
    const auto text = row["text"].get<std::string>();
    CAPTURE(text);
    const auto expected = row["ids"].get<ids>();
    CHECK(tiny().encode(text) == expected);
    CHECK(tiny().decode(expected) == row["decoded"].get<std::string>());
    CHECK(tiny().decode(expected, true) == row["decoded_skip_special"].get<std::string>());
    CHECK(streamed(expected, false) == row["decoded"].get<std::string>());
    CHECK(streamed(expected, true) == row["decoded_skip_special"].get<std::string>());
    if (!row["pieces"].is_null()) CHECK(pieces(splitter, text) == row["pieces"].get<std::vector<std::string>>());
    ++count;
  }
  CHECK(count == 200);
}

TEST_CASE("the evaluation text becomes the ids that the reference cross-entropy is over") {
  const auto texts = rows("eval.jsonl");
  const auto tokens = rows("eval_tokens.jsonl");
  REQUIRE(texts.size() == tokens.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto text = "Question: " + texts[i]["question"].get<std::string>() +
                      "\nAnswer: " + texts[i]["answer"].get<std::string>() + "<|endoftext|>";
    CHECK(tiny().encode(text) == tokens[i]["ids"].get<ids>());
  }
}

TEST_CASE("ids become text, also when they end inside characters") {
  int count = 0;
  for (const json& row : rows("decode.jsonl")) {
    const auto tokens = row["ids"].get<ids>();
    CHECK(tiny().decode(tokens) == row["text"].get<std::string>());
    CHECK(tiny().decode(tokens, true) == row["text_skip_special"].get<std::string>());
    CHECK(streamed(tokens, false) == row["text"].get<std::string>());
    CHECK(streamed(tokens, true) == row["text_skip_special"].get<std::string>());
    ++count;
  }
  CHECK(count > 0);
}

TEST_CASE("text comes out of the stream as soon as a character is complete") {
  qwq::stream_decoder decoder(tiny());
  const auto byte = [&](unsigned char b) {
    return *tiny().token_to_id(qwq::detail::spell({reinterpret_cast<char*>(&b), 1}));
  };
  CHECK(decoder.push(byte('a')) == "a");
  CHECK(decoder.push(byte(0xF0)) == "");
  CHECK(decoder.push(byte(0x9F)) == "");
  CHECK(decoder.push(byte(0x99)) == "");
  CHECK(decoder.push(byte(0x82)) == "\U0001F642");
  CHECK(decoder.push(byte(0xE2)) == "");
  CHECK(decoder.push(byte('b')) == "\uFFFDb");
  CHECK(decoder.push(byte(0xE2)) == "");
  CHECK(decoder.push(*tiny().token_to_id("<|im_end|>")) == "\uFFFD<|im_end|>");
  CHECK(decoder.push(byte(0xE2)) == "");
  CHECK(decoder.finish() == "\uFFFD");
}

TEST_CASE("merges may be spelled as strings, with the first line of merges.txt or without") {
  const std::string text = slurp(QWQ_TEST_DATA "/text/tokenizer_string_merges.json");
  const auto strings = qwq::tokenizer::parse(text, "tokenizer_string_merges.json");
  json file = json::parse(text);
  auto& merges = file["model"]["merges"];
  REQUIRE(merges[0].is_string());
  merges.insert(merges.begin(), "#version: 0.2");
  const auto versioned = qwq::tokenizer::parse(file.dump(), "versioned");
  for (const json& row : rows("tokenizer.jsonl")) {
    CHECK(strings.encode(row["text"].get<std::string>()) == row["ids"].get<ids>());
    CHECK(versioned.encode(row["text"].get<std::string>()) == row["ids"].get<ids>());
  }
}

TEST_CASE("merging with a heap gives what merging by definition gives") {
  qwq::detail::bpe bpe;
  std::map<std::pair<std::int32_t, std::int32_t>, std::pair<std::uint32_t, std::int32_t>> table;
  for (std::size_t b = 0; b < 256; ++b) bpe.bytes[b] = static_cast<std::int32_t>(b);
  std::mt19937 random(1);
  std::map<std::string, std::int32_t> vocabulary;
  std::vector<std::string> tokens;
  for (const char* letter : {"a", "b", "c"}) vocabulary[tokens.emplace_back(letter)] = letter[0];
  for (std::uint32_t rank = 0; rank < 400; ++rank) {
    const std::string left = tokens[random() % tokens.size()], right = tokens[random() % tokens.size()];
    if (left.size() + right.size() > 12) continue;
    const auto [at, fresh] = vocabulary.try_emplace(left + right, static_cast<std::int32_t>(256 + vocabulary.size()));
    if (fresh) tokens.push_back(left + right);
    if (table.try_emplace({vocabulary[left], vocabulary[right]}, rank, at->second).second)
      bpe.add_merge(vocabulary[left], vocabulary[right], rank, at->second);
  }
  qwq::detail::bpe::workspace work;
  for (int round = 0; round < 2000; ++round) {
    std::string piece(random() % 60, 'a');
    for (char& c : piece) c = static_cast<char>('a' + random() % 3);
    ids expected(piece.begin(), piece.end()), found;
    while (true) {
      std::size_t best = expected.size();
      std::uint32_t best_rank = ~0U;
      std::int32_t merged = 0;
      for (std::size_t i = 0; i + 1 < expected.size(); ++i) {
        const auto merge = table.find({expected[i], expected[i + 1]});
        if (merge == table.end() || merge->second.first >= best_rank) continue;
        best = i;
        std::tie(best_rank, merged) = merge->second;
      }
      if (best == expected.size()) break;
      expected[best] = merged;
      expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    bpe.encode(piece, found, work);
    REQUIRE(found == expected);
  }
}

TEST_CASE("a piece of 100,000 characters takes no quadratic time") {
  const std::clock_t start = std::clock();
  for (const std::string_view unit : {"a", "xyzzy", " ", "\n", "!", "\t\n", "\u00E9", "\u4E2D", "\xFF", "<", "'s"}) {
    std::string text;
    while (text.size() < 100'000) text += unit;
    const auto tokens = tiny().encode(text);
    CHECK(tokens.size() > 1000);
    if (unit != "\xFF") CHECK(tiny().decode(tokens) == text);
  }
  CHECK(std::clock() - start < 3 * CLOCKS_PER_SEC);  // of this process; 0.2 without sanitizers
}

TEST_CASE("a run of blanks of a million characters is one piece") {
  const qwq::detail::splitter splitter(qwen3_regex(), "regex");
  CHECK(pieces(splitter, std::string(1'000'000, ' ')).size() == 1);
}

TEST_CASE("case and blanks are Unicode's") {
  const qwq::detail::splitter splitter(qwen3_regex(), "regex");
  using list = std::vector<std::string>;
  CHECK(pieces(splitter, "it's IT'S it'\u017F we'Ll x'e") ==
        list{"it", "'s", " IT", "'S", " it", "'\u017F", " we", "'Ll", " x", "'e"});
  for (const char* blank : {"\t", "\v", "\f", " ", "\u0085", "\u00A0", "\u1680", "\u2002", "\u200A", "\u2028", "\u2029",
                            "\u202F", "\u205F", "\u3000"})
    CHECK(pieces(splitter, std::string("1") + blank + blank + "1") == list{"1", blank, blank, "1"});
  for (const char* other : {"\u200B", "\u180E", "\uFEFF", "\x1C"})
    CHECK(pieces(splitter, std::string("1") + other + other + "1") == list{"1", std::string(other) + other, "1"});
  CHECK(pieces(splitter, "12\u00B2\u2167\u0663") == list{"1", "2", "\u00B2", "\u2167", "\u0663"});
}

TEST_CASE("Qwen3.5's expression keeps marks with their letters") {
  const std::string regex = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
                            R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const std::string hindi = "\u0939\u093F\u0928\u094D\u0926\u0940";
  CHECK(pieces({regex, "regex"}, hindi) == std::vector{hindi});
  CHECK(pieces({qwen3_regex(), "regex"}, hindi).size() > 1);
}

TEST_CASE("what an expression does not match is a piece too, and empty matches are none") {
  using list = std::vector<std::string>;
  CHECK(pieces({"b+", "regex"}, "abba") == list{"a", "bb", "a"});
  CHECK(pieces({"b*", "regex"}, "abb") == list{"a", "bb"});
  CHECK(pieces({"x", "regex"}, "ab") == list{"ab"});
  CHECK(pieces({"x", "regex"}, "").empty());
}

TEST_CASE("a regular expression that would take long to compile or to match is refused") {
  const auto refusal_of = [](const std::string& expression) {
    return complaint([&] { qwq::detail::splitter{expression, "here"}; });
  };
  CHECK(refusal_of(std::string(1000, 'a')) == "");
  CHECK(refusal_of(std::string(1001, 'a')) == "here: expected a regular expression of at most 1000 bytes, found 1001");
  const std::string back = "here: expected a regular expression without back references, found ";
  CHECK(refusal_of("(.*)\\1b") == back + "\"\\1\"");
  CHECK(refusal_of("(?<x>.*)\\k<x>b") == back + "\"\\k\"");
  CHECK(refusal_of("\\\\\\9(a)") == back + "\"\\9\"");
  CHECK(refusal_of("(a)\\\\1") == "");
}

TEST_CASE("a tokenizer_config.json that cannot be read is not taken for absent") {
  const scratch temp;
  std::filesystem::copy_file(QWQ_TEST_DATA "/tinyqwen/tokenizer.json", temp / "tokenizer.json");
  std::filesystem::create_symlink("tokenizer_config.json", temp / "tokenizer_config.json");
  CHECK(complaint([&] { qwq::tokenizer::open(temp.folder()); }) ==
        (temp / "tokenizer_config.json").string() + ": cannot open: Too many levels of symbolic links");
}

TEST_CASE("an expression that backtracks for ever is stopped") {
  const qwq::detail::splitter splitter("(a+)+$", "here");
  CHECK(complaint([&] { pieces(splitter, std::string(60, 'a') + "b"); }) ==
        "here: expected an end of the search, found U_REGEX_TIME_OUT");
}

TEST_CASE("ill-formed UTF-8 is read as U+FFFD") {
  CHECK(tiny().encode("a\xFF") == tiny().encode("a\uFFFD"));
  CHECK(tiny().encode("\xF0\x9F\x99") == tiny().encode("\uFFFD"));
  CHECK(tiny().encode("\xE2\x82<|im_end|>") == tiny().encode("\uFFFD<|im_end|>"));
  CHECK(tiny().encode("\xED\xA0\x80") == tiny().encode("\uFFFD\uFFFD\uFFFD"));
  CHECK(tiny().encode({"\0a", 2}) == ids{*tiny().token_to_id("\u0100"), *tiny().token_to_id("a")});
}

TEST_CASE("the longest of the added tokens that begin at a place is taken") {
  const auto tokenizer = changed([](json& file) {
    auto token = file["added_tokens"][0];
    for (const auto& [content, id] : {std::pair{"<<", 307}, {"<<a", 1240}, {"<<ab>", 1241}, {"a", 64}}) {
      token["content"] = content;
      token["id"] = id;
      file["added_tokens"].push_back(token);
    }
  });
  CHECK(tokenizer.encode("<<ab>") == ids{1241});
  CHECK(tokenizer.encode("<<ab<<<") == ids{1240, 65, 307, 27});
  CHECK(tokenizer.encode("aa") == ids{64, 64});
  CHECK(tokenizer.is_special(64));  // in the vocabulary already: the same token
}

TEST_CASE("added tokens marked normalized are sought after NFC") {
  const auto tokenizer = changed([](json& file) {
    auto token = file["added_tokens"][0];
    token["normalized"] = true;
    token["special"] = false;
    token["content"] = "caf\u00E9";
    token["id"] = 1240;
    file["added_tokens"].push_back(token);
  });
  CHECK(tokenizer.encode("cafe\u0301") == ids{1240});
  CHECK(tokenizer.encode("<|im_end|>caf\u00E9!") == ids{1216, 1240, 0});
  // As in the reference, the spelling of an added token goes through the byte alphabet too, where U+00E9 is byte E9.
  CHECK(tokenizer.decode(ids{1240}) == "caf\uFFFD");
}

TEST_CASE("ignore_merges takes whole pieces from the vocabulary") {
  const auto edit = [](bool ignore) {
    return [ignore](json& file) {
      file["model"]["ignore_merges"] = ignore;
      file["model"]["vocab"]["\u0120zq"] = 1240;
    };
  };
  CHECK(changed(edit(true)).encode(" zq zqz") == ids{1240, *tiny().token_to_id("\u0120"), *tiny().token_to_id("z"),
                                                     *tiny().token_to_id("q"), *tiny().token_to_id("z")});
  CHECK(changed(edit(false)).encode(" zq") == tiny().encode(" zq"));
}

TEST_CASE("tokens by name and by id") {
  CHECK(tiny().vocab_size() == 1240);
  CHECK(tiny().token_to_id("<|im_end|>") == 1216);
  CHECK(tiny().token_to_id("\u0120t").has_value());
  CHECK(tiny().token_bytes(*tiny().token_to_id("\u0120t")) == " t");
  CHECK_FALSE(tiny().token_to_id(" t").has_value());
  CHECK(tiny().is_special(1216));
  CHECK_FALSE(tiny().is_special(1238));  // <think>
  for (const std::int32_t none : {-1, 1240, 2'000'000'000}) {
    CHECK_FALSE(tiny().is_special(none));
    CHECK(tiny().decode(ids{64, none, 65}) == "ab");
  }
}

TEST_CASE("more than 512 MiB of text is refused") {
  CHECK(complaint([] {
          tiny().encode({"", (std::size_t{1} << 29) + 1});
        }) == "tokenizer: text: expected at most 536870912 bytes, found 536870913");
}

TEST_CASE("files that are not what they should be") {
  CHECK(complaint([] { qwq::tokenizer::parse("{", "t"); }).starts_with("t: invalid JSON"));
  CHECK(complaint([] { qwq::tokenizer::parse("[]", "t"); }) == "t: expected a JSON object, found a list of 0");
  CHECK(complaint([] { qwq::tokenizer::parse("{}", "t"); }) == "t: normalizer: expected an object, found null");
  CHECK(refusal([](json& f) { f["model"].erase("merges"); }) == "t: model.merges: expected a list, found null");
  CHECK(refusal([](json& f) { f["model"].erase("vocab"); }) == "t: model.vocab: expected an object, found null");
  CHECK(refusal([](json& f) { f["model"]["vocab"].erase("A"); }) ==
        "t: model.vocab: expected a token for every byte, found none for byte 65");
  for (const json& id : {json(-1), json(1 << 20), json(~std::uint64_t{0}), json(1.5), json("1")})
    CHECK(refusal([&](json& f) { f["model"]["vocab"]["A"] = id; }) ==
          "t: model.vocab[\"A\"]: expected an id from 0 to 1048575, found " + id.dump());
  CHECK(refusal([](json& f) { f["model"]["vocab"]["zzz\n"] = 64; }) ==
        "t: model.vocab[\"zzz\\x0a\"]: expected an id of its own, found 64");
  CHECK(refusal([](json& f) { f["model"]["vocab"][""] = 1240; }) ==
        "t: model.vocab[\"\"]: expected a token, found an empty string");
  CHECK(refusal([](json& f) {
          f["model"]["merges"][1] = {"zz", "a"};
        }) == "t: model.merges[1]: expected tokens of model.vocab, found \"zz\"");
  CHECK(refusal([](json& f) {
          f["model"]["merges"][1] = {"!", "!!"};
        }) == "t: model.merges[1]: expected tokens of model.vocab, found \"!!\"");
  for (const json& merge : {json("ab"), json("a b c"), json({"a"}), json({"a", 1}), json(1)})
    CHECK(refusal([&](json& f) {
            f["model"]["merges"][1] = merge;
          }).starts_with("t: model.merges[1]: expected two tokens, found "));
  CHECK(refusal([](json& f) { f["added_tokens"][0]["id"] = 5; }) ==
        "t: added_tokens[0].id: expected an id of its own, found 5");
  CHECK(refusal([](json& f) { f["added_tokens"][0]["content"] = "!"; }) ==
        "t: added_tokens[0].id: expected 0 as before, found 1214");
  CHECK(refusal([](json& f) { f["added_tokens"][0]["content"] = ""; }) ==
        "t: added_tokens[0].id: expected a token, found an empty string");
  CHECK(refusal([](json& f) { f["added_tokens"][0].erase("content"); }) ==
        "t: added_tokens[0].content: expected a string, found null");
  CHECK(refusal([](json& f) { f["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "("; }) ==
        "t: pre_tokenizer.pretokenizers[0].pattern.Regex: expected a regular expression, found "
        "U_REGEX_MISMATCHED_PAREN");
}

TEST_CASE("what is not implemented is refused by name") {
  const auto set = [](const char* pointer, const json& value) {
    return refusal([&](json& file) { file[json::json_pointer(pointer)] = value; });
  };
  CHECK(set("/normalizer/type", "NFKC") == "t: normalizer.type: expected \"NFC\", found \"NFKC\"");
  CHECK(set("/pre_tokenizer/type", "ByteLevel") == "t: pre_tokenizer.type: expected \"Sequence\", found \"ByteLevel\"");
  CHECK(set("/pre_tokenizer/pretokenizers/2", json::object()) ==
        "t: pre_tokenizer.pretokenizers: expected Split and ByteLevel, found a list of 3");
  const std::string split = "t: pre_tokenizer.pretokenizers[0].";
  CHECK(set("/pre_tokenizer/pretokenizers/0/type", "Digits") == split + "type: expected \"Split\", found \"Digits\"");
  CHECK(set("/pre_tokenizer/pretokenizers/0/behavior", "Removed") ==
        split + "behavior: expected \"Isolated\", found \"Removed\"");
  CHECK(set("/pre_tokenizer/pretokenizers/0/invert", true) == split + "invert: expected false, found true");
  CHECK(set("/pre_tokenizer/pretokenizers/0/pattern", {{"String", " "}}) ==
        split + "pattern.Regex: expected a string, found null");
  const std::string bytes = "t: pre_tokenizer.pretokenizers[1].";
  CHECK(set("/pre_tokenizer/pretokenizers/1/add_prefix_space", true) ==
        bytes + "add_prefix_space: expected false, found true");
  CHECK(set("/pre_tokenizer/pretokenizers/1/use_regex", nullptr) == bytes + "use_regex: expected false, found null");
  CHECK(set("/post_processor/type", "TemplateProcessing") ==
        "t: post_processor.type: expected \"ByteLevel\", found \"TemplateProcessing\"");
  CHECK(set("/decoder/type", "Fuse") == "t: decoder.type: expected \"ByteLevel\", found \"Fuse\"");
  CHECK(set("/model/type", "Unigram") == "t: model.type: expected \"BPE\", found \"Unigram\"");
  CHECK(set("/model/dropout", 0.1) == "t: model.dropout: expected null, found 0.1");
  CHECK(set("/model/continuing_subword_prefix", "##") ==
        "t: model.continuing_subword_prefix: expected \"\", found \"##\"");
  CHECK(set("/model/end_of_word_suffix", "</w>") == "t: model.end_of_word_suffix: expected \"\", found \"</w>\"");
  CHECK(set("/model/ignore_merges", 1) == "t: model.ignore_merges: expected true or false, found 1");
  for (const std::string flag : {"single_word", "lstrip", "rstrip"})
    CHECK(set(("/added_tokens/3/" + flag).c_str(), true) ==
          "t: added_tokens[3]." + flag + ": expected false, found true");
}

TEST_CASE("truncation, padding and an absent post-processor change nothing") {
  const auto tokenizer = changed([](json& file) {
    file["truncation"] = {{"max_length", 2}};
    file["padding"] = {{"pad_id", 0}};
    file["post_processor"] = nullptr;
    file["model"]["end_of_word_suffix"] = nullptr;
    file["model"]["dropout"] = 0.0;
  });
  CHECK(tokenizer.encode("How many apples?") == tiny().encode("How many apples?"));
}

TEST_CASE("a folder needs tokenizer.json, and tokenizer_config.json must not contradict") {
  const scratch temp;
  const auto open = [&] { return complaint([&] { qwq::tokenizer::open(temp.folder()); }); };
  const std::string folder = temp.folder().string();
  CHECK(open() == folder + "/tokenizer.json: cannot open: No such file or directory");
  temp.put("tokenizer.json", tiny_file().dump());
  CHECK(open() == "");
  temp.put("tokenizer_config.json", R"({"add_bos_token": false, "model_max_length": 7})");
  CHECK(open() == "");
  temp.put("tokenizer_config.json", R"({"add_bos_token": true})");
  CHECK(open() == folder + "/tokenizer_config.json: add_bos_token: expected false, found true");
}

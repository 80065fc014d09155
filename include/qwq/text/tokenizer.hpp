// SPDX-License-Identifier: Apache-2.0
// Defines `tokenizer`, which reads a tokenizer.json and converts text to ids and back, like Hugging Face's tokenizers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/core/utf8.hpp"
#include "qwq/io/json.hpp"
#include "qwq/io/json_place.hpp"
#include "qwq/io/mapped_file.hpp"
#include "qwq/io/presence.hpp"
#include "qwq/text/added_tokens.hpp"
#include "qwq/text/bpe.hpp"
#include "qwq/text/byte_level.hpp"
#include "qwq/text/pre_tokenizer.hpp"

namespace qwq {

namespace detail {
/// Enables lookup by string_view in a map with string keys.
struct string_hash : std::hash<std::string_view> {
  using is_transparent = void;
};
}  // namespace detail

/// Byte-level BPE of the Qwen2, Qwen3 and Qwen3.5 families. Encoding splits added tokens from the text, normalizes the
/// rest to NFC, splits it by the file's regular expression, and merges each piece byte by byte. No tokens are added
/// before or after. `truncation` and `padding` in the file are per-call options of other libraries and are ignored; any
/// other setting that would change ids and is not implemented is rejected when the file is read.
/// Const members can be called from several threads at once.
class tokenizer {
 public:
  /// Reads `folder`/tokenizer.json. Throws `error` if a tokenizer_config.json in the folder requests other behaviour.
  static tokenizer open(const std::filesystem::path& folder) {
    const auto file = folder / "tokenizer.json";
    tokenizer result = parse(mapped_file(file).text(), file.string());
    if (const auto config = folder / "tokenizer_config.json"; detail::is_present(config)) {
      const detail::json flags = detail::parse_object(mapped_file(config).text(), config.string());
      for (const char* flag : {"add_bos_token", "add_eos_token", "add_prefix_space", "clean_up_tokenization_spaces",
                               "split_special_tokens"})
        detail::json_place::root(flags, config.string())[flag].must_be(false, false);
    }
    return result;
  }

  /// Parses the text of a tokenizer.json; `source` is its name in error messages.
  static tokenizer parse(std::string_view text, std::string_view source) {
    const detail::json root = detail::parse_object(text, std::string(source));
    const auto file = detail::json_place::root(root, source);
    tokenizer result;
    result.read_stages(file);
    result.read_vocabulary(file["model"]["vocab"]);
    result.read_merges(file["model"]["merges"]);
    result.read_added_tokens(file["added_tokens"]);
    return result;
  }

  /// The ids of `text`, which has at most 512 MiB. Each maximal subpart of ill-formed UTF-8 is replaced by U+FFFD.
  std::vector<std::int32_t> encode(std::string_view text) const {
    if (text.size() > max_text)
      throw error("tokenizer: text: expected at most " + std::to_string(max_text) + " bytes, found " +
                  std::to_string(text.size()));
    std::vector<std::int32_t> ids;
    std::string bytes;
    detail::bpe::workspace work;
    const auto on_token = [&](std::int32_t id) { ids.push_back(id); };
    const auto on_piece = [&](std::u16string_view piece) {
      bytes.clear();
      detail::append_utf8(bytes, piece);
      if (ignore_merges_) {
        if (const auto id = token_to_id(detail::spell(bytes))) return ids.push_back(*id);
      }
      bpe_.encode(bytes, ids, work);
    };
    raw_tokens_.cut(text, on_token, [&](std::string_view stretch) {
      const std::u16string normal = detail::nfc(detail::to_utf16(stretch));
      normal_tokens_.cut(normal, on_token, [&](std::u16string_view plain) { splitter_.split(plain, on_piece); });
    });
    return ids;
  }

  /// The text of `ids`: their concatenated bytes, with U+FFFD for each maximal subpart of ill-formed UTF-8. Ids without
  /// a token (a model's vocabulary can be padded) yield nothing; nor do special tokens if `skip_special`.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const {
    std::string bytes, text;
    for (const std::int32_t id : ids) bytes += token_bytes(id, skip_special);
    if (detail::append_repaired(text, bytes) > 0) detail::append_utf8(text, detail::replacement_character);
    return text;
  }

  /// The bytes of one token, which can be incomplete characters; empty for an id without a token.
  std::string_view token_bytes(std::int32_t id, bool skip_special = false) const {
    if (id < 0 || id >= vocab_size() || (skip_special && is_special(id))) return {};
    return bytes_[static_cast<std::size_t>(id)];
  }

  /// Bytes of the longest token.
  std::size_t longest_token() const { return longest_; }

  /// True for added tokens that are marked special, such as <|im_end|>.
  bool is_special(std::int32_t id) const {
    return id >= 0 && id < vocab_size() && special_[static_cast<std::size_t>(id)];
  }

  /// The id of a token in the file's spelling: a leading space is spelled U+0120, added tokens are spelled as they are.
  std::optional<std::int32_t> token_to_id(std::string_view token) const {
    const auto at = ids_.find(token);
    if (at == ids_.end()) return std::nullopt;
    return at->second;
  }

  /// The largest id plus one. The model's vocab_size can be larger.
  std::int32_t vocab_size() const { return static_cast<std::int32_t>(bytes_.size()); }

 private:
  static constexpr std::size_t max_text = std::size_t{1} << 29;
  static constexpr std::int32_t max_id = (1 << 20) - 1;  // limits the size of the id table for hostile files

  tokenizer() = default;

  /// Checks everything but the tables: rejects what encode and decode do not implement.
  void read_stages(const detail::json_place& file) {
    file["normalizer"]["type"].must_be("NFC");

    const auto pre_tokenizer = file["pre_tokenizer"];
    pre_tokenizer["type"].must_be("Sequence");
    const auto steps = pre_tokenizer["pretokenizers"];
    if (steps.list().size() != 2) steps.refuse("Split and ByteLevel");
    steps[0]["type"].must_be("Split");
    steps[0]["behavior"].must_be("Isolated");
    steps[0]["invert"].must_be(false, false);
    const auto regex = steps[0]["pattern"]["Regex"];
    splitter_ = {regex.string(), regex.where()};
    steps[1]["type"].must_be("ByteLevel");
    steps[1]["add_prefix_space"].must_be(false, true);
    steps[1]["use_regex"].must_be(false, true);

    if (const auto post = file["post_processor"]; !post->is_null()) post["type"].must_be("ByteLevel");
    file["decoder"]["type"].must_be("ByteLevel");

    const auto model = file["model"];
    model["type"].must_be("BPE");
    const auto dropout = model["dropout"];
    if (!dropout->is_null() && !(dropout->is_number() && dropout->get<double>() == 0)) dropout.refuse("null");
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!model[affix]->is_null()) model[affix].must_be("");
    ignore_merges_ = model["ignore_merges"].flag(false);
  }

  void read_vocabulary(const detail::json_place& vocab) {
    ids_.reserve(vocab.object().size());
    for (auto at = vocab->begin(); at != vocab->end(); ++at)
      add(at.key(), {*at, vocab.where() + '[' + detail::quote(at.key()) + ']'});
    for (std::size_t b = 0; b < 256; ++b) {
      const std::string token = detail::spell(std::string(1, static_cast<char>(b)));
      const auto id = token_to_id(token);
      if (!id)
        throw error(vocab.where() + ": expected a token for every byte, found none for byte " + std::to_string(b));
      bpe_.bytes[b] = *id;
    }
  }

  /// `merges` is a list of ["a", "b"] or, in older files, of "a b"; the rank of a merge is its position.
  void read_merges(const detail::json_place& merges) {
    std::string merged;
    std::uint32_t rank = 0;
    for (std::size_t i = 0; i < merges.list().size(); ++i) {
      const detail::json& merge = (*merges)[i];
      std::string_view left, right;
      if (merge.is_string()) {
        const std::string_view pair = merge.get_ref<const std::string&>();
        if (pair.starts_with("#version")) continue;  // first line of the merges.txt that such a list was made from
        const auto space = pair.find(' ');
        if (space == pair.npos || pair.find(' ', space + 1) != pair.npos) merges[i].refuse("two tokens");
        left = pair.substr(0, space);
        right = pair.substr(space + 1);
      } else {
        if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string())
          merges[i].refuse("two tokens");
        left = merge[0].get_ref<const std::string&>();
        right = merge[1].get_ref<const std::string&>();
      }
      const auto known = [&](std::string_view token) {
        if (const auto id = token_to_id(token)) return *id;
        throw error(merges[i].where() + ": expected tokens of model.vocab, found " + detail::quote(token));
      };
      const std::int32_t left_id = known(left), right_id = known(right);
      bpe_.add_merge(left_id, right_id, rank++, known(merged.assign(left).append(right)));
    }
  }

  void read_added_tokens(const detail::json_place& added) {
    std::vector<detail::added_tokens<char>::entry> raw;
    std::vector<detail::added_tokens<char16_t>::entry> normal;
    if (added->is_null()) return;
    for (std::size_t i = 0; i < added.list().size(); ++i) {
      const auto token = added[i];
      const auto content_place = token["content"];
      const std::string& content = content_place.string();
      for (const char* flag : {"single_word", "lstrip", "rstrip"}) token[flag].must_be(false, false);
      const auto known = token_to_id(content);
      const std::int32_t id = known ? *known : add(content, token["id"]);
      if (id_at(token["id"]) != id) token["id"].refuse(std::to_string(id) + " as before");
      special_[static_cast<std::size_t>(id)] = token["special"].flag(false);
      if (token["normalized"].flag(false)) {
        normal.push_back({detail::nfc(detail::to_utf16(content)), id});
      } else {
        raw.push_back({content, id});
      }
    }
    raw_tokens_ = detail::added_tokens<char>(std::move(raw));
    normal_tokens_ = detail::added_tokens<char16_t>(std::move(normal));
  }

  // Comparing the json itself with a number would cost every includer a second of compile time.
  static std::int32_t id_at(const detail::json_place& place) {
    const std::int64_t id = place->is_number_integer() ? place->get<std::int64_t>() : -1;
    if (id < 0 || id > max_id) place.refuse("an id from 0 to " + std::to_string(max_id));
    return static_cast<std::int32_t>(id);
  }

  std::int32_t add(const std::string& token, const detail::json_place& place) {
    if (token.empty()) throw error(place.where() + ": expected a token, found an empty string");
    const std::int32_t id = id_at(place);
    const auto index = static_cast<std::size_t>(id);
    if (index >= bytes_.size()) {
      bytes_.resize(index + 1);
      special_.resize(index + 1);
    }
    if (!bytes_[index].empty()) place.refuse("an id of its own");
    bytes_[index] = detail::unspell(token);
    longest_ = std::max(longest_, bytes_[index].size());
    ids_.emplace(token, id);
    return id;
  }

  std::unordered_map<std::string, std::int32_t, detail::string_hash, std::equal_to<>> ids_;  // by spelling
  std::vector<std::string> bytes_;                                                           // by id
  std::vector<bool> special_;                                                                // by id
  std::size_t longest_ = 0;
  detail::bpe bpe_;
  detail::splitter splitter_;
  detail::added_tokens<char> raw_tokens_;
  detail::added_tokens<char16_t> normal_tokens_;  // marked `normalized`: matched after NFC
  bool ignore_merges_ = false;
};

}  // namespace qwq

// SPDX-License-Identifier: Apache-2.0
// Defines `special_tokens`, the special token ids that two config files of a checkpoint define.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/core/json_tree.hpp"
#include "qwq/io/mapped_file.hpp"
#include "qwq/io/presence.hpp"

namespace qwq {

/// Token ids of config.json and generation_config.json; the latter takes precedence.
struct special_tokens {
  // Ids of begin of text and of padding, if defined.
  std::optional<std::int32_t> bos_token_id,  ///< Id of the token that begins a text.
      pad_token_id;                          ///< Id of the padding token.
  std::vector<std::int32_t> eos_token_ids;   ///< Ids that end a text; empty if no file defines any.

  /// Compares all members.
  bool operator==(const special_tokens&) const = default;
};

namespace detail {

/// A token id; none if it is absent, or negative, which older tools write for "none".
inline std::optional<std::int32_t> token(const json_value& at, std::int64_t vocab_size) {
  const auto id = at.integer();
  if (at.is_null() || (id && *id < 0)) return std::nullopt;
  if (id && *id < vocab_size) return static_cast<std::int32_t>(*id);
  at.refuse(fixed_string<63>("an integer from 0 to ").append(vocab_size - 1));
  return std::nullopt;
}

/// A token id or a list of them, possibly empty.
inline std::vector<std::int32_t> tokens(const json_value& at, std::int64_t vocab_size) {
  std::vector<std::int32_t> ids;
  if (!at.is_list()) {
    if (const auto id = token(at, vocab_size)) ids.push_back(*id);
    return ids;
  }
  for (const json_value& element : at.elements()) {
    if (element.is_null()) element.refuse("a token id");
    if (const auto id = token(element, vocab_size)) ids.push_back(*id);
  }
  return ids;
}

}  // namespace detail

/// Reads the token ids from the text of one file and overrides those in `known`; ids must be less than `vocab_size`.
/// `file`: its name in messages.
inline void read_special_tokens(special_tokens& known, std::string_view json, const std::string& file,
                                std::int64_t vocab_size) {
  json_tree tree(json);
  const json_value fields = tree.root();
  if (fields.kind() != json_kind::object) tree.refuse("", "a JSON object", fields.found());
  if (tree.problem().ok()) {
    if (const auto id = detail::token(fields["bos_token_id"], vocab_size)) known.bos_token_id = id;
    if (const auto id = detail::token(fields["pad_token_id"], vocab_size)) known.pad_token_id = id;
    if (const auto ids = detail::tokens(fields["eos_token_id"], vocab_size); !ids.empty()) known.eos_token_ids = ids;
  }
  if (!tree.problem().ok()) throw error(tree.problem().message(file));
}

/// Reads the special tokens of a checkpoint folder of any model; ids must be less than `vocab_size`.
inline special_tokens read_special_tokens(const std::filesystem::path& folder, std::int64_t vocab_size) {
  special_tokens known;
  for (const char* name : {"config.json", "generation_config.json"}) {
    const auto file = folder / name;
    if (!detail::is_present(file)) continue;
    read_special_tokens(known, mapped_file(file).text(), file.string(), vocab_size);
  }
  return known;
}

}  // namespace qwq

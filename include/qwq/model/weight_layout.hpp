// SPDX-License-Identifier: Apache-2.0
// Defines `weight_layout`, which says how the leaves of a model are stored in checkpoints.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace qwq {

// In the name of a leaf, `*` stands for the number of an expert: a leaf [E, N, K] named
// "mlp.experts.*.gate_proj.weight" is E tensors [N, K]. A declaration has the end of a leaf's name, from a dot on.

/// Says that a leaf may be stored as rows of a fused tensor: part `part` of `parts` equal parts of its rows. The tensor
/// is [parts * N, K], or [E, parts * N, K] for the experts; transposed, it is [K, parts * N] or [E, K, parts * N].
struct stored_as {
  std::string_view leaf;    ///< End of the leaf's name.
  std::string_view tensor;  ///< What the tensor's name has in its place.
  std::int64_t part = 0;    ///< Which of the parts, from 0.
  std::int64_t parts = 1;   ///< Number of parts of the leaf's size.
  bool transposed = false;  ///< Whether the rows are stored as columns.
};

/// Says that a leaf [2N, K] or [E, 2N, K] has the rows of the leaves `a` and `b` in turn: a0, b0, a1, b1, ...
struct interleaved {
  std::string_view leaf;  ///< End of the leaf's name.
  std::string_view a, b;  ///< What the two leaves' names have in its place.
};

/// Tensors that a checkpoint may have and the model does not read. In `pattern`, `*` stands for any characters.
struct ignored_tensor {
  std::string_view pattern;  ///< Of the tensor's full name.
  std::string_view reason;   ///< Why the model does not read it.
};

/// A tensor that a checkpoint may have although the model reads `of` in its place. Its values must be equal.
struct repeated_tensor {
  std::string_view tensor;  ///< Full name of the tensor.
  std::string_view of;      ///< Full name of a leaf.
  std::string_view reason;  ///< Why the model reads that one.
};

/// How the leaves of a model are stored.
struct weight_layout {
  /// What names in files may begin with where names of leaves begin with the first of these.
  std::span<const std::string_view> prefixes;
  std::span<const stored_as> stored;          ///< Tried in order if a leaf has no tensors of its own.
  std::span<const interleaved> interleaving;  ///< Leaves that are never stored as such.
  std::span<const ignored_tensor> ignored;    ///< Tensors that no leaf is stored in, and why.
  std::span<const repeated_tensor> repeated;  ///< Tensors with the values of another.
};

namespace detail {

inline constexpr std::string_view default_prefixes[] = {"model.", "model.language_model.", ""};
inline constexpr stored_as default_stored[] = {{"mlp.experts.*.gate_proj.weight", "mlp.experts.gate_up_proj", 0, 2},
                                               {"mlp.experts.*.up_proj.weight", "mlp.experts.gate_up_proj", 1, 2},
                                               {"mlp.experts.*.down_proj.weight", "mlp.experts.down_proj"}};
inline constexpr ignored_tensor default_ignored[] = {{"*.rotary_emb.inv_freq", "recomputed from rope_theta"}};
inline constexpr repeated_tensor default_repeated[] = {
    {"lm_head.weight", "model.embed_tokens.weight", "tie_word_embeddings is true"}};

/// True if `name` is `end`, or ends in a dot and `end`.
constexpr bool names_leaf(std::string_view end, std::string_view name) {
  return name.ends_with(end) && (name.size() == end.size() || name[name.size() - end.size() - 1] == '.');
}

/// True if `pattern` describes `text`; `*` stands for any number of any characters.
constexpr bool matches_name(std::string_view pattern, std::string_view text) {
  const std::size_t star = pattern.find('*');
  if (star == pattern.npos) return pattern == text;
  if (!text.starts_with(pattern.substr(0, star))) return false;
  pattern.remove_prefix(star + 1);
  for (text.remove_prefix(star); !matches_name(pattern, text); text.remove_prefix(1))
    if (text.empty()) return false;
  return true;
}

}  // namespace detail

/// The layout of models that declare nothing.
inline constexpr weight_layout default_layout{
    detail::default_prefixes, detail::default_stored, {}, detail::default_ignored, detail::default_repeated};

/// How the leaves of `Model` are stored: its constexpr arrays `prefixes`, `stored`, `interleaving`, `ignored` and
/// `repeated`; those that it does not have are the default's.
template <class Model>
constexpr weight_layout layout_of() {
  weight_layout out = default_layout;
  if constexpr (requires { Model::prefixes; }) out.prefixes = Model::prefixes;
  if constexpr (requires { Model::stored; }) out.stored = Model::stored;
  if constexpr (requires { Model::interleaving; }) out.interleaving = Model::interleaving;
  if constexpr (requires { Model::ignored; }) out.ignored = Model::ignored;
  if constexpr (requires { Model::repeated; }) out.repeated = Model::repeated;
  return out;
}

}  // namespace qwq

// SPDX-License-Identifier: Apache-2.0
// Defines `weight_layout`, how the weights of a model are stored in checkpoints.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace qwq {

// In leaf names, `*` is the index of an expert: a leaf [E, N, K] named "mlp.experts.*.gate_proj.weight" is E tensors
// [N, K]. Declarations give the end of a leaf's name, starting after a dot.

/// Declares that a leaf may be stored as rows of a fused tensor: part `part` of `parts` equal parts of its rows. The
/// tensor is [parts * N, K], or [E, parts * N, K] for experts; transposed, it is [K, parts * N] or [E, K, parts * N].
struct stored_as {
  std::string_view leaf;    ///< End of the leaf's name.
  std::string_view tensor;  ///< Replacement for that end in the tensor's name.
  std::int64_t part = 0;    ///< Index of the part.
  std::int64_t parts = 1;   ///< Number of parts of the leaf's size.
  bool transposed = false;  ///< True if rows are stored as columns.
};

/// Declares that a leaf [2N, K] or [E, 2N, K] alternates the rows of two leaves `a` and `b`: a0, b0, a1, b1, ...
struct interleaved {
  std::string_view leaf;  ///< End of the leaf's name.
  std::string_view a,     ///< Ending of the name of the first leaf.
      b;                  ///< Ending of the name of the second leaf.
};

/// Tensors that a checkpoint may contain but the model does not use. In `pattern`, `*` matches any characters.
struct ignored_tensor {
  std::string_view pattern;  ///< Pattern of the full tensor name.
  std::string_view reason;   ///< Why the model does not use it.
};

/// A tensor that duplicates another: the model uses `of`, and a checkpoint may also contain `tensor`, with equal
/// values.
struct repeated_tensor {
  std::string_view tensor;  ///< Full name of the tensor.
  std::string_view of;      ///< Full name of the leaf that is used.
  std::string_view reason;  ///< Why that leaf is used.
};

/// How the leaves of a model are stored in checkpoints.
struct weight_layout {
  /// Alternatives for the first of these prefixes, at the beginning of tensor names in files.
  std::span<const std::string_view> prefixes;
  std::span<const stored_as> stored;          ///< Fused tensors, tried in order if a leaf has no tensors of its own.
  std::span<const interleaved> interleaving;  ///< Leaves that are assembled from two others.
  std::span<const ignored_tensor> ignored;    ///< Tensors that are not used, with reasons.
  std::span<const repeated_tensor> repeated;  ///< Duplicates of other tensors.
};

namespace detail {

inline constexpr std::string_view default_prefixes[] = {"model.", "model.language_model.", ""};
inline constexpr stored_as default_stored[] = {{"mlp.experts.*.gate_proj.weight", "mlp.experts.gate_up_proj", 0, 2},
                                               {"mlp.experts.*.up_proj.weight", "mlp.experts.gate_up_proj", 1, 2},
                                               {"mlp.experts.*.down_proj.weight", "mlp.experts.down_proj"}};
inline constexpr ignored_tensor default_ignored[] = {{"*.rotary_emb.inv_freq", "recomputed from rope_theta"}};
inline constexpr repeated_tensor default_repeated[] = {
    {"lm_head.weight", "model.embed_tokens.weight", "tie_word_embeddings is true"}};

/// True if `name` is `end`, or ends with a dot and `end`.
constexpr bool names_leaf(std::string_view end, std::string_view name) {
  return name.ends_with(end) && (name.size() == end.size() || name[name.size() - end.size() - 1] == '.');
}

/// True if `pattern` matches `text`; `*` matches any number of characters.
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

/// Layout of models without declarations.
inline constexpr weight_layout default_layout{
    detail::default_prefixes, detail::default_stored, {}, detail::default_ignored, detail::default_repeated};

/// Layout of `Model`: its constexpr arrays `prefixes`, `stored`, `interleaving`, `ignored` and `repeated`, with those
/// of `default_layout` for missing ones.
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

// SPDX-License-Identifier: Apache-2.0
// Defines `emit`, which writes a checkpoint as a target says.
#pragma once

#include <filesystem>
#include <string>
#include <type_traits>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/core/written_file.hpp"
#include "qwq/emit/op_map.hpp"
#include "qwq/emit/options.hpp"
#include "qwq/emit/program_data.hpp"

namespace qwq {

namespace to_file {

/// How the files of a target are written: `ops`, the op map of its graphs, and `write`, which takes what `write_files`
/// does. Each target's header specialises it; a target without a specialisation has no files.
template <class Target>
struct writer;

template <class Target>
concept has_writer = requires {
  writer<Target>::ops;
};

/// Writes a checkpoint as files of `Target`. `tuned`: what calibration found; null for a scheme that leaves activations
/// in float. All files appear in `out` when all are whole: after an `error` the folder is as it was. Returns them in
/// the order in which they were put there.
template <has_writer Target>
std::vector<written_file> write_files(const program_data& data, const checkpoint& from, const calibration_result* tuned,
                                      const emit_options& options, const std::filesystem::path& out) {
  for (const program_parts* parts : {&data.prefill, &data.decode})
    for (const part& p : parts->kinds)
      for (const node& n : p.nodes)
        if (!writer<Target>::ops.writes(n))
          throw error("emit: " + std::string(where(n).view()) + ": target " + std::string(Target::name) +
                      " has no row for operator '" + std::string(name(n)) + "'");
  return writer<Target>::write(data, from, tuned, options, out);
}

/// Refuses to compile when an operator of the program has no row in the op map of `Target`.
template <class Program, class Target>
constexpr bool require_writable() {
  qwq::detail::for_each_type(typename Program::kinds{}, []<class Part>(std::type_identity<Part>) {
    static_assert(require_rows<typename Part::emitted, writer<Target>::ops>());
  });
  return true;
}

}  // namespace to_file

/// Writes a checkpoint of `Model`, quantized by `Scheme`, as files of `Target`: see `to_file::write_files`, and the
/// `writer` of the target for what the files are. Does not compile when an operator has no row in the target's op map.
template <class Model, target Target, quantization_scheme Scheme>
requires to_file::has_writer<Target> std::vector<written_file> emit(const checkpoint& from,
                                                                    const calibration_result* tuned,
                                                                    const emit_options& options,
                                                                    const std::filesystem::path& out) {
  static_assert(to_file::require_writable<program<Model, Target, Scheme, prompt_rows<Target>()>, Target>());
  if constexpr (!is_single_graph<Target>)
    static_assert(to_file::require_writable<program<Model, Target, Scheme, 1>, Target>());
  return to_file::write_files<Target>(to_file::program_data::of<Model, Target, Scheme>(), from, tuned, options, out);
}

}  // namespace qwq

// SPDX-License-Identifier: Apache-2.0
// Defines `emit`, which writes a checkpoint in the file format of a target.
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

/// How the files of a target are written: `ops`, the op map of its graphs, and `write`, which has the parameters of
/// `write_files`. Each target's header specializes it; a target without a specialization has no files.
template <class Target>
struct writer;

/// True if `Target` has a `writer`.
template <class Target>
concept has_writer = requires {
  writer<Target>::ops;
};

/// Writes a checkpoint as files of `Target`. `tuned`: calibration results; null for a scheme that leaves activations in
/// float. The files are renamed into `out` only when all are complete: after an `error` the folder is unchanged.
/// Returns them in the order in which they were renamed.
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

/// Does not compile if an operator of the program has no row in the op map of `Target`.
template <class Program, class Target>
constexpr bool require_writable() {
  qwq::detail::for_each_type(typename Program::kinds{}, []<class Part>(std::type_identity<Part>) {
    static_assert(require_rows<typename Part::emitted, writer<Target>::ops>());
  });
  return true;
}

}  // namespace to_file

/// Writes a checkpoint of `Model`, quantized by `Scheme`, as files of `Target`: see `to_file::write_files`, and the
/// target's `writer` for the list of files. Does not compile if an operator has no row in the target's op map.
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

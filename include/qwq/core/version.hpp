// SPDX-License-Identifier: Apache-2.0
// The version of the library, in the one place where it is written; CMake reads it from here.
#pragma once

#define QWQ_VERSION_MAJOR 0
#define QWQ_VERSION_MINOR 1
#define QWQ_VERSION_PATCH 0

#define QWQ_STRINGIFY_(x) #x
#define QWQ_STRINGIFY(x) QWQ_STRINGIFY_(x)
/// "major.minor.patch"
#define QWQ_VERSION_STRING \
  QWQ_STRINGIFY(QWQ_VERSION_MAJOR) "." QWQ_STRINGIFY(QWQ_VERSION_MINOR) "." QWQ_STRINGIFY(QWQ_VERSION_PATCH)

namespace qwq {

/// Semantic version of these headers.
struct version_number {
  int major;  ///< Counts incompatible changes; 0 while there may be any.
  int minor;  ///< Counts additions.
  int patch;  ///< Counts corrections.
};

inline constexpr version_number version{QWQ_VERSION_MAJOR, QWQ_VERSION_MINOR, QWQ_VERSION_PATCH};

}  // namespace qwq
